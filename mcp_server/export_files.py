"""`caseharden export`: a run, its conversations or a whole environment as a file of any format.

Exit codes: 0 written, 2 wrong input, 3 a format that the source does not have.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from ..engine.errors import CasehardenError, InvalidArgument, Unavailable
from ..engine.exchange.export_formats import EXPORTERS
from ..engine.plural import plural
from ..engine.workbench.exporting import PAGE
from .called import called
from .instead import instead
from .output_files import OPTION, copy_out
from .report import newest
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen

FORMATS = (*EXPORTERS, PAGE)
STDOUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        nargs="?",
        default="",
        help="a run, session, hardening or environment; default: the newest run or hardening",
    )
    parser.add_argument("-f", "--format", default="json", choices=FORMATS, help="default: json")
    parser.add_argument(
        "-o",
        "--output",
        default="",
        metavar="FILE",
        help="default: SOURCE with the format's ending, in this folder; -: print it",
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="only these conversations: verdict, scenario, persona, simulation, check, tag, text, run; repeatable",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace another file of that name")
    add_flags(parser, "home")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args, _filters(args.where))


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "export")
    where = error.where if isinstance(error, CasehardenError) else ""
    source = [args.source] if args.source else ["run-1"]
    if isinstance(error, Unavailable):
        return called("export", *source, "--format", "json")
    if where == OPTION:
        return called("export", *source, "--format", args.format, "--output", "other" + _suffix(args.format))
    if where.startswith(("where", "--where")):
        return called("export", *source, "--format", "csv", "--where", "verdict=fail")
    known = instead(error, "source")
    return called("export", known) if known else called("run", "DIR") + "        (makes a run)"


async def _run(args: argparse.Namespace, where: dict[str, str]) -> int:
    settings = read_settings(args)
    screen = Screen(sys.stderr if args.output == STDOUT else sys.stdout)
    async with settings.workbench("cli", resume=False) as bench:
        source = args.source or await newest(bench)
        made = await bench.exports.export(
            source, args.format, where=where, overwrite=args.overwrite, beside=True
        )
        if args.output == STDOUT:
            sys.stdout.write(await anyio.to_thread.run_sync(_text, made.path))
        target = Path(args.output or source + _suffix(args.format))
        if args.output != STDOUT:
            await anyio.to_thread.run_sync(copy_out, made.path, target, args.overwrite)
    for warning in made.warnings:
        screen.note("warn", warning)
    for left in made.left_out:
        screen.note("note", f"Not in it: {left}")
    text = f"{made.says}, {plural(made.records, made.record)} of {source}, {made.bytes:,} bytes"
    screen.line(text if args.output == STDOUT else f"{target}  {text}")
    return 0


def _filters(told: Sequence[str]) -> dict[str, str]:
    """`verdict=fail` as a filter; the engine decides which filters exist."""
    found: dict[str, str] = {}
    for part in told:
        name, is_pair, value = part.partition("=")
        if not is_pair or not name.strip() or not value.strip():
            raise InvalidArgument(f"`{part[:80]}` is not a filter.", where="--where", allowed="verdict=fail")
        found[name.strip()] = value.strip()
    return found


def _suffix(format: str) -> str:
    return ".html" if format == PAGE else EXPORTERS[format].suffix


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
