"""Follows a run, or its scoring, to the end: progress, Ctrl-C, the exit code, the result as JSON.

`run`, `simulate` and `score` go through it alike; `harden` is watched in the same way. Exit codes: 0 passed, 1 a
threshold or the baseline was missed, 3 no result: nothing was counted, or nothing of it could be judged; 130 and 143
stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from ..engine.errors import Conflict
from ..engine.plural import plural
from ..engine.records.job import Job
from ..engine.records.run import RunRecord
from ..engine.shapes import as_list, as_object
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import RunReport
from .baseline import Baseline, baseline_json, baseline_lines, compared, fails, save
from .called import called, home_words
from .ci_reports import write_reports
from .progress import Progress, result_lines
from .settings import given_words
from .terminal import Screen, clean

STEP_S = 0.5
"""How often a run is polled, in seconds."""
NO_RESULT = 3
"""The exit code for no result; higher codes mean that too."""


Start = Callable[[], Awaitable[RunReport]]
Again = Callable[[str], Sequence[str]]
"""The words of the command that resumes a run."""


class Watch(Protocol):
    """Shows a job while it is active."""

    async def look(self, job: Job) -> None: ...

    def waits(self, job: Job, home: Path) -> None: ...


async def followed(bench: Bench, start: Start, screen: Screen, again: Again) -> tuple[RunReport, int]:
    """The result of what `start` begins; the exit code if Ctrl-C or SIGTERM stopped it, else 0."""
    async with listening() as interrupts:
        report = await start()
        progress = Progress(bench, screen, report)
        stopped = await watched(bench, report.job, progress, interrupts, screen, again(report.run.id))
    report = await _ended(bench, report)
    await progress.end()
    return report, stopped


async def watched(
    bench: Bench, job: Job | None, watch: Watch, interrupts: Interrupts, screen: Screen, again: Sequence[str]
) -> int:
    """Watch a job until it is over; the exit code if Ctrl-C or SIGTERM stopped it, else 0.

    `again`: the words of the command that resumes it.
    """
    stopped = 0
    while job is not None and job.active:
        with interrupts.waiting():
            job = (await bench.jobs.wait(job.id, wait_s=STEP_S)).job
            if job.state == "waiting":
                watch.waits(job, bench.home)
                await anyio.sleep(STEP_S)
        await watch.look(job)
        if interrupts.code and not stopped:
            stopped = interrupts.code
            job = (await bench.jobs.wait(job.id, wait_s=0)).job
            kept = f"{job.units.finished:,} of {job.units.total:,} are kept"
            screen.line(f"Stopping. {kept}; {called(*again)} goes on.")
            with suppress(Conflict):  # it ended at the same moment
                await bench.jobs.cancel(job.id, reason="interrupted")
    return stopped


async def finished(
    bench: Bench,
    args: argparse.Namespace,
    screen: Screen,
    report: RunReport,
    stopped: int,
    baseline: Baseline,
    again: Sequence[str],
) -> int:
    """Show the result of a run, write the requested reports and baseline; return the exit code."""
    code = stopped or _exit_code(report, getattr(args, "metric", ()))
    against = None if code >= NO_RESULT else await compared(bench, baseline, report.run.id)
    code = max(code, 1) if fails(against) else code
    if args.json:
        result = {**as_json(report, code), **baseline_json(baseline, against)}
        print(json.dumps(result, ensure_ascii=False))
    elif not stopped:
        lines = await result_lines(bench, report, screen.width)
        lines += _to_harden(report.run, args)
        lines += baseline_lines(baseline, against, screen.width)
        for line in [*lines, *how_to_go_on(report, again)]:
            screen.line(line)
    for line in await write_reports(bench, args, report, code):
        screen.line(line)
    if code < NO_RESULT:
        saved = await anyio.to_thread.run_sync(save, bench, baseline, report.run.id, against)
        screen.line(saved) if saved else None
    return code


def _to_harden(run: RunRecord, args: argparse.Namespace) -> list[str]:
    """What to type if a run of a folder shows failures: to harden its instructions, to see one."""
    folder: str = getattr(args, "folder", "")
    if not folder or run.state != "done" or not run.totals.failed or not run.clusters:
        return []
    whole = "" if "/" in run.instructions else str(run.options.get("part_of", run.id))
    base = ["--run", whole] if whole else []
    see = next((cluster.see for cluster in run.clusters if cluster.see), "")
    said = [f"  what was said: {called('show', see, *home_words(args))}"] if see else []
    return [f"Or here: {called('harden', folder, *given_words(args), *base)}", *said]


def _exit_code(report: RunReport, asked: Sequence[str]) -> int:
    """The exit code of a run, apart from its baseline. `asked`: metrics that the command names."""
    run, totals = report.run, report.run.totals
    if run.state != "done" or not totals.passed + totals.failed + totals.inconclusive:
        return NO_RESULT
    if any(t.result == "fail" for t in run.thresholds):
        return 1
    return 0 if _has_result(run, asked) else NO_RESULT


def _has_result(run: RunRecord, asked: Sequence[str]) -> bool:
    """Whether the run gave what was wanted: the metrics asked for, else a verdict or any metric."""
    parts = [found for name, found in run.metrics.items() if name in asked]
    if parts:
        return any(found.scored or not found.unscored for found in parts)
    decided = run.totals.passed + run.totals.failed
    return bool(decided) or any(found.scored for found in run.metrics.values())


def how_to_go_on(report: RunReport, again: Sequence[str]) -> list[str]:
    """Why a run did not finish, and what to type; after a spent budget with a higher one."""
    job, run = report.job, report.run
    if run.state == "cancelled":
        kept = plural(run.totals.trials - run.totals.error, "trial")
        return [f"Cancelled from elsewhere. Kept: {kept}; {called(*again)} goes on."]
    if run.state == "done" and run.totals.error and "--resume" in again:
        return [f"{called(*again)} runs the {plural(run.totals.error, 'error')} again, once that is fixed."]
    if job is None:
        return []
    kept = f"{run.totals.trials - run.totals.error:,} of {plural(job.units.total, 'trial')} are kept"
    return paused_lines(job, kept, again)


def paused_lines(job: Job, kept: str, again: Sequence[str]) -> list[str]:
    """Why a job paused, and what to type; with the budget that its error proposes if that is spent."""
    if job.state != "paused" or job.error is None:
        return []
    call = as_object(next(iter(as_list(job.error.get("next"))), None))
    limits = as_object(as_object(as_object(call.get("args")).get("options")).get("budget"))
    text = ",".join(f"{name}={most:.12g}" for name, most in limits.items())
    more = ["--budget", text] if "--resume" in again and text else []
    return [f"Paused. {clean(job.error['what'])}", f"{kept}; {called(*again, *more)} goes on."]


def as_json(report: RunReport, code: int) -> dict[str, Any]:
    """The result for programs."""
    run = report.run
    fields = {
        "id",
        "environment",
        "instructions",
        "models",
        "state",
        "totals",
        "thresholds",
        "clusters",
        "wall_s",
    }
    return {
        **run.model_dump(mode="json", include=fields),
        "warnings": [*run.warnings, *(w for w in report.warnings if w not in run.warnings)],
        "model_calls": report.model_calls,
        "tokens": report.tokens,
        "usd": report.usd,
        **({"changed": asdict(report.changes)} if report.changes else {}),
        "exit": code,
    }


class Interrupts:
    """Whether Ctrl-C or SIGTERM came. The first ends a wait, the second the process, which loses nothing stored."""

    def __init__(self) -> None:
        self.code = 0
        """The exit code after the first signal, by shell convention."""
        self._waiting: anyio.CancelScope | None = None

    @contextmanager
    def waiting(self) -> Generator[None]:
        """A wait that ends on Ctrl-C."""
        with anyio.CancelScope() as self._waiting:
            yield
        self._waiting = None

    def came(self, number: int) -> None:
        if self.code:
            os._exit(128 + number)
        self.code = 128 + number
        if self._waiting is not None:
            self._waiting.cancel()


@asynccontextmanager
async def listening() -> AsyncGenerator[Interrupts]:
    """Listen for Ctrl-C and SIGTERM within the block."""
    interrupts = Interrupts()

    async def listen() -> None:
        async for number in signals:
            interrupts.came(number)

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            try:
                yield interrupts
            finally:
                group.cancel_scope.cancel()


async def _ended(bench: Bench, report: RunReport) -> RunReport:
    if report.job is None:
        return report
    found = (await bench.jobs.wait(report.job.id, wait_s=0)).result
    return found if isinstance(found, RunReport) else report
