"""The guides on formats are short, and the examples they begin with are valid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import check_solution, prepare
from caseharden.engine.world import compile_world
from caseharden.resources.library import guide


def first_example(name: str) -> Any:
    """The first JSON block of a guide."""
    text = guide(name) or ""
    return json.loads(text.split("```json\n", 1)[1].split("```", 1)[0])


@pytest.mark.parametrize("name", ["world-format", "scenario-format", "persona-format"])
def test_guides_are_short_and_their_first_example_is_valid(name: str) -> None:
    assert len(guide(name) or "") / 4 < 6_000
    example = first_example(name)
    if name == "persona-format":
        load(Persona, example, name)
        return
    tickets = compile_world(load(World, first_example("world-format"), name))
    if name == "scenario-format":
        prepare(tickets, load(Scenario, example, name))


@pytest.mark.anyio
async def test_the_scenario_guides_example_is_solvable() -> None:
    desk, close = first_example("world-format"), first_example("scenario-format")
    case = prepare(compile_world(load(World, desk, "desk")), load(Scenario, close, "close"))
    report = await check_solution(case, seed=0)
    assert (report.status, report.lets_through) == ("proven", [])
