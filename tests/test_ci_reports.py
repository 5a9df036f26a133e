"""What CI is given: a JUnit file, the summary of a step, workflow files, and a folder of cases as a pytest test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from caseharden.engine.records.opinion import MetricSummary
from caseharden.engine.records.run import Cluster, RunRecord, ThresholdResult
from caseharden.mcp_server.ci_reports import step_summary
from caseharden.mcp_server.scaffold import write
from caseharden.tests.commanded import commanded

DESK = Path("examples") / "shop-desk"


@pytest.mark.requirement("AK-19")
def test_a_run_writes_a_junit_file_and_the_summary_of_its_step(checkout: Path, tmp_path: Path) -> None:
    summary, report = tmp_path / "summary.md", tmp_path / "out" / "report.xml"
    words = (
        "run",
        str(checkout / DESK),
        "--home",
        str(tmp_path / "home"),
        "--junit",
        str(report),
    )
    done = commanded(*words, cwd=tmp_path, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode in (0, 1), done.stderr
    [suite] = ElementTree.parse(report).getroot()
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) > 0
    told = summary.read_text(encoding="utf-8")
    assert told.startswith(f"### caseharden: {'passed' if done.returncode == 0 else 'failed'}\n")
    assert "| `pass_rate >= 1` |" in told


def test_what_agents_said_starts_nothing_in_a_summary() -> None:
    evil = "x` | <script>alert(1)</script>\n# big [a](javascript:b)"
    record = RunRecord(
        id="run-1",
        environment="desk",
        instructions="desk@1",
        clusters=[Cluster(id="k1", check="c1", cause=evil)],
        metrics={"helpfulness": MetricSummary(mean=3.5, direction="higher", scored=2)},
        thresholds=[ThresholdResult(threshold="pass_rate >= 1", result="fail", why=evil)],
    )
    told = step_summary(record, 1)
    rows = [line for line in told.splitlines() if "script" in line]
    assert len(rows) == 2
    for row in rows:
        spans = row.split("`")
        assert all("<" not in outside and "[" not in outside for outside in spans[::2])
    assert "| `helpfulness` | 3.500 | higher | 2 | 0 |" in told


@pytest.mark.requirement("AK-19")
@pytest.mark.parametrize("name", ["http-agent.yml", "pytest.yml"])
def test_workflow_files_are_whole_and_call_what_there_is(checkout: Path, name: str) -> None:
    text = (checkout / "examples" / "ci" / name).read_text(encoding="utf-8")
    [job] = yaml.safe_load(text)["jobs"].values()
    steps: list[dict[str, Any]] = job["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    commands = "\n".join(str(step.get("run", "")) for step in steps)
    for script in (step["run"] for step in steps if "run" in step):
        assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    assert "caseharden" in commands
    assert "/health" in commands or "pytest" in commands


def run_by_pytest(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Pytest over one test, with the plugin and no other."""
    (folder / "test_desk.py").write_text(body, encoding="utf-8")
    words = (
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "caseharden.mcp_server.pytest_plugin",
        "test_desk.py",
    )
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.requirement("LW-15")
def test_the_fixture_runs_a_folder_and_fails_with_its_reasons(checkout: Path, tmp_path: Path) -> None:
    desk = checkout / DESK
    body = (
        "def test_held(caseharden):\n"
        f"    run = caseharden.run({str(desk)!r}, thresholds={{'pass_rate': 0}})\n"
        "    assert run['totals']['trials'] > 0\n"
        "def test_missed(caseharden):\n"
        f"    caseharden.run({str(desk)!r}, thresholds={{'check:no-such': 1}})\n"
        "def test_wrong(caseharden):\n"
        f"    caseharden.run({str(desk)!r}, metrics=['helpfullness'])\n"
    )
    done = run_by_pytest(tmp_path, body)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 1 passed" in done.stdout
    assert "Unknown metric `helpfullness`. Did you mean `helpfulness`?" in done.stdout
    assert "Traceback" not in done.stdout and "pytest_plugin.py" not in done.stdout
    assert "missed: check:no-such >= 1: no trial has a check no-such" in done.stdout


def test_of_many_failures_the_fixture_shows_ten_and_counts_the_others(tmp_path: Path) -> None:
    write(tmp_path / "loans")
    (tmp_path / "loans" / "instructions.md").write_text("Be friendly.\n", encoding="utf-8")
    done = run_by_pytest(tmp_path, "def test_desk(caseharden):\n    caseharden.run('loans', trials=8)\n")
    told = done.stdout.partition("short test summary")[0]  # which in CI has the whole text again
    passed, trials = map(int, re.findall(r"(\d+) of (\d+) trials pass", told)[0])
    shown = re.findall(r"^  run-1/\S+: fail", told, re.MULTILINE)
    assert (len(shown), f"  and {trials - passed - 10} more" in told) == (10, True), told


def test_the_plugin_is_an_entry_point_of_the_package(checkout: Path) -> None:
    told = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\ncaseharden = "caseharden.mcp_server.pytest_plugin"' in told
