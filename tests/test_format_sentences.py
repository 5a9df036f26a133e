"""Sentences of the world and scenario formats that no test of their parts holds, in the order of the formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import CasehardenError, InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.world import Scene, State, compile_expression, compile_world, evaluate
from caseharden.tests.played_desk import agent, call, seen, user
from caseharden.tests.small_desk import (
    DESK,
    Script,
    a_case,
    calling,
    calls_of,
    graded,
    says_of,
    the_desk,
    tried,
)
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio
STOP = "###STOP###"
LEND = ("lend", {"book_id": "b1"})


def a_world(**fields: Any) -> Any:
    return compile_world(load(World, {"format": "world/1", "name": "w", **fields}, "world"))


# 1.1 to 1.3: the world, its schema, its tools


async def test_a_file_may_bundle_a_world_with_its_personas_and_scenarios(tmp_path: Path) -> None:
    bundle = {"world": tickets(1), "personas": [{"id": "ann"}], "scenarios": [closing(1, persona="ann")]}
    root = tmp_path / "root"
    root.mkdir()
    (root / "desk.json").write_text(json.dumps(bundle), encoding="utf-8")
    (root / "odd.json").write_text(json.dumps({**bundle, "tools": []}), encoding="utf-8")
    async with bench_at(tmp_path / "home", [root]) as bench:
        await bench.environments.create("desk", world=str(root / "desk.json"))
        assert (await bench.items.page("scenario")).total == 1
        assert (await bench.items.page("persona")).total == 1
        with pytest.raises(InvalidArgument, match="Unknown field `tools`"):
            await bench.environments.create("other", world=str(root / "odd.json"))


@pytest.mark.parametrize("name", ["W", "a b", "", "x" * 65, "é"])
def test_a_world_is_named_by_a_slug(name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        a_world(name=name)


@pytest.mark.parametrize("name", ["1a", "a b", "", "a" * 65, "a.b"])
def test_a_tool_is_named_by_letters_digits_and_lines(name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        a_world(tools=[{"name": name}])


def test_a_reference_is_to_a_collection_of_the_same_side() -> None:
    schema = {"user_db.notes": {"fields": {"who": {"ref": "users"}}}}
    with pytest.raises(InvalidArgument, match="no collection `users`"):
        a_world(db={"users": {"u": {}}}, user_db={"notes": {"n": {"who": "u"}}}, schema=schema)


@pytest.mark.parametrize(
    ("steps", "kind"),
    [
        ([], "read"),
        ([{"return": "1"}], "read"),
        ([{"notify": "x"}], "read"),
        ([{"set": {"db.a.b": "1"}}], "write"),
        ([{"if": "true", "then": [{"append": "db.a.l", "value": 1}]}], "write"),
    ],
)
def test_the_kind_of_a_tool_is_that_of_its_steps(steps: list[Any], kind: str) -> None:
    assert a_world(db={"a": {"l": []}}, tools=[{"name": "t", "steps": steps}]).tools["t"].kind == kind


async def test_a_terminal_tool_that_fails_ends_nothing() -> None:
    tools = [
        *DESK["tools"],
        {"name": "leave", "kind": "terminal", "steps": [{"require": "false", "error": "no"}]},
    ]
    done = await tried(
        a_case(the_desk(tools=tools)), Script(calling(("leave", {})), then="x"), Script("hi", STOP)
    )
    assert done.conversation.end.reason == "user_stop" and ("agent", "x") in says_of(done)


async def test_thoughts_are_recorded_and_count_in_no_list_of_calls() -> None:
    case = a_case(success=[{"tool_calls": [], "match": "strict"}])
    done = await tried(case, Script(calling(("think", {"thought": "hm"}))), Script("hi", STOP))
    assert [c.tool for c in calls_of(done)] == ["think"]
    assert (await graded(case, done)).verdict == "pass"


# 1.4: expressions


@pytest.mark.parametrize("empty", ["false", "null", "0", "0.0", "''", "[]", "{}"])
def test_what_is_empty_or_nothing_is_false(empty: str) -> None:
    assert evaluate(compile_expression(f"1 if {empty} else 2"), State({"db": {}, "user_db": {}})) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'aBc'.upper()", "ABC"),
        ("'abc'.startswith('ab') and 'abc'.endswith('bc')", True),
        ("{'a': 1}.values() == [1] and {'a': 1}.keys() == ['a']", True),
        ("{'_k': 3}['_k']", 3),
        ("f'{7:>3}{{}}'", "  7{}"),
        ("1 is 1.0", True),
        ("matches('xaby', 'ab')", True),
    ],
)
def test_the_words_of_the_language(text: str, value: Any) -> None:
    assert evaluate(compile_expression(text), State({"db": {}, "user_db": {}})) == value


# 1.5: which step stands where

STEPS: dict[str, dict[str, Any]] = {
    "require": {"require": "true", "error": "x"},
    "let": {"let": {"a": "1"}},
    "set": {"set": {"db.box.n": 1}},
    "merge": {"merge": "db.box", "value": {"n": 1}},
    "append": {"append": "db.box.l", "value": 1},
    "insert": {"insert": "db.box.l", "at": 0, "value": 1},
    "remove": {"remove": "db.box.n"},
    "for": {"for": "x", "in": "[1]", "do": []},
    "if": {"if": "true", "then": []},
    "emit": {"emit": "x"},
    "notify": {"notify": "x"},
    "unlock": {"unlock": "h"},
    "return": {"return": 1},
    "say": {"say": "x"},
    "call": {"call": "t"},
    "stop": {"stop": "end"},
}
NOT_FOR: dict[str, set[str]] = {
    "tool": {"say", "call", "stop"},
    "sync": {"require", "emit", "notify", "unlock", "return", "say", "call", "stop"},
    "init": {"return", "say", "stop"},
    "event": {"require", "return"},
}


@pytest.mark.parametrize("word", STEPS)
@pytest.mark.parametrize("place", NOT_FOR)
def test_each_step_stands_in_the_places_of_the_table_and_in_no_other(place: Any, word: str) -> None:
    made = a_world(db={"box": {"n": 0, "l": []}}, tools=[{"name": "t"}, {"name": "h", "hidden": True}])
    if word in NOT_FOR[place]:
        with pytest.raises(InvalidArgument, match="is not for"):
            made.compile_steps([STEPS[word]], place, "here")
    else:
        made.compile_steps([STEPS[word]], place, "here")


def test_a_return_ends_the_steps() -> None:
    tool = {"name": "t", "steps": [{"return": "db.box"}, {"set": {"db.box.n": 1}}]}
    outcome = Scene(a_world(db={"box": {"n": 0}}, tools=[tool])).call("t", {})
    assert (outcome.result, outcome.patches) == ({"n": 0}, ())


# 2.1: what a scenario says


async def test_a_scenario_may_begin_at_another_moment() -> None:
    case = a_case(options={"now": "2030-01-01"}, success=[{"expr": "now().startswith('2030-01-01')"}])
    done = await tried(case, Script(), Script("hi", STOP))
    assert (await graded(case, done)).verdict == "pass"


async def test_the_scenarios_fact_wins_over_the_personas() -> None:
    persona = {"id": "p", "knowledge": [{"fact": "zip", "value": "11111"}, {"fact": "age", "value": 41}]}
    person = Script("hi", STOP)
    await tried(a_case(persona=persona, knowledge=[{"fact": "zip", "value": "22222"}]), Script(), person)
    sheet = person.requests[0].messages[0].content
    assert "22222" in sheet and "11111" not in sheet and "41" in sheet


async def test_hints_are_shown_to_nobody_who_plays() -> None:
    model, person = Script(), Script("hi", STOP)
    await tried(a_case(hints=[{"text": "Look under the stairs"}]), model, person)
    assert "stairs" not in str([*model.requests, *person.requests])


# 2.2 and 2.3: predicates


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"tool": "look", "said": "x"},
        {"state": "db.desk.open"},
        {"state": "db.desk.open", "eq": 1, "unchanged": True},
        {"state": "desk.open", "eq": 1},
        {"world": "actual"},
        {"said": {"text": "a", "number": 1}},
        {"not": [{"tool": "look"}]},
        {"all": []},
        {"tool": "look", "count": -1},
        {"tool_calls": "expected"},
        {"event": "nothing"},
        {"judge": ""},
        {"expr": "db.desk.open ="},
    ],
)
def test_a_predicate_that_says_nothing_or_too_much_is_refused_with_its_place(
    predicate: dict[str, Any],
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        a_case(success=[predicate])
    assert refused.value.where.startswith("success[0]")


@pytest.mark.parametrize(
    "fields",
    [
        {"success": [{"judge": "kind", "kind": "milestone"}]},
        {"success": [{"kind": "minefield", "not": {"judge": "kind"}}]},
        {"success": [{"judge": "kind", "by_turn": 2}]},
        {"events": [{"id": "e", "when": {"judge": "kind"}, "do": {"emit": "x"}}]},
        {"events": [{"id": "e", "when": {"all": [{"judge": "kind"}]}, "do": {"emit": "x"}}]},
    ],
)
def test_nothing_that_is_watched_may_be_judged(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="without"):
        a_case(**fields)


async def test_the_users_side_of_the_expected_world_is_compared_too() -> None:
    expected = [{"say": "Show it."}, {"tool": "show_card", "by": "user"}]
    case = a_case(expected=expected, success=[{"id": "world", "world": "expected"}])
    done = await tried(case, Script(), Script("hi", STOP))
    verdict = await graded(case, done)
    assert verdict.verdict == "fail" and "user_db.bag.card" in verdict.checks[0].why
    shown = await tried(case, Script(), Script(calling(("show_card", {})), "hi", STOP))
    assert (await graded(case, shown)).verdict == "pass"


async def test_no_check_hides_another_and_weights_touch_the_score_alone() -> None:
    case = a_case(success=[{"said": "never", "weight": 3}, {"tool": "lend"}, {"said": "x", "counts": False}])
    done = await tried(case, Script(calling(LEND)), Script("hi", STOP))
    verdict = await graded(case, done)
    assert [c.verdict for c in verdict.checks] == ["fail", "pass", "fail"]
    assert (verdict.verdict, verdict.score, verdict.reward) == ("fail", 0.25, 0.0)


# 2.5 and 3.4: events and ends


@pytest.mark.parametrize(
    ("fields", "end", "verdict"),
    [
        ({"events": [{"id": "e", "at_turn": 1, "do": {"stop": "pass"}}]}, "event_stop", "pass"),
        ({"events": [{"id": "e", "at_turn": 1, "do": {"stop": "end"}}]}, "event_stop", "inconclusive"),
        ({"events": [{"id": "e", "at_turn": 1, "do": {"stop": "fail"}}]}, "event_fail", "fail"),
        ({"script": [{"user": "hi"}, {"agent": None}, {"succeed": "fine"}]}, "script_succeed", "pass"),
        ({"script": [{"user": "hi"}, {"agent": None}]}, "script_end", "inconclusive"),
        ({"script": [{"user": "hi"}, {"fail": "no"}]}, "script_fail", "fail"),
        ({}, "user_stop", "inconclusive"),
    ],
)
async def test_without_checks_an_end_says_what_it_can(fields: dict[str, Any], end: str, verdict: str) -> None:
    case = a_case(**fields)
    done = await tried(case, Script(), Script("hi", STOP))
    found = await graded(case, done)
    assert (found.end, found.verdict) == (end, verdict)


async def test_an_event_fires_at_most_once() -> None:
    events = [{"id": "e", "when": {"tool": "look"}, "do": {"notify": "seen"}}]
    looks = [calling(("look", {"book_id": "b1"})) for _ in range(3)]
    done = await tried(a_case(events=events), Script(*looks), Script("hi", STOP))
    assert [e["event"] for e in done.document["log"] if "event" in e] == ["e"]


CANNOT_BE: list[dict[str, Any]] = [
    {"events": [{"id": "e", "do": {"emit": "x"}}, {"id": "e", "do": {"emit": "y"}}]},
    {"events": [{"id": "e", "do": []}, {"id": "f", "after": ["g"], "do": {"emit": "y"}}]},
    {"events": [{"id": "e", "after": ["e"], "do": {"emit": "x"}}]},
    {"events": [{"id": "e", "delay_s": -1, "do": {"emit": "x"}}]},
    {"events": [{"id": "e", "on_timeout": "retry", "do": {"emit": "x"}}]},
    {"faults": [{"tool": "look", "on_calls": [0]}]},
    {"faults": [{"tool": "look", "p": 1.5}]},
    {"faults": [{"tool": "look", "p": 0.5, "on_calls": [1]}]},
    {"faults": [{"tool": "look"}]},
    {"faults": [{"tool": "look", "on_calls": [1], "mode": "slow"}]},
    {"noise": {"per_turn": 1, "pool": []}},
    {"noise": {"per_turn": 1, "per_minute": 1, "pool": [{"do": {"emit": "x"}}]}},
    {"limits": {"max_turns": 0}},
    {"limits": {"timeout_s": -1}},
    {"limits": {"same_message": 0}},
    {"trials": 0},
    {"seed": "x"},
    {"profile": "tau9"},
    {"reveal": "sometimes"},
    {"split": "test"},
    {"expected": [{"tool": "look", "say": "x"}]},
    {"expected": [{"say": "x", "after": ["nobody"]}]},
    {"expected": [{"tool": "look", "by": "world"}]},
    {"history": [{"by": "judge", "say": "x"}]},
    {"history": [{"by": "user", "say": "x", "tool": "look"}]},
    {"knowledge": [{"fact": "a"}]},
    {"knowledge": [1]},
    {"hints": [{"for": "nothing", "text": "x"}]},
    {"reward": {"combine": "max"}},
    {"success": [{"tool": "look", "weight": -1}]},
    {"success": [{"tool": "look", "id": "a b"}]},
    {"success": [{"tool": "look", "kind": "wish"}]},
    {"success": [{"tool": "look", "kind": "minefield", "before": "nothing"}]},
    {"world": {"user_tools": ["look_up"]}},
    {"world": {"notifications": "some"}},
]


@pytest.mark.parametrize("fields", CANNOT_BE, ids=str)
async def test_a_scenario_that_cannot_be_is_refused_when_it_is_made(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", world_data=DESK)
        with pytest.raises(CasehardenError) as refused:
            await bench.scenarios.create("desk", [{"id": "s", "goal": "g", **fields}], check=False)
        assert refused.value.where.startswith(f"scenarios[0].{next(iter(fields))}"), refused.value
        assert (await bench.items.page("scenario")).total == 0


# 3: the order of a trial and its record


async def test_the_record_numbers_what_happened_and_names_every_call(tmp_path: Path) -> None:
    lines = [user("hi"), call("look", book_id="b9"), call("lend", book_id="b1"), agent("Lent.")]
    found = await seen(tmp_path, lines, success=[{"tool": "lend"}])
    assert [e["n"] for e in found.log] == list(range(1, len(found.log) + 1))
    calls = [e for e in found.log if "tool" in e]
    assert [(c["id"], c["ok"], c.get("error"), c["kind"]) for c in calls] == [
        ("k1", False, "refused", "read"),
        ("k2", True, None, "write"),
    ]
    assert calls[0]["result"] == "no book b9"
    talk = found.conversations[0]
    assert talk["format"] == "conversation/1" and {"world", "scenario", "engine"} <= set(talk["hashes"])
    assert (talk["seed"], talk["trial"], talk["scenario"]) == (0, 1, "s")
    assert [(p["path"], p["old"], p["new"]) for p in talk["delta"]] == [("db.books.b1.out", False, True)]
    assert found.verdicts[0]["grading"] >= 1


async def test_a_notice_waits_for_the_next_model_call_and_stands_in_order() -> None:
    events = [
        {"id": "a", "at_turn": 1, "do": [{"notify": "first"}, {"notify": "second"}]},
        {"id": "b", "after": ["a"], "do": {"notify": "third", "to": "user"}},
    ]
    model, person = Script(), Script("hi", "and?", STOP)
    await tried(a_case(events=events), model, person)
    heard = [m.content for m in model.requests[0].messages if m.role == "system"]
    assert heard[-2:] == ["Notice: first", "Notice: second"]
    assert "Notice: third" in [m.content for m in person.requests[-1].messages if m.role == "system"]


async def test_a_sync_that_fails_makes_the_trial_the_authors_fault() -> None:
    world = the_desk(sync=[{"if": "db.books['b1'].out", "then": [{"set": {"db.desk.lucky": "1 / 0"}}]}])
    case = a_case(world, success=[{"said": "x"}])
    done = await tried(case, Script(calling(LEND)), Script("hi", STOP))
    verdict = await graded(case, done)
    assert (verdict.end, verdict.verdict) == ("world_error", "invalid")
    assert "division by zero" in done.conversation.end.detail


async def test_the_first_fault_that_applies_wins_and_only_the_agents_calls_are_counted() -> None:
    faults = [
        {"tool": "look", "on_calls": [2], "error": "first"},
        {"tool": "*", "on_calls": [1, 2], "error": "second"},
    ]
    init = [{"call": "look", "args": {"book_id": "b1"}}]
    looks = [calling(("look", {"book_id": "b1"})) for _ in range(3)]
    done = await tried(a_case(init=init, faults=faults), Script(*looks), Script("hi", STOP))
    results = [c.result for c in calls_of(done) if c.by == "agent"]
    assert results == ["second", "first", {"title": "Dune", "out": False}]
