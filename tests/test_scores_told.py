"""What is told of scores: figures that are nought, why nothing was measured, who was offline, what stood before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.mcp_server import cli
from caseharden.tests.fake_endpoint import FakeEndpoint, chat, fault
from caseharden.tests.judge_desk import Asked, judged_by, judging, score, verdict
from caseharden.tests.server_desk import TINY, Desk, closing, desk

CONFIRMED = {"id": "sure", "judge": "The agent makes sure that it closes the right ticket."}
CLOSED = {"id": "closed", "tool": "close_ticket"}


def answer(asked: Asked) -> Mapping[str, Any]:
    """Passes every criterion, and gives every metric its least."""
    return {key: score(0) if key in asked.metrics else verdict() for key in asked.keys}


async def judged(at: Desk, *success: Mapping[str, Any], **settings: Any) -> None:
    """The environment `support` with two scenarios that have these checks."""
    await at.ok(
        "create_environment", id="support", instructions="Close tickets.", world_data=TINY, settings=settings
    )
    cases = [{**closing(f"close-{n}", f"T{n}"), "split": "train", "success": list(success)} for n in (1, 2)]
    await at.ok("create_scenarios", environment="support", scenarios=cases, check=False)


@pytest.mark.anyio
async def test_a_mean_of_nought_is_told(tmp_path: Path) -> None:
    with FakeEndpoint(judging(answer)) as endpoint:
        async with desk(tmp_path) as at:
            await judged(at, CLOSED)
            asked = {"metrics": ["hallucinations", "tool_errors"], "models": judged_by(endpoint)}
            metrics = (await at.ok("run_simulations", environment="support", wait_s=30, **asked))["metrics"]
    assert (metrics["hallucinations"]["mean"], metrics["tool_errors"]["mean"]) == (0, 0)


@pytest.mark.anyio
async def test_a_metric_without_a_value_is_told_with_its_reason(tmp_path: Path) -> None:
    with FakeEndpoint(chat("no idea")) as endpoint:
        async with desk(tmp_path) as at:
            await judged(at, CLOSED)
            await at.ok("run_simulations", environment="support", wait_s=30)
            offline = await at.ok("score_run", run="run-1", metrics=["helpfulness", "safety", "turns"])
            judge = judged_by(endpoint)["judge"]
            broken = await at.ok("score_run", run="run-1", metrics=["helpfulness"], judge=json.dumps(judge))
            first = broken["warnings"][0].rpartition(" ")[2]
            checks = await at.ok("get_item", kind="conversation", id=first, view="checks")
    assert offline["warnings"][0] == (
        "Unscored: helpfulness in 2 of 2, safety in 2 of 2 conversations: the offline judge measures nothing; name a "
        "model for the role judge"
    )
    assert broken["warnings"][0].startswith(
        "Unscored: helpfulness in 2 of 2 conversations: the reason stands in"
    )
    assert checks["item"]["metrics"][0]["unscored"] == "the answer is not a JSON object"


@pytest.mark.anyio
async def test_a_threshold_that_is_set_later_is_measured_because_it_is_named(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await judged(at, CLOSED)
        await at.ok("run_simulations", environment="support", wait_s=30)
        before = await at.ok("get_item", kind="run", id="run-1")
        told = await at.ok("score_run", run="run-1", thresholds={"tool_calls": 9, "check_score": 0.5})
        after = await at.ok("get_item", kind="run", id="run-1")
    assert [one["result"] for one in told["thresholds"]] == ["pass", "pass", "pass"]
    assert told["metrics"]["tool_calls"]["scored"] == 2
    assert before["item"]["models_used"] == after["item"]["models_used"], "nobody was asked"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("threshold", "allowed"), [({"max_errors": 0.5}, "whole number"), ({"check:": 1}, "check:ID")]
)
async def test_a_threshold_that_can_mean_nothing_is_refused(
    tmp_path: Path, threshold: dict[str, Any], allowed: str
) -> None:
    async with desk(tmp_path) as at:
        await judged(at, CLOSED)
        await at.ok("run_simulations", environment="support", wait_s=30)
        refused = await at.error("score_run", run="run-1", thresholds=threshold)
    assert allowed in str(refused["allowed"])


@pytest.mark.anyio
async def test_a_judge_that_cannot_be_asked_is_named_where_the_trial_is_told(tmp_path: Path) -> None:
    with FakeEndpoint(fault(401, "no")) as endpoint:
        async with desk(tmp_path) as at:
            await judged(at, CONFIRMED)
            limits = {"thresholds": {"helpfulness": 3}, "pause_after": 0}
            told = await at.ok(
                "run_simulations",
                environment="support",
                wait_s=30,
                metrics=["helpfulness"],
                models=judged_by(endpoint),
                options=limits,
            )
            checks = await at.ok("get_item", kind="conversation", id="run-1/close-1/1", view="checks")
    assert "(the judge, missing_key)" in told["warnings"][0]
    assert told["thresholds"][1]["why"] == "no trial could be counted"
    assert checks["item"]["error"] == "missing_key" and "refused the key" in checks["item"]["why"]


@pytest.mark.anyio
async def test_what_stood_before_the_first_scoring_is_no_earlier_verdict(tmp_path: Path) -> None:
    with FakeEndpoint(judging(answer)) as endpoint:
        async with desk(tmp_path) as at:
            await judged(at, CONFIRMED)
            models = judged_by(endpoint)
            await at.ok("run_simulations", environment="support", wait_s=30, models=models)
            asked: dict[str, Any] = {"kind": "conversation", "id": "run-1/close-1/1", "view": "checks"}
            first = (await at.ok("get_item", **asked))["item"]
            await at.ok("score_run", run="run-1", judge="offline")
            then = (await at.ok("get_item", **asked))["item"]
    assert first["verdict"] == "pass" and "earlier" not in first
    assert [row["verdict"] for row in then["earlier"]] == ["pass"]


@pytest.mark.anyio
async def test_replies_name_the_roles_that_are_offline(tmp_path: Path) -> None:
    with FakeEndpoint(chat("Which ticket?")) as endpoint:
        async with desk(tmp_path) as at:
            await judged(at, CLOSED)
            whole = await at.ok("run_simulations", environment="support", wait_s=30)
            model = {"agent": {"model": "agent-1", "base_url": endpoint.base_url}}
            partly = await at.ok("run_simulations", environment="support", wait_s=30, models=model)
            again = await at.ok("run_simulations", environment="support", wait_s=30, models=model)
            mixed = await at.ok("compare_runs", base="run-1", run="run-2")
            alike = await at.ok("compare_runs", base="run-2", run="run-3")
    assert "(offline)" in whole["summary"] and "(offline)" in mixed["summary"]
    for reply in (partly, again, alike):
        assert "(user offline)" in reply["summary"]
        assert reply["warnings"][-1].startswith("The user is offline (rule-based)")


@pytest.mark.anyio
async def test_a_recording_is_played_by_nobody_who_is_offline(tmp_path: Path) -> None:
    log = [{"by": "user", "say": "Close T1."}, {"by": "agent", "say": "Done."}]
    agent = {"kind": "recorded", "conversations": [{"scenario": "close-1", "log": log}]}
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="past", instructions="x", world_data=TINY, agent=agent)
        case = {**closing("close-1", "T1"), "success": [{"said": "Done"}]}
        await at.ok("create_scenarios", environment="past", scenarios=[case], check=False)
        told = await at.ok("run_simulations", environment="past", wait_s=30)
    assert (told["models"]["agent"], told["models"]["user"]) == ("recorded", "recorded")
    assert "offline" not in told["summary"] and "warnings" not in told


def test_a_score_in_which_nothing_could_be_judged_has_no_result_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASEHARDEN_HOME", str(tmp_path / "home"))
    folder = str(tmp_path / "cases")
    assert cli.main(["init", folder]) == 0
    assert cli.main(["simulate", folder, "--plain"]) == 0
    capsys.readouterr()
    assert cli.main(["score", "--metric", "helpfulness", "--plain"]) == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "helpfulness: no value; 8 unscored" in told and "the offline judge measures nothing" in told
    assert cli.main(["score", "--metric", "helpfulness", "--metric", "turns", "--plain"]) == 0
    assert cli.main(["score", "--metric", "helpfulness", "--threshold", "helpfulness=3", "--plain"]) == 1


@pytest.mark.anyio
async def test_a_judge_is_named_or_given_as_an_object_in_a_text(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await judged(at, CLOSED)
        await at.ok("run_simulations", environment="support", wait_s=30)
        refused = await at.error("score_run", run="run-1", judge='{"model": "x"')
    assert refused["where"] == "score_run.judge" and "base_url" in refused["allowed"]
