"""Scoring a stored run again: nothing is simulated, nothing asked twice, old scores kept; labels give agreement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import Conflict, InvalidArgument
from caseharden.engine.evaluate.statistics import kappa, weighted_kappa
from caseharden.tests.fake_endpoint import FakeEndpoint, fault
from caseharden.tests.judge_desk import Asked, judged_by, judged_desk, judging, marked, says, score, verdict
from caseharden.tests.workbench_cases import bench_at, closing

pytestmark = pytest.mark.anyio
POLITE = {"judge": "The agent is polite."}
CLOSED = {"tool": "close_ticket"}


def by_ticket(asked: Asked) -> Mapping[str, Any]:
    """Passes what is about the even tickets."""
    number = int(asked.block.partition('"ticket_id": "T')[2].partition('"')[0])
    return {"c1": verdict("pass" if number % 2 == 0 else "fail"), "helpfulness": score(number)}


@pytest.mark.requirement("CH-10")
async def test_a_second_score_with_the_same_judge_asks_nothing_and_finds_the_same(tmp_path: Path) -> None:
    with FakeEndpoint(judging(by_ticket)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 3, POLITE)
            first = await bench.runs.start("desk", models=judged_by(endpoint), metrics=["helpfulness"])
            before = await marked(bench)
            again = await bench.scores.score("run-1", metrics=["helpfulness"])
            after = await marked(bench)
        assert len(endpoint.requests) == 3
    assert again.run.totals == first.run.totals and again.run.metrics == first.run.metrics
    assert [one.graded for one in after] == [one.graded for one in before]
    assert [one.wall_s for one in after] == [one.wall_s for one in before]


async def test_other_metrics_make_a_new_score_beside_the_old_one(tmp_path: Path) -> None:
    with FakeEndpoint(judging(by_ticket)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 3, CLOSED)
            await bench.runs.start("desk")
            models = judged_by(endpoint)
            report = await bench.scores.score("run-1", metrics=["helpfulness"], judge=models["judge"])
            assert report.run.metrics["helpfulness"].mean == 2
            assert [one.metrics for one in report.run.score_sets] == [{}]
            report = await bench.scores.score("run-1", metrics=["turns"], thresholds={"turns": 0})
        assert len(endpoint.requests) == 3
    assert list(report.run.metrics) == ["turns"]
    assert report.run.score_sets[1].metrics["helpfulness"].mean == 2
    assert report.run.thresholds[-1].result == "fail"


async def test_only_thresholds_and_labels_call_no_model(tmp_path: Path) -> None:
    with FakeEndpoint(fault()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 2, CLOSED)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"])
            report = await bench.scores.score("run-1", thresholds={"pass_rate": 1})
            labels = [{"conversation": "run-1/close-1/1", "check": "c1", "label": "pass"}]
            await bench.scores.score("run-1", labels=labels)
        assert endpoint.requests == []
    assert [one.result for one in report.run.thresholds] == ["pass", "pass"]
    assert report.job is None


async def test_what_a_judge_that_failed_left_open_is_asked_when_the_run_is_scored_again(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(fault(401)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 2, POLITE)
            models, options = judged_by(endpoint), {"pause_after": 0}
            first = await bench.runs.start("desk", models=models, metrics=["none"], options=options)
            assert first.run.totals.error == 2 and "asked again" in first.warnings[0]
            endpoint.always(says({"c1": verdict()}))
            again = await bench.scores.score("run-1")
            asked = len(endpoint.requests)
            await bench.scores.score("run-1")
        assert asked == len(endpoint.requests)
    assert (again.run.totals.passed, again.run.totals.error) == (2, 0)


async def test_a_run_that_was_left_unscored_is_scored_later(tmp_path: Path) -> None:
    with FakeEndpoint(says({"c1": verdict()})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 2, POLITE)
            options = {"score": False}
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["none"], options=options)
            report = await bench.scores.score("run-1")
    assert report.run.totals.passed == 2


@pytest.mark.requirement("CH-18")
async def test_labels_by_people_give_kappa_confusion_and_every_disagreement(tmp_path: Path) -> None:
    people = {1: "fail", 2: "pass", 3: "pass", 4: "fail", 5: "fail", 6: "pass"}
    labels: list[dict[str, Any]] = [
        {"conversation": f"run-1/close-{n}/1", "check": "c1", "label": label} for n, label in people.items()
    ]
    labels.append({"conversation": "close-1/1", "check": "helpfulness", "label": 2})
    labels.append({"conversation": "close-2/1", "check": "helpfulness", "label": 2})
    with FakeEndpoint(judging(by_ticket)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 6, POLITE)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["helpfulness"])
            report = await bench.scores.score("run-1", labels=labels)
            item = await bench.items.get("run", "run-1", view="agreement")
    found = report.run.agreement
    assert found is not None
    assert (found.labels, found.compared, found.agree) == (8, 8, 5)
    assert found.by_check["c1"].confusion == {"fail": {"fail": 2, "pass": 1}, "pass": {"pass": 2, "fail": 1}}
    assert found.kappa == pytest.approx(1 / 3)
    assert [(row["conversation"], row["label"], row["judge"]) for row in item.item["disagree"]] == [
        ("run-1/close-1/1", 2, 1),
        ("run-1/close-3/1", "pass", "fail"),
        ("run-1/close-4/1", "fail", "pass"),
    ]
    assert item.item["by_check"]["helpfulness"]["labels"] == 2


async def test_a_later_label_replaces_the_one_before(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await judged_desk(bench, 1, CLOSED)
        await bench.runs.start("desk")
        for label in ("fail", "pass"):
            row = {"conversation": "close-1/1", "check": "c1", "label": label, "by": "dana"}
            report = await bench.scores.score("run-1", labels=[row])
    assert report.run.agreement is not None
    assert (report.run.agreement.labels, report.run.agreement.agree) == (1, 1)


@pytest.mark.parametrize(
    ("label", "where"),
    [
        ({"conversation": "close-1/1", "check": "c9", "label": "pass"}, "labels[0].check"),
        ({"conversation": "close-1/1", "check": "c1", "label": "good"}, "labels[0].label"),
        ({"conversation": "close-1/1", "check": "helpfulness", "label": 9}, "labels[0].label"),
        ({"conversation": "close-9/1", "check": "c1", "label": "pass"}, "labels[0].conversation"),
        ({"conversation": "run-2/close-1/1", "check": "c1", "label": "pass"}, "labels[0].conversation"),
        ({"conversation": "close-1/1", "chek": "c1", "label": "pass"}, "labels[0].chek"),
    ],
)
async def test_wrong_labels_are_refused_and_none_is_kept(
    tmp_path: Path, label: Mapping[str, Any], where: str
) -> None:
    with FakeEndpoint(says({"helpfulness": score(3)})) as endpoint:
        async with bench_at(tmp_path) as bench:
            await judged_desk(bench, 1, CLOSED)
            await bench.runs.start("desk", models=judged_by(endpoint), metrics=["helpfulness"])
            with pytest.raises(InvalidArgument) as wrong:
                await bench.scores.score("run-1", labels=[label])
            item = await bench.items.get("run", "run-1", view="agreement")
    assert wrong.value.where == where
    assert item.item["labels"] == 0


async def test_labelling_a_held_out_conversation_counts_as_reading_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await judged_desk(bench, 0)
        hidden = {**closing(1), "split": "held_out", "success": [CLOSED]}
        await bench.scenarios.create("desk", [hidden], check=False)
        await bench.runs.start("desk")
        row = {"conversation": "close-1/1", "check": "c1", "label": "pass"}
        report = await bench.scores.score("run-1", labels=[row])
        scenario = await bench.items.get("scenario", "desk/close-1", view="full")
    assert "held out" in report.warnings[0]
    assert scenario.item["spent"] is True


async def test_a_run_that_a_hardening_rests_on_keeps_its_scores(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("shop", world="shop")
        await bench.runs.start("shop", select=["tag:refund"])
        await bench.hardenings.harden("shop", run="run-1", strategy="submit", wait_s=45)
        with pytest.raises(Conflict, match="rests on"):
            await bench.scores.score("run-1", metrics=["turns"])


def test_kappa_is_that_of_the_books() -> None:
    """Cohen's example of 50 proposals; Fleiss and Cohen weights on a table worked by hand."""
    assert kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)
    table = [[4, 1, 0], [1, 3, 1], [0, 1, 4]]
    seen = (1 + 1 + 1 + 1) / 15
    chance = sum((i - j) ** 2 * 25 for i in range(3) for j in range(3)) / 225
    assert weighted_kappa(table, [1, 2, 3]) == pytest.approx(1 - seen / chance)
    assert weighted_kappa([[5]], [1]) is None and weighted_kappa([], []) is None
