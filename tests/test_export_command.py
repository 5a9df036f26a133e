"""`caseharden export`: what is written where, in which format, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from caseharden.engine.exchange.export_formats import EXPORTERS
from caseharden.mcp_server.cli import main
from caseharden.tests.workbench_cases import bench_at, desk


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one run, seen from an empty folder."""

    async def made() -> None:
        async with bench_at(tmp_path / "home") as bench:
            await desk(bench, 3)
            await bench.runs.start("desk", trials=2, wait_s=45)

    anyio.run(made)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return tmp_path / "home"


def exports(home: Path, *words: str) -> int:
    return main(["export", *words, "--home", str(home)])


@pytest.mark.parametrize("format", [name for name in EXPORTERS if name not in ("dpo", "grpo", "sft")])
def test_a_run_is_written_in_every_format_that_has_something_to_say(
    home: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exports(home, "run-1", "--format", format) == 0
    said = capsys.readouterr().out
    (file,) = Path.cwd().iterdir()
    assert file.suffix == EXPORTERS[format].suffix and file.stat().st_size > 0
    assert f"{file.name}  " in said and "of run-1" in said


def test_without_a_source_the_newest_run_is_written_where_it_is_wanted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exports(home, "--format", "csv", "-o", "sub/all.csv") == 0
    rows = Path("sub/all.csv").read_text(encoding="utf-8").splitlines()
    assert exports(home, "run-1", "-f", "csv", "--where", "simulation=close-1-dana", "-o", "one.csv") == 0
    assert len(rows) - 1 == 6 and len(Path("one.csv").read_text(encoding="utf-8").splitlines()) - 1 == 2
    capsys.readouterr()
    assert exports(home, "-f", "markdown", "-o", "-") == 0
    found = capsys.readouterr()
    assert found.out.startswith("#") and "of run-1" in found.err


def test_an_environment_is_written_and_taken_in_again(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exports(home, "desk") == 0
    assert "Not in it: 1 run" in capsys.readouterr().out
    assert main(["import", "desk.json", "--home", str(tmp_path / "other")]) == 0
    assert "3 scenarios, solutions: 3 proven of 3" in capsys.readouterr().out
    assert main(["export", "desk", "-o", "again.json", "--home", str(tmp_path / "other")]) == 0
    assert Path("again.json").read_bytes() == Path("desk.json").read_bytes()


def test_another_file_is_never_written_over_unless_it_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path("run-1.json")
    mine.write_text("mine")
    assert exports(home, "run-1") == 2
    said = capsys.readouterr().err
    assert "run-1.json exists" in said and "export run-1 --format json --output other.json" in said
    assert mine.read_text() == "mine"
    assert exports(home, "run-1", "--overwrite") == 0
    assert json.loads(mine.read_text(encoding="utf-8"))["run"]["id"] == "run-1"
    assert exports(home, "run-1") == 0, "the same file again is no other file"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run-9",), "No run `run-9`"),
        (("hard-9",), "No hardening `hard-9`; there are none"),
        (("run-1", "--format", "pdf"), "invalid choice"),
        (("run-1", "-f", "csv", "--where", "verdict"), "`verdict` is not a filter"),
        (("run-1", "-f", "csv", "--where", "colour=red"), "colour"),
        (("run-1", "--where", "verdict=fail"), "exported whole"),
        (("run-1", "-f", "grpo", "--where", "verdict=error"), "error"),
        (("run-1", "-o", "run-1.json/x"), "cannot be written"),
    ],
)
def test_what_cannot_be_exported_is_told_with_what_to_type(
    home: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run-1.json").write_text("mine")
    assert exports(home, *words) == 2
    said = capsys.readouterr().err
    assert told in said and "  next: " in said


def test_a_format_that_the_source_does_not_have_names_those_it_has(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exports(home, "desk", "-f", "junit") == 3
    said = capsys.readouterr().err
    assert "whole environment as junit" in said and "export desk --format json" in said


def test_a_copy_in_the_data_folder_is_kept_beside_another_one_unless_it_is_said(home: Path) -> None:
    """`export_run` refuses to write over it as well."""
    kept = home / "exports"
    assert exports(home, "run-1", "-f", "csv") == 0
    whole = (kept / "run-1.csv").read_bytes()
    one = ("run-1", "-f", "csv", "--where", "simulation=close-1-dana")
    for _ in range(2):
        assert exports(home, *one, "-o", "one.csv") == 0
    assert exports(home, *one, "-o", "-") == 0
    beside = [file for file in kept.iterdir() if file.name != "run-1.csv"]
    assert (kept / "run-1.csv").read_bytes() == whole == Path("run-1.csv").read_bytes()
    assert [file.read_bytes() for file in beside] == [Path("one.csv").read_bytes()]
    assert exports(home, *one, "--overwrite") == 0
    assert (kept / "run-1.csv").read_bytes() == Path("run-1.csv").read_bytes() != whole
    (kept / "run-1.html").write_text("mine")
    assert main(["report", "run-1", "--home", str(home)]) == 0
    assert (kept / "run-1.html").read_text() == "mine" and Path("run-1.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("export", "run-11"), "export run-1"),
        (("report", "nothing"), "report run-1"),
        (("score", "run-2"), "score run-1"),
        (("label", "run-2"), "label run-1"),
        (("prompts", "--environment", "nowhere"), "prompts --environment desk"),
        (("play", "nowhere"), "play desk"),
    ],
)
def test_after_an_id_that_names_nothing_comes_one_that_does(
    home: Path, words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--home", str(home)]) == 2
    said = capsys.readouterr().err
    assert f"caseharden {told}\n" in said and "\n  allowed: " in said
