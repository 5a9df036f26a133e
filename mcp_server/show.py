"""`caseharden show ID`: a run, a conversation and a hardening as pages; anything else, and any `--view`, as get_item
returns it.

Exit codes: 0 shown, 2 wrong input, 3 the data folder cannot be read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

import anyio

from ..engine.errors import CasehardenError, NotFound
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import Item
from ..tools.render import render
from .called import called, home_words
from .hardening_progress import HardeningProgress
from .settings import WrongSetting, add_flags, fixing, read_settings
from .shown_pages import conversation_page, hardening_page, run_page
from .terminal import Screen, clean, wrapped

FORMS: Final[Mapping[str, str]] = {
    "candidate": r"hard-\d+/.+",
    "hardening": r"hard-\d+",
    "conversation": r"run-\d+/.+",
    "run": r"run-\d+",
    "job": r"job-\d+",
    "instructions": r"[^/]+@\d+",
}
"""The forms of ids by kind; any other id is an environment's."""
WITH_PAGE: Final = ("run", "hardening")
IN_ENVIRONMENTS: Final = ("persona", "simulation", "scenario")
"""Kinds whose ids are `ENVIRONMENT/NAME`."""
FIRST: Final[Mapping[str, str]] = {"conversation": "turns", "candidate": "diff", "instructions": "text"}
"""The default view of a kind; for other kinds the summary."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", help="run-1, run-1/SIMULATION/1@3, hard-1, hard-1/c1, support@2 ..."
    )
    parser.add_argument(
        "--kind", default="", metavar="KIND", help="persona, scenario, simulation or guide of that id"
    )
    parser.add_argument(
        "--view", default="", metavar="VIEW", help="turns, state, checks, clusters, diff, full ..."
    )
    parser.add_argument("--limit", type=int, default=20, help="parts of a view, 1 to 100; default: 20")
    parser.add_argument("--json", action="store_true", help="print the item as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_flags(parser, "home")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "show")
    where = error.where if isinstance(error, CasehardenError) else ""
    if where == "view":
        return called("show", args.id, *home_words(args))
    run = args.id.partition("/")[0]
    if isinstance(error, NotFound) and error.what.startswith("No conversation"):
        return (
            called("list", "conversation", "--run", run, *home_words(args))
            + "        (shows its conversations)"
        )
    return called("list", *home_words(args)) + "        (shows what there is)"


async def _run(args: argparse.Namespace) -> int:
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    kind = args.kind or kind_of(args.id)
    view = args.view or FIRST.get(kind, "summary")
    async with settings.workbench("cli", resume=False) as bench:
        if kind in WITH_PAGE and not args.view and not args.json:
            await _show_page(bench, screen, args)
            return 0
        found = await _found(bench, args.kind, args.id, view, args.limit)
        kind = found.kind
    row: dict[str, Any] = {
        "summary": found.summary or f"{found.kind} {found.id}, view {found.view}.",
        "item": found.item,
        "warnings": found.warnings,
        "untrusted": [path if path.startswith("item") else f"item.{path}" for path in found.untrusted],
    }
    if args.json:
        print(json.dumps({**row, "more": bool(found.next_cursor)}, ensure_ascii=False, default=str))
        return 0
    page = kind == "conversation" and not args.view
    for line in _page(row, screen.width) if page else map(clean, render(row).splitlines()):
        screen.line(line)
    if found.next_cursor:
        screen.line(f"There is more: --limit {min(100, 2 * args.limit)}")
    return 0


async def _show_page(bench: Bench, screen: Screen, args: argparse.Namespace) -> None:
    """A run with its result, or a hardening with its rounds and outcome."""
    home = home_words(args)
    if re.fullmatch(FORMS["run"], args.id):
        lines = await run_page(bench, await bench.runs.stored(args.id), screen.width, home)
    else:
        report = bench.hardenings.stored(args.id)
        await HardeningProgress(bench, screen, args.id, warns=False).end()
        lines = hardening_page(report, screen.width, home)
    for line in lines:
        screen.line(line)


async def _found(bench: Bench, kind: str, id: str, view: str, limit: int) -> Item:
    """The item; a bare `ENVIRONMENT/NAME` is tried as each kind that has such ids, another name as a guide, too."""
    kinds = [kind or kind_of(id)]
    if not kind and kinds == ["environment"]:
        kinds = [*reversed(IN_ENVIRONMENTS)] if "/" in id else ["environment", "guide"]
    refused: list[NotFound] = []
    for one in kinds:
        try:
            return await bench.items.get(one, id, view=view, limit=limit)
        except NotFound as error:
            refused.append(error)
    raise refused[0]


def _page(told: Mapping[str, Any], width: int) -> list[str]:
    """A conversation, and its warnings."""
    warnings = [line for warning in told["warnings"] for line in wrapped(f"Warning: {warning}", width)]
    return [*conversation_page(told["summary"], told["item"], width), *warnings]


def kind_of(id: str) -> str:
    """The kind of thing that an id names, judged by its form."""
    return next((kind for kind, form in FORMS.items() if re.fullmatch(form, id)), "environment")
