"""Import one environment of a tau-bench checkout and its recorded runs, and compare the rewards."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from caseharden import AllowedCode, Workbench
from caseharden.engine.workbench import Workbench as Bench
from caseharden.engine.workbench.results import EnvironmentReport, ImportReport

WAIT_S = 45


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("environment", help="its folder in tau_bench/envs")
    parser.add_argument("results", type=Path, nargs="*", help="result files of its runs")
    args = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="caseharden-tau-") as home:
        return anyio.run(compare, args.checkout.resolve(), args.environment, args.results, Path(home))


async def compare(checkout: Path, name: str, results: list[Path], home: Path) -> int:
    """Print what was taken and how the rewards compare; 1 where one is not reproduced."""
    folders = [checkout, *(file.resolve().parent for file in results)]
    missed = 0
    async with Workbench(home, roots=folders, code=AllowedCode([checkout])) as bench:
        report = await imported(bench, checkout / "tau_bench" / "envs" / name, name)
        print(f"{name}: {report.counts['scenarios']} scenarios, {report.proven} solutions proven")
        for row in report.lost:
            print(f"  not taken: {row['what']}: {row['why']}")
        for file in results:
            compared = (await imported(bench, file.resolve(), name)).taken["compared"]
            missed += show(file.name, compared)
    return 1 if missed else 0


async def imported(bench: Bench, path: Path, id: str) -> EnvironmentReport:
    """The report of an import, however long it takes."""
    found = await bench.imports.start(str(path), id, wait_s=WAIT_S)
    while found.report is None:
        later = (await bench.jobs.wait(found.job.id, WAIT_S)).result
        found = later if isinstance(later, ImportReport) else found
    return found.report


def show(file: str, compared: dict[str, Any]) -> int:
    """Print one comparison; how many recorded rewards are not reproduced."""
    recorded, original, ours = compared["recorded"], compared["original_reward"], compared["ours"]
    hats = ", ".join(f"{name} {value:.4f}" for name, value in original.items() if name.startswith("pass^"))
    print(f"{file}: {original['as_recorded']} of {recorded['trials']} rewards reproduced; {hats}")
    print(
        f"  results of calls that differ: {compared['calls']['other_result']} of {compared['calls']['made']}"
    )
    print(f"  our verdict: {ours['passed']} pass, {ours['changed']} otherwise than rewarded")
    return int(recorded["trials"] - original["as_recorded"])


if __name__ == "__main__":
    raise SystemExit(main())
