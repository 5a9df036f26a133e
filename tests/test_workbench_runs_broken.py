"""Runs that are broken off: killed, half made, failed in their work or in one trial; each goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.workbench.results import RunReport
from caseharden.engine.workbench.run_cases import RunCases
from caseharden.engine.workbench.trials import TrialRunner
from caseharden.tests.test_workbench_runs import finished, until
from caseharden.tests.workbench_cases import bench_at, desk

pytestmark = pytest.mark.anyio

KILLED = """
import sys, anyio
from pathlib import Path
from caseharden.tests.workbench_cases import bench_at, desk

async def main():
    async with bench_at(Path(sys.argv[1])) as bench:
        await desk(bench, 12)
        report = await bench.runs.start("desk", trials=20, wait_s=0, idempotency_key="once", options={"concurrency": 4})
        while (await bench.jobs.wait(report.job.id, wait_s=0)).job.units.completed < 30:
            await anyio.sleep(0.01)
        print(report.job.id, flush=True)
        await anyio.sleep(600)

anyio.run(main)
"""


@pytest.mark.requirement("AS-7")
async def test_a_killed_process_loses_nothing_and_the_next_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(home)], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        job = process.stdout.readline().strip()
        assert job == "job-1", process.stderr.read() if process.stderr else ""
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    async with bench_at(home) as bench:
        with anyio.fail_after(60):
            waited = await bench.jobs.wait(job, wait_s=45)
        assert waited.job.state == "done"
        assert waited.job.attempt == 2
        assert waited.job.units.completed == waited.job.units.total == 240
        assert isinstance(waited.result, RunReport)
        assert waited.result.run.totals.trials == 240
        assert (await bench.items.page("conversation", where={"run": "run-1"})).total == 240
        same = await bench.runs.start(
            "desk", trials=20, idempotency_key="once", options={"concurrency": 4}, wait_s=0
        )
        assert same.run.id == "run-1" and same.job is None


async def test_a_run_that_was_half_made_keeps_its_id_and_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunCases, *_: Any) -> None:
        raise OSError("no space left")

    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        first = (await bench.runs.start("desk")).run
        monkeypatch.setattr(RunCases, "copy", full)
        with pytest.raises(OSError, match="no space"):
            await bench.runs.start("desk", continue_run=first.id, idempotency_key="k")
        half = (await bench.items.get("run", "run-2")).item
        assert half["state"] == "failed"
        assert (await bench.jobs.wait("job-2")).job.state == "failed"
        monkeypatch.undo()
        again = (await bench.runs.start("desk", continue_run=first.id, idempotency_key="k")).run
        assert (again.id, again.round, again.state, again.totals.trials) == ("run-2", 2, "done", 2)


async def test_a_run_whose_work_fails_says_why_and_goes_on_when_it_can(tmp_path: Path) -> None:
    home, kept = tmp_path / "home", tmp_path / "kept"
    async with bench_at(home) as bench:
        await desk(bench, 12)
        report = await bench.runs.start("desk", trials=30, wait_s=0, options={"concurrency": 2})
        assert report.job is not None
        await until(bench, report.job.id, 5)
        await bench.jobs.cancel(report.job.id)
    (home / "worlds").rename(kept)
    (home / "worlds").mkdir()
    async with bench_at(home) as bench:
        failed = await bench.runs.start("desk", options={"resume": "run-1"}, wait_s=45)
        assert (failed.job, failed.run.state) == (None, "failed")
        assert failed.warnings[0].startswith("job-1 failed: ")
        job = (await bench.jobs.wait("job-1")).job
        assert job.state == "failed" and job.error is not None and job.error["what"] in failed.warnings[0]
    (home / "worlds").rmdir()
    kept.rename(home / "worlds")
    async with bench_at(home) as bench:
        done = await finished(bench, await bench.runs.start("desk", options={"resume": "run-1"}, wait_s=45))
        assert (done.run.state, done.run.totals.trials) == ("done", 360)


async def test_a_trial_that_breaks_does_not_stop_the_others_and_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = TrialRunner.execute

    async def breaking(
        self: TrialRunner, cases: RunCases, cast: Any, simulation: str, trial: int, **more: Any
    ) -> Any:
        if simulation.startswith("close-2") and trial == 1:
            raise ZeroDivisionError
        return await execute(self, cases, cast, simulation, trial, **more)

    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        monkeypatch.setattr(TrialRunner, "execute", breaking)
        broken = await bench.runs.start("desk", trials=3, options={"concurrency": 1})
        job = (await bench.jobs.wait("job-1")).job
        assert (job.state, job.units.completed, job.units.failed) == ("failed", 11, 1)
        assert (broken.run.state, broken.run.totals.trials) == ("failed", 11)
        assert "internal error" in broken.warnings[0]
        monkeypatch.undo()
        again = await bench.runs.start("desk", options={"resume": "run-1"})
        assert (again.run.state, again.run.totals.trials) == ("done", 12)
