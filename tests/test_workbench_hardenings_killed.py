"""Hardenings killed after any of their writes: the same call again gives what it would have given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.results import HardeningReport
from caseharden.tests.killed_at import CALLS, RULE, copies_killed, last_write
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, desk

pytestmark = pytest.mark.anyio
FILE = "instructions.md"


async def prepared(home: Path, *calls: str, file: str = "") -> Path:
    """A data folder in which these calls were made. `file`: one below it that holds the instructions."""
    if file:
        home.mkdir()
        (home / file).write_text(f"{INSTRUCTIONS}\n", encoding="utf-8")
    async with bench_at(home, [home]) as bench:
        await desk(bench, 24, settings={"instructions_file": file} if file else None)
        for call in calls:
            await CALLS[call](bench)
    return home


async def asked_again(home: Path, call: str) -> dict[str, Any]:
    """What the same call gives in a killed folder, and what is stored then."""
    async with bench_at(home, [home]) as bench:
        report: HardeningReport = await CALLS[call](bench)
        assert report.job is None
        jobs = (await bench.items.page("job", environment="desk", limit=50)).items
        found = {
            "state": report.hardening.state,
            "outcome": report.hardening.outcome,
            "candidates": [(c.id, c.outcome, c.became) for c in report.hardening.candidates],
            "rounds": [(r.number, r.decision, r.passed, r.total) for r in report.hardening.rounds],
            "look": look_of(report),
            "marks": report.hardening.marks,
            "reason": report.hardening.reason,
            "hardenings": [row["id"] for row in (await bench.items.page("hardening")).items],
            "versions": (await bench.items.page("instructions", environment="desk")).total,
            "in force": (await bench.items.get("environment", "desk")).item["instructions"]["id"],
            "going on": [row["id"] for row in jobs if row["state"] not in ("done", "failed")],
            "rounds shown": len((await bench.items.get("hardening", "hard-1", view="rounds")).item["rounds"]),
        }
    with Store(home) as opened:
        runs = Archive(opened).runs.where(hardening="hard-1")
    return {**found, "runs": [(run.instructions, run.state, run.totals.trials) for run in runs]}


def look_of(report: HardeningReport) -> int:
    """The look of the candidate that the call was about; 0: it was not proven."""
    found = report.hardening.find(report.candidate)
    proof = found.evidence.held_out if found and found.evidence else None
    return proof.look if proof else 0


@pytest.mark.parametrize(
    ("call", "before"), [("begin", ()), ("submit", ("begin",)), ("promote", ("begin", "submit"))]
)
async def test_a_call_killed_after_any_write_gives_the_same_when_made_again(
    tmp_path: Path, call: str, before: tuple[str, ...]
) -> None:
    home = await prepared(tmp_path / "home", *before)
    *killed, whole = copies_killed(home, tmp_path / "copies", call)
    assert len(killed) >= 3
    wanted = await asked_again(whole, call)
    assert wanted["reason"] == ("proven" if call == "promote" else "")
    for copy in killed:
        assert await asked_again(copy, call) == wanted, last_write(copy)


@pytest.mark.parametrize("taken_in", [False, True])
async def test_a_promotion_killed_after_any_write_is_completed_also_if_its_file_was_read_since(
    tmp_path: Path, taken_in: bool
) -> None:
    """The file is written first, and whoever runs the folder then takes its text in as a version of its own."""
    home = await prepared(tmp_path / "home", "begin", "submit", file=FILE)
    *killed, whole = copies_killed(home, tmp_path / "copies", "promote")
    assert last_write(killed[0]) == FILE and len(killed) >= 4
    for copy in (*killed, whole):
        async with bench_at(copy, [copy]) as bench:
            held = (copy / FILE).read_text(encoding="utf-8").rstrip("\n")
            if taken_in:
                await bench.items.update("environment", "desk", {"instructions": held})
            report: HardeningReport = await CALLS["promote"](bench)
            [candidate] = report.hardening.candidates
            assert (report.hardening.state, report.hardening.outcome) == ("promoted", "improved"), held
            assert held == candidate.text and report.became is not None
            assert candidate.became == report.became.id == await in_force(bench), last_write(copy)
            found = await bench.items.get("instructions", report.became.id)
            assert (found.item["candidate"], found.item["outcome"]) == (candidate.id, "improved")
            await bench.hardenings.decide("desk@1", "roll_back")
            assert await in_force(bench) == "desk@1"
        assert (copy / FILE).read_text(encoding="utf-8") == f"{INSTRUCTIONS}\n"


async def in_force(bench: Workbench) -> str:
    return str((await bench.items.get("environment", "desk")).item["instructions"]["id"])


async def test_a_proof_that_was_cancelled_has_cost_its_look_and_keeps_it_when_gone_on_with(
    tmp_path: Path,
) -> None:
    home = await prepared(tmp_path / "home", "begin")
    *killed, _ = copies_killed(home, tmp_path / "copies", "submit")
    looking = next(copy for copy in killed if last_write(copy) == "looks")
    async with Workbench(looking, resume=False) as bench:
        await bench.jobs.cancel("job-2")
        other = [{"op": "add", "anchor": "end", "text": f"{RULE} Be kind."}]
        second = await bench.hardenings.submit("hard-1", edits=other, wait_s=45)
        assert (second.candidate, look_of(second)) == ("hard-1/c2", 2)
        first = await CALLS["submit"](bench)
        assert (first.candidate, look_of(first)) == ("hard-1/c1", 1)
