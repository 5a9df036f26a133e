"""The baseline of `caseharden run`: which file it is, whether the run holds it, and how that is shown.

A run fails against its baseline when over a tenth of the baseline's trials has no counterpart, when its scenarios are
worse (one-sided sign-flip test, p at most 0.05), or when the pass rate over the pairs fell by more than `max_drop`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..engine.errors import CasehardenError, InvalidArgument, NotFound
from ..engine.evaluate.comparison import MAX_DROP, RunComparison
from ..engine.exchange import CaseFolder, Roots
from ..engine.plural import plural
from ..engine.workbench import Workbench
from ..engine.workbench.baselines import MOST_BYTES, read_baseline, write_baseline
from ..engine.workbench.compared import ComparedRun
from ..engine.workbench.comparing import ComparisonReport
from ..tools.comparisons import change, finding
from .called import called
from .terminal import clean, cut

OF_FOLDER: Final = "."
"""`--save-baseline` without a file: the one that caseharden.yaml names."""
NAMED: Final = 10
"""How many simulations are named."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a run is compared with, and where it is saved; None: not at all."""

    file: Path | None = None
    run: ComparedRun | None = None
    max_drop: float = MAX_DROP
    save: Path | None = None


def add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--baseline", default="", metavar="FILE", help="fail when the run is worse than the one in FILE"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="RATE",
        help=f"how far the pass rate may fall below the baseline, 0 to 1; default {MAX_DROP:g}",
    )
    parser.add_argument(
        "--save-baseline",
        nargs="?",
        const=OF_FOLDER,
        default="",
        metavar="FILE",
        help="write the run as a baseline, unless it is worse than --baseline",
    )


def then_baseline(command: Sequence[str], file: str, error: Exception, where: str) -> str:
    """What to type if a baseline option is wrong, or "". `file`: the one that was named."""
    if where == "--max-drop":
        return called(*command, "--baseline", file or "FILE", "--max-drop", "0.05")
    if where == "--save-baseline":
        return called(*command, "--save-baseline", "baseline.json")
    if "baseline" in where and isinstance(error, NotFound):
        return called(*command, "--save-baseline", file or "baseline.json")
    return ""


def wanted(args: argparse.Namespace, cases: CaseFolder | None = None) -> Baseline:
    """The baseline of the options, else of the folder, read before anything is run."""
    of_folder, named, told_drop = (
        (cases.baseline, cases.config, cases.max_drop) if cases else (None, "", None)
    )
    drop = told_drop if args.max_drop is None else args.max_drop
    if drop is not None and not 0 <= drop <= 1:
        raise InvalidArgument(f"{drop:g} is not a rate.", where="--max-drop", allowed="0 to 1, such as 0.05")
    file = Path(args.baseline) if args.baseline else of_folder
    save = Path(args.save_baseline) if args.save_baseline else None
    if args.save_baseline == OF_FOLDER:
        save = file
        if save is None:
            raise InvalidArgument(
                "No baseline is named.",
                where="--save-baseline",
                allowed="a file, such as --save-baseline baseline.json",
            )
    if save is not None and save.exists():
        _read(save, "--save-baseline")  # a file that is not a baseline is not overwritten
    if file is None:
        return Baseline(save=save)
    if not file.exists() and save is not None and save == file:
        return Baseline(save=save)
    where = "--baseline" if args.baseline else f"{named}, baseline"
    return Baseline(file, _read(file, where), MAX_DROP if drop is None else drop, save)


async def compared(bench: Workbench, baseline: Baseline, run: str) -> ComparisonReport | None:
    """The run against its baseline; None if there is none."""
    if baseline.run is None:
        return None
    return await bench.comparisons.against(baseline.run, run, max_drop=baseline.max_drop)


def fails(report: ComparisonReport | None) -> bool:
    """Whether a run fails its baseline."""
    return report is not None and any(row.result == "fail" for row in report.baseline)


def save(bench: Workbench, baseline: Baseline, run: str, report: ComparisonReport | None) -> str:
    """Write the run as a baseline; a note about it, "" if not requested. Run in a worker thread."""
    if baseline.save is None:
        return ""
    if fails(report):
        return "Baseline not saved: the run does not hold it."
    text = write_baseline(bench.comparisons.stored(run))
    path = baseline.save
    Roots([path.parent]).write_text(path.name, text, "--save-baseline", overwrite=True)
    return f"Baseline saved: {path}"


def baseline_lines(baseline: Baseline, report: ComparisonReport | None, width: int) -> list[str]:
    """How the run compares with its baseline, in lines."""
    if report is None:
        return []
    found, base = report.found, report.base
    lines = [
        f"Against {baseline.file} ({base.run}, {base.instructions}, {plural(len(base.played), 'trial')})"
    ]
    if found.pairs:
        worse, better = len(found.worse), len(found.better)
        lines.append(
            f"  {worse} of {plural(found.scenarios, 'scenario')} worse, {better} better; {change(found)}"
        )
        lines.append(f"  {finding(found)}")
    lines += changed_lines(found)
    lines += [f"  differs {name}: {told}" for name, told in report.differs.items()]
    lines += [f"  {warning}" for warning in report.warnings]
    words = {"pass": "PASS", "fail": "FAIL"}
    lines += [f"{words[row.result]}  {row.threshold}: {row.why}" for row in report.baseline]
    return [cut(clean(line), width) for line in lines]


def changed_lines(found: RunComparison) -> list[str]:
    """The changed simulations, by kind of change."""
    lines: list[str] = []
    for word, names in (("broken", found.broken), ("fixed", found.fixed), ("flaky", found.flaky)):
        lines += [f"  {word:<7} {name}" for name in names[:NAMED]]
        if len(names) > NAMED:
            lines.append(f"  {word:<7} and {len(names) - NAMED} more")
    return lines


def baseline_json(baseline: Baseline, report: ComparisonReport | None) -> dict[str, Any]:
    """The same for programs; empty without a baseline."""
    if report is None:
        return {}
    found = report.found
    fields = {
        "file": str(baseline.file),
        "run": report.base.run,
        "result": "fail" if fails(report) else "pass",
        "rows": [row.model_dump() for row in report.baseline],
        "pairs": found.pairs,
        "better": found.better,
        "worse": found.worse,
        "unchanged": found.unchanged_scenarios,
        "p": found.p,
        "p_worse": found.p_worse,
        "difference": found.difference,
        "interval": list(found.interval),
        "fixed": found.fixed,
        "broken": found.broken,
        "flaky": found.flaky,
        "differs": report.differs,
        "warnings": report.warnings,
    }
    return {"baseline": fields}


def _read(file: Path, where: str) -> ComparedRun:
    if not file.exists():
        raise NotFound(
            f"`{file}` does not exist.",
            where=where,
            allowed="a file that --save-baseline or export_run wrote",
        )
    try:
        text = Roots([file.resolve().parent]).read_text(file.resolve(), "", MOST_BYTES)
        return read_baseline(text, str(file))
    except CasehardenError as error:
        place = f"{where}, {error.where}" if error.where and error.where != str(file) else where
        raise type(error)(f"{file}: {error.what}", where=place, allowed=error.allowed) from None
