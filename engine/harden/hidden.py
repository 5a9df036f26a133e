"""What the guards compare with: the data that only the tests know, and what a candidate may mention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..canonical import canonical
from ..records.persona import Fact, Persona
from ..records.scenario import Scenario
from ..records.world import World
from .guards import Hidden, Known

_CALL_DATA = frozenset({"args", "compare", "state", "eq", "one_of", "contains"})
"""Keys of a predicate whose values are data of the case; criteria in words are open."""


def hidden_texts(
    scenarios: Iterable[Scenario], personas: Iterable[Persona] = (), world: World | None = None
) -> list[Hidden]:
    """Collect goals, sheets, histories, scripts, events, solutions and checked data, by scenario and persona.

    Of the world, only the keys of its records. Criteria in words, policy and `agent_context` are not hidden.
    """
    hidden: list[Hidden] = []
    for scenario in scenarios:
        where = f"a {scenario.split or 'train'} scenario".replace("held_out", "held-out")
        hidden += [Hidden(text, where) for text in _of_scenario(scenario) if text.strip()]
        if isinstance(scenario.persona, Persona):
            hidden += [Hidden(text, "a persona") for text in _of_persona(scenario.persona) if text.strip()]
    hidden += [Hidden(text, "a persona") for p in personas for text in _of_persona(p) if text.strip()]
    if world is not None:
        hidden += [
            Hidden(key, "the world's records") for side in (world.db, world.user_db) for key in _keys(side)
        ]
    return hidden


def known_of(world: World, scenarios: Iterable[Scenario] = ()) -> Known:
    """Collect what a candidate may mention, and must not forbid.

    The agent's tools, their parameters, schema fields, policy and texts; what solutions of the train scenarios call.
    """
    needed: dict[str, str] = {}
    for scenario in scenarios:
        if scenario.split != "held_out":
            for call in scenario.expected:
                if call.tool and call.by == "agent":
                    needed.setdefault(call.tool, scenario.id)
    tools = [tool for tool in world.tools if tool.for_ == "agent"]
    described = {tool.name: tool.description for tool in tools if not tool.hidden}
    names = {name for tool in tools for name in _properties(tool.parameters)}
    for path, collection in world.schema_.items():
        names.update(path.split("."), collection.required, collection.fields)
    texts = [world.policy, *(t.description for t in tools), *(canonical(dict(t.parameters)) for t in tools)]
    return Known(frozenset(tool.name for tool in tools), frozenset(names), tuple(texts), needed, described)


def _of_scenario(scenario: Scenario) -> Iterator[str]:
    yield from (scenario.goal, scenario.guidelines, *scenario.unknown)
    yield from _facts(scenario.knowledge)
    for item in scenario.history:
        yield item.say or ""
        yield from _leaves(item.args)
    for step in scenario.script:
        yield from (step.user or "", step.agent or "", step.message.say if step.message else "")
        yield from _data_of(step.check)
    for event in scenario.events:
        yield from _data_of(event.when)
        yield from _texts_in(event.steps)
    for item in scenario.noise.pool if scenario.noise else ():
        yield from _texts_in(item.steps)
    for call in scenario.expected:
        yield call.say or ""
        yield from _leaves(call.args)
    for predicate in scenario.success:
        yield from _data_of(predicate)


def _of_persona(persona: Persona) -> Iterator[str]:
    yield from (persona.profile, persona.guidelines, persona.objective)
    yield from _facts(persona.knowledge)
    yield from _leaves(persona.data.db)
    yield from _leaves(persona.data.user_db)


def _facts(knowledge: Iterable[str | Fact]) -> Iterator[str]:
    for fact in knowledge:
        if isinstance(fact, Fact):
            yield from _leaves(fact.value)
        else:
            yield fact


def _data_of(predicate: Any) -> Iterator[str]:
    if isinstance(predicate, list):
        for item in predicate:  # pyright: ignore[reportUnknownVariableType]
            yield from _data_of(item)
    elif isinstance(predicate, Mapping):
        for key, value in predicate.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(value) if key in _CALL_DATA else _data_of(value)


def _texts_in(steps: Any) -> Iterator[str]:
    """The texts and arguments in steps."""
    if isinstance(steps, list):
        for step in steps:  # pyright: ignore[reportUnknownVariableType]
            yield from _texts_in(step)
    elif isinstance(steps, Mapping):
        for key, value in steps.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(value) if key in ("say", "notify", "args") else _texts_in(value)


def _leaves(value: Any) -> Iterator[str]:
    """Every text and number in a JSON value, including object keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield str(key)  # pyright: ignore[reportUnknownArgumentType]
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(inner)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield str(value)


def _keys(side: Mapping[str, Any]) -> Iterator[str]:
    for collection in side.values():
        if isinstance(collection, Mapping):
            yield from map(str, collection)  # pyright: ignore[reportUnknownArgumentType]


def _properties(schema: Mapping[str, Any]) -> Iterator[str]:
    """The parameter names in a JSON Schema, including nested ones."""
    properties: Any = schema.get("properties")
    inner = dict(properties) if isinstance(properties, Mapping) else {}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    for name, part in inner.items():  # pyright: ignore[reportUnknownVariableType]
        yield str(name)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(part, Mapping):
            yield from _properties(part)  # pyright: ignore[reportUnknownArgumentType]
    items: Any = schema.get("items")
    if isinstance(items, Mapping):
        yield from _properties(items)  # pyright: ignore[reportUnknownArgumentType]
