"""`caseharden run DIR`: read a folder of cases, simulate, score, and check thresholds and baseline;
`caseharden simulate DIR` is its first half, and `caseharden score` the second.

Exit codes: 0 passed, 1 a threshold or the baseline was missed, 2 wrong input, 3 no result, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args

import anyio
import anyio.to_thread

from ..engine.errors import (
    CasehardenError,
    Conflict,
    InvalidArgument,
    NeedsConfirm,
    NotAllowed,
    NotFound,
    SetupError,
    StorageError,
    UserError,
)
from ..engine.exchange import CONFIG_NAMES, is_case_folder, read_folder
from ..engine.llm import Mode
from ..engine.plural import plural
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import EnvironmentReport, RunReport
from ..engine.workbench.runs import MOST_TRIALS
from .baseline import Baseline, add_baseline_arguments, then_baseline, wanted
from .called import called, home_words
from .ci_reports import add_report_arguments
from .following import NO_RESULT, as_json, finished, followed, how_to_go_on
from .instead import instead
from .settings import WrongSetting, add_flags, fixing, given_words, read_settings
from .terminal import Screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_case_arguments(parser, "run")
    add_baseline_arguments(parser)
    add_report_arguments(parser)


def add_case_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Arguments shared by `run` and its first half."""
    add_folder_arguments(parser, command)
    parser.add_argument("--check", action="store_true", help="check every file and run nothing")
    parser.add_argument(
        "--instructions",
        default="",
        metavar="VERSION",
        help="another version or a candidate, such as 2 or hard-1/c1; the folder's file stays as it is",
    )
    parser.add_argument("--confirm", action="store_true", help="start a large run without a budget")
    parser.add_argument(
        "--resume",
        default="",
        metavar="RUN",
        help="go on with a run: what is missing or ended in error",
    )


def add_folder_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Arguments of all commands that run the cases of a folder."""
    parser.set_defaults(command=command)
    parser.add_argument(
        "folder",
        nargs="?",
        default=".",
        metavar="FOLDER",
        help="the folder with caseharden.yaml; default: this one",
    )
    parser.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="WHICH",
        help="simulations by id, or scenario:ID, persona:ID, tag:T, failed:RUN, cluster:RUN/K; repeatable",
    )
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
        help="replay (default): play it back and record what it lacks; strict: what it lacks is an error; "
        "record: make every call, keep what is new; refresh: make every call, replace what was there",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour, no progress line")
    add_flags(parser, "home", "models", "network", "code", "env_file")


def run(args: argparse.Namespace) -> int:
    check_folder(args)
    if args.resume and (args.select or args.instructions):
        where = "--select" if args.select else "--instructions"
        raise InvalidArgument(
            f"{args.resume} goes on with its own cases and text.", where=where, allowed="without --resume"
        )
    return anyio.run(_run, args)


def check_folder(args: argparse.Namespace) -> None:
    """Refuse a path that is not a folder, and an invalid number of trials."""
    folder = Path(args.folder)
    if not folder.is_dir():
        kind = "is not a folder" if folder.exists() else "does not exist"
        raise NotFound(f"`{folder}` {kind}.", allowed=f"a folder that holds {CONFIG_NAMES[0]}")
    if args.trials is not None and not 1 <= args.trials <= MOST_TRIALS:
        raise InvalidArgument(f"{args.trials} trials.", where="--trials", allowed=f"1 to {MOST_TRIALS}")


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error, depending on the option that was wrong."""
    where = error.where if isinstance(error, CasehardenError) else ""
    if isinstance(error, WrongSetting):
        return fixing(error, args.command)
    if isinstance(error, SetupError) and where.startswith(("models", "agent")):
        return called("doctor", "--agent", args.folder) + "        (says what is missing)"
    if isinstance(error, StorageError):
        return _again(args, "--home", "DIR") + "        (a folder that can be written)"
    if isinstance(error, SetupError):
        return _again(args) + "        (when that is fixed)"
    return then_agent(args, error) or _then_option(args, error, where) or _then_folder(args, error, where)


def then_agent(args: argparse.Namespace, error: Exception) -> str:
    """The same command with leave to run the folder's own code, or without a model for it, if that helps; else ""."""
    if isinstance(error, InvalidArgument) and error.where == "models.agent" and args.model_agent:
        return called(*command_words(args, without="--model-agent"))
    if not isinstance(error, NotAllowed) or "--allow-code" not in error.allowed or args.allow_code:
        return ""
    check = ["--check"] if getattr(args, "check", False) else []
    again = called(*command_words(args, "--allow-code", args.folder, *check))
    return f"{again}        (runs the code in this folder as you)"


def _then_option(args: argparse.Namespace, error: Exception, where: str) -> str:
    """What to type if one option is wrong, or ""."""
    if where == "--trials":
        return _again(args, "--trials", "1")
    if isinstance(error, NeedsConfirm):
        chosen = [word for one in args.select for word in ("--select", one)]
        fewer = _again(args, *chosen, "--trials", "1") + "        (fewer), or "
        return (fewer if args.trials != 1 else "") + _again(args, *chosen, "--budget", "25")
    if where.startswith("--budget"):
        return _again(args, "--budget", "25")
    if where == "--resume":
        known = instead(error, where)
        return _again(args, "--resume", known) if known else _again(args) + "        (a new run)"
    if where.startswith(("--select", "--instructions")):
        kind = "simulation" if where.startswith("--select") else "instructions"
        return called("list", kind, *home_words(args)) + "        (shows what there is)"
    return then_baseline(command_words(args), args.baseline, error, where) if args.command == "run" else ""


def _then_folder(args: argparse.Namespace, error: Exception, where: str) -> str:
    """What to type if the folder's files are wrong."""
    if not is_case_folder(Path(args.folder)):
        return called("init", "my-agent") + "        (writes a folder to start from)"
    if isinstance(error, Conflict) and where.endswith("environment.id"):
        return _again(args, "--home", "DIR") + "        (a data folder of its own)"
    if args.check:
        return _again(args, "--check") + "        (again, when that is fixed)"
    return _again(args, "--check") + "        (checks every file, runs nothing)"


def command_words(args: argparse.Namespace, *words: str, without: str = "") -> list[str]:
    """The command for the same folder with the same settings, except those in `words` and the one `without`."""
    given, told = given_words(args), (*words, without)
    kept = [pair for pair in zip(given[::2], given[1::2], strict=True) if pair[0] not in told]
    return [args.command, args.folder, *(word for pair in kept for word in pair), *words]


def _again(args: argparse.Namespace, *words: str) -> str:
    return called(*command_words(args, *words))


async def _run(args: argparse.Namespace) -> int:
    folder = Path(args.folder)
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    settings.lend_keys([folder, Path()])
    async with settings.workbench("cli", roots=[folder], resume=False) as bench:
        cases = read_folder(folder.resolve(), bench.roots, "folder")
        baseline = Baseline()
        if args.command == "run":
            whole = None if args.select else cases  # a part cannot be compared with the baseline of the whole
            baseline = await anyio.to_thread.run_sync(wanted, args, whole)
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
    how: dict[str, Any] = {"select": args.select or ["all"], "instructions": args.instructions}
    how["trials"] = 0 if args.resume else args.trials or 0

    def again(run: str) -> Sequence[str]:
        return command_words(args, "--resume", run)

    start = partial(_started, bench, environment, how, options, models)
    report, stopped = await followed(bench, start, screen, again)
    if args.command == "run" and report.run.options.get("score", True):
        return await finished(bench, args, screen, report, stopped, baseline, again(report.run.id))
    return _simulated(args, screen, report, stopped, again(report.run.id))


def _simulated(
    args: argparse.Namespace, screen: Screen, report: RunReport, stopped: int, again: Sequence[str]
) -> int:
    """Show the number of trials of a run to be scored later; thresholds wait for that."""
    run = report.run
    played = run.totals.trials - run.totals.error
    code = stopped or (0 if run.state == "done" and played else NO_RESULT)
    if args.json:
        print(json.dumps(as_json(report, code), ensure_ascii=False))
        return code
    if not stopped:
        for warning in report.warnings if report.job is None else run.warnings:
            screen.note("warn", warning)
        left = f"; {plural(run.totals.error, 'error')}" if run.totals.error else ""
        waits = "" if run.options.get("score", True) else ", not scored yet"
        screen.line(f"{run.id}  {run.instructions}  {plural(played, 'trial')} simulated{left}{waits}")
        for line in how_to_go_on(report, again):
            screen.line(line)
        if code == 0:
            screen.line(f"Go on: {called('score', run.id, *home_words(args))}")
    return code


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The command line's options in the form of a run's."""
    options = spending(args)
    options |= {"resume": args.resume} if args.resume else {}
    options |= {"confirm": True} if args.confirm else {}
    return options | ({"score": False} if args.command == "simulate" and not args.resume else {})


def spending(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a run or a hardening about its usage limits and the source of its model calls."""
    cassette = {"file": args.cassette, "mode": args.cassette_mode} if args.cassette else {}
    given = {"concurrency": args.concurrency, "budget": _budget(args.budget), "cassette": cassette}
    return {name: value for name, value in given.items() if value}


def _budget(text: str) -> dict[str, float]:
    """`25` in dollars, or `usd=25,calls=4000`, finite and above 0; the engine decides which names are valid."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, told, value = part.rpartition("=")
        try:
            amount = float(value)
        except ValueError:
            amount = math.nan
        if not 0 < amount < math.inf:
            what = f"`{part[:40]}` is not an amount above 0."
            raise InvalidArgument(what, where="--budget", allowed="25, or usd=25,calls=4000")
        found[name.strip() if told else "usd"] = int(amount) if amount.is_integer() else amount
    return found


async def _started(
    bench: Bench,
    environment: str,
    how: Mapping[str, Any],
    options: dict[str, Any],
    models: Mapping[str, Any],
) -> RunReport:
    """The started run; an error names the option of the command line. `models` take precedence over the folder's."""
    with naming_options({"select": "select", "instructions": "instructions"}):
        try:
            return await bench.runs.start(environment, **how, options=options, models=models, wait_s=0)
        except UserError as error:
            if error.where == "options.resume" and not error.allowed:
                error.allowed = f"a run of {environment} in this data folder"
            raise


@contextmanager
def naming_options(parameters: Mapping[str, str]) -> Generator[None]:
    """Within the block, report an error's place as the option that was typed; `parameters`: option of each."""
    try:
        yield
    except UserError as error:
        first = error.where.removeprefix("options.").partition(".")[0].partition("[")[0]
        if not error.where.startswith("options.") and first not in parameters:
            raise
        error.where = f"--{parameters.get(first, first)}"
        raise


def _checked(report: EnvironmentReport, screen: Screen) -> int:
    taken, world = report.taken, report.world
    cases = f"{plural(taken['scenarios'], 'scenario')}, {plural(taken['personas'], 'persona')}"
    screen.line(f"ok    {report.environment.id}: {cases} in {plural(taken['files'], 'file')}")
    if report.counts["scenarios"]:
        screen.line(f"ok    solutions: {report.proven} proven of {report.counts['scenarios']}")
    if world.get("tools"):
        screen.line(f"ok    world {world['name']}: {plural(world['tools'], 'tool')}")
    for warning in report.warnings:
        screen.note("warn", warning)
    return 0
