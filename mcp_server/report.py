"""`caseharden report`: the report of a run or a hardening as one HTML file that opens offline."""

from __future__ import annotations

import argparse
from pathlib import Path

import anyio
import anyio.to_thread

from ..engine.errors import CasehardenError, NotFound
from ..engine.workbench import Workbench as Bench
from .called import called
from .instead import instead
from .output_files import OPTION, copy_out
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", default="", help="a run or a hardening; default: the newest")
    parser.add_argument(
        "-o", "--output", default="", metavar="FILE", help="default: SOURCE.html in this folder"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    add_flags(parser, "home")


def run(args: argparse.Namespace) -> int:
    return anyio.run(_run, args)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "report")
    where = error.where if isinstance(error, CasehardenError) else ""
    source = [args.source] if args.source else []
    if where == OPTION:
        return called("report", *source, "--output", "other.html")
    known = instead(error, "source")
    return called("report", known) if known else called("run", "DIR") + "        (makes a run)"


async def _run(args: argparse.Namespace) -> int:
    settings = read_settings(args)
    async with settings.workbench("cli", resume=False) as bench:
        source = args.source or await newest(bench)
        target = Path(args.output or f"{source}.html")
        report = await bench.exports.export(source, "html", overwrite=args.overwrite, beside=True)
        await anyio.to_thread.run_sync(copy_out, report.path, target, args.overwrite)
    screen = Screen()
    for warning in report.warnings:
        screen.note("warn", warning)
    for left in report.left_out:
        screen.note("note", f"Not in it: {left}")
    screen.line(f"{target}  {report.bytes:,} bytes, opens offline")
    return 0


async def newest(bench: Bench) -> str:
    """The newest hardening, unless a run was made after it."""
    found = [
        (str(row["created_at"]), str(row["id"]))
        for kind in ("hardening", "run")
        for row in (await bench.items.page(kind, limit=1)).items
    ]
    if not found:
        raise NotFound(
            "There is no run and no hardening yet.", where="source", allowed="a run or a hardening"
        )
    return max(found)[1]
