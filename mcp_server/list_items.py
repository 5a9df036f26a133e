"""`caseharden list [KIND]`: what the data folder holds, newest first; without a kind what was run or is running.

Exit codes: 0 listed, 2 wrong input, 3 the data folder cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio

from ..engine.errors import CasehardenError
from ..engine.plural import plural
from ..engine.shapes import is_list
from ..engine.workbench import Workbench as Bench
from ..engine.workbench.results import Page
from .called import called, home_words
from .run_folder import naming_options
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean, cut, percent, table

SECTIONS: Final = ("environment", "run", "hardening", "job")
"""Kinds shown if none is named."""
KINDS: Final = (
    "environment",
    "instructions",
    "persona",
    "scenario",
    "simulation",
    "run",
    "conversation",
    "hardening",
    "candidate",
    "session",
    "job",
)
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "environment": ("id", "agent", "instructions", "scenarios", "simulations", "runs"),
    "run": ("id", "instructions", "state", "passed", "counted", "rate", "created_at"),
    "hardening": ("id", "base", "state", "outcome", "candidate", "created_at"),
    "conversation": ("id", "verdict", "end", "split", "turns", "failed_checks", "error"),
    "job": ("id", "kind", "state", "completed", "total", "created_at"),
}
"""Columns shown for a kind; for other kinds all."""
MOST_CELLS: Final = 1_000_000
_OPTIONS: Final = {"where": "run", "environment": "environment", "limit": "limit"}
WIDE: Final = 48
"""Maximum width of a column, in cells."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind",
        nargs="?",
        default="",
        metavar="KIND",
        help=f"{', '.join(KINDS)}; default: {', '.join(SECTIONS)}",
    )
    parser.add_argument("--environment", default="", metavar="ID", help="only what is of it")
    parser.add_argument("--run", default="", metavar="RUN", help="whose conversations")
    parser.add_argument("--limit", type=int, default=20, help="rows of a kind, 1 to 100; default 20")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_flags(parser, "home")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "list")
    where = error.where if isinstance(error, CasehardenError) else ""
    if where == "--run":
        return called("list", "conversation", "--run", "run-1", *home_words(args))
    return called("list", *home_words(args))


async def _run(args: argparse.Namespace) -> int:
    screen = Screen(sys.stderr if args.json else sys.stdout, plain=args.plain)
    settings = read_settings(args)
    where = {"run": args.run} if args.run else {}
    if args.kind.removesuffix("s") in KINDS:
        args.kind = args.kind.removesuffix("s")
    async with settings.workbench("cli", resume=False) as bench:
        kinds = [args.kind] if args.kind else SECTIONS
        with naming_options(_OPTIONS):
            pages = [await _page(bench, kind, args, where) for kind in kinds]
    if args.json:
        rows = {page.kind: page.items for page in pages}
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    for number, page in enumerate(pages):
        if number:
            screen.line()
        for line in _lines(page, screen.width if screen.is_terminal else 0):
            screen.line(line)
    return 0


async def _page(bench: Bench, kind: str, args: argparse.Namespace, where: Mapping[str, Any]) -> Page:
    return await bench.items.page(kind, environment=args.environment, where=where, limit=args.limit)


def _lines(page: Page, width: int) -> list[str]:
    """A heading with the total, then one line per row. `width` 0: every field whole, for other programs.

    An id is never cut: it is what the next command needs.
    """
    least = "at least " if page.at_least else ""
    head = f"{page.kind}  {least}{plural(page.total, 'row')}"
    head += f", the newest {len(page.items)} shown" if len(page.items) < page.total else ""
    if not page.items:
        return [head]
    names = COLUMNS.get(page.kind) or list(dict.fromkeys(name for row in page.items for name in row))
    rows = [list(names), *([_cell(name, row.get(name), width) for name in names] for row in page.items)]
    return [head, *table(rows, width or MOST_CELLS, whole_ids=True)]


def _cell(name: str, value: Any, width: int) -> str:
    if value is None or value == "":
        return "-"
    if name == "rate":
        return percent(value)
    if is_list(value) and all(isinstance(one, str) for one in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return clean(text) if name == "id" or not width else cut(clean(text), WIDE)
