"""`caseharden import` and the example: a made-up checkout, its results, and what went wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from caseharden.mcp_server.cli import main
from caseharden.tests import made_up_tau
from caseharden.tests.made_up_tau import checkout

EXAMPLE = Path(__file__).parents[1] / "examples" / "import_tau_bench" / "import_tau_bench.py"


def results(place: Path) -> Path:
    file = place / "results.json"
    file.write_text(json.dumps(made_up_tau.results()), encoding="utf-8")
    return file


def imports(home: Path, *words: str) -> int:
    return main(["import", *words, "--home", str(home), "--plain"])


@pytest.mark.requirement("SG-8")
def test_the_command_takes_an_environment_then_its_results_and_tells_what_was_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk, file = checkout(tmp_path / "tau"), results(tmp_path / "tau")
    code = ("--allow-code", str(tmp_path / "tau"))
    assert imports(tmp_path / "home", str(desk), "--id", "desk", *code) == 0
    said = capsys.readouterr().out
    assert "ok    took tau-bench as desk" in said and "3 scenarios, solutions: 2 proven of 3" in said
    assert "lost  task: this is no literal" in said
    assert imports(tmp_path / "home", str(file), "--id", "desk", *code) == 0
    said = capsys.readouterr().out
    assert "6 conversations" in said and "6 of 6 as recorded, 0 unknown" in said


def test_a_dry_run_stores_nothing_and_a_wrong_path_says_what_to_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = checkout(tmp_path / "tau")
    assert imports(tmp_path / "home", str(desk), "--dry-run") == 0
    assert "would take tau-bench as desk-tau" in capsys.readouterr().out
    assert imports(tmp_path / "home", str(results(tmp_path / "tau")), "--id", "desk-tau") == 2
    assert "There is no environment `desk-tau`" in capsys.readouterr().err
    assert imports(tmp_path / "home", str(desk / "data")) == 2
    assert "Looked for" in capsys.readouterr().err
    assert imports(tmp_path / "home", str(tmp_path / "nothing")) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.requirement("SG-13")
def test_the_example_reproduces_every_recorded_reward(tmp_path: Path) -> None:
    checkout(tmp_path)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path), "desk", str(results(tmp_path))],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "desk: 3 scenarios, 2 solutions proven"
    assert "results.json: 6 of 6 rewards reproduced; pass^1 0.5000, pass^2 0.0000" in lines
    assert "  results of calls that differ: 0 of 4" in lines
