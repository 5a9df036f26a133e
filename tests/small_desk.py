"""A small library desk for tests of trials: its world, and models that say what a test wants them to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from caseharden.engine.agents import AgentAdapter, PromptAgent
from caseharden.engine.evaluate import grade
from caseharden.engine.llm import ModelReply, ModelRequest, ToolCall, open_model
from caseharden.engine.records.authored import load
from caseharden.engine.records.conversation import SayEntry, ToolEntry
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.verdict import Verdict
from caseharden.engine.records.world import World
from caseharden.engine.simulate import (
    Case,
    ExpectedWorlds,
    ModelUser,
    Tried,
    UserSimulator,
    prepare,
    run_trial,
)
from caseharden.engine.world import CompiledWorld, compile_world


def one_text(name: str) -> dict[str, Any]:
    """Parameters of one text."""
    return {"type": "object", "required": [name], "properties": {name: {"type": "string"}}}


DESK: dict[str, Any] = {
    "format": "world/1",
    "name": "desk",
    "policy": "Lend only what is in.",
    "clock": {"now": "2026-03-01T09:00:00", "turn_s": 30, "call_s": 1, "think_s": 2},
    "db": {
        "books": {"b1": {"title": "Dune", "out": False}, "b2": {"title": "Emma", "out": True}},
        "desk": {"open": True, "lucky": 0},
    },
    "user_db": {"bag": {"card": False}},
    "schema": {"db.books": {"required": ["title", "out"], "fields": {"out": {"type": "boolean"}}}},
    "tools": [
        {
            "name": "look",
            "description": "Look up a book",
            "parameters": one_text("book_id"),
            "steps": [
                {"let": {"b": "db.books.get(book_id)"}},
                {"require": "b", "error": "no book {book_id}"},
                {"return": "b"},
            ],
        },
        {
            "name": "lend",
            "description": "Lend a book",
            "parameters": one_text("book_id"),
            "steps": [
                {"let": {"b": "db.books.get(book_id)"}},
                {"require": "b", "error": "no book {book_id}"},
                {"require": "not b.out", "error": "{b.title} is out"},
                {"set": {"b.out": "true"}},
                {"notify": "{b.title} leaves the house"},
                {"return": "'lent'"},
            ],
        },
        {"name": "draw_lot", "steps": [{"set": {"db.desk.lucky": "int(rand() * 1000000)"}}]},
        {"name": "open_vault", "steps": [{"unlock": "vault"}, {"return": "'open'"}]},
        {"name": "vault", "hidden": True, "steps": [{"return": "'gold'"}]},
        {"name": "think", "kind": "think", "parameters": one_text("thought"), "steps": []},
        {"name": "divide", "steps": [{"return": "1 / 0"}]},
        {"name": "close", "kind": "terminal", "steps": [{"return": "'closed'"}]},
        {
            "name": "show_card",
            "for": "user",
            "steps": [{"set": {"user_db.bag.card": "true"}}, {"notify": "The card was shown", "to": "agent"}],
        },
    ],
}


def the_desk(**changes: Any) -> CompiledWorld:
    """The desk's world, with fields changed."""
    return compile_world(load(World, {**DESK, **changes}, "world"))


WORLD = the_desk()


def a_case(
    world: CompiledWorld = WORLD,
    persona: dict[str, Any] | None = None,
    user_input: str = "",
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> Case:
    """A prepared case of a scenario with these fields; `options` is its `world`."""
    written = {"id": "s", "goal": "Borrow the book b1", "world": options or {}, **fields}
    scenario = load(Scenario, written, "scenario")
    partner = load(Persona, persona, "persona") if persona else None
    return prepare(world, scenario, partner, user_input=user_input)


Reply = str | ModelReply | BaseException


def calling(*calls: tuple[str, Any], text: str = "") -> ModelReply:
    """A reply that calls tools; arguments that are no text are written as JSON."""
    made = [
        ToolCall(f"c{k}", name, args if isinstance(args, str) else json.dumps(args))
        for k, (name, args) in enumerate(calls)
    ]
    return ModelReply(text, tuple(made))


class Script:
    """A model that gives these replies in turn, or what a function of the request says; it keeps the requests."""

    name = "script"

    def __init__(self, *replies: Reply, then: Callable[[ModelRequest], Reply] | Reply = "Done.") -> None:
        self._replies = list(replies)
        self._then = then
        self.requests: list[ModelRequest] = []

    async def complete(self, request: ModelRequest) -> ModelReply:
        self.requests.append(request)
        reply: Any = self._replies.pop(0) if self._replies else self._then
        if callable(reply):
            reply = reply(request)
        if isinstance(reply, BaseException):
            raise reply
        return ModelReply(reply) if isinstance(reply, str) else reply


async def tried(
    case: Case,
    agent: Script | AgentAdapter | None = None,
    user: Script | UserSimulator | None = None,
    *,
    seed: int = 3,
    trial: int = 1,
    instructions: str = "Be kind.",
) -> Tried:
    """Run a case; a script is the model of an agent or a user, none is the offline model."""
    player = (
        PromptAgent(agent or open_model("offline")) if agent is None or isinstance(agent, Script) else agent
    )
    partner = (
        ModelUser(user or open_model("offline"), case) if user is None or isinstance(user, Script) else user
    )
    return await run_trial(case, player, partner, seed=seed, trial=trial, instructions=instructions)


async def graded(case: Case, done: Tried, seed: int = 3, trial: int = 1) -> Verdict:
    """The verdict of a trial that was run."""
    expected = await ExpectedWorlds().of(case, seed, trial)
    return grade(done.conversation, case.plan, case.world.base, expected)


def calls_of(done: Tried) -> list[ToolEntry]:
    """The calls in a trial's log."""
    return [entry for entry in done.conversation.log if isinstance(entry, ToolEntry)]


def says_of(done: Tried) -> list[tuple[str, str]]:
    """(side, words) of all that was said."""
    return [(entry.by, entry.say) for entry in done.conversation.log if isinstance(entry, SayEntry)]


def names(calls: Sequence[ToolEntry]) -> list[str]:
    """The tools that were called, in order."""
    return [call.tool for call in calls]
