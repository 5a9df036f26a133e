"""What counts as success: milestones, minefields, matched calls, worlds and rewards, as a client of a run sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.tests.played_desk import TALK, Line, agent, call, made, seen, user
from caseharden.tests.small_desk import DESK
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
NOTHING: list[Any] = []
EMPTY: dict[str, Any] = {}
LOOKED: dict[str, Any] = {"id": "looked", "kind": "milestone", "tool": "look"}
# look is called in turn 2, at 35 s.


@pytest.mark.requirement("ARE-5")
@pytest.mark.parametrize(
    ("limits", "verdict", "why"),
    [
        ({}, "pass", "reached in turn 2"),
        ({"by_turn": 2}, "pass", "reached in turn 2"),
        ({"by_turn": 1}, "fail", "reached only in turn 2, at 35 s; wanted by turn 1"),
        ({"by_s": 35}, "pass", "reached in turn 2"),
        ({"by_s": 34.9}, "fail", "reached only in turn 2, at 35 s; wanted by 34.9 s"),
    ],
)
async def test_a_milestone_is_reached_by_a_turn_and_a_time(
    tmp_path: Path, limits: dict[str, Any], verdict: str, why: str
) -> None:
    found = await seen(tmp_path, TALK, success=[{**LOOKED, **limits}], check=False)
    assert found.check("looked") == (verdict, why)
    row = next(c for c in found.verdicts[0]["checks"] if c["id"] == "looked")
    assert (row["turn"], row["t"], row["evidence"]) == (2, 35, [4])
    assert found.end == "user_stop"


@pytest.mark.requirement("ARE-5")
async def test_a_minefield_that_is_hit_ends_the_run_and_one_that_is_not_passes(tmp_path: Path) -> None:
    success = [
        {"id": "vault", "kind": "minefield", "tool": "open_vault"},
        {"id": "dune", "kind": "minefield", "state": "db.books['b1'].out", "eq": True},
    ]
    safe = await seen(tmp_path / "a", TALK, success=success)
    assert (safe.verdict, safe.check("vault"), safe.check("dune")) == (
        "pass",
        ("pass", "not hit"),
        ("pass", "not hit"),
    )
    lines = [user("b1"), call("lend", book_id="b1"), call("open_vault"), agent("Lent.")]
    hit = await seen(tmp_path / "b", lines, success=success, check=False)
    assert (hit.verdict, hit.end) == ("fail", "minefield")
    assert [e["tool"] for e in hit.log if "tool" in e] == ["lend"]
    assert hit.check("dune")[1].startswith("hit in turn 1")
    assert hit.check("vault") == ("pass", "not hit")


EVENT = {"id": "shut", "at_turn": 2, "do": {"set": {"db.desk.open": "false"}}}
BEFORE_AND_BEHIND = [
    user("b1"),
    call("look", book_id="b1"),
    agent("It is in."),
    user("yes"),
    call("lend", book_id="b1"),
    agent("Lent."),
]


@pytest.mark.parametrize(
    ("check", "verdict"),
    [
        ({"kind": "milestone", "tool": "look", "before": "shut"}, "pass"),
        ({"kind": "milestone", "tool": "lend", "before": "shut"}, "fail"),
        ({"kind": "milestone", "tool": "lend", "after": "shut"}, "pass"),
        ({"kind": "milestone", "tool": "look", "after": "shut"}, "fail"),
        ({"kind": "milestone", "tool": "look", "before": "lent"}, "pass"),
        ({"kind": "milestone", "tool": "lend", "after": "looked", "by_turn": 2}, "pass"),
        ({"kind": "minefield", "tool": "look", "after": "shut"}, "pass"),
        ({"kind": "minefield", "tool": "lend", "after": "shut"}, "fail"),
        ({"kind": "minefield", "tool": "look", "before": "shut"}, "fail"),
        ({"kind": "minefield", "tool": "lend", "before": "shut"}, "pass"),
        ({"kind": "minefield", "tool": "lend", "before": "looked"}, "pass"),
        ({"kind": "minefield", "tool": "open_vault", "after": "never"}, "pass"),
    ],
)
async def test_what_comes_before_and_behind_a_milestone_or_an_event(
    tmp_path: Path, check: dict[str, Any], verdict: str
) -> None:
    success = [
        {"id": "looked", "kind": "milestone", "tool": "look"},
        {"id": "lent", "kind": "milestone", "tool": "lend", "counts": False},
        {"id": "it", **check},
    ]
    events = [EVENT, {"id": "never", "when": {"tool": "open_vault"}, "do": NOTHING}]
    found = await seen(tmp_path, BEFORE_AND_BEHIND, events=events, success=success, check=False)
    assert found.check("it")[0] == verdict, found.check("it")
    assert found.verdict == verdict


async def test_a_milestone_that_comes_with_the_call_that_fires_the_event_came_before_it(
    tmp_path: Path,
) -> None:
    events = [{"id": "seen", "when": {"tool": "look"}, "do": NOTHING}]
    success = [
        {"id": "m", "kind": "milestone", "tool": "look", "before": "seen"},
        {"id": "f", "kind": "minefield", "tool": "look", "after": "seen"},
    ]
    found = await seen(tmp_path, TALK, events=events, success=success)
    assert (found.check("m")[0], found.check("f")[0]) == ("pass", "pass")


async def test_events_of_a_point_come_before_its_minefields(tmp_path: Path) -> None:
    """What an event undoes at the same point was never seen, live or in the record."""
    undo = {"id": "undo", "when": {"tool": "lend"}, "do": {"set": {"db.books['b1'].out": "false"}}}
    success = [{"id": "out", "kind": "minefield", "state": "db.books['b1'].out", "eq": True}]
    lines = [user("b1"), call("lend", book_id="b1"), agent("Lent.")]
    found = await seen(tmp_path, lines, events=[undo], success=success)
    assert (found.end, found.check("out")) == ("user_stop", ("pass", "not hit"))


async def test_a_milestone_is_reached_when_it_came_true_and_not_with_the_event_behind_it(
    tmp_path: Path,
) -> None:
    """The agent's last words of turn 1 are followed by an event with which turn 2 begins."""
    success = [{"id": "asked", "kind": "milestone", "said": "which book", "by_turn": 1}]
    found = await seen(tmp_path, TALK, events=[EVENT], success=success, check=False)
    assert found.fired() == [("shut", "fired", 2, 32)]
    assert found.check("asked") == ("pass", "reached in turn 1")


@pytest.mark.parametrize(
    ("check", "where", "told"),
    [
        ({"kind": "milestone", "tool": "look", "before": "shit"}, ".before", "Did you mean `shut`?"),
        ({"kind": "minefield", "tool": "look", "after": "looked"}, ".after", "no milestone and no event"),
        ({"tool": "look", "after": "shut"}, ".after", "what is watched"),
        ({"kind": "milestone", "id": "m", "tool": "look", "after": "m"}, ".after", "no milestone"),
        ({"event": "shit"}, ".event", "Did you mean `shut`?"),
        ({"state": "db.desk", "unchanged": True, "except": ["shit"]}, ".except", "Did you mean `shut`?"),
        ({"id": "event.shut", "tool": "look"}, ".id", "a name that the checks"),
    ],
)
async def test_a_check_that_names_what_cannot_happen_is_refused(
    tmp_path: Path, check: dict[str, Any], where: str, told: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Be kind.", world_data=DESK)
        scenario = {"id": "s", "goal": "Borrow a book", "events": [EVENT], "success": [check]}
        with pytest.raises(InvalidArgument) as refused:
            await bench.scenarios.create("desk", [scenario])
    assert refused.value.where == f"scenarios[0].success[0]{where}"
    assert told in str(refused.value)


async def test_a_check_asks_whether_an_event_or_a_signal_happened(tmp_path: Path) -> None:
    events = [
        {"id": "shut", "at_turn": 2, "do": {"emit": "click"}},
        {"id": "never", "when": {"tool": "lend"}, "do": NOTHING},
        {"id": "echo", "when": {"event": "click"}, "do": NOTHING},
    ]
    success = [{"event": "shut"}, {"event": "click"}, {"event": "echo"}, {"not": {"event": "never"}}]
    assert (await seen(tmp_path, TALK, events=events, success=success, check=False)).verdict == "pass"


CALLS = [
    user("b1"),
    call("look", book_id="b2"),
    call("lend", book_id="b1", note="for  DANA"),
    call("lend", book_id="b1", note="for Omar"),
    agent("Lent."),
]


@pytest.mark.requirement("ARE-12")
@pytest.mark.parametrize(
    ("expected", "match", "verdict"),
    [
        ([{"args": EMPTY}, {"args": {"book_id": "b1"}}], {"match": "unordered"}, "pass"),
        ([{"args": {"note": "for Omar"}}, {"args": EMPTY}], {"match": "unordered"}, "pass"),
        ([{"args": {"note": "for Omar"}}, {"args": EMPTY}], {"match": "unordered", "ordered": True}, "fail"),
        ([{"args": {"note": "for dana"}, "compare": {"note": "text"}}], {}, "pass"),
        ([{"args": {"note": "for dana"}}], {}, "fail"),
        ([{"args": {"note": "x"}, "compare": {"note": "ignore"}}], {}, "pass"),
        ([{"args": {"book_id": "b1"}, "compare": {"note": {"contains": "Omar"}}}], {}, "pass"),
        ([{"args": {"book_id": "b2"}}], {}, "fail"),
        ([{"compare": {"note": {"judge": "it names a reader"}}}], {}, "inconclusive"),
    ],
)
async def test_the_writes_of_the_solution_are_matched_whatever_was_read(
    tmp_path: Path, expected: list[dict[str, Any]], match: dict[str, Any], verdict: str
) -> None:
    """Matching is optimal: the broad first call must not take what only the second could take."""
    lend = {
        "name": "lend",
        "parameters": {"type": "object", "properties": {"book_id": EMPTY, "note": EMPTY}},
        "steps": [{"set": {"db.desk.lucky": "1"}}],
    }
    world = {**DESK, "tools": [t for t in DESK["tools"] if t["name"] != "lend"] + [lend]}
    steps = [{"tool": "lend", **one} for one in expected]
    success = [{"id": "calls", "tool_calls": "expected", **match}]
    found = await seen(tmp_path, CALLS, world_data=world, expected=steps, success=success, check=False)
    assert found.check("calls")[0] == verdict, found.check("calls")


@pytest.mark.requirement("ARE-7")
async def test_a_scenario_with_events_faults_noise_and_a_script_is_proven_without_a_model(
    tmp_path: Path,
) -> None:
    scenario: dict[str, Any] = {
        "script": [{"user": "b1, please"}, {"agent": None}, {"check": {"tool": "look"}}, {"proceed": None}],
        "events": [{"id": "mind", "when": {"tool": "look"}, "do": {"say": "yes, lend it"}}],
        "faults": [{"tool": "*", "p": 1}],
        "noise": {"per_turn": 3, "pool": [{"do": {"set": {"db.desk.lucky": "int(rand() * 1000)"}}}]},
        "expected": [
            {"tool": "look", "args": {"book_id": "b1"}},
            {"say": "Shall I lend it?"},
            {"tool": "lend", "args": {"book_id": "b1"}},
            {"say": "Lent."},
        ],
        "success": [{"world": "expected"}, {"said": "yes, lend it", "by": "user"}],
    }
    async with bench_at(tmp_path) as bench:
        creation = await made(bench, [], **scenario)
        assert (creation.checked["proven"], creation.warnings) == (1, [])
        less = {"expected": scenario["expected"][2:], "success": scenario["success"][:1]}
        wrong = {"id": "w", "goal": "Borrow a book", **scenario, **less}
        with pytest.raises(InvalidArgument, match=r"own solution fails.*script\.3"):
            await bench.scenarios.create("desk", [wrong])


async def test_the_reward_is_composed_of_what_is_named_and_the_rest_is_shown_beside_it(
    tmp_path: Path,
) -> None:
    success = [
        {"id": "looked", "tool": "look", "weight": 3},
        {"id": "lent", "tool": "lend", "weight": 1},
        {"id": "said", "said": "it is in"},
    ]
    rewards: dict[str, Any] = {}
    lines: list[Line] = TALK
    for combine in ("product", "mean", "min"):
        reward = {"combine": combine, "of": ["looked", "lent"]}
        found = await seen(tmp_path / combine, lines, success=success, reward=reward, check=False)
        rewards[combine] = found.verdicts[0]["reward"]
        assert found.verdicts[0]["reward_by"] == combine
        shown = {c["id"]: (c["verdict"], c["in_reward"]) for c in found.verdicts[0]["checks"]}
        assert shown == {"looked": ("pass", True), "lent": ("fail", True), "said": ("pass", False)}
    assert rewards == {"product": 0, "mean": 0.75, "min": 0}
