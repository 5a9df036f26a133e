"""Rates and clusters of a run: counted honestly, failing closed, blind to held-out scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from caseharden.engine.evaluate import Reached, clusters, thresholds, totals
from caseharden.engine.records.run import TrialRecord
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.verdict import CheckResult, Verdict
from caseharden.engine.records.world import World
from caseharden.engine.world import compile_world

WORLD = compile_world(
    World.model_validate(
        {
            "format": "world/1",
            "name": "w",
            "tools": [{"name": name} for name in ("verify_customer", "refund_order", "cancel_order")],
            "rules": [
                {
                    "id": "verified-first",
                    "before": "refund_order",
                    "need": {"tool": "verify_customer"},
                    "severity": "critical",
                },
                {"id": "confirmed", "confirm": "cancel_order"},
                {"id": "soft", "never": "cancel_order", "severity": "minor"},
            ],
        }
    )
)


def a_trial(
    scenario: str, verdict: str = "pass", *failed: str, who: str = "dana", **more: Any
) -> TrialRecord:
    number = more.pop("trial", 1)
    turns: Mapping[str, int] = more.pop("turns_of", {})
    whys: Mapping[str, str] = more.pop("whys", {})
    severity = {"rule.verified-first": "critical", "rule.soft": "minor"}
    checks = [
        CheckResult.model_validate(
            {
                "id": f,
                "verdict": "fail",
                "why": whys.get(f, "why"),
                "turn": turns.get(f, 1),
                "severity": severity.get(f, "major"),
            }
        )
        for f in failed
    ]
    return TrialRecord.model_validate(
        {
            "id": f"{scenario}-{who}/{number}",
            "simulation": f"{scenario}-{who}",
            "scenario": scenario,
            "trial": number,
            "verdict": verdict,
            "graded": Verdict.model_validate({"verdict": verdict, "end": "user_stop", "checks": checks}),
            **more,
        }
    )


def test_rates_count_only_what_can_be_counted() -> None:
    trials = [a_trial(f"s{i}") for i in range(6)] + [a_trial("s6", "fail"), a_trial("s7", "inconclusive")]
    trials += [a_trial("s8", "error"), a_trial("s9", "invalid")]
    found = totals(trials)
    assert (found.trials, found.scenarios, found.simulations) == (10, 10, 10)
    assert (found.passed, found.failed, found.inconclusive, found.error, found.invalid) == (6, 1, 1, 1, 1)
    assert found.rate == 0.75
    assert found.interval is not None
    assert found.interval[0] < 0.75 < found.interval[1]
    assert found.pass_k == {}


def test_the_interval_knows_its_clusters() -> None:
    many = [a_trial(f"s{i % 2}", "pass" if i % 2 else "fail", who=f"p{i}") for i in range(40)]
    spread = [a_trial(f"s{i}", "pass" if i % 2 else "fail") for i in range(40)]
    one, other = totals(many).interval, totals(spread).interval
    assert one is not None and other is not None
    assert one[1] - one[0] > 1.5 * (other[1] - other[0])


def test_trials_that_disagree_are_mixed_and_give_pass_at_k() -> None:
    trials = [a_trial("s", "pass" if n < 3 else "fail", trial=n) for n in (1, 2, 3)]
    trials += [a_trial("t", "pass", trial=n) for n in (1, 2, 3)]
    found = totals(trials)
    assert found.mixed == 1
    assert found.pass_k == {
        "pass@1": pytest.approx(5 / 6),
        "pass@3": pytest.approx(1),
        "pass^3": pytest.approx(0.5),
    }
    broken = totals([a_trial("s", "pass", trial=1), a_trial("s", "error", trial=2)])
    assert broken.pass_k["pass^2"] is None


def test_a_run_without_countable_trials_has_no_rate_and_fails_its_threshold() -> None:
    found = totals([a_trial("s", "error")])
    assert (found.rate, found.interval) == (None, None)
    assert {r.threshold: (r.result, r.why) for r in thresholds(Reached(found), {"pass_rate": 0})} == {
        "max_errors <= 0": ("fail", "1 error, 0 invalid"),
        "pass_rate >= 0": ("fail", "no trial could be counted"),
    }
    assert thresholds(Reached(totals([])), {}) == []


def test_thresholds_pass_at_the_limit_and_fail_closed_on_what_was_not_measured() -> None:
    found = totals([a_trial("s"), a_trial("t", "fail"), a_trial("u", "error")])
    results = thresholds(Reached(found), {"pass_rate": 0.5, "max_errors": 1, "helpfulness": 4})
    assert [(r.threshold, r.result) for r in results] == [
        ("max_errors <= 1", "pass"),
        ("pass_rate >= 0.5", "pass"),
        ("helpfulness >= 4", "fail"),
    ]
    assert results[2].why == "it did not run: name it in `metrics`"


SCENARIOS = {
    name: Scenario.model_validate({"id": name, "goal": "g", "success": [check], "expected": [{"say": "x"}]})
    for name, check in {
        "a": {"id": "world", "world": "expected"},
        "b": {"id": "world", "world": "expected"},
        "c": {"tool": "verify_customer"},
        "d": {"said": "goodbye"},
    }.items()
}


def found_in(*trials: TrialRecord) -> list[Any]:
    return clusters(trials, WORLD, SCENARIOS, "run-1")


def test_clusters_are_rules_first_by_severity_times_simulations_and_deterministic() -> None:
    trials = [
        a_trial("a", "fail", "world", "rule.verified-first", turns_of={"rule.verified-first": 3}),
        a_trial("a", "fail", "rule.soft", "rule.confirmed", who="omar", turns_of={"rule.confirmed": 2}),
        a_trial("b", "fail", "world", "rule.confirmed", who="lee", turns_of={"rule.confirmed": 2}),
        a_trial("b", "fail", "world", "rule.confirmed", who="mia", turns_of={"rule.confirmed": 4}),
        a_trial("b", "fail", "world"),
    ]
    found = found_in(*trials)
    assert [(c.id, c.check, c.severity, c.simulations) for c in found] == [
        ("k1", "rule.confirmed", "major", 3),
        ("k2", "rule.verified-first", "critical", 1),
        ("k3", "rule.soft", "minor", 1),
        ("k4", "world", "major", 4),
    ]
    assert [c.cause for c in found[:3]] == [
        "cancel_order without asking the user to confirm",
        "refund_order is called before verify_customer",
        "cancel_order is called, which is never allowed",
    ]
    assert (found[1].tool, found[1].see) == ("refund_order", "run-1/a-dana/1@3")
    assert found[1].rule["need"] == {"tool": "verify_customer"}
    assert (found[0].see, found[0].scenarios) == ("run-1/a-omar/1@2", 2)
    assert found_in(*reversed(trials)) == found


def test_a_cluster_on_the_world_names_the_places_that_differ_most() -> None:
    why = 'db.orders.W1.status: expected "refunded", is "open"; db.orders[\'#2\'].note: expected 1, is 2'
    other = "db.orders.W1.status: expected 1, is 2"
    found = found_in(
        a_trial("a", "fail", "world", whys={"world": why}),
        a_trial("b", "fail", "world", whys={"world": other}),
    )
    assert found[0].cause == "world is not as expected: db.orders.W1.status, db.orders['#2'].note"


def test_checks_without_a_name_of_their_own_are_told_apart_by_what_they_ask() -> None:
    found = found_in(a_trial("c", "fail", "c1"), a_trial("d", "fail", "c1"))
    assert [(c.check, c.tool, c.simulations) for c in found] == [("c1", "", 1), ("c1", "verify_customer", 1)]


def test_clusters_show_nothing_of_held_out_scenarios_but_their_number() -> None:
    secret = {"world": "db.secret.W9.status: expected 1, is 2"}
    found = found_in(
        a_trial("a", "fail", "world", split="held_out", whys=secret),
        a_trial("b", "fail", "rule.confirmed"),
        a_trial("b", "fail", "rule.confirmed", who="omar", split="held_out"),
    )
    assert [(c.check, c.simulations, c.held_out, c.members) for c in found] == [
        ("rule.confirmed", 1, 1, ["b-dana"]),
        ("world", 0, 1, []),
    ]
    assert found[1].see == ""
    assert "secret" not in str(found[1])


def test_trials_that_are_no_failures_make_no_clusters() -> None:
    assert found_in(a_trial("a", "error", "world"), a_trial("b", "pass")) == []
