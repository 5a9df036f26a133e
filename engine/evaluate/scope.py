"""What predicates may name: the world's tools, collections and signals, and the scenario's solution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, cast

from ..canonical import canonical
from ..records.scenario import Scenario
from ..world import CompiledWorld
from .calls import Ok
from .reading import Written


@dataclass(frozen=True)
class Scope:
    """What a predicate may name: the world's tools, collections and signals, and the scenario's solution."""

    world: CompiledWorld
    scenario: Scenario | None = None
    signals: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    """Ids of the scenario's events."""
    attempts: bool = False
    """In a minefield a call counts whatever its result: `ok` defaults to "any"."""
    judged: bool = True
    """Whether judged subjects are allowed."""
    texts: str = field(default="", repr=False)
    """The JSON of all steps, which may name collections that the base does not have yet."""

    @property
    def happening(self) -> frozenset[str]:
        """Events and signals: everything that can have happened."""
        return self.signals | self.events

    @property
    def ok(self) -> Ok:
        return "any" if self.attempts else True

    def parameters(self, glob: str) -> list[str]:
        """The arguments of all tools that match the glob."""
        tools = [t.tool for name, t in self.world.tools.items() if fnmatchcase(name, glob)]
        return list(dict.fromkeys(p for tool in tools for p in tool.parameters.get("properties", {})))


def scope_of(world: CompiledWorld, scenario: Scenario | None) -> Scope:
    """The scope of a world and, for checks, of a scenario."""
    signals, texts = _of_world(world)
    if scenario is None:
        return Scope(world, None, signals, texts=texts)
    steps = [*scenario.init, *(step for event in scenario.events for step in event.steps)]
    if steps:
        signals, texts = signals | frozenset(_signals(steps)), texts + canonical(steps)
    return Scope(world, scenario, signals, frozenset(event.id for event in scenario.events), texts=texts)


def need_solution(written: Written, key: str, scope: Scope) -> None:
    """Refuse a comparison with a solution that is not there."""
    if scope.scenario is None or not scope.scenario.expected:
        what = "There is nothing to compare with: the scenario's `expected` is empty."
        written.wrong(key, what, 'a solution in `expected`, at least {"say": "…"}')


@lru_cache(maxsize=16)
def _of_world(world: CompiledWorld) -> tuple[frozenset[str], str]:
    """The signals of a world's steps, and the steps' JSON."""
    steps: list[Any] = [*(step for tool in world.world.tools for step in tool.steps), *world.world.sync]
    return frozenset(_signals(steps)), canonical(steps)


def _signals(steps: Any) -> Iterable[str]:
    if isinstance(steps, list):
        for step in cast("list[Any]", steps):
            yield from _signals(step)
    elif isinstance(steps, dict):
        for key, value in cast("dict[str, Any]", steps).items():
            if key == "emit" and isinstance(value, str):
                yield value
            else:
                yield from _signals(value)
