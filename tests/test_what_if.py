"""What-ifs: failed conversations gone on with from a turn under another text, a few times, with the rates told."""

from __future__ import annotations

from pathlib import Path

import pytest

from caseharden.engine.workbench import Workbench
from caseharden.tests.server_desk import MODES, Mode, desk as served
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = pytest.mark.anyio
CURED = f"{INSTRUCTIONS}\nBefore calling close_ticket, call look_up_ticket."


async def failed(bench: Workbench, count: int = 3) -> list[str]:
    """The places at which a run of train scenarios failed; version 2 is in force, and mends them."""
    await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(count))
    cases = [{**closing(n), "split": "train"} for n in range(1, count + 1)]
    await bench.scenarios.create("desk", cases)
    run = (await bench.runs.start("desk", wait_s=45)).run
    await bench.items.update("environment", "desk", {"instructions": CURED})
    return run.clusters[0].evidence


@pytest.mark.requirement("CH-8")
async def test_a_whole_cause_is_tried_under_another_text_from_its_turns_with_the_rates_told(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        places = await failed(bench)
        report = await bench.runs.start("desk", select=places, instructions="2", trials=2, wait_s=45)
        assert sorted(one.place for one in report.run.what_ifs) == sorted(places)
        for one in report.run.what_ifs:
            assert (one.was, one.failed, one.instructions) == ("fail", ["rule.looked-up"], "desk@1")
            assert (one.trials, one.passed, one.again, one.otherwise, one.undecided) == (2, 2, 0, 0, 0)


@pytest.mark.requirement("CH-8")
async def test_under_the_old_text_it_fails_again_and_sameness_is_told(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        places = await failed(bench)
        run = (await bench.runs.start("desk", select=places[:1], instructions="1", trials=3, wait_s=45)).run
        (one,) = run.what_ifs
        assert (one.trials, one.passed, one.again, one.ways, one.interval) == (3, 0, 3, 1, None)
        assert any("went the same way word for word" in warning for warning in run.warnings)


async def test_an_agent_that_slips_gives_a_rate_with_its_interval(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        places = await failed(bench)
        models = {"agent": "offline:slip=0.5"}
        report = await bench.runs.start("desk", select=places[:1], trials=12, models=models, wait_s=45)
        (one,) = report.run.what_ifs
        assert (one.trials, one.ways) == (12, 2)
        assert 0 < one.passed < 12 and one.passed + one.again == 12
        assert one.interval is not None
        assert one.interval[0] < one.passed / 12 < one.interval[1]


async def test_of_a_held_out_conversation_only_its_end_is_told(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(2))
        await bench.scenarios.create("desk", [{**closing(1), "split": "held_out"}])
        run = (await bench.runs.start("desk", wait_s=45)).run
        place = f"{run.id}/{run.simulations[0]}/1@1"
        report = await bench.runs.start("desk", select=[place], wait_s=45)
        (one,) = report.run.what_ifs
        assert (one.was, one.failed, one.again, one.otherwise) == ("fail", [], 0, 1)


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_finds_the_call_in_next_and_reads_the_answer(tmp_path: Path, mode: Mode) -> None:
    async with served(tmp_path / "data", mode) as at:
        world = tickets(1)
        await at.ok("create_environment", id="desk", instructions=INSTRUCTIONS, world_data=world)
        await at.ok("create_scenarios", environment="desk", scenarios=[{**closing(1), "split": "train"}])
        run = await at.ok("run_simulations", environment="desk", wait_s=45)
        await at.ok("update_item", kind="environment", id="desk", changes={"instructions": CURED})
        see = run["clusters"][0]["see"]
        turns = await at.ok("get_item", kind="conversation", id=see, view="turns")
        call = next(one for one in turns["next"] if one["tool"] == "run_simulations")
        assert call["args"]["select"] == [see]
        reply = await at.ok(call["tool"], **call["args"], wait_s=45)
        assert reply["what_if"][0]["passed"] == 3
        assert f"From {see}, which was fail (rule.looked-up): 3 of 3 continuations pass." in reply["summary"]
