"""Each role's model as the doctor tries it: one real call each, none where the model is rules."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import anyio

from ..engine.errors import CasehardenError, MissingKey
from ..engine.llm import Message, ModelClient, ModelRequest, open_model
from .findings import Finding, Verdict
from .settings import DEFAULT, ROLES, Settings
from .terminal import cut, money

PATIENCE_S: Final = 30
NO_VARIABLES: Final = 'put it under "env" in your client\'s configuration: clients pass on no shell variables'
_ASKED: Final = ModelRequest("agent", [Message("user", "Answer with the one word: ready")])


async def tried_models(settings: Settings, *, calls: bool) -> AsyncIterator[Finding]:
    """A finding for each role; a model that several roles share is called once. `calls` False: none is."""
    known: dict[str, tuple[Verdict, str, str]] = {}
    for role in ROLES:
        name = f"model_{role}"
        model: str | dict[str, Any] = getattr(settings.values, name) or "offline"
        key = json.dumps(model, sort_keys=True)
        if key not in known:
            known[key] = await _tried(model, calls)
        verdict, told, fix = known[key]
        yield Finding(verdict, f"model {role}", told, settings.sources.get(name, DEFAULT), fix)


async def _tried(model: str | Mapping[str, Any], calls: bool) -> tuple[Verdict, str, str]:
    named = str(model if isinstance(model, str) else model.get("model", ""))
    try:
        client = open_model(model, where="")
        if not calls or client.name.startswith("offline"):
            return "ok", client.name + ("" if client.name.startswith("offline") else ", not called"), ""
        return "ok", await _called(client), ""
    except MissingKey as error:
        return "fail", f"{named}: {error.what.rstrip('.')}", NO_VARIABLES
    except CasehardenError as error:
        return "fail", f"{named}: {error.what.rstrip('.')}", error.allowed
    except TimeoutError:
        return (
            "fail",
            f"{named}: no answer within {PATIENCE_S} s",
            "see whether the model's address is reached",
        )


async def _called(client: ModelClient) -> str:
    began = time.perf_counter()
    with anyio.fail_after(PATIENCE_S):
        reply = await client.complete(_ASKED)
    cost = money(reply.cost_usd)
    return f"{cut(client.name, 60)} answered in {time.perf_counter() - began:.1f} s, {cost}"
