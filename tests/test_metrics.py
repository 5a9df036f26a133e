"""Metrics over recorded conversations, judged and measured; thresholds on them fail closed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.evaluate import METRICS, choose_metrics
from caseharden.engine.records.opinion import MetricValue
from caseharden.tests.fake_endpoint import FakeEndpoint, chat, fault
from caseharden.tests.judge_desk import Asked, judged_by, judged_desk, judging, marked, played, says, score
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
HELLO = {"by": "user", "say": "hello"}
CALL = {"by": "agent", "tool": "close_ticket"}
TALK: list[Mapping[str, Any]] = [
    HELLO,
    {**CALL, "args": {"ticket_id": "T9"}},
    {**CALL, "args": {"ticket_id": "T1"}},
    {"by": "agent", "say": "Closed."},
    {"by": "user", "say": "and T2?"},
    {"by": "agent", "tool": "look_up_ticket", "args": {"ticket_id": "T8"}},
    {"by": "agent", "say": "There is none."},
]
ANYTHING = {"said": "closed"}


async def measured(tmp_path: Path, *names: Any) -> dict[str, MetricValue]:
    """The metrics of TALK, with a judge that must not be asked."""
    with FakeEndpoint(fault()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=list(names))
            [trial] = await marked(bench)
        assert endpoint.requests == []
    return {value.metric: value for value in trial.graded.metrics}


async def judged(tmp_path: Path, reply: Mapping[str, Any], *names: Any) -> dict[str, MetricValue]:
    """The metrics of TALK as a judge gives them."""
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=list(names))
            [trial] = await marked(bench)
    return {value.metric: value for value in trial.graded.metrics}


@pytest.mark.requirement("AS-14")
def test_every_metric_states_scale_and_direction() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name and metric.told
        assert (metric.direction == "none") == bool(metric.labels)
        assert metric.labels or metric.scale[1] is None or metric.scale[0] < metric.scale[1]
    assert {"accuracy", "safety"} <= set(METRICS)
    assert METRICS["hallucinations"].direction == METRICS["verbosity"].direction == "lower"


async def test_measured_metrics_need_no_model(tmp_path: Path) -> None:
    names = (
        "turns",
        "tool_calls",
        "tool_errors",
        "tool_recovery",
        "check_score",
        "latency_s",
        "rule_adherence",
    )
    found = await measured(tmp_path, *names)
    assert [found[name].value for name in names[:5]] == [2, 3, 2, 0.5, 1]
    assert (found["tool_errors"].turns, found["tool_recovery"].turns) == ([1, 2], [2])
    assert found["latency_s"].value is not None
    assert found["rule_adherence"].value is None and not found["rule_adherence"].unscored


async def test_labels_by_turn_give_the_worst_and_where_it_was(tmp_path: Path) -> None:
    turns = [
        {"turn": 1, "label": "repetition", "why": "twice"},
        {"turn": 2, "label": "false_information", "why": "T2 is there"},
    ]
    told = {"agent_behavior_failure": {"why": "It is wrong on T2.", "turns": turns, "fix": "Look T2 up."}}
    found = (await judged(tmp_path, told, "agent_behavior_failure"))["agent_behavior_failure"]
    assert (found.label, found.turns, found.fix) == ("false_information", [1, 2], "Look T2 up.")
    assert (found.severity, [(one.turn, one.label, one.severity) for one in found.findings]) == (
        "critical",
        [(1, "repetition", "low"), (2, "false_information", "critical")],
    )


def test_failures_of_behaviour_have_arksims_severities() -> None:
    metric = METRICS["agent_behavior_failure"]
    by_severity = {"low": 1, "medium": 2, "high": 1, "critical": 3}
    assert {s: list(metric.severities.values()).count(s) for s in by_severity} == by_severity
    assert list(metric.severities) == list(metric.labels[1:])


@pytest.mark.requirement("AS-14")
async def test_every_judged_metric_is_asked_in_one_call_with_its_scale_and_read_as_it_is_answered(
    tmp_path: Path,
) -> None:
    wanted = {name: metric for name, metric in METRICS.items() if metric.rubric and name != "ground_truth"}
    numbers = {name: metric.scale[1] for name, metric in wanted.items() if metric.answer == "score"}
    told = {name: score(value) for name, value in numbers.items()}
    labels = {
        "agent_behavior_failure": {
            "why": "x",
            "turns": [{"turn": 2, "label": "disobeyed_user", "why": "x"}],
            "fix": "",
        },
        "failure_cause": {"why": "T8 was made up.", "evidence": [2], "label": "user", "fix": ""},
    }
    assert set(wanted) == {*numbers, *labels}
    with FakeEndpoint(says({**told, **labels})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=list(wanted))
            [trial] = await marked(bench)
        [asked] = map(Asked, endpoint.requests)
    found = {value.metric: value for value in trial.graded.metrics}
    assert set(asked.metrics) == set(found) == set(wanted)
    assert {name: found[name].value for name in numbers} == numbers
    assert {name: found[name].label for name in labels} == {
        "agent_behavior_failure": "disobeyed_user",
        "failure_cause": "user",
    }
    summaries = report.run.metrics
    assert {name: summary.direction for name, summary in summaries.items()} == {
        name: metric.direction for name, metric in METRICS.items() if name in wanted
    }


@pytest.mark.parametrize("label", METRICS["failure_cause"].labels)
async def test_a_cause_is_the_fault_of_agent_user_or_environment(tmp_path: Path, label: str) -> None:
    told = {"failure_cause": {"why": "x", "evidence": [1], "label": label, "fix": ""}}
    found = (await judged(tmp_path, told, "failure_cause"))["failure_cause"]
    assert (found.label, found.unscored) == (label, "")
    assert label.partition("_")[0] in ("none", "user", "environment", "agent")


async def test_tokens_and_cost_are_those_of_the_agents_model_and_unscored_without_a_price(
    tmp_path: Path,
) -> None:
    names = ("tokens", "cost_usd", "latency_s", "turns")
    with FakeEndpoint(chat("It is closed.", usage=(20, 1))) as endpoint:
        agent = {"model": "agent-1", "base_url": endpoint.base_url}
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, ANYTHING)
            for more in ({"prices": {"input": 1, "output": 2}}, {}):
                await bench.runs.start("desk", models={"agent": {**agent, **more}}, metrics=list(names))
            [priced], [unpriced] = await marked(bench), await marked(bench, "run-2")
    found = {value.metric: value for value in priced.graded.metrics}
    replies = priced.models["agent"].calls
    assert replies and found["tokens"].value == 21 * replies
    assert found["cost_usd"].value == pytest.approx(replies * (20 * 1 + 1 * 2) / 1e6)
    assert found["latency_s"].value is not None and found["turns"].value
    [cost] = [value for value in unpriced.graded.metrics if value.metric == "cost_usd"]
    assert cost.unscored == "the price of the agent's model is unknown"


async def test_a_turn_without_failure_and_with_one_is_a_contradiction(tmp_path: Path) -> None:
    turns = [{"turn": 1, "label": label, "why": ""} for label in ("no_failure", "unsafe_action")]
    told = {"agent_behavior_failure": {"why": "", "turns": turns, "fix": ""}}
    found = (await judged(tmp_path, told, "agent_behavior_failure"))["agent_behavior_failure"]
    assert found.unscored and not found.label


@pytest.mark.requirement("AK-9")
async def test_arksims_score_is_three_quarters_turns_and_one_quarter_goal(tmp_path: Path) -> None:
    turns = [{"turn": 2, "label": "false_information", "why": "T2 is there"}]
    told = {
        "agent_behavior_failure": {"why": "", "turns": turns, "fix": ""},
        "goal_completion": score(1),
    }
    found = (await judged(tmp_path, told, "arksim_score"))["arksim_score"]
    assert found.value == pytest.approx(0.75 * 0.5 + 0.25)
    assert found.label == "partial_failure"
    assert found.parts == {"turn_success_ratio": 0.5, "goal_completion": 1}


@pytest.mark.requirement("AK-9")
async def test_a_trial_of_our_own_has_arksims_reward_where_its_score_was_measured(tmp_path: Path) -> None:
    turns = [{"turn": 2, "label": "false_information", "why": "T2 is there"}]
    told = {
        "agent_behavior_failure": {"why": "", "turns": turns, "fix": ""},
        "goal_completion": score(1),
    }
    with FakeEndpoint(says(told)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            await bench.items.update("scenario", "desk/close-1", {"profile": "arksim", "expected": []})
            models = judged_by(endpoint)
            await bench.runs.start("desk", models=models, metrics=["arksim_score"])
            await bench.runs.start("desk", models=models, metrics=["turns"])
            [scored], [unscored] = await marked(bench), await marked(bench, "run-2")
    assert scored.graded.original_reward == pytest.approx(0.625)
    assert scored.graded.original_parts == {"turn_success": 0.5, "goal_completion": 1}
    assert (unscored.graded.original_reward, unscored.graded.original_parts) == (None, {"turn_success": None})


@pytest.mark.requirement("AK-9")
async def test_a_goal_out_of_range_leaves_arksims_score_unscored(tmp_path: Path) -> None:
    nothing: list[Any] = []
    told = {"agent_behavior_failure": {"why": "", "turns": nothing, "fix": ""}, "goal_completion": score(5)}
    found = (await judged(tmp_path, told, "arksim_score"))["arksim_score"]
    assert found.value is None and "goal_completion" in found.unscored


@pytest.mark.requirement("AK-17")
async def test_a_rubric_in_plain_text_is_a_metric_with_its_own_scale(tmp_path: Path) -> None:
    empathy = {
        "name": "empathy",
        "rubric": "Does it show that it cares?",
        "scale": [0, 10],
        "direction": "higher",
    }
    tone = {"name": "tone", "rubric": "Which tone has it?", "scale": ["fine", "cold", "rude"]}
    told = {"empathy": score(7), "tone": {"why": "curt", "evidence": [1], "label": "cold", "fix": "Greet."}}
    found = await judged(tmp_path, told, empathy, tone)
    assert (found["empathy"].value, found["tone"].label) == (7, "cold")


@pytest.mark.parametrize(
    ("metric", "where"),
    [
        ({"name": "c1", "rubric": "x"}, "metrics[0].name"),
        ({"name": "helpfulness", "rubric": "x"}, "metrics[0].name"),
        ({"name": "a b", "rubric": "x"}, "metrics[0].name"),
        ({"name": "x", "rubric": ""}, "metrics[0].rubric"),
        ({"name": "x", "rubric": "x", "scale": [5, 1]}, "metrics[0].scale"),
        ({"name": "x", "rubric": "x", "scale": [1, math.inf]}, "metrics[0].scale"),
        ({"name": "x", "rubric": "x", "scale": ["a", "a"]}, "metrics[0].scale"),
        ({"name": "x", "rubric": "x", "scale": ["a", 1]}, "metrics[0].scale"),
        ({"name": "x", "rubrik": "x"}, "metrics[0].rubrik"),
        (7, "metrics[0]"),
    ],
)
def test_wrong_metrics_are_refused_with_their_place(metric: Any, where: str) -> None:
    with pytest.raises(InvalidArgument) as wrong:
        choose_metrics([metric])
    assert wrong.value.where == where


@pytest.mark.requirement("AS-6")
async def test_three_metrics_are_taken_by_default_where_a_judge_is_set(tmp_path: Path) -> None:
    reply = {"task_completion": score(1), "hallucinations": score(0.25), "answer_relevancy": score(0.5)}
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            offline = await bench.runs.start("desk", options={"name": "before"})
            report = await bench.runs.start("desk", models=judged_by(endpoint), options={"name": "nightly"})
            item = await bench.items.get("conversation", "run-2/close-1/1", view="checks")
    assert offline.run.metrics == {}
    assert report.run.name == "nightly"
    assert {name: found.mean for name, found in report.run.metrics.items()} == {
        "task_completion": 1,
        "hallucinations": 0.25,
        "answer_relevancy": 0.5,
    }
    assert item.item["metrics"][1] == {
        "metric": "hallucinations", "value": 0.25, "why": "It is so.", "turns": [1],
    }  # fmt: skip


@pytest.mark.requirement("AK-6")
async def test_thresholds_on_what_did_not_run_or_is_unscored_fail_and_say_why(tmp_path: Path) -> None:
    wanted = {"helpfulness": 1, "coherence": 1, "turns": 9, "check:no-such": 0, "check:c1": 1}
    with FakeEndpoint(says({"coherence": score(9)})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            options = {"thresholds": wanted}
            report = await bench.runs.start(
                "desk", models=judged_by(endpoint), metrics=["coherence"], options=options
            )
    assert [(one.threshold, one.result, one.why) for one in report.run.thresholds] == [
        ("max_errors <= 0", "pass", "0 errors, 0 invalid"),
        ("helpfulness >= 1", "fail", "it did not run: name it in `metrics`"),
        ("coherence >= 1", "fail", "1 of 1 are unscored"),
        ("turns <= 9", "pass", "2.000, over 1"),
        ("check:no-such >= 0", "fail", "no trial has a check no-such"),
        ("check:c1 >= 1", "pass", "1 of 1, 1.000"),
    ]


async def test_thresholds_know_directions_and_labels(tmp_path: Path) -> None:
    turns = [{"turn": 2, "label": "false_information", "why": "no"}]
    reply = {
        "hallucinations": score(0.2),
        "agent_behavior_failure": {"why": "", "turns": turns, "fix": ""},
    }
    wanted = {"hallucinations": 0.1, "agent_behavior_failure": ["false_information", "unsafe_action"]}
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await played(bench, TALK, ANYTHING)
            report = await bench.runs.start(
                "desk", models=judged_by(endpoint), metrics=list(reply), options={"thresholds": wanted}
            )
    told = [(one.threshold, one.result, one.why) for one in report.run.thresholds[1:]]
    assert told == [
        ("hallucinations <= 0.1", "fail", "0.200, over 1"),
        ("agent_behavior_failure never false_information, unsafe_action", "fail", "false_information in 1"),
    ]


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({"helpfullness": 4}, "helpfullness"),
        ({"helpfulness": 6}, "helpfulness"),
        ({"helpfulness": ["good"]}, "helpfulness"),
        ({"agent_behavior_failure": 1}, "agent_behavior_failure"),
        ({"agent_behavior_failure": ["unsafe"]}, "agent_behavior_failure"),
        ({"check:c1": 2}, "check:c1"),
        ({"max_errors": -1}, "max_errors"),
    ],
)
async def test_wrong_thresholds_are_refused_before_anything_runs(
    tmp_path: Path, wanted: Mapping[str, Any], where: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await played(bench, TALK, ANYTHING)
        with pytest.raises(InvalidArgument) as wrong:
            await bench.runs.start("desk", options={"thresholds": wanted})
        assert (await bench.items.page("run")).total == 0
    assert wrong.value.where == f"options.thresholds.{where}"


async def test_a_check_can_ask_for_a_metric_which_is_then_taken(tmp_path: Path) -> None:
    checks = (
        {"metric": "helpfulness", "min": 4},
        {"metric": "tool_errors", "max": 0},
        {"metric": "nonsense"},
    )
    with FakeEndpoint(says({"helpfulness": score(3)})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, *checks)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        assert len(endpoint.requests) == 1
    assert [check.verdict for check in trial.graded.checks] == ["fail", "pass", "inconclusive"]
    assert trial.graded.checks[2].why == "metric nonsense did not run"


async def test_means_have_intervals_clustered_by_scenario(tmp_path: Path) -> None:
    values = iter([2, 4, 2, 4])
    with FakeEndpoint(judging(lambda asked: {"helpfulness": score(next(values))})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 4, {"tool": "close_ticket"})
            options = {"concurrency": 1}
            report = await bench.runs.start(
                "desk", models=judged_by(endpoint), metrics=["helpfulness"], options=options
            )
    found = report.run.metrics["helpfulness"]
    half = 1.959964 * math.sqrt(4) / 4 * math.sqrt(4 / 3)
    assert found.mean == 3 and found.interval is not None
    assert found.interval == pytest.approx((3 - half, 3 + half), abs=1e-4)
