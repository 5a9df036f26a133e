"""`caseharden harden DIR`: look for better instructions for a folder's agent, and prove them on held-out scenarios.

Writes nothing unless `--promote` is given and the text is improved. Exit codes: 0 improved or nothing to fix, 1 not
improved, 2 wrong input, 3 no result, 130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from ..engine.errors import CasehardenError, InvalidArgument, SetupError, did_you_mean
from ..engine.llm.relay import RELAY
from ..engine.records.environment import ModelName, short_name
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import EnvironmentReport, HardeningReport
from ..engine.workbench.role_models import lent_roles
from ..tools.outcomes import hardening_reply
from .called import called, home_words
from .following import listening, paused_lines, watched
from .hardening_progress import HardeningProgress, outcome_lines, rounds_of
from .instead import instead
from .output_files import copy_out
from .run_folder import (
    add_folder_arguments,
    check_folder,
    command_words,
    naming_options,
    spending,
    then_agent,
)
from .settings import WrongSetting, fixing, read_settings
from .terminal import Screen, listed

STRATEGIES: Final = ("auto", "rules", "reflect")
_OPTIONS: Final = {"run": "run", "rounds": "rounds", "strategy": "strategy", "hardening": "resume"}
_EXAMPLES: Final = {"--trials": "3", "--rounds": "5", "--budget": "25", "--strategy": "rules"}
"""Options, each with a valid example."""
_CODES: Final = {"improved": 0, "nothing_to_fix": 0, "unconfirmed": 1, "no_change": 1, "regressed": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder_arguments(parser, "harden")
    parser.add_argument(
        "--strategy",
        default="auto",
        metavar="|".join(STRATEGIES),
        help="who writes; auto: by the writer model",
    )
    parser.add_argument("--run", dest="base", default="", metavar="RUN", help="a run of the base to reuse")
    parser.add_argument("--rounds", type=int, default=5, help="texts to try at most, 1 to 20; default 5")
    parser.add_argument(
        "--promote", action="store_true", help="write an improved text to the instructions file"
    )
    parser.add_argument(
        "--resume", default="", metavar="HARDENING", help="go on with one, or look at it again"
    )
    parser.add_argument("--report", default="", metavar="FILE", help="write the report as one HTML file")


def run(args: argparse.Namespace) -> int:
    check_folder(args)
    if args.strategy == "submit":
        raise InvalidArgument(
            "submit waits for texts that somebody writes between two calls, and a command ends.",
            where="--strategy",
            allowed=f"{', '.join(STRATEGIES)}; or harden_agent with strategy submit in an MCP client",
        )
    if args.strategy not in STRATEGIES:
        what = f"`{args.strategy[:40]}` is no strategy.{did_you_mean(args.strategy, STRATEGIES)}"
        raise InvalidArgument(what, where="--strategy", allowed=", ".join(STRATEGIES))
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    where = error.where if isinstance(error, CasehardenError) else ""
    option = where.partition(".")[0].partition("[")[0]
    calls = {call.tool: call.args for call in getattr(error, "next", ())}
    if isinstance(error, WrongSetting):
        return fixing(error, "harden")
    if allowed := then_agent(args, error):
        return allowed
    if "decide_candidate" in calls:
        return f"decide_candidate({json.dumps(dict(calls['decide_candidate']))}) in an MCP client"
    if "hardening" in calls.get("harden_agent", {}):
        return called(*_again(args, "--resume", str(calls["harden_agent"]["hardening"])))
    if option.startswith("--model-"):
        return called(*_again(args, option, "offline"))
    if option in _EXAMPLES:
        return called(*_again(args, option, _EXAMPLES[option]))
    if option in ("--run", "--resume", "--select"):
        known = instead(error, where) if option != "--select" else ""
        if known:
            return called(*_again(args, option, known))
        kind = {"--run": "run", "--resume": "hardening"}.get(option, "simulation")
        return called("list", kind, *home_words(args)) + "        (shows what there is)"
    if isinstance(error, SetupError):
        return called("doctor", "--agent", args.folder) + "        (says what is missing)"
    return (
        called("run", args.folder, *home_words(args), "--check") + "        (checks every file, runs nothing)"
    )


async def _run(args: argparse.Namespace) -> int:
    folder = Path(args.folder)
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    settings.lend_keys([folder, Path()])
    async with settings.workbench("cli", roots=[folder], resume=False) as bench:
        environment = await bench.environments.import_folder(str(folder.resolve()))
        for warning in environment.warnings:
            screen.note("warn", warning)
        _needs_nobody(environment, settings.flagged_models, args.strategy)
        report, stopped, said = await _followed(
            bench, environment.environment.id, args, screen, settings.flagged_models
        )
        if stopped:
            return stopped
        became, why_not = await _decided(bench, report, args)
        code = _exit_code(report)
        if args.json:
            print(json.dumps(await _as_json(bench, report, became, code), ensure_ascii=False))
        else:
            _tell(report, became, why_not, screen, args, [*environment.warnings, *said])
        if args.report:
            await _reported(bench, report.hardening.id, Path(args.report), screen)
    return code


def _needs_nobody(environment: EnvironmentReport, flagged: Mapping[str, ModelName], strategy: str) -> None:
    """Refuse roles that a client plays: on the command line nobody would answer."""
    owner = environment.environment
    models = {**environment.models, **{role: short_name(model) for role, model in flagged.items()}}
    lent = lent_roles(models, owner.agent)
    if models.get("writer") == RELAY and strategy != "rules":
        lent.append("writer")
    if lent:
        caller = owner.agent.kind == "caller"
        call = f"harden_agent({json.dumps({'environment': owner.id})}) in an MCP client"
        raise InvalidArgument(
            f"A client plays {listed(lent)} here, and a command has none.",
            where="agent" if caller else f"--model-{lent[0]}",
            allowed=call if caller else f"a model that answers by itself; or {call}",
        )


async def _followed(
    bench: Bench, environment: str, args: argparse.Namespace, screen: Screen, models: Mapping[str, Any]
) -> tuple[HardeningReport, int, list[str]]:
    """The result of the hardening; the exit code if Ctrl-C or SIGTERM stopped it, else 0; the warnings shown."""
    options = spending(args)
    options |= {name: value for name, value in (("trials", args.trials), ("select", args.select)) if value}
    async with listening() as interrupts:
        with naming_options(_OPTIONS), _without_submit():
            report = await bench.hardenings.harden(
                environment,
                strategy=args.strategy,
                hardening=args.resume,
                run=args.base,
                rounds=args.rounds,
                models=models,
                options=options,
                wait_s=0,
            )
        progress = HardeningProgress(bench, screen, report.hardening.id)
        again = _again(args, "--resume", report.hardening.id)
        job = report.job
        stopped = await watched(bench, job, progress, interrupts, screen, again)
    if job is not None:
        report = bench.hardenings.report_of((await bench.jobs.wait(job.id, wait_s=0)).job)
    await progress.end()
    return report, stopped, progress.warned


@contextmanager
def _without_submit() -> Generator[None]:
    """Within the block, replace the strategies that an error allows by those that the command has."""
    try:
        yield
    except InvalidArgument as error:
        if error.where == "strategy":
            error.allowed = "rules, or reflect with --model-writer MODEL"
        raise


async def _decided(
    bench: Bench, report: HardeningReport, args: argparse.Namespace
) -> tuple[HardeningReport | None, str]:
    """The promotion, if requested and proven; else why there is none, "" if it was not requested."""
    hardening = report.hardening
    if not args.promote:
        return None, ""
    if hardening.outcome != "improved":
        outcome = str(hardening.outcome or hardening.state).replace("_", " ")
        return None, f"Not promoted: the outcome is {outcome}, and only what is improved becomes a version."
    return await bench.hardenings.decide(hardening.candidate, "promote"), ""


def _exit_code(report: HardeningReport) -> int:
    return 3 if report.job is not None else _CODES.get(str(report.hardening.outcome), 3)


def _again(args: argparse.Namespace, *words: str) -> list[str]:
    """The command with what it was asked to do at the end, and these words."""
    asked = ["--promote"] if args.promote and "--promote" not in words else []
    return command_words(args, *words, *asked)


def _tell(
    report: HardeningReport,
    became: HardeningReport | None,
    why_not: str,
    screen: Screen,
    args: argparse.Namespace,
    said: Sequence[str],
) -> None:
    """Show the result. `said`: warnings that need not be repeated."""
    hardening, job = report.hardening, report.job
    again = _again(args, "--resume", hardening.id)
    if job is not None:
        for line in paused_lines(job, "What it ran is kept", again):
            screen.line(line)
        return
    if hardening.state == "open":
        screen.line(f"{hardening.id} waits for texts that an MCP client writes: submit_candidate.")
        return
    if hardening.outcome is None:
        screen.line(f"{hardening.id} is {hardening.state}. What it ran is kept; {called(*again)} goes on.")
        return
    for line in outcome_lines(report, became, screen.width):
        screen.line(line)
    for warning in (one for one in hardening_reply(report).warnings if one not in said):
        screen.note("warn", warning)
    if why_not:
        screen.note("", why_not)
    if hardening.outcome == "improved" and became is None:
        screen.line(
            f"Nothing was written. Put it in place: {called(*_again(args, '--resume', hardening.id, '--promote'))}"
        )


async def _as_json(
    bench: Bench, report: HardeningReport, became: HardeningReport | None, code: int
) -> dict[str, Any]:
    """The result for programs: the server's reply, the rounds, and what was promoted."""
    row = hardening_reply(report).model_dump(mode="json", exclude_defaults=True, exclude={"next"})
    rounds: Sequence[Mapping[str, Any]] = await rounds_of(bench, report.hardening.id)
    promoted = {"version": became.became.id, "wrote": became.wrote_file} if became and became.became else {}
    return {**row, "rounds": rounds, **({"promoted": promoted} if promoted else {}), "exit": code}


async def _reported(bench: Bench, hardening: str, target: Path, screen: Screen) -> None:
    made = await bench.exports.export(hardening, "html", overwrite=True, beside=True)
    await anyio.to_thread.run_sync(copy_out, made.path, target, True, "--report")
    screen.line(f"{target}  {made.bytes:,} bytes, opens offline")
