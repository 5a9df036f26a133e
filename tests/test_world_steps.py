"""Steps: what each word does, where it may stand, and how mistakes are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.world import CallOutcome, Scene, WorldFault, compile_world

DB: dict[str, Any] = {
    "orders": {"#W1": {"status": "open", "lines": [{"n": 1}, {"n": 2}], "tags": ["a"]}},
    "settings": {"limit": 5, "deep": {"a": 1, "b": {"c": 2}}},
    "log": [],
}


def world(steps: Any, **more: Any) -> dict[str, Any]:
    tool = {
        "name": "act",
        "steps": steps,
        "parameters": {
            "type": "object",
            "properties": {"x": {}, "o_id": {"type": "string", "default": "#W1"}},
        },
    }
    base = {"format": "world/1", "name": "w", "db": DB, "user_db": {"seen": 0}}
    return {**base, **more, "tools": [tool, *more.get("tools", [])]}


def scene(steps: Any, **more: Any) -> Scene:
    made = Scene(compile_world(load(World, world(steps, **more), "world")), (7, "s", 1))
    made.prepare()
    return made


def act(steps: Any, x: Any = None, **more: Any) -> tuple[CallOutcome, Scene]:
    made = scene(steps, **more)
    return made.call("act", {} if x is None else {"x": x}), made


def told(steps: Any, **more: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        compile_world(load(World, world(steps, **more), "world"))
    return caught.value


def test_let_to_a_place_is_a_live_name_and_to_anything_else_a_snapshot() -> None:
    outcome, _ = act(
        [
            {"let": {"o": "db.orders[o_id]", "all": "values(db.orders)", "gone": "db.orders.get('#no')"}},
            {"set": {"o.status": "'sent'"}},
            {"return": "[o.status, all[0].status, gone]"},
        ]
    )
    assert outcome.result == ["sent", "open", None]


def test_value_is_an_expression_when_a_text_and_itself_otherwise() -> None:
    outcome, s = act(
        [
            {
                "set": {
                    "db.settings.limit": "1 + 1",
                    "db.settings.raw": {"a": "1 + 1"},
                    "db.settings.text": "'open'",
                }
            },
            {"return": ["db", 1]},
        ]
    )
    assert s.state.get(("db", "settings")) == {
        "limit": 2,
        "deep": DB["settings"]["deep"],
        "raw": {"a": "1 + 1"},
        "text": "open",
    }
    assert outcome.result == ["db", 1]


def test_merge_is_deep_and_replaces_all_else() -> None:
    _, s = act([{"merge": "db.settings", "value": {"deep": {"b": {"d": 3}, "a": [1]}, "new": 1}}])
    assert s.state.get(("db", "settings")) == {
        "limit": 5,
        "deep": {"a": [1], "b": {"c": 2, "d": 3}},
        "new": 1,
    }


def test_lists_take_append_insert_and_remove() -> None:
    outcome, s = act(
        [
            {"let": {"o": "db.orders['#W1']"}},
            {"append": "o.tags", "value": "'z'"},
            {"insert": "o.tags", "at": 0, "value": "'first'"},
            {"remove": "o.tags[-1]"},
            {"remove": "o.status"},
        ]
    )
    assert s.state.get(("db", "orders", "#W1")) == {"lines": [{"n": 1}, {"n": 2}], "tags": ["first", "a"]}
    assert [p.shown for p in outcome.patches] == [
        "db.orders['#W1'].tags[1]",
        "db.orders['#W1'].tags[0]",
        "db.orders['#W1'].tags[2]",
        "db.orders['#W1'].status",
    ]


def test_for_over_a_place_binds_places_and_over_a_value_the_elements() -> None:
    outcome, s = act(
        [
            {"for": "line", "in": "db.orders['#W1'].lines", "do": [{"set": {"line.n": "line.n * 10"}}]},
            {"for": "k", "in": "keys(db.settings)", "do": [{"append": "db.log", "value": "k"}]},
            {
                "for": "n",
                "in": "db.log",
                "do": [{"if": "n == 'deep'", "then": [{"return": "n"}]}],
            },
        ]
    )
    assert s.state.get(("db", "orders", "#W1", "lines")) == [{"n": 10}, {"n": 20}]
    assert s.state.get(("db", "log")) == ["limit", "deep"]
    assert outcome.result == "deep"


def test_loop_over_a_list_goes_over_it_as_it_was_at_the_start() -> None:
    _, s = act(
        [
            {"append": "db.log", "value": 1},
            {"for": "e", "in": "db.log", "do": [{"append": "db.log", "value": 2}]},
        ]
    )
    assert s.state.get(("db", "log")) == [1, 2]


def test_refused_call_gives_the_error_text_alone_with_its_expressions() -> None:
    outcome, _ = act(
        [{"require": "false", "error": "no {o_id}: {db.settings.limit:.2f} {{x}} {db.log} {'}'}"}]
    )
    assert (outcome.ok, outcome.error, outcome.text) == (False, "refused", "no #W1: 5.00 {x} [] }")


def test_arguments_and_results_are_copied_at_the_border() -> None:
    given = {"a": [1]}
    s = scene(
        [
            {"set": {"db.settings.x": "x"}},
            {"append": "db.settings.x.a", "value": 2},
            {"return": "db.settings.x"},
        ]
    )
    outcome = s.call("act", {"x": given})
    outcome.result["a"].append(9)
    given["a"].append(8)
    assert s.state.get(("db", "settings", "x")) == {"a": [1, 2]}
    assert outcome.args == {"x": {"a": [1]}}
    assert outcome.patches[0].new == {"a": [1]}


def test_unlock_notify_and_emit_reach_the_scene_and_fall_with_a_failed_call() -> None:
    steps = [
        {"unlock": "secret"},
        {"notify": "hello {o_id}", "to": "user"},
        {"emit": "moved", "data": {"a": 1}},
        {"require": "x != 1", "error": "no"},
    ]
    more = {"tools": [{"name": "secret", "hidden": True, "steps": [{"return": "'s'"}]}]}
    s = scene(steps, **more)
    failed = s.call("act", {"x": 1})
    assert not failed.ok and failed.signals == () and s.take_notices("user") == []
    assert s.call("secret", {}).error == "arguments" and [t.name for t in s.offered("agent")] == ["act"]
    good = s.call("act", {})
    assert [(n.sort, n.text, n.to, n.data) for n in good.signals] == [
        ("notify", "hello #W1", "user", None),
        ("emit", "moved", "", {"a": 1}),
    ]
    assert (s.take_notices("user"), s.take_notices("user")) == (["hello #W1"], [])
    assert s.call("secret", {}).result == "s" and [t.name for t in s.offered("agent")] == ["act", "secret"]
    assert s.world.emitted == {"moved"}


def test_failed_call_leaves_nothing_behind_unless_it_is_not_atomic() -> None:
    steps: list[Any] = [{"set": {"db.settings.limit": 9}}, {"set": {"db.settings.limit": "1 / 0"}}]
    s = scene(steps, tools=[{"name": "loose", "atomic": False, "steps": steps}])
    before = s.state.root
    assert s.call("act", {}).error == "runtime" and s.state.root == before
    loose = s.call("loose", {})
    assert "division by zero" in loose.text and len(loose.patches) == 1
    assert s.state.get(("db", "settings", "limit")) == 9


def test_sync_runs_once_in_the_same_unit_and_writes_as_sync() -> None:
    sync = [{"set": {"user_db.seen": "user_db.seen + 1"}}]
    s = scene([{"set": {"db.settings.limit": "x"}}, {"require": "x != 3", "error": "no"}], sync=sync)
    outcome = s.call("act", {"x": 1})
    assert [(p.shown, p.by) for p in outcome.patches] == [
        ("db.settings.limit", "agent"),
        ("user_db.seen", "sync"),
    ]
    s.call("act", {"x": 3})
    assert s.state.get(("user_db", "seen")) == 1
    event = s.world.compile_steps({"set": {"db.settings.limit": 7}}, "event", "scenario.events(e).do")
    assert [p.by for p in s.run_steps(event, "event:e").patches] == ["event:e", "event:e"]


def test_mistake_in_sync_is_the_authors_and_rolls_the_call_back() -> None:
    s = scene(
        [{"set": {"db.settings.limit": "x"}}], sync=[{"set": {"user_db.seen": "1 / (db.settings.limit - 2)"}}]
    )
    with pytest.raises(WorldFault, match=r"sync failed: .*division by zero"):
        s.call("act", {"x": 2})
    assert s.state.get(("db", "settings", "limit")) == 5 and s.state.journal == []
    assert s.call("act", {"x": 3}).ok


def test_init_and_events_may_call_tools_and_a_failed_call_is_the_authors() -> None:
    s = scene([{"require": "x", "error": "no x"}, {"set": {"db.settings.limit": "x"}}])
    good = s.world.compile_steps(
        [{"call": "act", "args": {"x": 8}}, {"say": "hi {db.settings.limit}"}], "event", "e"
    )
    effects = s.run_steps(good, "event:e")
    assert [(c.tool, c.by, c.ok) for c in effects.calls] == [("act", "world", True)]
    assert effects.signals[0].text == "hi 8" and [p.by for p in effects.patches] == ["event:e"]
    bad = s.world.compile_steps([{"set": {"user_db.seen": 5}}, {"call": "act"}], "event", "e")
    with pytest.raises(WorldFault, match="the call of act failed: no x"):
        s.run_steps(bad, "event:e")
    assert s.state.get(("user_db", "seen")) == 0


def test_stop_is_told_with_its_reason() -> None:
    s = scene([])
    steps = s.world.compile_steps({"stop": "fail", "reason": "limit {db.settings.limit}"}, "event", "e")
    assert [(x.sort, x.text, x.reason) for x in s.run_steps(steps, "event:e").signals] == [
        ("stop", "fail", "limit 5")
    ]


def test_persona_data_is_merged_before_init_and_both_make_the_initial_state() -> None:
    made = compile_world(load(World, world([]), "world"))
    s = Scene(made)
    init = made.compile_steps(
        [{"set": {"db.settings.limit": "db.settings.extra + 1"}}], "init", "scenario.init"
    )
    effects = s.prepare({"db": {"settings": {"extra": 1}}, "user_db": {"name": "Dana"}}, init)
    assert [p.by for p in effects.patches] == ["persona", "persona", "init"]
    assert s.initial["db"]["settings"]["limit"] == 2 and s.initial_mark == 3
    s.state.write("set", ("db", "settings", "limit"), 3, "agent")
    assert s.initial["db"]["settings"]["limit"] == 2


@pytest.mark.parametrize(
    ("place", "step", "good"),
    [
        ("tool", {"say": "x"}, False),
        ("tool", {"call": "act"}, False),
        ("tool", {"stop": "end"}, False),
        ("tool", {"emit": "x"}, True),
        ("sync", {"require": "true", "error": "x"}, False),
        ("sync", {"notify": "x"}, False),
        ("sync", {"let": {"a": 1}}, True),
        ("init", {"return": 1}, False),
        ("init", {"say": "x"}, False),
        ("init", {"stop": "end"}, False),
        ("init", {"require": "true", "error": "x"}, True),
        ("init", {"call": "act"}, True),
        ("event", {"require": "true", "error": "x"}, False),
        ("event", {"return": 1}, False),
        ("event", {"unlock": "act"}, True),
        ("event", {"say": "x"}, True),
    ],
)
def test_each_word_stands_only_where_it_may(place: Any, step: dict[str, Any], good: bool) -> None:
    made = compile_world(load(World, world([]), "world"))
    if good:
        made.compile_steps([step], place, "here")
        return
    with pytest.raises(InvalidArgument, match="is not for") as caught:
        made.compile_steps([step], place, "here")
    assert caught.value.where == f"here[0].{next(iter(step))}"


STEP_MISTAKES: list[tuple[Any, str, str]] = [
    (
        [{"set": {"db.settings.limit": "refunded"}}],
        "steps[0].set.db.settings.limit column 1",
        "'refunded'\"",
    ),
    ([{"sett": {}}], "steps[0]", "Did you mean `set`?"),
    ([{"set": {"db.x": 1}, "return": 1}], "steps[0]", "exactly one word"),
    ([{"require": "true", "eror": "x"}], "steps[0].eror", "Did you mean `error`?"),
    ([{"append": "db.log"}], "steps[0]", "needs `value`"),
    ([{"set": {"x.a": 1}}], "steps[0].set.x.a", "not a place"),
    ([{"set": {"user_db.seen": 1}}], "steps[0].set.user_db.seen column 1", "the other side"),
    ([{"set": {"db": {}}}], "steps[0].set.db", "not a place that can be written"),
    ([{"let": {"a": "db.log"}}, {"let": {"a": "1"}}], "steps[1].let.a", "already bound to a place"),
    ([{"let": {"db": "1"}}], "steps[0].let.db", "cannot be a name"),
    ([{"unlock": "atc"}], "steps[0].unlock", "Did you mean `act`?"),
    ([{"notify": "x", "to": "bob"}], "steps[0].to", "cannot be `to`"),
    ([{"require": "x", "error": "a {"}], "steps[0].error column 3", "without its partner"),
    ([{"require": "x", "error": "a {y}"}], "steps[0].error column 1", "Unknown name 'y'"),
    (
        [{"if": "x", "then": [{"for": "k", "in": "db.log", "do": [{"remove": "k.z +"}]}]}],
        "then[0].do[0].remove column",
        "not an expression",
    ),
]


@pytest.mark.parametrize(("steps", "where", "part"), STEP_MISTAKES)
def test_mistakes_in_steps_name_their_path_and_the_nearest_word(steps: Any, where: str, part: str) -> None:
    error = told(steps)
    assert error.where.startswith("world.tools[0](act).steps") and where in error.where
    assert part in error.what


def test_all_mistakes_of_a_world_are_told_at_once() -> None:
    error = told(
        [{"set": {"db.settings.limit": "oops"}}, {"retrun": "1"}],
        tools=[{"name": "act"}, {"name": "w", "kind": "read", "steps": [{"set": {"db.a": 1}}]}],
        sync=[{"return": 1}],
        rules=[{"id": "r", "never": "atc"}],
        schema={"db.ordrs": {}},
    )
    for part in (
        "'oops'",
        "7 more" if "7 more" in error.what else "more:",
        "retrun",
        "two tools `act`",
        "must not write",
    ):
        assert part in error.what


def hostile(steps: Any, x: Any = None) -> str:
    outcome, s = act(steps, x)
    assert (outcome.ok, outcome.error) == (False, "runtime")
    assert s.state.journal == []
    return outcome.text


def test_endless_and_huge_steps_end_in_a_runtime_error() -> None:
    grow: list[Any] = [{"let": {"a": "'x'"}}]
    loop = {"for": "i", "in": "range(9999)"}
    assert "out of fuel" in hostile([{**loop, "do": [{**loop, "do": [{"let": {"q": 1}}]}]}])
    assert "out of fuel" in hostile([{**loop, "do": [{**loop, "do": []}]}])
    assert "larger than" in hostile([*grow, {**loop, "do": [{"let": {"a": "a + a"}}]}])
    assert "longer than" in hostile([*grow, {**loop, "do": [{"let": {"a": "f'{a}{a}'"}}]}])
    assert "nested deeper" in hostile(
        [{"let": {"v": "[1]"}}, {**loop, "do": [{"let": {"v": "[v]"}}]}, {"return": "v"}]
    )
    assert "larger than" in hostile(
        [
            {"let": {"v": "[1]"}},
            {"for": "i", "in": "range(60)", "do": [{"let": {"v": "[v, v]"}}]},
            {"set": {"db.settings.v": "v"}},
        ]
    )
    deep = [{"let": {"v": "[1]"}}, {"for": "i", "in": "range(9999)", "do": [{"let": {"v": "[v]"}}]}]
    for end in ("v == [v]", "str(v)", "distinct([v])", "f'{v}'", "v in [v]", "sorted([v, [v]])"):
        assert "nested" in hostile([*deep, {"return": end}])
    big = [{"set": {"db.settings.big": "[x for i in range(300)]"}}]
    assert "out of fuel" in hostile([{"for": "i", "in": "range(9999)", "do": big}], "y" * 3000)


def test_division_by_zero_in_a_tool_is_a_runtime_error_with_its_place() -> None:
    assert hostile([{"set": {"db.settings.limit": "1 / 0"}}]) == (
        "world.tools[0](act).steps[0].set.db.settings.limit column 1: division by zero"
    )


def test_name_bound_only_on_another_way_fails_as_a_call() -> None:
    assert "'n' was not bound" in hostile(
        [{"if": "false", "then": [{"let": {"n": "1 + 1"}}]}, {"return": "n"}]
    )


def test_one_record_of_json_is_one_text_for_the_model() -> None:
    outcome, _ = act([{"return": "{'a': 'é', 'b': [1, null]}"}])
    assert outcome.text == '{"a": "é", "b": [1, null]}' == json.dumps(outcome.result, ensure_ascii=False)
    assert act([{"return": "'plain'"}])[0].text == "plain"
    assert act([])[0].text == "null"
