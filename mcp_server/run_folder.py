"""`caseharden run DIR`: read a folder of cases, simulate, score, and say whether thresholds and baseline are held.

Exit codes: 0 passed, 1 a threshold or the baseline was missed, 2 wrong input, 3 no result.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

import anyio
import anyio.to_thread

from ..engine.errors import (
    BudgetSpent,
    CasehardenError,
    Conflict,
    InvalidArgument,
    NeedsConfirm,
    NotFound,
    SetupError,
    StorageError,
    UserError,
)
from ..engine.exchange import CONFIG_NAMES, is_case_folder, read_folder
from ..engine.llm import Mode
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import EnvironmentReport, RunReport
from ..engine.workbench.runs import MOST_TRIALS
from .baseline import (
    Baseline,
    add_baseline_arguments,
    baseline_json,
    baseline_lines,
    compared,
    fails,
    save,
    then_baseline,
    wanted,
)
from .called import called
from .ci_reports import add_report_arguments, write_reports
from .progress import Progress, result_lines
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean, count

STEP_S = 0.5
"""How often a run is looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default=".", help="the folder that holds caseharden.yaml")
    parser.add_argument("--check", action="store_true", help="check every file and run nothing")
    parser.add_argument("--trials", type=int, help="trials of each simulation, 1 to 50")
    parser.add_argument("--concurrency", type=int, help="trials at the same time, 1 to 1,000")
    parser.add_argument(
        "--budget",
        default="",
        metavar="USD",
        help="the most it may cost: 25, or calls=4000,tokens=1e6,seconds=600",
    )
    parser.add_argument(
        "--cassette", default="", metavar="FILE", help="recorded model calls, a file below the folder"
    )
    parser.add_argument(
        "--cassette-mode",
        default="replay",
        choices=get_args(Mode),
        help="replay (default): what is not in it is recorded; strict: that is an error",
    )
    parser.add_argument("--confirm", action="store_true", help="run what is large without a budget")
    parser.add_argument(
        "--resume",
        default="",
        metavar="RUN",
        help="go on with a run: what is missing, and what ended in error",
    )
    add_baseline_arguments(parser)
    add_report_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour, no line that is redrawn")
    add_flags(parser, "home", "models", "network", "code", "env_file")


def run(args: argparse.Namespace) -> int:
    folder = Path(args.folder)
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise NotFound(f"`{folder}` {kind}.", allowed=f"a folder that holds {CONFIG_NAMES[0]}")
    if args.trials is not None and not 1 <= args.trials <= MOST_TRIALS:
        raise InvalidArgument(f"{args.trials} trials.", where="--trials", allowed=f"1 to {MOST_TRIALS}")
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error: it fits the option that was wrong."""
    where = error.where if isinstance(error, CasehardenError) else ""
    if isinstance(error, WrongSetting):
        return fixing(error, "run")
    if isinstance(error, SetupError) and where.startswith(("models", "agent")):
        return called("doctor", "--agent", args.folder) + "        (says what is missing)"
    if isinstance(error, StorageError):
        return called("run", args.folder, "--home", "DIR") + "        (a folder that can be written)"
    if isinstance(error, SetupError):
        return _again(args) + "        (when that is mended)"
    return _then_option(args, error, where) or _then_folder(args, error, where)


def _then_option(args: argparse.Namespace, error: Exception, where: str) -> str:
    """What to type where one option is wrong, or ""."""
    if where == "--trials":
        return called("run", args.folder, "--trials", "1")
    if isinstance(error, NeedsConfirm):
        fewer = called("run", args.folder, "--trials", "1") + "        (fewer), or "
        return (fewer if args.trials != 1 else "") + _again(args, "--budget", "25")
    if where.startswith("--budget"):
        return called("run", args.folder, "--budget", "25")
    if where == "--resume":
        return _again(args) + "        (a new run)"
    return then_baseline(args, error, where)


def _then_folder(args: argparse.Namespace, error: Exception, where: str) -> str:
    """What to type where the folder's files are wrong."""
    if not is_case_folder(Path(args.folder)):
        return called("init", "my-agent") + "        (writes a folder to start from)"
    if isinstance(error, Conflict) and where.endswith("environment.id"):
        return called("run", args.folder, "--home", "DIR") + "        (a data folder of its own)"
    if args.check:
        return _again(args, "--check") + "        (again, when that is mended)"
    return _again(args, "--check") + "        (checks every file, runs nothing)"


def _again(args: argparse.Namespace, *words: str) -> str:
    """The command for the same folder and data folder."""
    home = ["--home", args.home] if args.home else []
    return called("run", args.folder, *home, *words)


async def _run(args: argparse.Namespace) -> int:
    folder = Path(args.folder)
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    settings.lend_keys([folder, Path()])
    async with settings.workbench("cli", roots=[folder], resume=False) as bench:
        cases = read_folder(folder.resolve(), bench.roots, "folder")
        baseline = await anyio.to_thread.run_sync(wanted, args, cases)
        environment = await bench.environments.import_folder(str(cases.path), dry_run=args.check)
        if args.check:
            return _checked(environment, screen)
        for warning in environment.warnings:
            screen.note("warn", warning)
        return await _simulate(
            bench, environment.environment.id, args, screen, settings.flagged_models, baseline
        )


async def _simulate(
    bench: Bench,
    environment: str,
    args: argparse.Namespace,
    screen: Screen,
    models: Mapping[str, Any],
    baseline: Baseline,
) -> int:
    options = _options(args)
    async with _interrupts() as interrupts:
        trials = 0 if args.resume else args.trials or 0
        report = await _started(bench, environment, trials, options, models)
        progress = Progress(bench, screen, report)
        stopped = False
        job = report.job
        while job is not None and job.active:
            with interrupts.waiting():
                job = (await bench.jobs.wait(job.id, wait_s=STEP_S)).job
                if job.state == "waiting":
                    progress.waits(job, bench.home)
                    await anyio.sleep(STEP_S)
            await progress.look(job)
            if interrupts.number and not stopped:
                stopped = True
                goes_on = f"{_again(args, '--resume', report.run.id)} goes on."
                screen.line(f"Stopping. {job.units.finished:,} of {job.units.total:,} are kept; {goes_on}")
                with suppress(Conflict):  # it was over at the same moment
                    await bench.jobs.cancel(job.id, reason="interrupted")
    report = await _ended(bench, report)
    await progress.end()
    code = 3 if stopped else _exit_code(report)
    against = None if code == 3 else await compared(bench, baseline, report.run.id)
    code = max(code, 1) if fails(against) else code
    if args.json:
        result = {**_as_json(report, code), **baseline_json(baseline, against)}
        print(json.dumps(result, ensure_ascii=False))
    elif not stopped:
        lines = await result_lines(bench, report, screen.width)
        for line in [*lines, *baseline_lines(baseline, against, screen.width)]:
            screen.line(line)
        for line in _how_to_go_on(report, args):
            screen.line(line)
    for line in await write_reports(bench, args, report, code):
        screen.line(line)
    if code != 3:
        saved = await anyio.to_thread.run_sync(save, bench, baseline, report.run.id, against)
        screen.line(saved) if saved else None
    return code


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the command line as those of a run."""
    cassette = {"file": args.cassette, "mode": args.cassette_mode} if args.cassette else {}
    budget = _budget(args.budget)
    given = {"resume": args.resume, "concurrency": args.concurrency, "budget": budget, "cassette": cassette}
    return {name: value for name, value in given.items() if value} | (
        {"confirm": True} if args.confirm else {}
    )


def _budget(text: str) -> dict[str, float]:
    """`25` in dollars, or `usd=25,calls=4000`; what the names may be is the engine's to say."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, told, value = part.rpartition("=")
        try:
            amount = float(value)
            found[name.strip() if told else "usd"] = int(amount) if amount.is_integer() else amount
        except ValueError:
            what = f"`{part[:40]}` is no amount."
            raise InvalidArgument(what, where="--budget", allowed="25, or usd=25,calls=4000") from None
    return found


def _how_to_go_on(report: RunReport, args: argparse.Namespace) -> list[str]:
    """Of a run that paused: why, and what to type."""
    job, run = report.job, report.run
    if job is None or job.state != "paused" or job.error is None:
        return []
    limits: dict[str, float] = run.options.get("budget") or {}
    budget = ",".join(f"{name}={2 * most:g}" for name, most in limits.items())
    more = ["--budget", budget] if job.error["code"] == BudgetSpent.code and budget else []
    kept = f"{run.totals.trials - run.totals.error:,} of {count(job.units.total, 'trial')} are kept"
    return [
        f"Paused. {clean(job.error['what'])}",
        f"{kept}; {_again(args, '--resume', run.id, *more)} goes on.",
    ]


async def _started(
    bench: Bench, environment: str, trials: int, options: dict[str, Any], models: Mapping[str, Any]
) -> RunReport:
    """The run, begun; an error names the option of the command line. `models` go before those of the folder."""
    try:
        return await bench.runs.start(environment, trials=trials, options=options, models=models, wait_s=0)
    except UserError as error:
        if not error.where.startswith("options."):
            raise
        where = error.where.replace("options.", "--", 1).partition(".")[0]
        allowed = error.allowed
        if where == "--resume":
            allowed = allowed or f"a run of {environment} in this data folder"
        raise type(error)(error.what, where=where, allowed=allowed) from None


class _Interrupts:
    """How often Ctrl-C came. The first ends a wait, the second the process, which loses nothing that is stored."""

    def __init__(self) -> None:
        self.number = 0
        self._waiting: anyio.CancelScope | None = None

    @contextmanager
    def waiting(self) -> Generator[None]:
        """A wait that is over when Ctrl-C comes."""
        with anyio.CancelScope() as self._waiting:
            yield
        self._waiting = None

    def came(self) -> None:
        self.number += 1
        if self.number > 1:
            os._exit(130)
        if self._waiting is not None:
            self._waiting.cancel()


@asynccontextmanager
async def _interrupts() -> AsyncGenerator[_Interrupts]:
    """Listens for Ctrl-C within the block."""
    interrupts = _Interrupts()

    async def listen() -> None:
        async for _ in signals:
            interrupts.came()

    with anyio.open_signal_receiver(signal.SIGINT) as signals:
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


def _checked(report: EnvironmentReport, screen: Screen) -> int:
    taken, world = report.taken, report.world
    cases = f"{count(taken['scenarios'], 'scenario')}, {count(taken['personas'], 'persona')}"
    screen.line(f"ok    {report.environment.id}: {cases} in {count(taken['files'], 'file')}")
    if report.counts["scenarios"]:
        screen.line(f"ok    solutions: {report.proven} proven of {report.counts['scenarios']}")
    if world.get("tools"):
        screen.line(f"ok    world {world['name']}: {count(world['tools'], 'tool')}")
    for warning in report.warnings:
        screen.note("warn", warning)
    return 0


def _exit_code(report: RunReport) -> int:
    totals = report.run.totals
    if report.run.state != "done" or not totals.passed + totals.failed + totals.inconclusive:
        return 3
    return 1 if any(t.result == "fail" for t in report.run.thresholds) else 0


def _as_json(report: RunReport, code: int) -> dict[str, Any]:
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
        "exit": code,
    }
