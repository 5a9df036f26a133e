"""Each mistake in a scenario's checks is refused with its path, what is allowed and the nearest name."""

from __future__ import annotations

from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.evaluate import CheckPlan, check_thresholds, compile_checks, compile_rules
from caseharden.engine.records.authored import load
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.world import compile_world

PARAMETERS = {"type": "object", "properties": {"order_id": {"type": "string"}, "to": {"type": "string"}}}
WORLD = compile_world(
    World.model_validate(
        {
            "format": "world/1",
            "name": "w",
            "db": {"orders": {"W1": {"status": "open"}}},
            "tools": [
                {"name": "get_order", "parameters": PARAMETERS},
                {
                    "name": "cancel_order",
                    "parameters": PARAMETERS,
                    "steps": [
                        {"set": {"db.orders[order_id].status": "'cancelled'"}},
                        {"set": {"db.audit": "{}"}},
                        {"emit": "cancelled"},
                    ],
                },
            ],
            "rules": [{"id": "look-first", "before": "cancel_order", "need": {"tool": "get_order"}}],
        }
    )
)
CANCEL = {"tool": "cancel_order", "args": {"order_id": "W1"}}


def planned(*success: Any, **changes: Any) -> CheckPlan:
    scenario = load(Scenario, {"id": "s", "goal": "g", "success": list(success), **changes}, "scenarios[2]")
    return compile_checks(WORLD, scenario, "scenarios[2]")


@pytest.mark.parametrize(
    ("predicate", "where", "told"),
    [
        ({"stat": "db.orders.W1"}, ".stat", "`state`"),
        ({}, "", "needs a subject"),
        ({"state": "db.orders", "tool": "get_order"}, "", "exactly one subject"),
        ({"tool": "get_order", "cuont": 1}, ".cuont", "`count`"),
        ({"tool": "get_ordr"}, ".tool", "`get_order`"),
        ({"tool": "nope_*"}, ".tool", "No tool matches"),
        ({"tool": "get_order", "args": {"ordr_id": 1}}, ".args.ordr_id", "`order_id`"),
        ({"tool": "get_order", "compare": {"tx": "ignore"}}, ".compare.tx", "no argument"),
        ({"tool": "get_order", "compare": {"to": "exct"}}, ".compare.to", "`exact`"),
        ({"tool": "get_order", "compare": {"to": "text"}}, ".compare.to", "no value"),
        ({"tool": "get_order", "compare": {"to": {"matchs": "x"}}}, ".compare.to.matchs", "`matches`"),
        ({"tool": "get_order", "args_match": "parcial"}, ".args_match", "`partial`"),
        ({"tool": "get_order", "by": "agents"}, ".by", "`agent`"),
        ({"tool": "get_order", "ok": "maybe"}, ".ok", "true, false"),
        ({"tool": "get_order", "count": True}, ".count", "whole number"),
        ({"tool": "get_order", "count": -1}, ".count", "whole number"),
        ({"tool": "get_order", "count": {}}, ".count", "empty"),
        ({"tool": "get_order", "count": {"min": 2, "max": 1}}, ".count", "at least 2"),
        ({"tool": "get_order", "count": {"least": 1}}, ".count.least", "key of a count"),
        ({"state": "db.orders.W1.status"}, "", "needs a comparison"),
        ({"state": "dbs.orders", "exists": True}, ".state", "`db`"),
        ({"state": "db.ordrs.W1", "exists": True}, ".state", "`orders`"),
        ({"state": "db.orders[*]", "exists": True}, ".state", "many places"),
        ({"state": "db.orders.W1", "eq": 1, "except": []}, ".except", "unchanged"),
        ({"state": "db.orders.W1", "unchanged": True, "eq": 1}, ".unchanged", "alone"),
        ({"state": "db.orders.W9", "unchanged": True}, ".state", "always hold; nearest W"),
        ({"state": "db.orders.W9.status", "unchanged": True}, ".state", "not there at the start"),
        (
            {"state": "db.orders.W1", "unchanged": True, "except": ["courier"]},
            ".except",
            "no event",
        ),
        ({"state": "db.orders.W1", "matches": "(?=a)"}, ".matches", "RE2"),
        ({"state": "db.orders.W1", "matches": "a" * 501}, ".matches", "500"),
        ({"state": "db.orders.W1", "one_of": []}, ".one_of", "empty"),
        ({"state": "db.orders.W1", "min": [1]}, ".min", "number"),
        ({"expr": "db.orders.W1.status == open"}, ".expr column 24", "'open'"),
        ({"said": ""}, ".said", "not empty"),
        ({"said": {"txt": "x"}}, ".said.txt", "`text`"),
        ({"said": {"text": "x", "number": 1}}, ".said", "Exactly one"),
        ({"said": {"date": "May 20"}}, ".said.date", "not a date"),
        ({"said": {"number": "10"}}, ".said.number", "a number"),
        ({"said": {"pattern": "("}}, ".said.pattern", "RE2"),
        ({"said": {"text": "x", "tolerance": 1}}, ".said.tolerance", "belongs to"),
        ({"event": "canceled"}, ".event", "`cancelled`"),
        ({"all": []}, ".all", "empty"),
        ({"any": [{"tol": "x"}]}, ".any[0].tol", "`tool`"),
        ({"not": [1]}, ".not", "object"),
        ({"tool_calls": "expcted"}, ".tool_calls", "`expected`"),
        ({"tool_calls": []}, ".tool_calls", "always pass"),
        ({"tool_calls": [{"tol": "x"}]}, ".tool_calls[0].tol", "`tool`"),
        ({"tool_calls": [{"tool": "get_order", "after": ["x"]}]}, ".tool_calls[0].after", "no id"),
        ({"tool_calls": [{"tool": "get_order"}], "match": "all"}, ".match", "no match"),
        ({"tool_calls": [{"tool": "get_order"}], "match": "within", "ordered": True}, ".ordered", "no order"),
        ({"tool_calls": "expected"}, ".tool_calls", "`expected` is empty"),
        ({"world": "expected"}, ".world", "`expected` is empty"),
        ({"tool": "get_order", "kind": "milstone"}, ".kind", "`milestone`"),
        ({"tool": "get_order", "by_turn": 0}, ".by_turn", "at least 1"),
        ({"tool": "get_order", "by_turn": 1.5}, ".by_turn", "whole"),
        ({"tool": "get_order", "by_s": "3"}, ".by_s", "number"),
        ({"tool": "get_order", "kind": "minefield", "by_turn": 3}, ".by_turn", "must come true"),
        ({"tool": "get_order", "before": "x"}, ".before", "minefield"),
        ({"tool": "get_order", "kind": "minefield", "before": "x"}, ".before", "no milestone"),
        ({"tool": "get_order", "weight": -1}, ".weight", "at least 0"),
        ({"tool": "get_order", "counts": 1}, ".counts", "true or false"),
        ({"tool": "get_order", "id": "rule.x"}, ".id", "rules"),
        ({"tool": "get_order", "id": "a b"}, ".id", "no id"),
        ({"judge": "kind", "kind": "milestone"}, ".judge", "cannot stand here"),
        ({"metric": "tone", "by_turn": 3}, ".metric", "cannot stand here"),
    ],
)
def test_each_mistake_in_a_predicate_is_refused_where_it_stands(
    predicate: dict[str, Any], where: str, told: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        planned(predicate)
    assert caught.value.where == f"scenarios[2].success[0]{where}"
    assert told in str(caught.value)
    assert caught.value.allowed or ".expr" in where or "many places" in told


@pytest.mark.parametrize(
    ("changes", "where", "told"),
    [
        ({"reward": {"of": ["c3"]}}, ".reward.of[0]", "No check"),
        ({"reward": {"of": ["rule.look-frist"]}}, ".reward.of[0]", "`rule.look-first`"),
        ({"world": {"skip_rules": ["look-frst"]}}, ".world.skip_rules[0]", "`look-first`"),
        ({"events": [{"id": "e", "after": ["f"]}]}, ".events[0].after[0]", "no event"),
        ({"expected": [{"wait_s": 3, "by": "user"}]}, ".expected[0].by", "agent that waits"),
        ({"expected": [{"tool": "cancel"}]}, ".expected[0].tool", "`cancel_order`"),
        (
            {"expected": [{"tool": "get_order", "args": {"oder_id": 1}}]},
            ".expected[0].args.oder_id",
            "`order_id`",
        ),
        ({"expected": [{"tool": "get_order", "say": "x"}]}, ".expected[0]", "either"),
        ({"expected": [{"say": "x", "after": ["y"]}]}, ".expected[0].after[0]", "no id"),
        ({"expected": [{"say": "x", "id": "a"}, {"say": "y", "id": "a"}]}, ".expected[0].id", "Two steps"),
    ],
)
def test_each_mistake_beside_the_checks_is_refused_where_it_stands(
    changes: dict[str, Any], where: str, told: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        planned({"tool": "get_order"}, {"said": "x"}, **changes)
    assert caught.value.where == f"scenarios[2]{where}"
    assert told in str(caught.value)


def test_ids_are_given_in_order_and_must_differ() -> None:
    plan = planned({"tool": "get_order"}, {"id": "told", "said": "x"}, {"tool": "get_order"})
    assert [check.id for check in plan.checks] == ["c1", "told", "c3"]
    with pytest.raises(InvalidArgument, match="Two checks are called `c2`"):
        planned({"tool": "get_order", "id": "c2"}, {"said": "x"})


def test_a_solution_that_goes_in_circles_is_refused() -> None:
    steps = [{**CANCEL, "id": "a", "after": ["b"]}, {"tool": "get_order", "id": "b", "after": ["a"]}]
    with pytest.raises(InvalidArgument, match="comes after itself"):
        planned({"tool_calls": "expected", "match": "unordered"}, expected=steps)


def test_order_reaches_through_steps_that_do_not_count() -> None:
    steps: list[dict[str, Any]] = [
        {**CANCEL, "id": "a"},
        {"tool": "get_order", "id": "b", "after": ["a"]},
        {**CANCEL, "id": "c", "after": ["b"]},
    ]
    plan = planned({"tool_calls": "expected", "match": "unordered"}, expected=steps)
    assert getattr(plan.checks[0].predicate, "after") == {1: [0]}  # noqa: B009


def test_a_solution_without_writes_must_be_asked_for_exactly() -> None:
    with pytest.raises(InvalidArgument, match="always pass"):
        planned({"tool_calls": "expected"}, expected=[{"say": "no"}])
    assert planned({"tool_calls": "expected", "match": "unordered"}, expected=[{"say": "no"}]).checks


def test_collections_that_only_steps_or_the_persona_bring_may_be_named() -> None:
    persona: dict[str, Any] = {"id": "p", "data": {"user_db": {"phone": {}}}}
    assert planned(
        {"state": "db.audit", "exists": False}, {"state": "user_db.phone", "exists": True}, persona=persona
    )


def test_what_needs_the_expected_world_is_known_beforehand() -> None:
    inner = {"any": [{"said": "x"}, {"not": {"world": "expected"}}]}
    assert planned(inner, expected=[{"say": "x"}]).needs_expected_world
    assert not planned({"said": "x"}).needs_expected_world


def test_rules_with_a_wrong_need_are_refused_at_the_world() -> None:
    rules = [{"id": "r", "before": "get_order", "need": {"tool": "verify"}}]
    world = compile_world(
        WORLD.world.model_copy(
            update={"rules": load(World, {"format": "world/1", "name": "w", "rules": rules}, "").rules}
        )
    )
    with pytest.raises(InvalidArgument) as caught:
        compile_rules(world)
    assert caught.value.where == "world.rules[0].need.tool"


def test_a_minefield_cannot_ask_for_the_expected_world() -> None:
    with pytest.raises(InvalidArgument, match="at the end"):
        planned({"not": {"world": "expected"}, "kind": "minefield"}, expected=[{"say": "x"}])


def test_thresholds_are_checked_by_name_and_range() -> None:
    check_thresholds({"pass_rate": 0.9, "max_errors": 2}, "thresholds")
    with pytest.raises(InvalidArgument, match="`pass_rate`"):
        check_thresholds({"passrate": 0.9}, "thresholds")
    with pytest.raises(InvalidArgument, match="0 to 1"):
        check_thresholds({"pass_rate": 90}, "thresholds")


def test_all_wrong_checks_are_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as caught:
        planned({"tol": "x"}, {"said": "x"}, {"tool": "get_ordr"})
    assert caught.value.where == "scenarios[2].success[0].tol"
    assert "1 more: scenarios[2].success[2].tool" in caught.value.what


def test_unchanged_fits_a_record_that_init_or_the_own_persona_brings() -> None:
    kept = {"state": "db.orders.W9.status", "unchanged": True}
    ann = {"id": "ann", "data": {"db": {"orders": {"W9": {"status": "open"}}}}}
    made = [{"set": {"db.orders.W9": "{'status': 'open'}"}}]
    for changes in ({"persona": ann}, {"init": made}, {"persona": "ann"}):
        assert planned(kept, **changes).checks
    with pytest.raises(InvalidArgument, match="not there at the start"):
        planned(kept, persona={**ann, "data": {}})
