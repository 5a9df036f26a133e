"""Imports killed after any of their writes: held-out scenarios of the file are spent before they can be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.looks import LookLedger
from caseharden.tests import made_up_tau
from caseharden.tests.killed_at import copies_killed, last_write
from caseharden.tests.workbench_cases import bench_at, closing, desk

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-7")]


async def exported(home: Path, source: str) -> Path:
    """An export of an environment with a held-out scenario, or of a run of it."""
    async with bench_at(home) as bench:
        await desk(bench, 2)
        await bench.scenarios.create("desk", [closing(1, id="hidden", split="held_out")])
        await bench.runs.start("desk", wait_s=45)
        return (await bench.exports.export(source)).path


def unspent(home: Path) -> set[str]:
    """The held-out scenarios of a folder that are not spent."""
    with Store(home) as store:
        archive = Archive(store)
        looks = LookLedger(archive)
        hidden = archive.scenarios.where(split="held_out")
        return {record.id for record in hidden if not (record.spent and looks.is_spent(record.id))}


def shown(home: Path) -> set[str]:
    """The scenarios of which a folder has a conversation."""
    with Store(home) as store:
        archive = Archive(store)
        runs = archive.runs.where()
        return {
            f"{run.environment}/{trial.scenario}" for run in runs for trial in archive.trials(run.id).where()
        }


@pytest.mark.parametrize("source", ["desk", "run-1"])
async def test_an_import_killed_anywhere_leaves_no_held_out_scenario_of_its_file_unspent(
    tmp_path: Path, source: str
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(await exported(tmp_path / "there", source), home / "run.json")
    *killed, whole = copies_killed(home, tmp_path / "copies", "import")
    assert len(killed) > 3
    for copy in killed:
        assert not unspent(copy), last_write(copy)
    async with bench_at(whole) as bench:
        page = await bench.items.page("scenario", environment="desk", limit=100)
        assert "desk/hidden" in {row["id"] for row in page.items}
    assert not unspent(whole)


async def test_recorded_results_killed_anywhere_leave_no_scenario_that_they_show_unspent(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    made_up_tau.checkout(home)
    (home / "results.json").write_text(json.dumps(made_up_tau.results()))
    async with Workbench(home, roots=[home]) as bench:
        await bench.imports.start("tau_bench/envs/desk", "desk", wait_s=45)
    with Store(home) as store:
        scenarios = Archive(store).scenarios
        for record in scenarios.where():
            scenarios.put(record.id, record.model_copy(update={"split": "held_out"}))
    assert len(unspent(home)) == 3
    *killed, whole = copies_killed(home, tmp_path / "copies", "import_results")
    assert len(killed) > 2
    for copy in killed:
        assert not shown(copy) & unspent(copy), last_write(copy)
    assert len(shown(whole)) == 3 and not unspent(whole)
