"""Calls against what was expected: all match modes, orders, comparisons, and matching that is never greedy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from caseharden.engine.evaluate import Answer, Trace
from caseharden.engine.evaluate.answers import all_of, any_of, not_of
from caseharden.engine.evaluate.matching import in_order, match_in_partial_order
from caseharden.engine.evaluate.predicates import compile_predicate
from caseharden.engine.evaluate.scope import scope_of
from caseharden.engine.records.conversation import ToolEntry
from caseharden.engine.records.world import World
from caseharden.engine.world import CompiledWorld, State, compile_world, matching

TOOLS = ("look", "book", "pay", "mail")


def a_world() -> CompiledWorld:
    parameters: dict[str, Any] = {"type": "object", "properties": {"x": {}, "y": {}}}
    write = [{"set": {"db.log.last": "'done'"}}]
    tools: list[dict[str, Any]] = [
        {"name": name, "parameters": parameters, "steps": [] if name == "look" else write} for name in TOOLS
    ]
    return compile_world(
        World.model_validate({"format": "world/1", "name": "w", "db": {"log": {}}, "tools": tools})
    )


WORLD = a_world()


def asked(predicate: dict[str, Any], *calls: str | tuple[str, dict[str, Any]], **entry: Any) -> Answer:
    """What a predicate says of these calls, each a name, or a name and its arguments."""
    trace = Trace(State(WORLD.base))
    for n, call in enumerate(calls, 1):
        tool, args = (call, {}) if isinstance(call, str) else call
        kind = WORLD.tools[tool].kind
        known: dict[str, Any] = {
            "n": n,
            "turn": 1,
            "t": n,
            "id": f"k{n}",
            "by": "agent",
            "kind": kind,
            **entry,
        }
        trace.add(ToolEntry(tool=tool, args=args, **known))
    return compile_predicate(predicate, "p", scope_of(WORLD, None)).holds(trace)


def calls(*wanted: str | dict[str, Any], **modifiers: Any) -> dict[str, Any]:
    return {"tool_calls": [{"tool": w} if isinstance(w, str) else w for w in wanted], **modifiers}


@pytest.mark.requirement("AK-5")
@pytest.mark.parametrize(
    ("match", "made", "value"),
    [
        ("strict", ["book", "pay"], True),
        ("strict", ["pay", "book"], False),
        ("strict", ["book", "pay", "pay"], False),
        ("strict", ["book", "look", "pay"], True),  # reads are ignored
        ("unordered", ["pay", "book"], True),
        ("unordered", ["pay", "book", "mail"], False),
        ("unordered", ["pay"], False),
        ("contains", ["mail", "pay", "mail", "book"], True),
        ("contains", ["pay", "pay"], False),
        ("within", [], True),
        ("within", ["pay", "pay", "book"], True),
        ("within", ["pay", "mail"], False),
    ],
)
def test_the_four_match_modes(match: str, made: list[str], value: bool) -> None:
    assert asked(calls("book", "pay", match=match), *made).value is value


@pytest.mark.requirement("AK-5")
@pytest.mark.parametrize(
    ("mode", "args", "value"),
    [
        ("partial", {"x": 1.0, "y": 2}, True),
        ("partial", {"y": 2}, False),
        ("exact", {"x": 1}, True),
        ("exact", {"x": 1, "y": 2}, False),
        ("ignore", {}, True),
    ],
)
def test_the_three_ways_to_match_arguments(mode: str, args: dict[str, Any], value: bool) -> None:
    wanted = {"tool": "book", "args": {"x": 1}, "args_match": mode}
    assert asked({"tool_calls": [wanted]}, ("book", args)).value is value
    assert asked(wanted, ("book", args)).value is value


@pytest.mark.requirement("AK-5")
def test_matching_is_not_greedy() -> None:
    wanted = calls(
        {"tool": "book", "args": {"x": 1}}, {"tool": "book", "args": {"x": 1, "y": 2}}, match="unordered"
    )
    made: Sequence[Any] = [("book", {"x": 1, "y": 2}), ("book", {"x": 1})]
    assert asked(wanted, *made).value is True


def test_one_call_does_not_satisfy_two_equal_expectations() -> None:
    assert asked(calls("book", "book"), "book").value is False
    assert asked(calls("book", "book"), "book", "book").value is True


@pytest.mark.requirement("AK-5")
def test_none_of_these_tools_can_be_said() -> None:
    none = {"tool": "pay", "count": 0}
    assert asked(none, "book").value is True
    assert asked(none, "pay").value is False
    no_calls: dict[str, Any] = {"tool_calls": [], "match": "strict"}
    assert asked(no_calls, "look").value is True
    assert asked({**no_calls, "reads": "count"}, "look").value is False
    assert asked(no_calls, "book").value is False


def test_a_failure_names_the_nearest_call_and_the_arguments_that_differ() -> None:
    wanted = calls({"tool": "book", "args": {"x": 1, "y": "card"}})
    answer = asked(wanted, ("book", {"x": 9, "y": "cash"}), ("book", {"x": 1, "y": "cash"}))
    assert answer.value is False
    assert (
        answer.why == 'missing book(x=1, y="card"): nearest is book in turn 1: y is "cash", expected "card"'
    )
    assert answer.evidence == (2,)
    assert "it failed" in asked(calls("book"), "book", ok=False, result="no").why


def test_injected_calls_count_in_nothing() -> None:
    assert asked({"tool": "book"}, "book", injected="error").value is False
    assert asked({"tool": "book", "ok": "any"}, "book", injected="error").value is False
    assert asked(calls(match="strict"), "book", injected="malformed").value is True


def test_success_side_and_number_of_calls_matter() -> None:
    assert asked({"tool": "book"}, "book", ok=False).value is False
    assert asked({"tool": "book", "ok": False}, "book", ok=False).value is True
    assert asked({"tool": "book"}, "book", by="user").value is False
    assert asked({"tool": "book", "by": "user"}, "book", by="user").value is True
    assert asked({"tool": "*", "count": {"min": 2, "max": 3}}, "book", "pay").value is True
    assert asked({"tool": "book", "count": {"max": 1}}, "book", "book").value is False


@pytest.mark.parametrize(
    ("args", "compare", "given", "value"),
    [
        ({"x": "Store  Credit"}, {"x": "text"}, "store credit", True),
        ({"x": {"a": {"b": 1}}}, {"x": "partial"}, {"a": {"b": 1, "c": 2}}, True),
        ({"x": {"a": {"b": 1}}}, {"x": "partial"}, {"a": {"c": 2}}, False),
        ({"x": "any"}, {"x": "ignore"}, "other", True),
        ({"x": 10}, {"x": {"tolerance": 0.5}}, 10.4, True),
        ({"x": [1, 2]}, {"x": {"unordered": True}}, [2, 1], True),
        ({"x": [1, 2]}, {"x": {"unordered": True}}, [2, 2], False),
        ({}, {"x": {"min": 3, "max": 4}}, 3.5, True),
        ({}, {"x": {"matches": "^W[0-9]+$"}}, "W42", True),
        ({}, {"x": {"one_of": ["a", "b"]}}, "c", False),
        ({}, {"x": {"contains": "b"}}, ["a", "b"], True),
        ({}, {"x": {"ne": 1}}, True, True),
        ({"x": 1}, {}, True, False),
        ({"x": None}, {}, 0, False),
    ],
)
def test_comparisons_of_one_argument(
    args: dict[str, Any], compare: dict[str, Any], given: Any, value: bool
) -> None:
    wanted = {"tool": "book", "args": args, "compare": compare}
    assert asked(wanted, ("book", {"x": given})).value is value
    if compare.get("x") != "ignore":
        assert asked(wanted, "book").value is False


def test_a_judged_argument_is_inconclusive_only_where_it_decides() -> None:
    wanted = calls({"tool": "book", "args": {"x": 1}, "compare": {"y": {"judge": "polite"}}})
    assert asked(wanted, ("book", {"x": 1, "y": "please"})).value is None
    assert asked(wanted, ("book", {"x": 2, "y": "please"})).value is False


def test_order_is_asked_for_by_ordered_or_after() -> None:
    assert asked(calls("book", "pay", ordered=True), "mail", "book", "pay").value is True
    assert asked(calls("book", "pay", ordered=True), "pay", "book").value is False
    edges = calls({"tool": "book", "id": "b"}, "mail", {"tool": "pay", "after": ["b"]}, match="unordered")
    assert asked(edges, "book", "pay", "mail").value is True
    answer = asked(edges, "pay", "mail", "book")
    assert answer.value is False
    assert "order" in answer.why
    assert asked(edges, "pay", "book", "pay", "mail").value is False  # one call too many
    assert asked({**edges, "match": "contains"}, "pay", "book", "pay", "mail").value is True


def test_a_search_that_would_not_end_is_undecided() -> None:
    n = 12
    edges = [list(range(n - 1, 2 * n - 2)) for _ in range(n - 1)] + [list(range(n))]
    after = {n - 1: list(range(n - 1))}
    assert match_in_partial_order(edges, after, nodes=500) is None


EDGES = st.lists(st.lists(st.integers(0, 4), unique=True, max_size=5), max_size=5)


@given(EDGES)
def test_matching_covers_as_many_as_brute_force(edges: list[list[int]]) -> None:
    best = max(
        sum(1 for row, right in zip(edges, order, strict=False) if right in row)
        for order in permutations(range(5), len(edges))
    )
    pairs = matching(edges)
    assert len(pairs) == len(set(pairs.values())) == best
    assert all(right in edges[left] for left, right in pairs.items())


@settings(max_examples=100)
@given(EDGES, st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5))
def test_matching_with_an_order_agrees_with_brute_force(
    edges: list[list[int]], order: set[tuple[int, int]]
) -> None:
    pairs = [(a, b) for a, b in order if a < b < len(edges)]
    after = {b: [a for a, c in pairs if c == b] for _, b in pairs}
    exists = any(
        all(right in row for row, right in zip(edges, rights, strict=True))
        and all(rights[a] < rights[b] for a, b in pairs)
        for rights in permutations(range(5), len(edges))
    )
    found = match_in_partial_order(edges, after)
    assert found is not None
    assert (len(found) == len(edges)) is exists
    assert all(found[a] < found[b] for a, b in pairs if found)


@given(EDGES)
def test_rising_matching_agrees_with_brute_force(edges: list[list[int]]) -> None:
    rising = any(
        all(right in row for row, right in zip(edges, rights, strict=True)) and list(rights) == sorted(rights)
        for rights in permutations(range(5), len(edges))
    )
    assert (len(in_order(edges)) == len(edges)) is rising


VALUES = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=6)


@given(VALUES)
def test_three_valued_logic_follows_de_morgan_and_keeps_inconclusive(values: list[bool | None]) -> None:
    assert not_of(all_of(values)) == any_of([not_of(v) for v in values])
    assert all_of(values) is (False if False in values else None if None in values else True)
    decided = [[True if v is None else v for v in values], [False if v is None else v for v in values]]
    if all_of(values) is not None:
        assert all(all_of(d) == all_of(values) for d in decided)
    if any_of(values) is not None:
        assert all(any_of(d) == any_of(values) for d in decided)
