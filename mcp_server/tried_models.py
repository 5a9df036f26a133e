"""The doctor's check of each role's model: one real call each, none if the model is rules."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

import anyio

from ..engine.errors import CasehardenError, MissingKey
from ..engine.llm import RELAY, Connections, Message, ModelClient, ModelRequest, Probed, open_model
from ..engine.records.environment import ModelChoice, ModelName, short_name
from .findings import Finding, Verdict
from .setting_values import ROLES
from .settings import Settings
from .terminal import clean, cut, money

PATIENCE_S: Final = 30
NO_VARIABLES: Final = 'put it under "env" in your client\'s configuration: clients pass on no shell variables'
_ASKED: Final = ModelRequest("agent", [Message("user", "Answer with the one word: ready")])
_HERE: Final = " in the server's environment"
Chosen = tuple[ModelName, str]
"""A model, and where it was chosen."""
_Told = tuple[Verdict, str, str]
"""Verdict, text, and the fix."""


async def tried_models(
    settings: Settings, chosen: Mapping[str, Chosen], *, calls: bool
) -> AsyncIterator[Finding]:
    """A finding for each role; a model that several roles share is called once. `calls` False: none is called."""
    known: list[tuple[ModelName, _Told]] = []
    async with aclosing(settings.workbench("doctor").connections()) as connections:
        for role, (model, source) in chosen.items():
            told = next((told for other, told in known if other == model), None)
            if told is None:
                ours = model == getattr(settings.models, role)
                told = await _tried(
                    model, connections.of_operator() if ours else connections, f"models.{role}", calls
                )
                known.append((model, told))
            verdict, text, fix = told
            yield Finding(verdict, f"model {role}", text, source, fix)


def chosen_models(settings: Settings, cases: ModelChoice, place: str) -> dict[str, Chosen]:
    """Who plays each role, and the source: a flag, then `cases` at their `place`, then the other settings."""
    found: dict[str, Chosen] = {}
    for role in ROLES:
        told: ModelName = getattr(cases, role)
        by_folder = bool(told) and role not in settings.flagged_models
        model: ModelName = told if by_folder else getattr(settings.models, role)
        found[role] = (model or "offline", place if by_folder else settings.sources[f"model_{role}"])
    return found


async def _tried(model: ModelName, connections: Connections, where: str, calls: bool) -> _Told:
    if model == RELAY:
        return "ok", "relay: your client answers its calls", ""
    try:
        with anyio.fail_after(PATIENCE_S):
            client = open_model(model, connections, where=where)
            if isinstance(client, Probed):
                await client.probe()
                text = await _called(client) if calls else f"{client.name}, not called"
            else:
                text = client.name
        return "ok", text, ""
    except CasehardenError as error:
        if isinstance(error, MissingKey) and _HERE in error.what:
            return "fail", _missing(error, model, where), NO_VARIABLES
        said = f"; it said: {cut(clean(error.quoted), 200)}" if error.quoted else ""
        return "fail", f"{cut(short_name(model), 60)}: {error.what.rstrip('.')}", error.allowed + said
    except TimeoutError:
        return (
            "fail",
            f"{short_name(model)}: no answer within {PATIENCE_S} s",
            "check that it can be reached",
        )


async def _called(client: ModelClient) -> str:
    began = time.perf_counter()
    reply = await client.complete(_ASKED)
    cost = money(reply.cost_usd)
    return f"{cut(client.name, 60)} answered in {time.perf_counter() - began:.1f} s, {cost}"


def _missing(error: MissingKey, model: ModelName, where: str) -> str:
    """The tools' message about a missing key, after the model's name."""
    name = short_name(model)
    role = where.rpartition(".")[2]
    what = error.what.removeprefix(f"No key for {role} model {name}: ").rstrip(".")
    return f"{name}: {what.removesuffix(_HERE)}"
