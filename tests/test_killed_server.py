"""Servers killed or stalled at work: what they were at goes on, each trial is played once, the report is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.store import Store
from caseharden.tests.served import (
    SHORT_LEASE,
    conversations,
    desk_at,
    finished,
    served,
    stopped_between_writes,
    until,
)
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
TRIALS = 14
PASSING = {"created_at", "updated_at", "ended_at", "at", "wall_s", "pointer"}
"""Fields that tell of time and place: no two runs have them the same."""


def scored(home: Path, run: str) -> dict[str, Any]:
    """All that is stored of a run and its trials but time and place."""
    with Store(home) as store:
        row = dict(store.table("runs").fetch(run))
        trials = {str(trial.doc_id): dict(trial) for trial in store.run_table(run, "trials").walk()}
    return same({"run": row, "trials": dict(sorted(trials.items()))})


def hardened(home: Path) -> dict[str, Any]:
    """All that is stored of the hardening and of its runs but time and place."""
    with Store(home) as store:
        rows = [dict(store.table("hardenings").fetch("hard-1"))]
        runs = sorted(str(row.doc_id) for row in store.table("runs").walk())
    return {"hardening": same(rows), "runs": [scored(home, run) for run in runs]}


def same(value: Any) -> Any:
    """Without fields of time and place."""
    if isinstance(value, dict):
        return {k: same(v) for k, v in value.items() if k not in PASSING}  # pyright: ignore[reportUnknownVariableType]
    return [same(one) for one in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def played_once(home: Path, run: str) -> None:
    """Every trial is kept; each conversation was played once, but for at most one that the kill came upon."""
    kept, played = finished(home, run), conversations(home, run)
    assert set(kept) == set(played)
    assert sum(played.values()) - len(kept) <= 1
    with Store(home) as store:
        assert all(store.segments.read(at)["trial"] == int(id.rpartition("/")[2]) for id, at in kept.items())


async def ended_undisturbed(home: Path, tool: str, start: dict[str, Any]) -> Path:
    """A copy of the data folder in which the same was done by a process that nobody disturbed."""
    copy = Path(shutil.copytree(home, home.parent / "undisturbed"))
    async with bench_at(copy) as bench:
        if tool == "run_simulations":
            assert (await bench.runs.start(**start, wait_s=45)).job is None
        else:
            assert (await bench.hardenings.harden(**start, wait_s=45)).hardening.outcome == "improved"
    return copy


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    return await desk_at(tmp_path / "home")


@pytest.mark.requirement("CH-4")
async def test_a_run_killed_in_the_middle_goes_on_by_itself_and_repeats_no_trial(home: Path) -> None:
    start = {"environment": "desk", "trials": TRIALS}
    undisturbed = await ended_undisturbed(home, "run_simulations", start)
    with anyio.fail_after(120):
        async with served(home) as server:
            begun = await server.ok("run_simulations", **start, wait_s=0)
            await until(lambda: len(finished(home, "run-1")) > 40)
            server.kill()
        before = finished(home, "run-1")
        assert 40 < len(before) < 24 * TRIALS
        async with served(home) as server:
            ended = await server.ok("wait_job", job=begun["job"]["id"], wait_s=45)
            assert ended["job"]["state"] == "done"
            audited = (home / "audit.jsonl").read_text().count('"action":"start"')
    after = finished(home, "run-1")
    assert len(after) == 24 * TRIALS and before.items() <= after.items() and audited == 2
    played_once(home, "run-1")
    with Store(home) as store:
        attempts = {
            f"{unit.spec['simulation']}/{unit.spec['trial']}": unit.attempt
            for unit in store.jobs.work.units(begun["job"]["id"], "completed")
        }
    assert len(attempts) == len(after) and set(attempts.values()) == {1, 2}
    assert sum(attempts[id] == 2 for id in before) <= 1
    assert scored(home, "run-1") == scored(undisturbed, "run-1")


@pytest.mark.requirement("CH-4")
async def test_a_server_that_is_told_to_end_leaves_its_jobs_free_and_another_goes_on_at_once(
    home: Path,
) -> None:
    start = {"environment": "desk", "trials": TRIALS}
    with anyio.fail_after(120):
        async with served(home) as server:
            job = (await server.ok("run_simulations", **start, wait_s=0))["job"]["id"]
            await until(lambda: len(finished(home, "run-1")) > 40)
            os.kill(server.pid, signal.SIGTERM)
            await until(lambda: not Path(f"/proc/{server.pid}").exists())
        assert list((home / "owners").iterdir()) == [], "it gave up what it held"
        before = finished(home, "run-1")
        assert 40 < len(before) < 24 * TRIALS
        async with served(home) as server:
            assert (await server.ok("wait_job", job=job, wait_s=45))["job"]["state"] == "done"
    assert len(finished(home, "run-1")) == 24 * TRIALS
    played_once(home, "run-1")


@pytest.mark.requirement("CH-4")
@pytest.mark.parametrize("run", ["run-1", "run-2"])
async def test_a_hardening_killed_in_any_of_its_runs_comes_to_the_same_outcome(home: Path, run: str) -> None:
    start: dict[str, Any] = {"environment": "desk", "options": {"trials": TRIALS // 2}}
    undisturbed = await ended_undisturbed(home, "harden_agent", start)
    with anyio.fail_after(120):
        async with served(home) as server:
            begun = await server.ok("harden_agent", **start, wait_s=0)
            await until(lambda: len(finished(home, run)) > 20)
            server.kill()
        before = {name: finished(home, name) for name in ("run-1", "run-2")}
        async with served(home) as server:
            ended = await server.ok("wait_job", job=begun["job"]["id"], wait_s=45)
            assert ended["job"]["state"] == "done"
            assert (await server.ok("list_items", kind="hardening"))["total"] == 1
    assert hardened(home) == hardened(undisturbed)
    for name, trials in before.items():
        if (home / "runs" / name).is_dir():
            assert trials.items() <= finished(home, name).items()
            played_once(home, name)


@pytest.mark.requirement("CH-4")
@pytest.mark.parametrize("tool", ["run_simulations", "harden_agent"])
async def test_what_a_stalled_server_brings_late_is_refused(home: Path, tool: str) -> None:
    start: dict[str, Any] = {"environment": "desk"}
    start |= {"trials": TRIALS} if tool == "run_simulations" else {"options": {"trials": TRIALS // 2}}
    undisturbed = await ended_undisturbed(home, tool, start)
    with anyio.fail_after(120):
        async with served(home, "-c", SHORT_LEASE) as stalled, served(home, "-c", SHORT_LEASE) as other:
            job = (await stalled.ok(tool, **start, wait_s=0))["job"]["id"]
            await until(lambda: len(finished(home, "run-1")) > 20)
            await stopped_between_writes(stalled.pid, home)
            before = kept(home)
            assert (await other.ok("wait_job", job=job, wait_s=45))["job"]["state"] == "done"
            assert kept(home) > before
            done = {run.name: conversations(home, run.name) for run in (home / "runs").glob("run-*")}
            os.kill(stalled.pid, signal.SIGCONT)
            assert (await stalled.ok("wait_job", job=job, wait_s=45))["job"]["state"] == "done"
            # It still serves, and what it had in hand was not kept: a new job of its own is all that it writes.
            await stalled.ok("create_personas", environment="desk", personas=[{"id": "late"}])
            assert done == {run: conversations(home, run) for run in done}
    for run in done:
        assert set(done[run].values()) == {1} and set(done[run]) == set(finished(home, run))
    if tool == "harden_agent":
        assert hardened(home) == hardened(undisturbed)
    assert scored(home, "run-1") == scored(undisturbed, "run-1")
    assert [json.loads(line)["action"] for line in audit(home)].count("start") == 2


def kept(home: Path) -> int:
    """The trials of all runs that are kept."""
    return sum(len(finished(home, run.name)) for run in (home / "runs").glob("run-*"))


def audit(home: Path) -> list[str]:
    return (home / "audit.jsonl").read_text().splitlines()
