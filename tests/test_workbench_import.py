"""Folders of cases: taken whole or not at all, brought up to date, tried without storing, imported as a job."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import Conflict, InvalidArgument
from caseharden.engine.exchange import Imported
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.tests.server_desk import desk as client_desk
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-19")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two personas, three scenarios, all their simulations."""
    place = tmp_path / "suite"
    place.mkdir()
    (place / "caseharden.yaml").write_text(
        "environment: {id: desk}\nworld: world.json\nsimulations: all\n", encoding="utf-8"
    )
    (place / "instructions.md").write_text("Close tickets.\n", encoding="utf-8")
    write(place, "world", tickets(4))
    write(place, "personas", [{"id": "dana"}, {"id": "omar"}])
    write(place, "scenarios", [closing(1, persona="dana"), closing(2), closing(3)])
    return place


def write(folder: Path, name: str, value: Any) -> None:
    (folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")


def unsolvable(n: int) -> dict[str, Any]:
    """A scenario whose solution closes a ticket that is not there."""
    steps = [{"tool": "close_ticket", "args": {"ticket_id": "T99"}}]
    return closing(n, expected=steps)


async def stored(bench: Workbench) -> dict[str, list[str]]:
    """Ids of what is stored, by kind."""
    kinds = ("environment", "instructions", "persona", "scenario", "simulation")
    pages = {kind: await bench.items.page(kind, limit=100) for kind in kinds}
    return {kind: sorted(row["id"] for row in page.items) for kind, page in pages.items()}


async def test_what_the_folder_no_longer_holds_goes_with_its_simulations_and_is_told(
    folder: Path, tmp_path: Path
) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        made = await bench.environments.import_folder(str(folder))
        assert made.counts["simulations"] == 6 and not any("Deleted" in w for w in made.warnings)
        await bench.personas.create("desk", [{"id": "mine"}])
        await bench.scenarios.create("desk", [closing(4)])
        write(folder, "personas", [{"id": "omar"}])
        write(folder, "scenarios", [closing(2), closing(3)])
        again = await bench.environments.import_folder(str(folder))
        (told,) = [w for w in again.warnings if w.startswith("Deleted")]
        assert "scenario desk/close-1, persona desk/dana, with 4 simulations" in told
        left = await stored(bench)
        assert left["persona"] == ["desk/mine", "desk/omar"]
        assert left["scenario"] == ["desk/close-2", "desk/close-3", "desk/close-4"]
        assert not [id for id in left["simulation"] if "close-1" in id or "dana" in id]
        third = await bench.environments.import_folder(str(folder))
        assert not any("Deleted" in w for w in third.warnings)


async def test_a_persona_that_another_scenario_names_is_kept(folder: Path, tmp_path: Path) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await bench.environments.import_folder(str(folder))
        await bench.scenarios.create("desk", [closing(4, persona="dana")])
        write(folder, "personas", [{"id": "omar"}])
        write(folder, "scenarios", [closing(2)])
        again = await bench.environments.import_folder(str(folder))
        assert any("persona desk/dana is no longer in the folder, but kept" in w for w in again.warnings)
        assert "desk/dana" in (await stored(bench))["persona"]


async def test_an_unsolvable_scenario_refuses_the_folder_before_anything_is_stored(
    folder: Path, tmp_path: Path
) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        write(folder, "scenarios", [closing(1), unsolvable(2)])
        for dry_run in (True, False):
            with pytest.raises(InvalidArgument, match="own solution fails at step 1") as wrong:
                await bench.environments.import_folder(str(folder), dry_run=dry_run)
            assert wrong.value.where == "scenarios.json, scenarios[1].expected[0]"
        assert not any((await stored(bench)).values())
        write(folder, "scenarios", [closing(1), closing(2)])
        await bench.environments.import_folder(str(folder))
        before = await stored(bench)
        write(folder, "personas", [{"id": "new"}])
        write(folder, "scenarios", [unsolvable(1)])
        with pytest.raises(InvalidArgument, match="own solution fails"):
            await bench.environments.import_folder(str(folder))
        assert await stored(bench) == before


async def test_a_world_that_makes_a_solution_impossible_is_refused_too(folder: Path, tmp_path: Path) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await bench.environments.import_folder(str(folder))
        write(folder, "world", tickets(2))
        with pytest.raises(InvalidArgument, match="close-3: own solution fails"):
            await bench.environments.import_folder(str(folder))
        assert (await bench.items.get("environment", "desk")).item["world"]["collections"] == {"tickets": 4}


async def test_simulations_by_hand_name_what_the_folder_holds(folder: Path, tmp_path: Path) -> None:
    config = (
        "environment: {id: desk}\nworld: world.json\nsimulations:\n  - {scenario: close-1, persona: dana}\n"
    )
    file = folder / "caseharden.yaml"
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        file.write_text(config + "  - {scenario: close-8}\n", encoding="utf-8")
        with pytest.raises(InvalidArgument, match="No scenario `close-8`") as wrong:
            await bench.environments.import_folder(str(folder))
        assert wrong.value.where == "caseharden.yaml, simulations[1].scenario"
        assert not any((await stored(bench)).values())
        file.write_text(config, encoding="utf-8")
        assert (await bench.environments.import_folder(str(folder))).counts["simulations"] == 1


async def test_a_dry_run_proves_and_stores_nothing(folder: Path, tmp_path: Path) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        dry = await bench.environments.import_folder(str(folder), dry_run=True)
        assert not dry.stored and (dry.proven, dry.counts["scenarios"], dry.counts["personas"]) == (3, 3, 2)
        assert not any((await stored(bench)).values())


async def test_an_import_is_a_job_that_gives_its_report_again(folder: Path, tmp_path: Path) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        started = await bench.imports.start(str(folder), wait_s=0)
        assert started.environment == "desk" and started.report is None
        waited = await bench.jobs.wait(started.job.id, wait_s=45)
        assert waited.job.state == "done" and waited.job.units.finished == waited.job.units.total == 1
        assert (await stored(bench))["scenario"]
    async with bench_at(tmp_path / "home") as bench:
        again = (await bench.jobs.wait(started.job.id, wait_s=0)).result
        report = getattr(again, "report", None)
        assert report is not None and report.proven == 3 and report.taken["scenarios"] == 3


async def test_an_import_that_nobody_waits_for_answers_with_its_job(folder: Path, tmp_path: Path) -> None:
    async with client_desk(tmp_path / "home", roots=(tmp_path,)) as at:
        would = await at.ok("import_environment", path=str(folder), dry_run=True)
        assert would["summary"].startswith(
            "Nothing stored yet: would import caseharden as environment desk: 3"
        )
        assert "all 3 proven solvable" in would["summary"]
        made = await at.follow(would)
        assert made["created"] and made["counts"]["simulations"] == 6
        started = await at.ok("import_environment", path=str(folder), wait_s=0)
        assert started["environment"] == "desk" and started["next"][0]["tool"] == "wait_job"
        waited = await at.follow(started)
        assert waited["job"]["state"] == "done"
        assert waited["result"]["summary"].startswith("Imported caseharden as environment desk: 3 scenarios")
        write(folder, "scenarios", [unsolvable(1)])
        error = await at.error("import_environment", path=str(folder))
        assert error["code"] == "invalid_argument" and "own solution fails" in error["what"]
        assert "scenarios.json" in error["where"]


async def test_nothing_goes_while_a_job_is_at_work_on_the_cases(folder: Path, tmp_path: Path) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await bench.environments.import_folder(str(folder))
        write(folder, "scenarios", [closing(2), closing(3)])
        elsewhere = Store(tmp_path / "home")
        job, _ = elsewhere.jobs.create("hardening", {"environment": "desk"}, environment="desk")
        with pytest.raises(Conflict, match=f"{job.id} is at work"):
            await bench.environments.import_folder(str(folder))
        assert "desk/close-1" in (await stored(bench))["scenario"]
        elsewhere.jobs.request_cancel(job.id)
        elsewhere.close()


async def test_an_imported_environment_has_its_instructions_at_once(folder: Path, tmp_path: Path) -> None:
    async with client_desk(tmp_path / "home", roots=(tmp_path,)) as at:
        would = await at.ok("import_environment", path=str(folder), dry_run=True)
        assert [call["tool"] for call in would["next"]] == ["import_environment"]
        made = await at.ok("import_environment", path=str(folder))
        assert made["instructions_version"] == 1
        assert [call["tool"] for call in made["next"]] == ["run_simulations", "list_items"]
        (folder / "instructions.md").unlink()
        bare = await at.ok("import_environment", path=str(folder), id="bare")
        [text] = bare["next"]
        assert text["tool"] == "update_item" and "{instructions: your text}" in text["why"]


async def test_a_second_folder_does_not_overwrite_the_environment_of_the_first(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "instructions.md").write_text("Something else.\n", encoding="utf-8")
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await bench.environments.import_folder(str(folder))
        for dry_run in (True, False):
            with pytest.raises(Conflict) as refused:
                await bench.environments.import_folder(str(other), dry_run=dry_run)
        assert str(folder) in refused.value.what and str(other) in refused.value.what
        assert refused.value.where == "caseharden.yaml, environment.id"
        assert "--home" in refused.value.allowed and "environment.id" in refused.value.allowed
        with pytest.raises(Conflict, match="would overwrite"):
            await bench.imports.start(str(other))
        assert await bench.imports.start(str(other), "another")
        again = await bench.environments.import_folder(str(folder))
        assert again.environment.source == str(folder) and again.environment.instructions_version == 1
        folder.rename(tmp_path / "moved")
        moved = await bench.environments.import_folder(str(tmp_path / "moved"))
        assert moved.environment.source == str(tmp_path / "moved")


async def test_a_second_checkout_that_says_the_same_takes_the_environment_over(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        first = await bench.environments.import_folder(str(folder))
        for place, before in ((other, folder), (folder, other)):
            taken = await bench.environments.import_folder(str(place))
            assert taken.warnings[0] == (
                f"desk came from {before}, which says the same: from now on it follows {place}."
            )
            assert taken.environment.source == str(place)
            assert taken.environment.settings.instructions_file == str(place / "instructions.md")
            assert (taken.counts, taken.environment.instructions_version) == (first.counts, 1)
        write(other, "scenarios", [closing(1), closing(2), closing(3)])
        with pytest.raises(Conflict, match="says something else"):
            await bench.environments.import_folder(str(other))
        assert not await takes_over(bench, folder)
        write(folder, "scenarios", [closing(1), closing(2), closing(3)])
        await bench.environments.import_folder(str(folder))
        assert await takes_over(bench, other)
        await bench.items.update("environment", "desk", {"instructions": "Close tickets with care."})
        with pytest.raises(Conflict, match="says something else"):
            await bench.environments.import_folder(str(folder))


async def takes_over(bench: Workbench, folder: Path) -> bool:
    """Whether an import of the folder says that it takes the environment over."""
    report = await bench.environments.import_folder(str(folder))
    return any("which says the same" in warning for warning in report.warnings)


async def test_an_import_that_is_cancelled_before_it_begins_leaves_nothing_of_it_in_memory(
    folder: Path, tmp_path: Path
) -> None:
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        started = await bench.imports.start(str(folder), wait_s=0)
        assert any(isinstance(one, Imported) for one in gc.get_objects())
        assert (await bench.jobs.cancel(started.job.id)).job.state == "cancelled"
        assert (await stored(bench))["environment"] == []
        gc.collect()
        assert not any(isinstance(one, Imported) for one in gc.get_objects())
