"""Rules of a world on the record: which calls break one, what counts as a confirmation, what breaks none."""

from __future__ import annotations

import pytest

from caseharden.engine.evaluate import compile_checks
from caseharden.engine.records.verdict import CheckResult
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


def confirmed(*said: str) -> CheckResult:
    """The rule's result where agent and user say these in turn, and then order #W1 is refunded."""
    plan = a_plan({"said": "x"})
    live = Live(plan).say("user", "A refund, please.")
    for at, text in enumerate(said):
        live.say("user" if at % 2 else "agent", text)
    live.call("get_order", order_id="#W1").call("refund_order", order_id="#W1", to="card")
    return check(graded(plan, live), "rule.ask-first")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("May I have your e-mail?", "Sure, ann@example.com"),
        ("Could you tell me the order number?", "Yes, it is #W1."),
        ("I found you. What is your zip code?", "Ok, 01609"),
        ("Is there anything else I can help you with?", "Yes, a minute please"),
        ("How can I help you today?", "Ok, my lamp is broken"),
        ("Shall I refund order #W2?", "Yes"),
        ("#W2 is delivered. May I refund your order W2 now?", "Yes, please"),
    ],
)
def test_a_yes_to_a_question_that_is_surely_about_something_else_is_no_confirmation(
    question: str, answer: str
) -> None:
    result = confirmed(question, answer)
    assert result.verdict == "fail", result.why
    assert "the user said yes to another question: " in result.why and len(result.evidence) == 3


@pytest.mark.parametrize(
    "said",
    [
        ("Can you tell me if you want it?", "Yes"),
        ("How does that sound?", "Sure"),
        ("What about a refund?", "Yes"),
        ("I refund it now. What is your zip code?", "Ok, 01609"),
        ("I'll do so. What is your zip code?", "Ok, 01609"),
        ("May I have your e-mail?", "Sure, a@b.org, and please go ahead"),
        ("May I have your e-mail?", "Yes, a@b.org, refund it"),
        ("Shall I refund it, and may I have your e-mail?", "Yes, a@b.org"),
        ("Shall I refund it?", "Yes", "May I have your e-mail?", "Sure, a@b.org"),
        ("Shall I refund #W1?", "Yes", "Shall I refund #W2?", "Yes"),
        ("Shall I refund #W2?", "Yes, and W1"),
        ("Shall I refund #W2 and your lamp?", "Yes"),
        ("You also have #W2. Shall I refund the lamp?", "Yes"),
        ("Shall I refund it as I did for #W2?", "Yes"),
        ("Shall I refund #W9?", "Yes"),
        ("Shall I send #W2 again?", "Yes"),
        ("Would you like a newsletter?", "Yes"),
    ],
)
def test_in_doubt_a_yes_is_to_the_call(said: tuple[str, ...]) -> None:
    assert confirmed(*said).verdict == "pass"


def test_the_question_may_stand_in_an_earlier_text_of_the_same_turn() -> None:
    plan = a_plan({"said": "x"})
    live = Live(plan).say("user", "hi").say("agent", "Shall I refund it?").say("agent", "Your e-mail?")
    live.say("user", "yes, a@b.org").call("get_order", order_id="#W1")
    live.call("refund_order", order_id="#W1", to="card")
    assert check(graded(plan, live), "rule.ask-first").verdict == "pass"


def test_skipped_rules_are_no_checks() -> None:
    plan = a_plan({"said": "x"})
    assert [rule.id for rule in plan.rules] == ["rule.ask-first", "rule.look-first"]
    scenario = a_scenario({"said": "x"}, world={"skip_rules": ["ask-first"]})
    assert [rule.id for rule in compile_checks(COMPILED, scenario).rules] == ["rule.look-first"]
