"""`caseharden import PATH`: import files of other systems, or an exported run, as an environment or as past runs.

Exit codes: 0 imported, 2 wrong input, 3 the import did not end.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from ..engine.errors import NotFound
from ..engine.exchange import IMPORTERS
from ..engine.plural import plural
from ..engine.workbench.results import EnvironmentReport, ImportReport
from .called import called
from .settings import WrongSetting, add_flags, fixing, read_settings
from .terminal import Screen, clean

WAIT_S = 45
TOPS = (".git", "pyproject.toml", "setup.py")
"""Names found at the top of a checkout."""
SHOWN = 12
"""How many warnings are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="a folder, or a file of results or of an export")
    parser.add_argument(
        "--format", default="auto", choices=["auto", *IMPORTERS], help="default: recognised from the content"
    )
    parser.add_argument(
        "--id", default="", help="the environment's id; for results, that of the environment they belong to"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and report, but store nothing")
    parser.add_argument("--plain", action="store_true", help="no colour")
    add_flags(parser, "home", "roots", "code", "env_file")


def run(args: argparse.Namespace) -> int:
    path = Path(args.path)
    if not path.exists():
        raise NotFound(f"`{path}` does not exist.", where="path", allowed="a folder or a file")
    return anyio.run(_run, args, path)


def then(args: argparse.Namespace, error: Exception) -> str:
    """What to type after an error."""
    if isinstance(error, WrongSetting):
        return fixing(error, "import")
    calls = getattr(error, "next", ())
    paths = [str(call.args["path"]) for call in calls if isinstance(call.args.get("path"), str)]
    return called("import", paths[0] if paths and paths[0] != "..." else "PATH")


async def _run(args: argparse.Namespace, path: Path) -> int:
    screen = Screen(plain=args.plain)
    settings = read_settings(args)
    settings.lend_keys()
    async with settings.workbench("cli", roots=[top_of(path), path.parent], resume=False) as bench:
        found = await bench.imports.start(
            str(path.resolve()), args.id, format=args.format, dry_run=args.dry_run, wait_s=WAIT_S
        )
        while found.report is None and not found.job.ended:
            later = (await bench.jobs.wait(found.job.id, WAIT_S)).result
            found = later if isinstance(later, ImportReport) else found
        if found.report is None:
            screen.note("warn", f"{found.job.id} is {found.job.state}")
            return 3
        for line in result_lines(found.report):
            screen.line(line)
        for warning in found.report.warnings[:SHOWN]:
            screen.note("warn", warning)
        if len(found.report.warnings) > SHOWN:
            screen.note("warn", f"{len(found.report.warnings) - SHOWN} more")
    return 0


def top_of(path: Path) -> Path:
    """The checkout that a path belongs to; else the folder itself."""
    real = path.resolve()
    folder = real if real.is_dir() else real.parent
    return next((p for p in (folder, *folder.parents) if any((p / name).exists() for name in TOPS)), folder)


def result_lines(report: EnvironmentReport) -> list[str]:
    """The result of the import, in lines."""
    taken, id = report.taken, report.environment.id
    verb = "took" if report.stored else "would take"
    lines = [f"ok    {verb} {taken.get('format')} as {id}"]
    if "run" in taken:
        lines.append(
            f"ok    {taken['run']}: {plural(taken['conversations'], 'conversation')}, {taken['passed']} pass"
        )
        lines += _compared(taken.get("compared") or {})
    else:
        solved = f"{report.proven} proven of {report.counts['scenarios']}"
        lines.append(f"ok    {plural(report.counts['scenarios'], 'scenario')}, solutions: {solved}")
        lines.append(f"ok    {plural(report.world.get('tools', 0), 'tool')}")
    for row in report.lost:
        at = ", ".join(map(str, row["at"])) if isinstance(row.get("at"), list) else row.get("at", "")
        number = f"{row['count']} x " if row.get("count", 1) > 1 else ""
        help = f" ({row['use']})" if row.get("use") else ""
        lines.append(
            f"lost  {number}{clean(str(row['what']))}: {clean(str(row['why']))}{help} {clean(str(at))}".rstrip()
        )
    return lines


def _compared(compared: Mapping[str, Any]) -> list[str]:
    """The recorded rewards, the original rule applied by us, and our verdicts."""
    if not compared:
        return []
    recorded, original, ours = compared["recorded"], compared["original_reward"], compared["ours"]
    hats = "  ".join(f"{name} {value}" for name, value in recorded.items() if name.startswith("pass^"))
    return [
        f"      recorded: {recorded['rewarded']} of {recorded['trials']} rewarded  {hats}".rstrip(),
        f"      original rule, here: {original['as_recorded']} of {recorded['trials']} as recorded, "
        f"{original['unknown']} unknown",
        f"      ours: {ours['passed']} pass, {ours['changed']} otherwise than recorded",
    ]
