"""The judge over runs: one call a conversation, strict reading, nothing asked twice, its failures never the agent's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint, fault
from caseharden.tests.judge_desk import Asked, judged_by, judged_desk, judging, marked, says, score, verdict
from caseharden.tests.workbench_cases import bench_at, closing, desk

pytestmark = pytest.mark.anyio
POLITE = "The agent is polite."
THANKS = "The agent thanks the user."
CRITERIA = ({"judge": POLITE}, {"judge": THANKS})


async def test_one_call_a_conversation_answers_all_criteria_and_metrics(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Mapping[str, Any]:
        assert list(asked.criteria.items()) == [("c1", POLITE), ("c2", THANKS)]
        assert list(asked.metrics) == ["helpfulness"]
        return {"c1": verdict(), "c2": verdict("fail", (), "No thanks."), "helpfulness": score(4)}

    with FakeEndpoint(judging(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 3, *CRITERIA)
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["helpfulness"])
            found = await marked(bench)
        assert len(endpoint.requests) == 3
    assert report.run.totals.failed == 3
    assert report.run.models_used["judge"].calls == 3
    assert report.run.metrics["helpfulness"].mean == 4
    for trial in found:
        checks = {check.id: (check.verdict, check.judged) for check in trial.graded.checks}
        assert checks["c1"] == ("pass", True) and checks["c2"] == ("fail", True)


async def test_what_code_decides_needs_no_model(tmp_path: Path) -> None:
    called = {"any": [{"tool": "close_ticket"}, {"judge": POLITE}]}
    with FakeEndpoint(fault()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 2, called)
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
        assert endpoint.requests == []
    assert report.run.totals.passed == 2


@pytest.mark.requirement("LW-6")
async def test_long_similar_and_non_latin_criteria_are_judged_one_by_one(tmp_path: Path) -> None:
    same = "The agent does exactly what the policy of the shop says about refunds for parcels that "
    criteria = [
        same + "arrive late.",
        same + "never arrive.",
        "客服人员应当保持礼貌。",
        "客服人员应当道歉一次。",
    ]

    def answer(asked: Asked) -> Mapping[str, Any]:
        assert list(asked.criteria.values()) == criteria
        return {"c1": verdict(), "c2": verdict("fail"), "c3": verdict(), "c4": verdict("fail")}

    with FakeEndpoint(judging(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, *({"judge": one} for one in criteria))
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
    assert [check.verdict for check in trial.graded.checks[:4]] == ["pass", "fail", "pass", "fail"]


@pytest.mark.requirement("LW-5")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"c1": verdict("inconclusive", ())}, "It is said there."),
        ({"c1": verdict("pass", ())}, "names no turn"),
        ({}, "no answer to it"),
    ],
)
async def test_a_criterion_without_evidence_is_inconclusive_and_no_pass(
    tmp_path: Path, answer: Mapping[str, Any], why: str
) -> None:
    with FakeEndpoint(says(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        assert len(endpoint.requests) == 1
    assert (report.run.totals.inconclusive, report.run.totals.passed) == (1, 0)
    assert why in trial.graded.checks[0].why


BROKEN: list[tuple[Mapping[str, Any] | str, str]] = [
    ("I think it passes.", "not a JSON object"),
    ('{"c1": {"verdict": "pass"}, "c1": {"verdict": "fail"}}', "answered twice"),
    ({"c1": {**verdict(), "verdict": "passed"}}, "verdict is none of"),
    ({"c1": verdict("pass", (99,))}, "no turn 99"),
    ({"c1": {**verdict(), "evidence": [True]}}, "true is no number of a turn"),
    ({"c1": {**verdict(), "evidence": ["1"]}}, '"1" is no number of a turn'),
    ({"answers": {"c1": verdict()}}, "no key of the answer is one of c1"),
    ({"c1": "pass"}, "not an object"),
    ('{"c1": ' + "[" * 50_000, "not a JSON object"),
    ('{"c1": {"verdict": "pass", "evidence": [NaN]}}', "NaN is no number"),
]


@pytest.mark.requirement("AK-8")
@pytest.mark.parametrize(("reply", "why"), BROKEN)
async def test_a_broken_answer_is_asked_once_more_and_then_unscored(
    tmp_path: Path, reply: Mapping[str, Any] | str, why: str
) -> None:
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        assert len(endpoint.requests) == 2
    assert report.run.totals.inconclusive == 1
    assert trial.graded.checks[0].why.startswith("unscored: ") and why in trial.graded.checks[0].why


@pytest.mark.requirement("AK-8")
@pytest.mark.parametrize("wrong", [0, 6, -1, 4.5, 1e999, "5", True, None])
async def test_a_score_out_of_range_is_never_clamped_and_never_averaged(tmp_path: Path, wrong: Any) -> None:
    told = {"helpfulness": score(wrong), "coherence": score(3)}
    text = json.dumps(told).replace("Infinity", "1e999")
    with FakeEndpoint(says(text)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"tool": "close_ticket"})
            report = await bench.runs.start(
                "desk", models=judged_by(endpoint), metrics=["helpfulness", "coherence"]
            )
        assert len(endpoint.requests) == 2
        assert "coherence" not in endpoint.requests[1].last_text
    found = report.run.metrics
    assert (found["helpfulness"].mean, found["helpfulness"].unscored) == (None, 1)
    assert (found["coherence"].mean, found["coherence"].scored) == (3, 1)


async def test_a_repaired_answer_counts(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        endpoint.then(says({"c1": {**verdict(), "verdict": "yes"}}), says({"c1": verdict()}))
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
    assert report.run.totals.passed == 1
    assert report.run.models_used["judge"].calls == 2


async def test_votes_are_counted_and_the_majority_decides(tmp_path: Path) -> None:
    with FakeEndpoint() as endpoint:
        endpoint.then(
            says({"c1": verdict("fail"), "c2": verdict()}), says({"c1": verdict()}), says({"c1": verdict()})
        )
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE, "votes": 3}, {"judge": THANKS})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        seeds = [seen.json["seed"] for seen in endpoint.requests]
        assert len(set(seeds)) == 3
    assert report.run.totals.passed == 1
    assert trial.graded.opinions[0].votes == {"fail": 1, "pass": 2}


async def test_one_vote_of_three_is_no_majority_where_the_others_are_broken(tmp_path: Path) -> None:
    with FakeEndpoint(says("rubbish")) as endpoint:
        endpoint.then(says({"c1": verdict()}))
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE, "votes": 3})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
    assert report.run.totals.inconclusive == 1
    assert trial.graded.checks[0].why.startswith("no majority: pass is what 1 of 3 votes say")


@pytest.mark.parametrize(
    "reply",
    [
        "<think>c1 is {hard}: {}</think>\n" + json.dumps({"c1": verdict()}),
        {"c1": {**verdict(), "evidence": [1.0]}},
    ],
)
async def test_thoughts_before_the_answer_and_whole_numbers_written_as_floats_are_no_fault(
    tmp_path: Path, reply: Mapping[str, Any] | str
) -> None:
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
        assert len(endpoint.requests) == 1
    assert report.run.totals.passed == 1


@pytest.mark.parametrize("votes", [2, 11, 0])
async def test_votes_are_odd_and_few(tmp_path: Path, votes: int) -> None:
    async with bench_at(tmp_path) as bench:
        with pytest.raises(InvalidArgument) as wrong:
            await judged_desk(bench, 1, {"judge": POLITE, "votes": votes})
    assert wrong.value.where == "scenarios[0].success[0].votes"


async def test_an_argument_is_judged_only_where_everything_else_fits(tmp_path: Path) -> None:
    check = {
        "tool": "close_ticket",
        "compare": {"ticket_id": {"judge": "It is the ticket that the user named."}},
    }
    never = {"tool": "look_up_ticket", "args": {"ticket_id": "T9"}, "count": 0}

    def answer(asked: Asked) -> Mapping[str, Any]:
        [criterion] = asked.criteria.values()
        assert criterion.startswith("In call 1 of 1 of `close_ticket` (turn ")
        assert criterion.endswith("It is the ticket that the user named.")
        return {"c1": verdict("fail")}

    with FakeEndpoint(judging(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, check, never)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        assert len(endpoint.requests) == 1
    assert trial.failed_checks == ["c1"]


async def test_offline_judges_by_its_rules_from_the_same_request(tmp_path: Path) -> None:
    looked = {"judge": "The agent must call look_up_ticket before close_ticket."}
    never = {"judge": "The agent must never call burn_ticket."}
    odd = {"judge": POLITE, "counts": False}
    async with bench_at(tmp_path) as bench:
        await judged_desk(bench, 1, looked, never, odd)
        report = await bench.runs.start("desk")
        [trial] = await marked(bench)
    verdicts = [check.verdict for check in trial.graded.checks[:3]]
    assert verdicts == ["fail", "pass", "inconclusive"]
    assert "controlled English" in trial.graded.checks[2].why
    assert report.run.models_used["judge"].name == "offline (rule-based)"


async def test_a_judge_that_fails_is_an_error_and_resuming_only_judges(tmp_path: Path) -> None:
    with FakeEndpoint(fault(401, "wrong key")) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 2, {"judge": POLITE})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            assert (report.run.totals.error, report.run.totals.rate) == (2, None)
            first = await marked(bench)
            assert all(one.graded.why.startswith("judge: ") and one.end == "user_stop" for one in first)
            endpoint.always(says({"c1": verdict()}))
            again = await bench.runs.start("desk", options={"resume": "run-1"})
            second = await marked(bench)
    assert again.run.totals.passed == 2
    assert [one.pointer["at"] for one in second] == [one.pointer["at"] for one in first]
    assert all(one.attempt == 1 for one in second)


async def test_equal_failures_of_the_judge_pause_the_run(tmp_path: Path) -> None:
    with FakeEndpoint(fault(401, "wrong key")) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 6, {"judge": POLITE})
            options = {"pause_after": 2, "concurrency": 1}
            report = await bench.runs.start("desk", models=judged_by(endpoint), options=options)
    assert report.job is not None and report.job.state == "paused"
    assert "judge" in str(report.job.error)
    assert len(endpoint.requests) == 2


async def test_a_spent_budget_pauses_the_judging_and_more_of_it_goes_on(tmp_path: Path) -> None:
    with FakeEndpoint(says({"c1": verdict()})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 3, {"judge": POLITE})
            free = await bench.runs.start("desk", options={"score": False})
            calls = free.model_calls + 1
            models = judged_by(endpoint)
            options: dict[str, Any] = {"budget": {"calls": calls}, "concurrency": 1}
            report = await bench.runs.start("desk", models=models, metrics=["none"], options=options)
            assert report.job is not None and report.job.state == "paused"
            assert len(endpoint.requests) == 1
            options = {"resume": report.run.id, "budget": {"calls": 1000}}
            again = await bench.runs.start("desk", options=options)
        assert len(endpoint.requests) == 3
    assert again.run.totals.passed == 3


async def test_runs_can_be_left_unscored(tmp_path: Path) -> None:
    with FakeEndpoint(fault()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, {"judge": POLITE})
            report = await bench.runs.start("desk", models=judged_by(endpoint), options={"score": False})
        assert endpoint.requests == []
    assert report.run.totals.inconclusive == 1


async def test_an_unknown_metric_is_refused_before_anything_runs(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        with pytest.raises(InvalidArgument, match="Did you mean `helpfulness`") as wrong:
            await bench.runs.start("desk", metrics=["helpfullness"])
    assert wrong.value.where == "metrics[0]"


CHECKPOINT: list[dict[str, Any]] = [
    {"user": "Close ticket T1."},
    {"agent": None},
    {"judge": ["The agent has greeted the user.", "The agent asked nothing."]},
    {"user": "Thank you."},
    {"agent": None},
    {"judge": POLITE},
]


async def scripted(bench: Workbench, *success: Mapping[str, Any]) -> None:
    """The environment `desk` with one scenario that has checkpoints."""
    await judged_desk(bench, 0)
    case = {**closing(1), "split": "train", "script": CHECKPOINT, "success": list(success)}
    await bench.scenarios.create("desk", [case], check=False)


@pytest.mark.requirement("LW-1")
async def test_a_checkpoint_judges_what_has_happened_up_to_it_and_goes_on_when_it_holds(
    tmp_path: Path,
) -> None:
    def answer(asked: Asked) -> Mapping[str, Any]:
        turns = {entry["turn"] for entry in asked.record["conversation"]}
        assert turns == ({1} if len(asked.criteria) == 2 else {1, 2})
        return {key: verdict() for key in asked.criteria}

    with FakeEndpoint(judging(answer)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await scripted(bench, {"tool": "close_ticket"})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            again = await bench.scores.score("run-1", metrics=["turns"])
            [trial] = await marked(bench)
        assert len(endpoint.requests) == 2
    assert (report.run.totals.passed, again.run.totals.passed) == (1, 1)
    found = {check.id: (check.verdict, check.judged, check.turn) for check in trial.graded.checks}
    assert found["script.3"] == ("pass", True, 1) and found["script.6"] == ("pass", True, 2)


@pytest.mark.requirement("LW-3")
async def test_a_checkpoint_that_fails_ends_the_trial_there(tmp_path: Path) -> None:
    reply = {"c1": verdict(), "c2": verdict("fail", (1,), "It asked for the ticket.")}
    with FakeEndpoint(says(reply)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await scripted(bench, {"tool": "close_ticket"})
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
        first, at_the_end = map(Asked, endpoint.requests)
        assert (len(first.criteria), list(at_the_end.criteria.values())) == (2, [POLITE])
    assert (trial.verdict, trial.end, trial.turns) == ("fail", "script_fail", 1)
    checks = {check.id: check for check in trial.graded.checks}
    assert "script.3" in trial.failed_checks
    assert "asked for the ticket" in checks["script.3"].why and checks["script.3"].turn == 1


async def test_a_checkpoint_that_the_judge_cannot_tell_ends_nothing_and_is_inconclusive(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await scripted(bench, {"tool": "close_ticket"})
        await bench.runs.start("desk")
        [trial] = await marked(bench)
    assert (trial.verdict, trial.turns) == ("inconclusive", 2)


async def test_a_checkpoint_whose_judge_fails_is_an_error(tmp_path: Path) -> None:
    with FakeEndpoint(fault(401, "wrong key")) as endpoint:
        async with bench_at(tmp_path) as bench:
            await scripted(bench, {"tool": "close_ticket"})
            report = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            [trial] = await marked(bench)
    assert report.run.totals.error == 1
    assert trial.end == "model_error" and trial.graded.why.startswith("judge: ")


@pytest.mark.parametrize("step", [[], "", [3], {"a": 1}, ["x"] * 51])
async def test_a_wrong_checkpoint_is_refused_with_its_place(tmp_path: Path, step: Any) -> None:
    async with bench_at(tmp_path) as bench:
        await judged_desk(bench, 0)
        case = {**closing(1), "script": [{"judge": step}]}
        with pytest.raises(InvalidArgument) as wrong:
            await bench.scenarios.create("desk", [case])
    assert wrong.value.where.startswith("scenarios[0].script[0]")
