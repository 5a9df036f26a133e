"""The door for files of all formats: who recognises what, and what is said where nobody does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from caseharden.engine.errors import InvalidArgument, NextCall, NotFound
from caseharden.engine.exchange import IMPORTERS, Roots
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio


def case_folder(place: Path) -> Path:
    """A folder of cases with one scenario."""
    place.mkdir(parents=True)
    (place / "caseharden.yaml").write_text("environment: {id: desk}\nworld: world.json\n", encoding="utf-8")
    (place / "world.json").write_text(json.dumps(tickets(3)), encoding="utf-8")
    (place / "scenarios.json").write_text(json.dumps([closing(1)]), encoding="utf-8")
    return place


async def test_a_folder_that_nobody_knows_says_what_was_looked_for_and_where_something_is(
    tmp_path: Path,
) -> None:
    case_folder(tmp_path / "all" / "desk")
    (tmp_path / "all" / "other").mkdir()
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        with pytest.raises(NotFound) as caught:
            await bench.imports.start("all")
        error = caught.value
        assert "Nothing known in `all`. Looked for caseharden.yaml" in error.what and error.where == "path"
        assert error.next == (NextCall("import_environment", {"path": "all/desk"}),)
        with pytest.raises(NotFound, match="`nothing` does not exist"):
            await bench.imports.start("nothing")


async def test_a_file_that_nobody_knows_is_told_apart_from_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"notes": []}', encoding="utf-8")
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        with pytest.raises(InvalidArgument, match=r"Nothing known in `notes\.json`"):
            await bench.imports.start("notes.json")
        with pytest.raises(InvalidArgument, match=r"nothing of caseharden in `notes\.json`"):
            await bench.imports.start("notes.json", format="caseharden")


async def test_a_format_that_is_asked_for_is_the_only_one_that_is_tried(tmp_path: Path) -> None:
    case_folder(tmp_path / "desk")
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        with pytest.raises(InvalidArgument, match="Importing word is not in this version"):
            await bench.imports.start("desk", format="word")
        made = (await bench.imports.start("desk", format="caseharden", wait_s=45)).report
        assert made is not None and made.taken == {
            "format": "caseharden",
            "personas": 0,
            "scenarios": 1,
            "files": 3,
        }


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
async def test_what_may_not_be_read_is_not_looked_into_to_recognise_it_either(
    tmp_path: Path, kind: str
) -> None:
    """Neither a link that leads out, nor one put in the place of a folder, nor a pipe that nobody writes to."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    for place in (outside, inside / "all"):
        place.mkdir(parents=True)
    scenarios = {"schema_version": "v1", "scenarios": [{"scenario_id": "one", "goal": "Go."}]}
    (outside / "scenarios.json").write_text(json.dumps(scenarios), encoding="utf-8")
    (outside / "trace.json").write_text('{"apps": [], "events": []}', encoding="utf-8")
    for name in ("scenarios.json", "trace.json"):
        if kind == "link":
            (inside / "all" / name).symlink_to(outside / name)
        elif kind == "pipe":
            os.mkfifo(inside / "all" / name)
    if kind == "folder":
        (inside / "all").rmdir()
        (inside / "all").symlink_to(outside)
    roots = Roots([inside])
    paths = [inside / "all", *(inside / "all" / name for name in ("scenarios.json", "trace.json"))]
    for importer in IMPORTERS.values():
        assert [importer.recognise(path, roots) for path in paths] == ["", "", ""], importer.name
    there = [importer.recognise(outside, Roots([outside])) for importer in IMPORTERS.values()]
    assert "a project of ArkSim" in there


def test_the_ends_of_a_file_are_looked_at_by_the_rules_for_reading_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"first\xff" + b"x" * 100 + b"last")
    roots = Roots([tmp_path])
    assert roots.peek("a.json", 6) == "first\ufffd" and roots.peek("a.json", 4, end=True) == "last"
    assert roots.peek("a.json", 10**6, end=True).endswith("last")
    assert [roots.peek(path, 10) for path in (".", "none.json", "/etc/passwd", "a\0")] == [""] * 4
