"""The scenario's `expected` steps, checked before they are played: shape, tools, arguments, order."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import InvalidArgument, did_you_mean
from ..records.scenario import ExpectedStep, Scenario
from ..world import CompiledWorld
from ..world.mistakes import Mistakes
from .call_predicates import check_step
from .reading import Written
from .scope import Scope


def check_solution(world: CompiledWorld, scenario: Scenario, top: Written) -> None:
    """Refuse `expected` steps that cannot be played or matched; InvalidArgument with path and nearest name, for all."""
    scope = Scope(world, scenario)
    ids = [step.id for step in scenario.expected if step.id]
    mistakes = Mistakes()
    for i, step in enumerate(scenario.expected):
        where = top.at("expected", i)
        with mistakes.caught():
            _one_deed(step, where)
            if step.id and ids.count(step.id) > 1:
                raise InvalidArgument(
                    f"Two steps are called `{step.id}`.", where=f"{where}.id", allowed="an id of its own"
                )
            _known_before(step, ids, where)
            if step.tool is not None:
                _known_tool(step.tool, list(world.tools), where)
                check_step(step, Written(step.model_dump(exclude_unset=True), where), scope)
    mistakes.refuse()


def _one_deed(step: ExpectedStep, where: str) -> None:
    given = [name for name in ("tool", "say", "wait_s") if getattr(step, name) is not None]
    if len(given) != 1:
        what = f"A step is either `tool`, `say` or `wait_s`; found {' and '.join(given) or 'none'}."
        raise InvalidArgument(what, where=where, allowed='{"tool": …, "args": {…}} or {"say": "…"}')
    if step.wait_s is not None and step.by == "user":
        raise InvalidArgument("It is the agent that waits.", where=f"{where}.by", allowed="agent")


def _known_before(step: ExpectedStep, ids: Sequence[str], where: str) -> None:
    for j, name in enumerate(step.after):
        if name not in ids:
            what = f"`after` names `{name}`, which is no id of a step.{did_you_mean(name, ids)}"
            raise InvalidArgument(what, where=f"{where}.after[{j}]", allowed=ids or "ids of steps")


def _known_tool(tool: str, names: Sequence[str], where: str) -> None:
    if tool not in names:
        what = f"The world has no tool `{tool}`.{did_you_mean(tool, names)}"
        raise InvalidArgument(what, where=f"{where}.tool", allowed=names)
