"""Split, edits, guards, rules and promotion: the pure parts of hardening."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as some

from caseharden.engine.errors import Conflict, InvalidArgument, NotFound
from caseharden.engine.harden import (
    GUARDS,
    Hidden,
    Known,
    RulesWriter,
    apply_edits,
    assign_split,
    check_guards,
    check_promotion,
    count_looks,
    held_out_set,
    hidden_texts,
    known_of,
    rule_sentences,
    split_scenarios,
    unified_diff,
    write_brief,
)
from caseharden.engine.records.hardening import Candidate, Edit, GuardResult, Hardening, RejectedEdit
from caseharden.engine.records.run import Cluster
from caseharden.engine.records.scenario import Scenario, Split
from caseharden.engine.records.world import World

BASE = "You are the support agent of a shop.\nThe returns window is 30 days.\nGreet {customer_name} first."
TOOLS = frozenset({"get_order", "refund_order", "verify_customer", "cancel_order", "cancel_item"})
KNOWN = Known(
    TOOLS,
    frozenset({"order_id", "total"}),
    ("Refunds above $100.00 need a manager. Call transfer_desk by phone.",),
)
HIDDEN = [
    Hidden(
        "Get order #W10240 of dana.lee@mail.test refunded, it was 59.90, placed 2026-10-03",
        "a held-out scenario",
    ),
    Hidden("My parcel came far too late and I want my money back now", "a train scenario"),
    Hidden("The limit in this case is 100 USD, customer cust_900, zip 10001", "a train scenario"),
]


def guards_of(text: str, locked: Sequence[str] = ()) -> dict[str, GuardResult]:
    return {g.guard: g for g in check_guards(BASE, text, HIDDEN, KNOWN, locked)}


def added(line: str) -> dict[str, GuardResult]:
    return guards_of(f"{BASE}\n{line}")


# Split


def test_24_scenarios_give_16_train_and_8_held_out_in_every_tag() -> None:
    tags = ["refund", "cancel", "question"]
    scenarios = {f"s{i}": [tags[i % 3], "other"] for i in range(24)}
    split = split_scenarios(scenarios, seed=7)
    held_out = [s for s, part in split.items() if part == "held_out"]
    assert len(held_out) == 8
    assert all(2 <= sum(scenarios[s][0] == tag for s in held_out) <= 3 for tag in tags)


def test_split_depends_on_the_seed_and_not_on_the_order() -> None:
    scenarios: dict[str, list[str]] = {f"s{i}": [] for i in range(24)}
    backwards = dict(reversed(scenarios.items()))
    assert split_scenarios(scenarios, 1) == split_scenarios(backwards, 1)
    assert split_scenarios(scenarios, 1) != split_scenarios(scenarios, 2)


@given(some.lists(some.sampled_from(["", "a", "b", "c"]), max_size=40), some.integers(0, 5))
def test_scenarios_that_come_one_by_one_keep_the_proportions(tags: list[str], seed: int) -> None:
    stored: list[tuple[Split, list[str]]] = []
    for i, tag in enumerate(tags):
        stored.append((assign_split(f"s{i}", [tag] if tag else [], stored, seed), [tag] if tag else []))
        held = sum(split == "held_out" for split, _ in stored)
        assert (i + 1) // 3 <= held <= (i + 3) // 3


def test_scenarios_that_come_one_by_one_end_like_those_that_come_together() -> None:
    stored: list[tuple[Split, list[str]]] = []
    for i in range(24):
        stored.append((assign_split(f"s{i}", [], stored, seed=3), []))
    assert sum(split == "held_out" for split, _ in stored) == 8


def test_a_held_out_set_has_one_name_whatever_its_order() -> None:
    assert held_out_set(["b", "a"]) == held_out_set(["a", "b", "a"]) != held_out_set(["a"])


def test_adding_a_scenario_does_not_reset_the_looks() -> None:
    assert count_looks(["a", "b", "new"], [["a", "b"], ["a", "b"], ["x"]]) == 2


# Edits


def test_edits_are_applied_in_order() -> None:
    edits = [
        Edit(op="add", anchor="end", text="Last."),
        Edit(op="add", anchor="start", text="First."),
        Edit(op="replace", anchor="The returns window is 30 days.", text="The returns window is 60 days."),
        Edit(op="add", anchor="First.", text="Second."),
        Edit(op="remove", anchor="Last."),
    ]
    assert apply_edits(BASE, edits).split("\n") == [
        "First.",
        "Second.",
        "You are the support agent of a shop.",
        "The returns window is 60 days.",
        "Greet {customer_name} first.",
    ]


def test_an_edit_at_the_end_keeps_a_last_line_break() -> None:
    assert apply_edits("One.\n", [Edit(op="add", text="Two.")]) == "One.\nTwo.\n"


@pytest.mark.requirement("CH-17")
@pytest.mark.parametrize(
    ("text", "edit", "where", "told"),
    [
        (
            BASE,
            Edit(op="add", anchor="The return window is 30 days", text="x"),
            "edits[0].anchor",
            "nearest line is `The returns window",
        ),
        ("a\nb\na", Edit(op="remove", anchor="a"), "edits[0].anchor", "more than once (lines 1, 3)"),
        (BASE, Edit(op="add", anchor="end", text=" "), "edits[0].text", "Nothing to add"),
        (BASE, Edit(op="remove", anchor="end"), "edits[0].anchor", "needs a line"),
        (
            BASE,
            Edit(op="remove", anchor="Greet {customer_name} first.", text="x"),
            "edits[0].text",
            "takes no text",
        ),
        ("a", Edit(op="remove", anchor="a"), "edits", "empty"),
        ("a", Edit(op="add", text="x" * 200_000), "edits", "characters"),
        ("a", Edit(op="add", text="b\n" * 6_000), "edits", "lines"),
        ("a", Edit(op="add", text="b\x00"), "edits", "U+0000"),
    ],
)
def test_a_wrong_edit_is_told_with_its_place(text: str, edit: Edit, where: str, told: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        apply_edits(text, [edit])
    assert caught.value.where == where
    assert told in caught.value.what


def test_the_diff_is_unified_and_has_names_when_they_are_given() -> None:
    text = apply_edits(BASE, [Edit(op="add", text="Call refund_order at most once.")])
    assert unified_diff(BASE, text).endswith("+Call refund_order at most once.")
    assert unified_diff(BASE, text, "support@1", "hard-1/c1").startswith("--- support@1\n+++ hard-1/c1\n@@")
    assert unified_diff(BASE, BASE) == ""


# Guards


def test_a_general_rule_passes_every_guard() -> None:
    results = added(
        "Never call refund_order if total exceeds 100.\nBefore calling refund_order, call verify_customer."
    )
    assert list(results) == list(GUARDS)
    assert all(g.result == "pass" for g in results.values())


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("For order W10240 refuse.", "W10240"),
        ("For order #w10240, refuse.", "w10240"),
        ("For order W 10-240 refuse.", "w10240"),
        ("Trust Dana.Lee@mail.test at once.", "Dana.Lee@mail.test"),
        ("A refund of $59.9 is fine.", "59.9"),
        ("Orders of 2026-10-03 are late.", "2026-10-03"),
        ("Be kind to cust_900.", "cust_900"),
        ("Zip \uff11\uff10\uff10\uff10\uff11 is known.", "10001"),
        ("If a parcel came far too late and I want my money, pay.", "parcel came far too late and"),
    ],
)
def test_what_stands_only_in_a_scenario_is_a_leak(line: str, text: str) -> None:
    leak = added(line)["leak"]
    assert (leak.result, leak.line, leak.text) == ("fail", 4, text)
    assert "it stands in a" in leak.rule


def test_what_stands_in_the_base_or_the_policy_is_no_leak() -> None:
    assert added("Never pay back more than 100 USD, and never after 30 days.")["leak"].result == "pass"


def test_only_added_lines_can_leak() -> None:
    base = BASE + "\nOrder W10240 is a test order."
    assert check_guards(base, base + "\nBe brief.", HIDDEN, KNOWN)[0].result == "pass"


def test_length_is_bounded_by_600_characters_or_half_of_the_base() -> None:
    assert added("x" * 599)["length"].result == "pass"
    assert added("x" * 600)["length"].result == "fail"
    long = "word " * 400
    assert {g.guard: g.result for g in check_guards(long, long + "y" * 1000, [], KNOWN)}["length"] == "pass"


@pytest.mark.parametrize(
    "line",
    [
        "Call refund_orders first.",
        "Use the `order_id` tool: call order_id.",
        "Before calling verifyCustomer, wait.",
    ],
)
def test_a_tool_that_is_not_there_is_refused_with_the_nearest(line: str) -> None:
    result = added(line)["tool_names"]
    assert result.result == "fail" and result.line == 4


def test_fields_and_names_of_the_policy_may_be_spoken_of() -> None:
    assert added("Say the order_id, and mention transfer_desk.")["tool_names"].result == "pass"
    assert "Did you mean `refund_order`?" in added("Call refund_orders.")["tool_names"].rule


def test_tool_names_and_placeholders_of_the_base_survive() -> None:
    base = "Call get_order with {order}.\nBe kind."
    results = {g.guard: g for g in check_guards(base, "Be kind.", [], KNOWN)}
    assert (results["tool_names"].result, results["tool_names"].text) == ("fail", "get_order")
    assert (results["placeholders"].result, results["placeholders"].text) == ("fail", "{order}")


def test_locked_passages_survive_word_for_word() -> None:
    text = BASE.replace("30 days", "60 days")
    assert guards_of(text, ["The returns window is 30 days."])["locked"].result == "fail"
    assert guards_of(text, ["You are the support agent"])["locked"].result == "pass"


@pytest.mark.parametrize(
    "noise", ["a" * 90_000, "_" * 90_000 + "@", "{" * 90_000, "a_" * 40_000 + "@", "1" * 4_000 + "@" * 80_000]
)
def test_guards_answer_hostile_texts_in_linear_time(noise: str) -> None:
    assert len(added(noise)) == len(GUARDS)


def test_hidden_data_and_open_names_are_read_off_the_records() -> None:
    scenario = Scenario.model_validate(
        {
            "id": "late",
            "goal": "Get order #W77777 refunded",
            "split": "held_out",
            "persona": {"id": "dana", "knowledge": [{"fact": "zip", "value": 10001}]},
            "script": [{"user": "hello, code QX-4711"}, {"agent": None}],
            "events": [
                {
                    "id": "e",
                    "when": {"tool": "refund_order", "args": {"order_id": "#W55555"}},
                    "do": [{"if": "true", "then": [{"say": "it is ZZ-8812"}]}],
                }
            ],
            "noise": {"per_turn": 1, "pool": [{"do": {"notify": "code YY-3341"}}]},
            "expected": [{"tool": "refund_order", "args": {"order_id": "#W88888"}}],
            "success": [
                {"not": {"tool": "refund_order", "args": {"order_id": "W99999"}}},
                {"said": "we pay within 14-21 days"},
            ],
        }
    )
    world = World.model_validate(
        {
            "format": "world/1",
            "name": "shop",
            "policy": "Pay at most $100.",
            "db": {"orders": {"#W66666": {"total": 1}}},
            "schema": {"db.orders": {"required": ["total"], "fields": {"ship_to": {}}}},
            "tools": [
                {
                    "name": "refund_order",
                    "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}},
                },
                {"name": "reboot_phone", "for": "user"},
            ],
        }
    )
    hidden, known = hidden_texts([scenario], [], world), known_of(world)
    assert known.tools == {"refund_order"}
    assert {"order_id", "ship_to", "total"} <= known.names
    for text in (
        "W77777", "10001", "qx-4711", "#W88888", "W99999", "w66666", "W55555", "ZZ-8812", "YY-3341",
    ):  # fmt: skip
        assert check_guards(BASE, f"{BASE}\nIf {text}, pay.", hidden, known)[0].result == "fail", text
    for text in ("14-21", "100", "order_id", "refund_order"):
        assert check_guards(BASE, f"{BASE}\nIf {text}, pay.", hidden, known)[0].result == "pass", text
    where = check_guards(BASE, f"{BASE}\nIf W77777, pay.", hidden, known)[0].rule
    assert where.endswith("it stands in a held-out scenario")


# Rules


@pytest.mark.parametrize(
    ("record", "sentences"),
    [
        (
            {"id": "r", "before": "refund_order", "need": {"tool": "verify_customer"}},
            ["Before calling refund_order, call verify_customer."],
        ),
        (
            {"id": "r", "after": "refund_order", "need": {"tool": "get_order"}},
            ["After calling refund_order, call get_order."],
        ),
        ({"id": "r", "confirm": "cancel_order"}, ["Before calling cancel_order, ask the user to confirm."]),
        (
            {"id": "r", "confirm": "cancel_*", "before": None, "per": []},
            [
                "Before calling cancel_item, ask the user to confirm.",
                "Before calling cancel_order, ask the user to confirm.",
            ],
        ),
        ({"id": "r", "never": "cancel_item"}, ["Never call cancel_item."]),
        (
            {"id": "r", "at_most_once": "refund_order", "per": ["order_id"]},
            ["Call refund_order at most once."],
        ),
        (
            {
                "id": "r",
                "before": "refund_order",
                "need": {"all": [{"tool": "verify_customer"}, {"tool": "get_order"}]},
            },
            [
                "Before calling refund_order, call verify_customer.",
                "Before calling refund_order, call get_order.",
            ],
        ),
        (
            {"id": "r", "before": "refund_order", "need": {"expr": "order.total <= 100"}},
            ["Never call refund_order if total exceeds 100."],
        ),
        (
            {"id": "r", "before": "refund_order", "need": {"expr": "not (o['status'] == 'shipped')"}},
            ["Never call refund_order if status is shipped."],
        ),
        ({"tool": "refund_order", "count": 0}, ["Never call refund_order."]),
        ({"not": {"tool": "refund_order"}}, ["Never call refund_order."]),
        ({"tool": "refund_order", "kind": "minefield", "before": "verified"}, ["Never call refund_order."]),
        (
            {"tool": "refund_order", "count": 0, "compare": {"amount": {"min": 100}}},
            ["Never call refund_order if amount exceeds 100."],
        ),
        ({"tool": "refund_order", "count": {"max": 1}}, ["Call refund_order at most once."]),
        (
            {"tool_calls": [{"tool": "get_order"}, {"tool": "refund_order"}], "ordered": True},
            ["Before calling refund_order, call get_order."],
        ),
        ({"tool": "refund_order"}, []),
        ({"tool": "refund_order", "count": 0, "args": {"order_id": "W10240"}}, []),
        ({"tool": "reboot", "by": "user", "count": 0}, []),
        ({"state": "db.orders['W1'].status", "eq": "open"}, []),
        ({"world": "expected"}, []),
        ({"id": "r", "before": "refund_order", "need": {"said": "hello", "by": "user"}}, []),
        ({"id": "r", "before": "no_such_tool", "need": {"tool": "get_order"}}, []),
        ({"id": "r", "before": "refund_order", "need": {"expr": "len(db.orders) > (("}}, []),
        ({}, []),
    ],
)
def test_a_rule_record_becomes_the_smallest_sentence_or_none(
    record: dict[str, Any], sentences: list[str]
) -> None:
    assert rule_sentences(record, TOOLS) == sentences


def cluster(name: str, record: dict[str, Any]) -> Cluster:
    return Cluster(
        id=name, check=f"rule.{name}", simulations=3, rule=record, members=["a", "b", "c"], held_out=4
    )


VERIFY = cluster("k1", {"before": "refund_order", "need": {"tool": "verify_customer"}})
CONFIRM = cluster("k2", {"confirm": "cancel_order"})


@pytest.mark.anyio
async def test_the_writer_takes_the_first_cluster_that_it_can_say() -> None:
    odd = cluster("k0", {"world": "expected"})
    brief = write_brief("hard-1", "support@1", BASE, BASE, [odd, VERIFY, CONFIRM], known=Known(TOOLS))
    proposal = await RulesWriter().propose(brief)
    assert proposal.edits == (
        Edit(op="add", anchor="end", text="Before calling refund_order, call verify_customer."),
    )
    assert proposal.cluster == "k1"
    assert proposal.passed_over == {"k0": "no general sentence follows from the check"}


@pytest.mark.anyio
async def test_the_writer_repeats_neither_the_text_nor_a_rejected_edit() -> None:
    text = BASE + "\nAlways call verify_customer before calling refund_order."
    rejected = RejectedEdit(
        candidate="hard-1/c1",
        edits=[Edit(op="add", text="Before calling cancel_order, ask the user to confirm.")],
        reason="train_no_gain",
    )
    brief = write_brief(
        "hard-1", "support@1", BASE, text, [VERIFY, CONFIRM], rejected=[rejected], known=Known(TOOLS)
    )
    proposal = await RulesWriter().propose(brief)
    assert proposal.edits == ()
    assert proposal.passed_over == {"k1": "the text says it already", "k2": "it was tried and not kept"}


def test_a_brief_tells_nothing_of_held_out_and_how_much_room_is_left() -> None:
    brief = write_brief("hard-1", "support@1", BASE, BASE + "x" * 100, [VERIFY], known=Known(TOOLS))
    assert brief.clusters[0].held_out == 0
    assert brief.max_added == 500


# Promotion


def hardening(outcome: Any) -> Hardening:
    found = Candidate(
        id="hard-1/c1", base="support@1", parent="support@1", round=1, text="x", sha256="", outcome=outcome
    )
    return Hardening(
        id="hard-1",
        environment="support",
        base="support@1",
        base_text=BASE,
        strategy="rules",
        candidates=[found],
        state="decided",
    )


def test_only_improved_is_promoted_without_an_override() -> None:
    assert check_promotion(hardening("improved"), "hard-1/c1").id == "hard-1/c1"
    assert (
        check_promotion(hardening("unconfirmed"), "hard-1/c1", override=True, reason="pilot").id
        == "hard-1/c1"
    )
    with pytest.raises(Conflict, match="unconfirmed"):
        check_promotion(hardening("unconfirmed"), "hard-1/c1")
    with pytest.raises(InvalidArgument, match="reason"):
        check_promotion(hardening("unconfirmed"), "hard-1/c1", override=True)
    with pytest.raises(NotFound):
        check_promotion(hardening("improved"), "hard-1/c9")


@pytest.mark.parametrize("outcome", ["regressed", "no_change", "not_evaluated", None])
def test_nothing_overrides_a_regression_or_a_missing_proof(outcome: Any) -> None:
    with pytest.raises(Conflict, match="cannot be promoted"):
        check_promotion(hardening(outcome), "hard-1/c1", override=True, reason="I want it")


def test_a_rejected_candidate_is_refused_whatever_its_outcome() -> None:
    for outcome in ("improved", "unconfirmed"):
        closed = hardening(outcome)
        closed.candidates[0].state = "rejected"
        with pytest.raises(Conflict, match="is rejected"):
            check_promotion(closed, "hard-1/c1", override=True, reason="I want it")
