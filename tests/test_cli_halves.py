"""`caseharden simulate` and `caseharden score`: the two halves of `run`, with its exit codes and its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.mcp_server.cli import main
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.judge_desk import Asked, judged_by, judging, score, verdict
from caseharden.tests.workbench_cases import INSTRUCTIONS, closing, tickets

JUDGED = {"id": "polite", "judge": "The agent is polite.", "counts": False}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three cases, one of which does not pass."""
    place = tmp_path / "cases"
    place.mkdir()
    write(place, {"settings": {"thresholds": {"pass_rate": 0.5}}})
    return place


def write(place: Path, environment: Mapping[str, Any]) -> None:
    cases = [closing(n, split="train") for n in (1, 2, 3)]
    cases[2]["expected"] = [*cases[2]["expected"], {"say": "Farewell."}]
    cases[2]["success"] = [{"id": "farewell", "said": {"text": "farewell"}}]
    for case in cases:
        case["success"] = [*case["success"], JUDGED]
    config = {"environment": {"id": "desk", **environment}, "world": "world.json"}
    (place / "caseharden.json").write_text(json.dumps(config))
    (place / "world.json").write_text(json.dumps(tickets(4)))
    (place / "instructions.md").write_text(
        f"{INSTRUCTIONS}\nBefore calling close_ticket, call look_up_ticket.\n"
    )
    (place / "scenarios.json").write_text(json.dumps(cases))


@pytest.fixture
def says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """(exit code, what it printed, what it said on standard error) of a command over a data folder."""

    def call(*words: str, home: str = "home") -> tuple[int, str, str]:
        code = main([*words, "--home", str(tmp_path / home)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.mark.requirement("AK-18")
def test_simulating_and_scoring_come_to_what_a_run_comes_to(folder: Path, says: Any) -> None:
    code, whole, _ = says("run", str(folder), "--json", home="one")
    first, half, _ = says("simulate", str(folder), "--json", home="two")
    second, scored, _ = says("score", "--json", home="two")
    assert (first, second) == (0, code)
    told, done = json.loads(whole), json.loads(scored)
    for name in ("totals", "clusters", "thresholds", "models", "state", "warnings"):
        assert done[name] == told[name], name
    assert json.loads(half)["id"] == done["id"] == "run-1"
    assert "changed" not in done, "it had no verdicts before that somebody was told"


@pytest.mark.requirement("AK-18")
def test_simulating_asks_no_judge_and_scoring_asks_it_once(folder: Path, says: Any) -> None:
    def answer(asked: Asked) -> Mapping[str, Any]:
        return {key: score(4) if key in asked.metrics else verdict() for key in asked.keys}

    with FakeEndpoint(judging(answer)) as endpoint:
        write(folder, {"models": judged_by(endpoint), "settings": {"metrics": ["helpfulness"]}})
        code, told, _ = says("simulate", str(folder))
        assert (code, len(endpoint.requests)) == (0, 0)
        assert "3 trials simulated, not scored yet" in told and "score run-1" in told
        code, told, _ = says("score", "run-1", "--threshold", "helpfulness=4.5", "--plain")
        assert (code, len(endpoint.requests)) == (1, 3)
        assert "helpfulness: 4.00" in told and "FAIL  helpfulness >= 4.5" in told
        code, told, _ = says("score", "run-1", "--threshold", "helpfulness=4", "--plain")
        assert (code, len(endpoint.requests)) == (0, 3)


def test_other_metrics_reports_and_a_baseline_are_the_second_halfs(
    folder: Path, tmp_path: Path, says: Any
) -> None:
    assert says("simulate", str(folder))[0] == 0
    junit, saved = tmp_path / "out" / "junit.xml", tmp_path / "baseline.json"
    code, told, _ = says("score", "--metric", "turns", "--junit", str(junit), "--save-baseline", str(saved))
    assert code == 0 and "turns: " in told and "<testsuite" in junit.read_text()
    code, told, _ = says("score", "--baseline", str(saved))
    assert code == 0 and "Against" in told
    code, _, error = says("score", "--baseline", str(tmp_path / "none.json"))
    assert code == 2 and "score run-1 --save-baseline" in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("score",), "There is no run yet"),
        (("score", "run-9"), "No run `run-9`"),
        (("score", "--threshold", "pass_rate"), "`pass_rate` is not a threshold"),
        (("simulate", "nowhere"), "does not exist"),
        (("simulate", ".", "--baseline", "x"), "--baseline"),
        (("simulate", ".", "--trials", "99"), " --trials 1\n"),
    ],
)
def test_what_is_wrong_is_told_with_what_to_type(words: tuple[str, ...], told: str, says: Any) -> None:
    code, _, error = says(*words)
    assert code == 2 and told in error and "  next: " in error


def test_an_unknown_metric_is_told_before_anything_is_scored(folder: Path, says: Any) -> None:
    says("simulate", str(folder))
    code, _, error = says("score", "--metric", "helpfullness")
    assert code == 2 and "helpfulness" in error and "--metric" in error


def test_a_run_that_is_left_half_done_gives_no_result(folder: Path, says: Any) -> None:
    code, told, _ = says("simulate", str(folder), "--budget", "calls=1", "--concurrency", "1")
    assert code == 3 and "Paused." in told and "simulate" in told and "--resume run-1" in told
    assert says("score", "run-1")[0] == 3
    code, told, _ = says("simulate", str(folder), "--resume", "run-1", "--budget", "calls=900")
    assert code == 0 and "3 trials simulated" in told
