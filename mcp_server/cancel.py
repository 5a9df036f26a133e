"""`caseharden cancel [JOB]`: stop a job of the data folder, whichever process is running it; finished work is kept.

Exit codes: 0 stopped, 2 wrong input, 3 it is being stopped but has not ended yet.
"""

from __future__ import annotations

import argparse

import anyio

from ..engine.errors import InvalidArgument, NotFound
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import RunReport
from .called import called, home_words
from .instead import instead
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen

STATES = ("running", "waiting", "queued", "paused")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", nargs="?", default="", help="job id; default the only one that goes on")
    parser.add_argument("--reason", default="", help="kept in the audit")
    add_flags(parser, "home")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "cancel")
    known = instead(error, "job")
    return called("cancel", known) if known else called("list", "job", *home_words(args))


async def _run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    async with settings.workbench("cli", resume=False) as bench:
        report = await bench.jobs.cancel(args.job or await _only(bench), args.reason)
    job, run = report.job, report.result.run if isinstance(report.result, RunReport) else None
    kept = run.totals.trials - run.totals.error if run is not None else job.units.finished
    done = f"{kept:,} of {job.units.total:,} are kept" if job.units.total else "it is stopped"
    Screen().line(f"{job.id}  {job.kind}, {job.state}: {done}.")
    return 0 if job.ended else 3


async def _only(bench: Bench) -> str:
    """The only job that is not over."""
    found: list[str] = []
    for state in STATES:
        page = await bench.items.page("job", where={"state": state}, limit=100)
        found += [str(row["id"]) for row in page.items]
    if not found:
        raise NotFound("No job goes on.", where="job", allowed="a job that is not over")
    if len(found) > 1:
        raise InvalidArgument("Which job?", where="job", allowed=found)
    return found[0]
