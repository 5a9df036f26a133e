"""`caseharden label`: judge conversations yourself, without seeing the judge's answers, and see how far you agree.

Conversations are from train scenarios, in random order. Every answer is stored at once: you can leave and come back.
"""

from __future__ import annotations

import argparse
import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio

from ..engine.errors import CasehardenError, NotFound
from ..engine.evaluate import describe_agreement
from ..engine.records.opinion import Agreement
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.labelling import Ask, ToLabel
from .called import called
from .instead import instead
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean, cut
from .typed import ask_line

SHORT: Final = {"p": "pass", "f": "fail", "i": "inconclusive"}
SHOWN: Final = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="", help="a run; default: the newest")
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="at most that many conversations; default: 20"
    )
    parser.add_argument("--by", default="", metavar="NAME", help="who labels; default: your login")
    parser.add_argument(
        "--file",
        default="",
        metavar="FILE",
        help="read labels from a .csv, .json or .jsonl instead of asking",
    )
    add_flags(parser, "home", "roots")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "label")
    if args.file:
        return called("label", args.run or "RUN", "--file", args.file) + "        (when it is fixed)"
    known = instead(error, "run")
    return called("label", known) if known else called("label", "--help")


async def _run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    screen = Screen()
    file = Path(args.file).resolve() if args.file else None
    async with settings.workbench("cli", roots=[file.parent] if file else [], resume=False) as bench:
        run = args.run or await _newest(bench)
        if file:
            await bench.scores.score(run, labels=[{"file": str(file)}])
        else:
            tasks = await bench.scores.to_label(run, max(1, args.limit))
            await _label(bench, screen, run, tasks, args.by or getpass.getuser())
        item = await bench.items.get("run", run, view="agreement")
        for line in _agreement_lines(run, item.item, screen.width):
            screen.line(line)
    return 0


async def _newest(bench: Bench) -> str:
    page = await bench.items.page("run", limit=1)
    if page.items:
        return str(page.items[0]["id"])
    raise NotFound("There is no run yet.", where="run", allowed="a run")


async def _label(bench: Bench, screen: Screen, run: str, tasks: Sequence[ToLabel], by: str) -> None:
    if not tasks:
        screen.line("Nothing is left to label: no judge was asked, or everything has a label.")
        return
    screen.line(
        "Type p for pass, f for fail, i for inconclusive, or a value shown. Enter skips; /quit leaves."
    )
    for number, task in enumerate(tasks, 1):
        screen.line()
        screen.line(cut(f"{number} of {len(tasks)}  {task.conversation}", screen.width))
        for turn in task.turns:
            _show(screen, turn)
        for ask in task.asks:
            label = await _answer(screen, ask)
            if label is None:
                return
            if label:
                row = {"conversation": task.conversation, "check": ask.check, "label": _value(label, ask)}
                await _keep(bench, screen, run, {**row, "by": by})


async def _answer(screen: Screen, ask: Ask) -> str | None:
    """The answer; "" for none, None to leave."""
    screen.note("", f"{ask.check}: {ask.asks}")
    typed = await ask_line(f"  {', '.join(ask.allowed)}> ")
    words = (typed or "").strip()
    return None if typed is None or words == "/quit" else words


async def _keep(bench: Bench, screen: Screen, run: str, row: dict[str, Any]) -> None:
    """Store a label; an invalid one is reported and skipped."""
    try:
        await bench.scores.score(run, labels=[row])
    except CasehardenError as error:
        screen.note("", f"{error.what} Allowed: {error.allowed}. Skipped.")


def _value(label: str, ask: Ask) -> str | float:
    if label in SHORT and SHORT[label] in ask.allowed:
        return SHORT[label]
    try:
        return float(label)
    except ValueError:
        return label


def _show(screen: Screen, turn: dict[str, Any]) -> None:
    """Show a turn as it was said and done."""
    for side in ("user", "agent"):
        if side == "agent":
            for call in turn.get("calls", []):
                text = f"{call['tool']}({json.dumps(call['args'], ensure_ascii=False)})"
                screen.note("call", f"{text} -> {json.dumps(call['result'], ensure_ascii=False)}"[:600])
        if turn.get(side):
            screen.note(side, turn[side])


def _agreement_lines(run: str, item: dict[str, Any], width: int) -> list[str]:
    """How the judge agrees, and each disagreement with its reason."""
    if not item.get("labels"):
        return [f"{run}: nobody has labelled its conversations."]
    found = Agreement.model_validate(item)
    judge = f" {found.judge}" if found.judge else ""
    lines = ["", f"{run}: the judge{judge} {describe_agreement(found)}"]
    for name, check in found.by_check.items():
        lines.append(f"  {name}: {check.agree} of {check.labels}")
        for person, said in check.confusion.items():
            lines += [f"    you {person}, judge {judge}: {count}" for judge, count in said.items()]
    for row in found.disagree[:SHOWN]:
        you, judge = (f"{one:g}" if isinstance(one, float) else one for one in (row["label"], row["judge"]))
        text = f"  {row['conversation']} {row['check']}: you {you}, judge {judge}: {row['why']}"
        lines.append(cut(clean(text), width))
    if len(found.disagree) > SHOWN:
        lines.append(f"  and {len(found.disagree) - SHOWN} more disagreements")
    return lines
