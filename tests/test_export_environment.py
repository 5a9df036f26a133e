"""A whole environment as one file: exported, imported elsewhere, exported as the same text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.workbench import Workbench
from caseharden.tests.server_desk import desk as server_desk
from caseharden.tests.workbench_cases import bench_at, closing, desk, tickets

pytestmark = pytest.mark.anyio
TALKS = [{"scenario": "close-1", "log": [{"by": "agent", "say": "Hello."}]}]


async def rich_desk(bench: Workbench) -> None:
    """An environment with everything that one may have."""
    settings = {
        "name": "The desk",
        "trials": 2,
        "thresholds": {"pass_rate": 0.5},
        "knowledge_base": "# Tickets\nA ticket is closed once.\n\n# Hours\nWe close at six.",
        "user_guidelines": "Be brief.",
    }
    await desk(bench, 4, settings=settings, agent={"kind": "recorded", "conversations": TALKS})
    inside = closing(2, id="inside", persona={"id": "lee", "profile": "Calm."}, split="held_out")
    wrong = closing(3, id="unsolved", expected=[], success=[{"id": "c", "tool": "close_ticket"}])
    failing = closing(1, id="failing", success=[{"id": "c", "said": {"text": "farewell"}}])
    own = closing(4, id="own", persona="dana")
    await bench.scenarios.create("desk", [inside, wrong, own, failing], check=False)
    await bench.simulations.create("desk", wait_s=45)
    first = {"id": "by-hand", "scenario": "close-1", "persona": "omar", "user_input": "Close T1."}
    await bench.simulations.create("desk", simulations=[{**first, "ground_truth": {"ticket": "T1"}}])
    await bench.items.update("environment", "desk", {"instructions": "Look a ticket up first."})
    await bench.items.update("environment", "desk", {"instructions": "Look it up. Be polite."})


async def exported(bench: Workbench, id: str = "desk", **more: Any) -> str:
    report = await bench.exports.export(id, overwrite=True, **more)
    return report.path.read_text(encoding="utf-8")


@pytest.mark.requirement("CH-20")
async def test_an_environment_that_was_exported_imports_again_equal(tmp_path: Path) -> None:
    async with bench_at(tmp_path / "one") as bench:
        await rich_desk(bench)
        made = await bench.exports.export("desk", file="whole.json")
        text = made.path.read_text(encoding="utf-8")
        before = await bench.items.get("environment", "desk", view="full")
    assert (made.records, made.record, made.left_out) == (8, "scenario", [])
    whole = json.loads(text)
    assert [(v["number"], v["text"]) for v in whole["instructions"]][1:] == [
        (2, "Look a ticket up first."),
        (3, "Look it up. Be polite."),
    ]
    assert whole["in_force"] == 3 and whole["instructions"][2]["base"] == 2
    assert {"id": "by-hand", "scenario": "close-1", "persona": "omar", "user_input": "Close T1."}.items() <= (
        next(row for row in whole["simulations"] if row["id"] == "by-hand").items()
    )
    async with bench_at(tmp_path / "two", roots=[tmp_path]) as bench:
        first = (await bench.imports.start(str(made.path), wait_s=45)).report
        again = (await bench.imports.start(str(made.path), wait_s=45)).report
        assert first is not None and again is not None
        assert first.lost == [] and first.created and not again.created
        assert await exported(bench) == text
        after = await bench.items.get("environment", "desk", view="full")
        assert after.item["settings"] == before.item["settings"]
        assert after.item["agent"] == before.item["agent"]
        texts = (await bench.items.page("instructions", environment="desk")).items
        assert [row["id"] for row in texts] == ["desk@3", "desk@2", "desk@1"]
        other = (await bench.imports.start(str(made.path), "copy", wait_s=45)).report
        assert other is not None and other.environment.id == "copy"
        assert json.loads(await exported(bench, "copy")) == {
            **whole,
            "environment": {**whole["environment"], "id": "copy"},
        }
        run = await bench.runs.start("copy", select=["close-1-dana"], wait_s=45)
    assert run.run.totals.trials == 2
    assert "held out" in " ".join(first.warnings)


async def test_exporting_an_environment_spends_its_held_out_scenarios_and_tells_of_its_runs(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        hidden = closing(1, id="hidden", split="held_out")
        await bench.scenarios.create("desk", [hidden])
        await bench.runs.start("desk", select=["scenario:close-1"], wait_s=45)
        report = await bench.exports.export("desk")
        scenario = await bench.items.get("scenario", "desk/hidden", view="full")
    assert "counts as reading" in report.warnings[0].lower()
    assert scenario.item["spent"] is True
    assert report.left_out == ["1 run: each is exported by its own id"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"in_force": 9}, "in_force"),
        ({"instructions": []}, "instructions"),
        ({"instructions": [{"number": 1, "text": "A", "base": 7}]}, "instructions[0].base"),
        ({"instructions": [{"number": 1, "text": "A"}, {"number": 1, "text": "B"}]}, "instructions"),
        ({"scenarios": [{"goal": "x"}]}, "scenarios[0]"),
        ({"world": {**tickets(1), "tools": [{"nam": "x"}]}}, "world"),
        ({"worlds": {}}, "worlds"),
        ({"environment": {"id": "../x"}}, "environment.id"),
        ({"environment": {"id": "desk", "settings": {"trails": 2}}}, "environment.settings.trails"),
        ({"environment": {"id": "desk", "agent": {"kind": "python"}}}, "environment.agent.file"),
    ],
)
async def test_a_file_of_an_environment_that_is_wrong_is_refused_with_the_place_and_nothing_is_kept(
    tmp_path: Path, change: dict[str, Any], where: str
) -> None:
    whole: dict[str, Any] = {
        "format": "caseharden-environment/1",
        "environment": {"id": "desk"},
        "instructions": [{"number": 1, "text": "Close tickets."}],
        "world": tickets(1),
    }
    file = tmp_path / "desk.json"
    file.write_text(json.dumps({**whole, **change}))
    async with bench_at(tmp_path / "home", roots=[tmp_path]) as bench:
        with pytest.raises(InvalidArgument) as wrong:
            await bench.imports.start(str(file), wait_s=45)
        assert (await bench.items.page("environment")).total == 0
    assert wrong.value.where.startswith("desk.json, ") and where in wrong.value.where


async def test_a_client_exports_an_environment_and_takes_it_in_under_another_name(tmp_path: Path) -> None:
    async with server_desk(tmp_path / "data", roots=(tmp_path,)) as at:
        await at.ok("create_environment", id="shop", world="shop")
        made = await at.ok("export_run", source="shop", format="json")
        assert "24 scenarios of shop" in made["summary"]
        path = str(tmp_path / "data" / made["file"])
        taken = await at.ok("import_environment", path=path, id="shop-2", wait_s=45)
    assert taken["counts"]["scenarios"] == 24 and taken["counts"]["personas"] == 6
