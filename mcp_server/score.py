"""`caseharden score RUN`: the second half of `run`: grade a stored run, also with other metrics, judge or thresholds.

Nothing is simulated. Exit codes: 0 passed, 1 a threshold or the baseline was missed, 2 wrong input, 3 no result,
130 or 143 stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from ..engine.errors import CasehardenError, InvalidArgument, NotFound, SetupError
from ..engine.workbench import Workbench as Bench
from .baseline import add_baseline_arguments, then_baseline, wanted
from .called import called, home_words
from .ci_reports import add_report_arguments
from .following import finished, followed
from .instead import instead
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen

THRESHOLD = "--threshold"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", metavar="RUN", help="a run; default: the newest")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="measure this instead of the run's metrics; repeatable; none: measure nothing",
    )
    parser.add_argument(
        THRESHOLD,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a threshold in place of the run's, such as pass_rate=0.9; repeatable",
    )
    add_baseline_arguments(parser)
    add_report_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour, no progress line")
    add_flags(parser, "home", "model_judge", "network", "env_file")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args, _thresholds(args.threshold))


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    where = error.where if isinstance(error, CasehardenError) else ""
    known = instead(error, "run")
    words = ["score", known or args.run or "run-1"]
    if known:
        return called(*words)
    if isinstance(error, WrongSetting):
        return fixing(error, "score")
    if where.startswith((THRESHOLD, "thresholds")):
        return called(*words, THRESHOLD, "pass_rate=0.9")
    if where.startswith("metrics"):
        return called(*words, "--metric", "helpfulness")
    if isinstance(error, SetupError):
        return called("doctor") + "        (says what is missing)"
    told = then_baseline(words, args.baseline, error, where)
    return told or called("simulate", "DIR") + "        (makes a run)"


async def _run(args: argparse.Namespace, thresholds: Mapping[str, Any] | None) -> int:
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    settings.lend_keys([Path()])
    baseline = await anyio.to_thread.run_sync(wanted, args)
    async with settings.workbench("cli", roots=[Path()], resume=False) as bench:
        id = args.run or await _newest(bench)
        judge = settings.flagged_models.get("judge", "")

        def again(run: str) -> Sequence[str]:
            return ["score", run, *home_words(args)]

        start = partial(
            bench.scores.score, id, metrics=args.metric, judge=judge, thresholds=thresholds, wait_s=0
        )
        report, stopped = await followed(bench, start, screen, again)
        return await finished(bench, args, screen, report, stopped, baseline, again(id))


async def _newest(bench: Bench) -> str:
    found = (await bench.items.page("run", limit=1)).items
    if not found:
        raise NotFound("There is no run yet.", where="run", allowed="a run")
    return str(found[0]["id"])


def _thresholds(told: Sequence[str]) -> dict[str, Any] | None:
    """`pass_rate=0.9` as a threshold, comma-separated words as labels that must not occur; None: those of the run."""
    found: dict[str, Any] = {}
    for part in told:
        name, is_pair, value = part.partition("=")
        if not is_pair or not name.strip() or not value.strip():
            raise InvalidArgument(
                f"`{part[:80]}` is not a threshold.", where=THRESHOLD, allowed="pass_rate=0.9, max_errors=0"
            )
        found[name.strip()] = _value(value.strip())
    return found or None


def _value(text: str) -> float | list[str]:
    try:
        return float(text)
    except ValueError:
        return [word.strip() for word in text.split(",") if word.strip()]
