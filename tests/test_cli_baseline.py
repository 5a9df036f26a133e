"""`caseharden run` against a baseline, as a process: the comparison decides the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caseharden.tests.test_cli import call, folder, home

__all__ = ["folder", "home"]
pytestmark = pytest.mark.requirement("CH-20")


def spoil(folder: Path) -> None:
    """Take the rules out of the instructions, and let the threshold pass."""
    (folder / "instructions.md").write_text("You are the assistant of a town library.\n")
    config = folder / "caseharden.yaml"
    config.write_text(config.read_text().replace("pass_rate: 0.9", "pass_rate: 0"))


def test_a_run_that_is_worse_than_its_baseline_fails_the_build(folder: Path, home: Path) -> None:
    file = folder / "base.json"
    saved = call("run", str(folder), "--save-baseline", str(file), home=home)
    assert (saved.returncode, saved.stderr) == (0, "")
    assert saved.stdout.endswith(f"Baseline saved: {file}\n")
    text = file.read_text()
    assert json.loads(text)["format"] == "baseline/1" and "loan L" not in text, "nothing of what was said"
    same = call("run", str(folder), "--baseline", str(file), home=home)
    assert (same.returncode, same.stderr) == (0, ""), same.stdout
    assert "8 of 8 -> 8 of 8 pass (+0 points" in same.stdout
    assert "PASS  baseline scenarios not worse" in same.stdout
    spoil(folder)
    worse = call("run", str(folder), "--baseline", str(file), "--save-baseline", str(file), home=home)
    assert worse.returncode == 1, worse.stdout
    assert "PASS  pass_rate >= 0" in worse.stdout
    assert "FAIL  baseline pass rate drop <= 5 points: 8 -> 2 of 8, -75 points" in worse.stdout
    assert "differs instructions" in worse.stdout and "  broken " in worse.stdout
    assert "Baseline not saved" in worse.stdout and file.read_text() == text
    told = worse.stdout.partition("Against ")[2]
    assert told.isascii() and all(len(line) <= 100 for line in told.splitlines())
    assert "significant" not in worse.stdout
    allowed = call("run", str(folder), "--baseline", str(file), "--max-drop", "0.8", home=home)
    assert allowed.returncode == 0, allowed.stdout


def test_the_folder_names_its_baseline_and_what_may_be_lost(folder: Path, home: Path) -> None:
    config = folder / "caseharden.yaml"
    config.write_text(config.read_text() + "\nbaseline: {file: baseline.json, max_drop: 0.1}\n")
    missing = call("run", str(folder), home=home)
    assert missing.returncode == 2
    assert "caseharden.yaml, baseline: " in missing.stderr and "does not exist" in missing.stderr
    assert "--save-baseline" in missing.stderr.splitlines()[-1]
    first = call("run", str(folder), "--save-baseline", home=home)
    assert first.returncode == 0 and (folder / "baseline.json").is_file()
    spoil(folder)
    done = call("run", str(folder), "--json", home=home)
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    told = result["baseline"]
    assert (result["exit"], told["result"], told["run"]) == (1, "fail", "run-1")
    assert len(told["broken"]) == 6 and told["fixed"] == [] and told["differs"]["instructions"]
    assert told["rows"][2] == {
        "threshold": "baseline pass rate drop <= 10 points",
        "result": "fail",
        "why": "8 -> 2 of 8, -75 points",
    }


def test_an_exported_run_of_another_data_folder_serves_as_baseline(
    folder: Path, home: Path, tmp_path: Path
) -> None:
    program = (
        "import anyio, sys; from caseharden import Workbench\n"
        "async def main():\n"
        "    async with Workbench(sys.argv[1]) as bench:\n"
        "        print((await bench.exports.export('run-1')).path)\n"
        "anyio.run(main)"
    )
    assert call("run", str(folder), home=home).returncode == 0
    file = python(program, str(home)).strip()
    other = tmp_path / "other-home"
    done = call("run", str(folder), "--baseline", file, home=other)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "0 of 4 scenarios worse" in done.stdout and "differs" not in done.stdout


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (None, ("--baseline",), "does not exist"),
        ("not json", ("--baseline",), "This is no baseline"),
        ("{}", ("--baseline",), "This is no baseline"),
        ('{"format": "baseline/1", "run": 3}', ("--baseline",), "error: --baseline"),
        ("my own notes", ("--save-baseline",), "This is no baseline"),
        (
            '{"format": "baseline/1", "run": "r", "environment": "e"}',
            ("--max-drop", "2", "--baseline"),
            "not a rate",
        ),
    ],
)
def test_a_wrong_baseline_is_refused_before_anything_runs(
    folder: Path, home: Path, text: str | None, words: tuple[str, ...], told: str
) -> None:
    file = folder / "notes.json"
    if text is not None:
        file.write_text(text)
    done = call("run", str(folder), *words, str(file), home=home)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("  next: ")
    assert text is None or file.read_text() == text


def test_texts_of_a_hostile_baseline_do_not_reach_the_terminal_as_they_are(folder: Path, home: Path) -> None:
    file = folder / "base.json"
    call("run", str(folder), "--save-baseline", str(file), home=home)
    value = json.loads(file.read_text())
    value["run"] = "run\u001b]0;owned\u0007-1{0.__class__}"
    value["instructions"] = "x\u202e\u001b[31m"
    value["played"][0]["simulation"] = "a\u001b[2J\nFAIL"
    file.write_text(json.dumps(value))
    done = call("run", str(folder), "--baseline", str(file), home=home)
    assert done.returncode == 1, "one of eight has no counterpart: over a tenth"
    assert "\u001b" not in done.stdout and "\u202e" not in done.stdout and "Traceback" not in done.stderr
    assert "FAIL  baseline compared >= 90%: 7 of 8" in done.stdout


def python(program: str, *words: str) -> str:
    """What a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout
