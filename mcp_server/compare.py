"""`caseharden compare RUN RUN`: what got better or worse between two runs, paired by seed.

It decides nothing: only `run --baseline` fails a build. Exit codes: 0 compared, 2 wrong input, 3 no result.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio

from ..engine.errors import CasehardenError
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.comparing import SIDES, ComparisonReport
from ..tools.comparisons import NO_PROOF, comparison_reply, side_by_side_reply
from .baseline import changed_lines
from .called import called, home_words
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean, cut, table

MOST: Final = 100
"""Names of each kind in JSON."""
GROUPS: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("base", metavar="BASE", help="the run before")
    parser.add_argument("run", metavar="RUN", help="the run after")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_flags(parser, "home")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "compare")
    where = error.where if isinstance(error, CasehardenError) else ""
    if where in ("base", "run"):
        return called("list", "run", *home_words(args)) + "        (shows what there is)"
    return called("compare", "--help")


async def _run(args: argparse.Namespace) -> int:
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    async with settings.workbench("cli", resume=False) as bench:
        report = await bench.comparisons.compare(args.base, args.run, limit=MOST)
        first = await _first(bench, report)
    if args.json:
        row = comparison_reply(report, MOST).model_dump(mode="json", exclude_defaults=True, exclude={"next"})
        difference = {"first_difference": first.side_by_side} if first else {}
        print(json.dumps({**row, **difference, "exit": 0}, ensure_ascii=False))
        return 0
    for line in _lines(report, screen.width):
        screen.line(line)
    for line in _turn(first, screen.width) if first else ():
        screen.line(line)
    for warning in comparison_reply(report, MOST).warnings:
        screen.note("warn", warning)
    return 0


async def _first(bench: Bench, report: ComparisonReport) -> ComparisonReport | None:
    """One changed simulation side by side: broken before fixed; held-out ones are not shown."""
    found = report.found
    changed = (name for name in (*found.broken, *found.fixed) if name not in report.held_out)
    name = next(changed, "")
    if not name:
        return None
    return await bench.comparisons.compare(report.base.run, report.run.run, simulation=name, limit=1)


def _lines(report: ComparisonReport, width: int) -> list[str]:
    reply = comparison_reply(report, GROUPS)
    lines = textwrap.wrap(clean(reply.summary.removesuffix(NO_PROOF)), width, subsequent_indent="  ")
    lines += changed_lines(report.found)
    lines += [f"  differs {name}: {told}" for name, told in report.differs.items()]
    lines += [f"  left out {name.replace('_', ' ')}: {number}" for name, number in reply.left_out.items()]
    lines = [cut(clean(line), width) for line in lines]
    for kind, groups in reply.by.items():
        if kind == "scenario":
            continue  # its simulations are named already
        rows = [(clean(str(one["name"])), *_moved(one)) for one in groups]
        lines += [f"  by {kind}", *table(rows, width, "    ")]
    return lines


def _moved(group: Mapping[str, Any]) -> tuple[str, str]:
    rates = f"{group['base']} -> {group['run']} of {group['of']}"
    return rates, f"{group['better']} better, {group['worse']} worse"


def _turn(report: ComparisonReport, width: int) -> list[str]:
    """The first turn that differs, as it went in each run."""
    side = report.side_by_side
    lines = [cut(clean(side_by_side_reply(report).summary), width)]
    turns: Sequence[Mapping[str, Any]] = side.get("turns", ())
    turn: Mapping[str, Any] = turns[0] if turns else {}
    for name in SIDES:
        row: Mapping[str, Any] = turn.get(name) or {}
        for who in ("user", "agent"):
            if row.get(who):
                lines.append(cut(f"  {name:<5} {who:<6} {clean(str(row[who]))}", width))
        for call in row.get("calls", ()):
            words = json.dumps(call.get("args", {}), ensure_ascii=False)
            lines.append(cut(f"  {name:<5} calls  {clean(str(call.get('tool', '')))} {clean(words)}", width))
    return lines
