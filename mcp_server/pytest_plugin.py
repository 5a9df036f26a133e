"""The pytest fixture `caseharden`: a folder of cases as one test that fails with its reasons.

    def test_support_desk(caseharden):
        caseharden.run("tests/desk")

It fails when a threshold of the folder is missed or, if none is set, when a trial does not pass. Nothing is loaded
before the fixture is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from ..engine.errors import CasehardenError

if TYPE_CHECKING:
    from ..engine.workbench import Workbench

SHOWN: Final = 10
"""How many conversations a failure names."""


class Suite:
    """Runs folders of cases; their output stays in a folder of the test's own."""

    def __init__(self, home: Path, here: Path) -> None:
        self._home = home
        self._here = here

    def run(
        self,
        folder: str | Path,
        *,
        select: Sequence[str] = ("all",),
        trials: int = 0,
        metrics: Sequence[Any] = (),
        thresholds: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Simulate and score the cases of a folder; the run as JSON, or the test fails with the reasons.

        A relative folder is looked up next to the test's file, then in the working directory. `trials` 0: the folder's
        number. `thresholds` and `models` take precedence over the folder's. Call it from a plain test function.
        """
        options = {} if thresholds is None else {"thresholds": dict(thresholds)}
        call = {
            "select": tuple(select),
            "trials": trials,
            "metrics": tuple(metrics),
            "models": dict(models or {}),
        }
        try:
            run, reasons = anyio.run(self._run, self._found(Path(folder)), {**call, "options": options})
        except CasehardenError as error:
            pytest.fail(f"{folder}: {error}", pytrace=False)
        if reasons:
            pytest.fail("\n".join(reasons), pytrace=False)
        return run

    def _found(self, folder: Path) -> Path:
        beside = self._here / folder
        return beside.resolve() if beside.is_dir() else folder.resolve()

    async def _run(self, folder: Path, call: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        face = importlib.import_module("caseharden")
        entered: Workbench = face.Workbench(self._home, roots=[folder])
        async with entered as bench:
            environment = (await bench.environments.import_folder(str(folder))).environment.id
            report = await bench.runs.start(environment, **call, wait_s=0)
            if report.job is not None:
                while (await bench.jobs.wait(report.job.id, wait_s=45)).job.state in ("queued", "running"):
                    pass
                found = (await bench.jobs.wait(report.job.id, wait_s=0)).result
                report = found if isinstance(found, type(report)) else report
            run = report.run
            missed = [one for one in run.thresholds if one.result == "fail"]
            whole = run.totals.passed == run.totals.trials and run.state == "done"
            row = run.model_dump(mode="json")
            if (run.thresholds and not missed and run.state == "done") or (not run.thresholds and whole):
                return row, []
            counted = f"{run.totals.trials} {'trial' if run.totals.trials == 1 else 'trials'}"
            lines = [f"{folder.name}: {run.totals.passed} of {counted} pass; {run.state}."]
            lines += [f"  missed: {one.threshold}: {one.why}" for one in missed]
            return row, [*lines, *await _failures(bench, run.id), *(f"  {one}" for one in report.warnings)]


@pytest.fixture
def caseharden(tmp_path: Path, request: pytest.FixtureRequest) -> Suite:
    """Runs folders of cases as tests."""
    return Suite(tmp_path / "caseharden", request.path.parent)


async def _failures(bench: Workbench, run: str) -> list[str]:
    """The trials that did not pass, each with the first check that says why; for held-out ones no reason."""
    lines: list[str] = []
    total = 0
    for verdict in ("fail", "inconclusive", "error", "invalid"):
        page = await bench.items.page("conversation", where={"run": run, "verdict": verdict}, limit=SHOWN)
        total += page.total
        for row in page.items[: SHOWN - len(lines)]:
            lines.append(f"  {row['id']}: {verdict}{await _why(bench, row)}")
    return lines + ([f"  and {total - SHOWN} more"] if total > SHOWN else [])


async def _why(bench: Workbench, row: Mapping[str, Any]) -> str:
    if row.get("split") == "held_out":
        return ""
    item = (await bench.items.get("conversation", str(row["id"]))).item
    found = next(iter(item.get("failed_checks", ())), None)
    if found is None:
        return f", {item['why']}" if item["why"] else ""
    at = f" in turn {found['turn']}" if found.get("turn") else ""
    return f", check {found['id']}{at}: {found.get('why', '')}"
