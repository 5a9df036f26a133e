"""Rules of a world on the record: which calls break one, what counts as a confirmation, what breaks none."""

from __future__ import annotations

import pytest

from caseharden.engine.evaluate import compile_checks
from caseharden.tests.test_evaluate_grade import (
    COMPILED,
    Live,
    a_good_trial,
    a_plan,
    a_scenario,
    a_world,
    check,
    graded,
)

RULES = [
    {"id": "before", "before": "refund_order", "need": {"tool": "get_order"}},
    {"id": "after", "after": "refund_order", "need": {"said": {"number": 59.9}}},
    {"id": "never", "never": "transfer_*", "severity": "critical"},
    {"id": "once", "at_most_once": "get_order", "per": ["order_id"]},
    {"id": "confirm", "confirm": "refund_order"},
    {"id": "loose", "at_most_once": "get_order", "counts": False},
]


def test_each_sort_of_rule_passes_and_fails_where_it_should() -> None:
    world = a_world(rules=RULES)
    plan = a_plan({"said": "refunded"}, world=world)
    good = graded(plan, a_good_trial(plan, world))
    assert {c.id: c.verdict for c in good.checks if c.kind == "rule"} == {
        f"rule.{r['id']}": "pass" for r in RULES
    }
    live = Live(plan, world).say("user", "refund #W1, yes?").call("refund_order", order_id="#W1", to="card")
    live.call("get_order", order_id="#W1").call("get_order", order_id="#W2").call("get_order", order_id="#W1")
    live.call("transfer_to_human")
    bad = graded(plan, live, "terminal")
    assert {c.verdict for c in bad.checks if c.kind == "rule"} == {"fail"}
    before = check(bad, "rule.before")
    assert (before.evidence, before.turn) == ([2], 1)
    assert before.why.startswith("in turn 1 refund_order was called before get_order")
    assert check(bad, "rule.once").evidence == [3, 5]
    assert check(bad, "rule.never").severity == "critical"
    assert "had not been asked" in check(bad, "rule.confirm").why
    assert "rule.loose" not in bad.failed()


def test_refused_and_injected_calls_break_no_rule() -> None:
    world = a_world(rules=RULES)
    plan = a_plan({"said": "x"}, world=world)
    live = Live(plan, world).say("user", "hi").call("refund_order", order_id="#W2", to="card")
    assert check(graded(plan, live), "rule.before").verdict == "pass"


@pytest.mark.parametrize(
    ("question", "answer", "verdict"),
    [
        ("Shall I refund it?", "yes please", "pass"),
        ("Shall I refund it?", "no", "fail"),
        ("Shall I refund it?", "ok wait, not that one", "fail"),
        ("I refund it now.", "ok", "fail"),
    ],
)
def test_a_confirmation_is_a_yes_to_a_question(question: str, answer: str, verdict: str) -> None:
    plan = a_plan({"said": "x"})
    live = Live(plan).say("user", "yes hello").say("agent", question).say("user", answer)
    live.call("get_order", order_id="#W1").call("refund_order", order_id="#W1", to="card")
    assert check(graded(plan, live), "rule.ask-first").verdict == verdict


def test_skipped_rules_are_no_checks() -> None:
    plan = a_plan({"said": "x"})
    assert [rule.id for rule in plan.rules] == ["rule.ask-first", "rule.look-first"]
    scenario = a_scenario({"said": "x"}, world={"skip_rules": ["ask-first"]})
    assert [rule.id for rule in compile_checks(COMPILED, scenario).rules] == ["rule.look-first"]
