"""State, journal, diff and paths."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from caseharden.engine.canonical import canonical, digest, equal
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.world import (
    MISSING,
    WILD,
    Patch,
    State,
    covers,
    delta,
    diff,
    matching,
    parse_path,
    parse_pattern,
    show_path,
)
from caseharden.engine.world.overlay import LARGE, Overlay
from caseharden.engine.world.paths import parse_inner
from caseharden.engine.world.state import WriteOp
from caseharden.engine.world.values import Fault

KEYS = st.text(st.characters(), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


def exact(value: Any) -> str:
    """JSON with the order of keys."""
    return json.dumps(value)


@given(st.lists(KEYS | st.integers(-3, 300), max_size=5), st.sampled_from(["db", "user_db"]))
def test_path_is_read_back_from_its_text(keys: list[str | int], root: str) -> None:
    path = (root, *keys)
    assert parse_path(show_path(path), "p") == path


def test_pattern_covers_what_lies_below() -> None:
    pattern = parse_pattern("db.orders[*].history", "p")
    assert pattern == ("db", "orders", WILD, "history")
    assert covers(pattern, ("db", "orders", "#W1", "history", 0, "at"))
    assert not covers(pattern, ("db", "orders", "#W1"))
    assert show_path(pattern) == "db.orders[*].history"
    assert not covers(("db", "[*]"), ("db", "x"))
    assert parse_inner("items[*].sku", "p") == ("items", WILD, "sku")


@pytest.mark.parametrize(
    "text", ["", "orders.x", "db.", "db..x", "db[x]", "db['a'", "db.x y", "db[1.5]", "db.x[*]", "d" * 3000]
)
def test_what_is_no_path_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_path(text, "scenario.success[0].state")
    assert caught.value.where == "scenario.success[0].state"


# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
def places(value: Any, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        items: Any = value.items()
    else:
        items = enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def write_something(state: State, data: st.DataObject) -> None:
    spots = [p for p in places(state.root, ()) if len(p) >= 1]
    spot = data.draw(st.sampled_from(spots))
    op: WriteOp = data.draw(st.sampled_from(["set", "insert", "remove"]))
    extra: list[str | int] = data.draw(st.lists(KEYS | st.integers(0, 3), max_size=1))
    with contextlib.suppress(Fault):
        state.write(op, (*spot, *extra), data.draw(JSON), "agent")


@settings(max_examples=100, deadline=None)
@given(OBJECTS, st.data())
def test_undo_gives_back_every_value_and_the_order_of_keys(db: dict[str, Any], data: st.DataObject) -> None:
    base: dict[str, Any] = {"db": db, "user_db": {}}
    before = exact(base)
    state = State(base)
    seen = [(state.mark(), exact(state.root), state.snapshot())]
    for _ in range(data.draw(st.integers(0, 8))):
        write_something(state, data)
        snapshot = state.snapshot() if data.draw(st.booleans()) else copy.deepcopy(state.root)
        seen.append((state.mark(), exact(state.root), snapshot))
    for mark, told, snapshot in reversed(seen):
        assert exact(snapshot) == told
        state.rollback(mark)
        assert exact(state.root) == told
    assert exact(base) == before


@settings(max_examples=100, deadline=None)
@given(OBJECTS, st.data())
def test_replaying_the_journal_gives_the_same_state(db: dict[str, Any], data: st.DataObject) -> None:
    state = State({"db": db, "user_db": {}})
    for _ in range(data.draw(st.integers(0, 8))):
        write_something(state, data)
    again = State({"db": db, "user_db": {}})
    for patch in state.journal:
        again.write(patch.op, patch.path, patch.new, patch.by)
    assert exact(again.root) == exact(state.root)
    assert [p.record() for p in again.journal] == [p.record() for p in state.journal]


@settings(max_examples=100, deadline=None)
@given(JSON, JSON)
def test_values_are_equal_exactly_when_they_do_not_differ(a: Any, b: Any) -> None:
    assert (diff(a, b) == []) == equal(a, b)
    assert diff(a, copy.deepcopy(a)) == []
    if equal(a, b):
        assert canonical(a) == canonical(b) and digest(a) == digest(b)


@settings(max_examples=100, deadline=None)
@given(OBJECTS, OBJECTS)
def test_delta_leads_from_one_state_to_the_other(a: dict[str, Any], b: dict[str, Any]) -> None:
    state = State({"db": a})
    for patch in reversed(delta({"db": a}, {"db": b})):
        if isinstance(patch.path[-1], int) and patch.old is MISSING:
            continue
        state.write(patch.op, patch.path, patch.new, "x")
    for patch in delta(state.root, {"db": b}):
        state.write("insert" if isinstance(patch.path[-1], int) else "set", patch.path, patch.new, "x")
    assert equal(state.root["db"], b)


def test_what_is_written_is_a_copy_and_later_writes_do_not_reach_the_journal() -> None:
    mine = {"list": [1]}
    state = State({"db": {}})
    state.write("set", ("db", "a"), mine, "agent")
    mine["list"].append(2)
    state.write("insert", ("db", "a", "list", 1), 3, "agent")
    assert state.root == {"db": {"a": {"list": [1, 3]}}}
    assert state.journal[0].new == {"list": [1]}


def test_two_branches_go_their_own_ways() -> None:
    state = State({"db": {"a": {"n": 1}}})
    state.write("set", ("db", "a", "n"), 2, "agent")
    other = state.branch()
    state.write("set", ("db", "a", "n"), 3, "agent")
    other.write("set", ("db", "a", "m"), 4, "user")
    assert (state.root, other.root) == ({"db": {"a": {"n": 3}}}, {"db": {"a": {"n": 2, "m": 4}}})
    assert [len(s.journal) for s in (state, other)] == [2, 2]
    other.rollback(0)
    assert other.root == {"db": {"a": {"n": 1}}}


def test_a_write_shares_all_that_it_does_not_touch() -> None:
    base: dict[str, Any] = {"db": {"a": {"x": {"y": 1}, "z": {"y": 1}}, "b": {}}}
    state = State(base)
    state.write("set", ("db", "a", "x", "y"), 2, "agent")
    assert state.root["db"]["b"] is base["db"]["b"]
    assert state.root["db"]["a"]["z"] is base["db"]["a"]["z"]
    assert base["db"]["a"]["x"]["y"] == 1


def test_hundred_states_of_a_large_world_do_not_copy_it() -> None:
    base: dict[str, Any] = {
        "db": {"orders": {f"#W{i}": {"status": "open", "note": "x" * 900} for i in range(5500)}}
    }
    assert len(json.dumps(base)) > 5_000_000
    tracemalloc.start()
    states = [State(base) for _ in range(100)]
    for state in states:
        state.write("set", ("db", "orders", "#W7", "status"), "sent", "agent")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000
    untouched = base["db"]["orders"]["#W8"]
    assert all(s.root["db"]["orders"]["#W8"] is untouched for s in states)
    assert [d.path for d in diff(base, states[0].root)] == [("db", "orders", "#W7", "status")]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_overlay_reads_as_the_plain_object_it_stands_for(data: st.DataObject) -> None:
    base = {f"k{i}": i for i in range(6)}
    overlay = Overlay(base)
    plain = dict(base)
    for n in range(data.draw(st.integers(0, 12))):
        key = data.draw(st.sampled_from([f"k{i}" for i in range(9)]))
        if key in plain and data.draw(st.booleans()):
            del plain[key], overlay[key]
        else:
            plain[key] = overlay[key] = 100 + n
        overlay = Overlay.over(overlay) if data.draw(st.booleans()) else overlay
    assert dict(overlay.items()) == plain == {**overlay} == dict(overlay) == json.loads(json.dumps(overlay))
    assert (len(overlay), bool(overlay), sorted(overlay)) == (len(plain), bool(plain), sorted(plain))
    assert all(
        overlay.get(f"k{i}", "no") == plain.get(f"k{i}", "no") and (f"k{i}" in overlay) == (f"k{i}" in plain)
        for i in range(9)
    )
    assert equal(overlay, plain) and canonical(overlay) == canonical(plain)
    assert diff(overlay, plain) == [] == diff(plain, overlay)
    assert base == {f"k{i}": i for i in range(6)}


def test_large_collection_undoes_in_order_and_keeps_old_snapshots() -> None:
    base: dict[str, Any] = {"db": {"xs": {str(i): i for i in range(LARGE + 1)}}}
    before = exact(base)
    state = State(base)
    state.write("set", ("db", "xs", "new"), 1, "agent")
    state.write("set", ("db", "xs", "other"), 1, "agent")
    state.write("remove", ("db", "xs", "5"), None, "agent")
    middle, told = state.snapshot(), exact(state.root)
    state.write("remove", ("db", "xs", "new"), None, "agent")
    state.write("set", ("db", "xs", "5"), 9, "agent")
    assert exact(middle) == told and exact(state.root) != told
    state.rollback(3)
    assert exact(state.root) == told
    state.rollback(0)
    assert exact(state.root) == before == exact(base)


def test_patch_tells_what_conversations_store() -> None:
    state = State({"db": {"xs": [1]}})
    state.write("insert", ("db", "xs", 1), None, "event:late")
    state.write("remove", ("db", "xs", 0), None, "agent")
    assert [p.record() for p in state.journal] == [
        {"op": "insert", "path": "db.xs[1]", "by": "event:late", "new": None},
        {"op": "remove", "path": "db.xs[0]", "by": "agent", "old": 1},
    ]
    assert isinstance(state.journal[0], Patch)


@pytest.mark.parametrize(
    ("op", "path", "part"),
    [
        ("set", ("db", "no", "x"), "no 'no' in db"),
        ("set", ("db", "xs", 5), "index 5 is outside db.xs"),
        ("set", ("db", "xs", "a"), "is a list and has no key 'a'"),
        ("insert", ("db", "o", "a"), "is an object, not a list"),
        ("set", ("db", "o", 1), "keys are texts"),
        ("remove", ("db", "o", "b"), "nothing at db.o.b"),
        ("set", ("db", "n", "b"), "is a number and cannot hold"),
        ("set", ("db",), "as a whole"),
    ],
)
def test_a_write_that_cannot_be_says_why_and_leaves_no_trace(
    op: WriteOp, path: tuple[Any, ...], part: str
) -> None:
    state = State({"db": {"xs": [1], "o": {"a": 1}, "n": 1}})
    with pytest.raises(Fault, match=part.replace("(", r"\(")):
        state.write(op, path, 1, "agent")
    assert state.journal == [] and state.root == {"db": {"xs": [1], "o": {"a": 1}, "n": 1}}


def test_diff_ignores_tolerates_and_takes_lists_as_multisets() -> None:
    a = {"at": 1, "n": 1.0, "xs": [{"id": 1, "t": 5}, {"id": 2, "t": 6}]}
    b = {"at": 2, "n": 1.004, "xs": [{"id": 2, "t": 9}, {"id": 1, "t": 9}]}
    terms: dict[str, Any] = {
        "path": ("db",),
        "ignore": [parse_pattern("db.at", "p"), parse_pattern("db.xs[*].t", "p")],
        "unordered": [parse_pattern("db.xs", "p")],
    }
    assert [d.path for d in diff(a, b, **terms)] == [("db", "n")]
    assert diff(a, b, **terms, tolerance=0.005) == []
    assert len(diff([1, 2, 2], [2, 3, 1], path=("db",), unordered=[("db",)])) == 1


def test_multisets_are_matched_at_best_and_not_greedily() -> None:
    assert diff([1.0, 1.4], [1.2, 0.8], path=("db",), unordered=[("db",)], tolerance=0.25) == []


@given(st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), max_size=6))
def test_matching_is_a_largest_one(edges: list[list[int]]) -> None:
    found = matching(edges)
    assert all(j in edges[i] for i, j in found.items()) and len(set(found.values())) == len(found)

    def best(i: int, used: frozenset[int]) -> int:
        if i == len(edges):
            return 0
        taken = [1 + best(i + 1, used | {j}) for j in edges[i] if j not in used]
        return max([best(i + 1, used), *taken])

    assert len(found) == best(0, frozenset())


def test_matching_takes_long_chains_without_recursion() -> None:
    edges = [[i, i + 1] for i in range(3000)]
    chain = [*([list(range(1))]), *edges]
    assert len(matching(list(itertools.islice(chain, 3001)))) == 3001
