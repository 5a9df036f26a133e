"""Trials as runs execute them: recorded agents through the workbench, missing recordings, limits, what is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.run import RunRecord, TrialRecord
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.tests.workbench_cases import bench_at, desk

pytestmark = pytest.mark.anyio
PLAYED = [
    {"by": "user", "say": "Close T1 please."},
    {"by": "agent", "tool": "look_up_ticket", "args": {"ticket_id": "T1"}},
    {"by": "agent", "tool": "close_ticket", "args": {"ticket_id": "T1"}},
    {"by": "agent", "say": "T1 is closed."},
]


async def run_of(bench: Workbench, **more: Any) -> RunRecord:
    return (await bench.runs.start("desk", wait_s=45, **more)).run


def records_of(home: Path, run: RunRecord) -> list[TrialRecord]:
    """The trials of a run, of a workbench that was closed."""
    store = Store(home)
    try:
        return Archive(store).trials(run.id).where()
    finally:
        store.close()


async def test_a_recorded_agent_is_played_through_a_run_and_graded(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        careless = [line for line in PLAYED if line.get("tool") != "look_up_ticket"]
        conversations = [
            {"scenario": "close-1", "log": PLAYED},
            {"scenario": "close-1", "trial": 2, "log": careless},
        ]
        await desk(bench, 1, agent={"kind": "recorded", "conversations": conversations})
        run = await run_of(bench, trials=2)
    verdicts = {(r.persona, r.trial): (r.verdict, r.failed_checks) for r in records_of(tmp_path, run)}
    for persona in {who for who, _ in verdicts}:
        assert verdicts[(persona, 1)] == ("pass", [])
        assert verdicts[(persona, 2)] == ("fail", ["rule.looked-up"])


async def test_a_stored_run_is_played_back_to_the_same_transcripts(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        first = await run_of(bench)
        await desk(bench, 4, id="again", agent={"kind": "recorded", "run": first.id})
        second = (await bench.runs.start("again", wait_s=45)).run
    hashes = [
        {r.simulation: (r.transcript_hash, r.verdict) for r in records_of(tmp_path, run)}
        for run in (first, second)
    ]
    assert len(hashes[0]) >= 4
    assert hashes[0] == hashes[1]


async def test_a_trial_without_a_recording_is_an_error_and_the_others_go_on(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(
            bench, 2, agent={"kind": "recorded", "conversations": [{"scenario": "close-1", "log": PLAYED}]}
        )
        run = await run_of(bench)
    found = {r.scenario: (r.verdict, r.graded.why) for r in records_of(tmp_path, run)}
    assert found["close-1"] == ("pass", "")
    assert found["close-2"][0] == "error"
    assert "no recorded conversation of close-2" in found["close-2"][1]
    assert (run.totals.error, run.totals.rate) == (run.totals.trials - run.totals.passed, 1)


async def test_a_recording_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        broken = [{"scenario": "close-1", "log": [{"by": "agent", "tool": "close_ticket", "args": "T1"}]}]
        with pytest.raises(InvalidArgument) as refused:
            await desk(bench, 1, agent={"kind": "recorded", "conversations": broken})
            await run_of(bench)
        assert "args" in f"{refused.value.where} {refused.value.what}"


async def test_limits_of_a_run_are_over_and_those_of_an_environment_under_the_scenarios(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1, settings={"limits": {"max_turns": 1}})
        under = await run_of(bench)
        scenario = {"id": "close-1", "goal": "Get ticket T1 closed.", "limits": {"max_turns": 9}}
        await bench.scenarios.create("desk", [scenario], replace=True)
        own = await run_of(bench)
        over = await run_of(bench, options={"limits": {"max_turns": 1}})
    ends = [{record.end for record in records_of(tmp_path, run)} for run in (under, own, over)]
    assert ends == [{"max_turns"}, {"user_stop"}, {"max_turns"}]


async def test_what_is_stored_names_its_run_and_what_it_was_made_of(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        run = await run_of(bench)
    files = (tmp_path / "runs" / run.id / "segments").glob("*.jsonl")
    rows = [row for file in files for row in map(json.loads, file.read_text().splitlines())]
    stored = {row["id"]: row for row in rows if row["format"] == "conversation/1"}
    for record in records_of(tmp_path, run):
        mine = stored[f"{run.id}/{record.id}"]
        assert (mine["environment"], mine["run"], mine["instructions"]) == ("desk", run.id, "desk@1")
        assert mine["transcript_hash"] == record.transcript_hash
        assert mine["hashes"]["world"] == run.world
        assert len(mine["hashes"]["instructions"]) == 64


async def test_a_scenario_that_fits_its_world_no_more_is_invalid_and_the_others_go_on(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        await bench.scenarios.create(
            "desk", [{"id": "odd", "goal": "Help.", "success": [{"tool": "close_ticket"}]}]
        )
        store = Store(tmp_path)
        shelf = Archive(store).scenarios
        odd = shelf.get("desk/odd")
        odd.scenario.success[0]["tool"] = "close_tickt"
        shelf.put("desk/odd", odd)
        store.close()
        run = await run_of(bench)
        assert run.totals.invalid > 0
        assert run.totals.invalid < run.totals.trials
    found = {r.scenario: r for r in records_of(tmp_path, run)}
    assert (found["odd"].verdict, found["odd"].end) == ("invalid", "world_error")
    assert "Did you mean `close_ticket`?" in found["odd"].graded.why
    assert found["close-1"].verdict in ("pass", "fail")
