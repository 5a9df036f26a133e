"""Worlds as a whole: records, arguments, schema, the clock, what is offered, the worked example."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.seeds import draw
from caseharden.engine.world import Scene, SceneOptions, WorldFault, compile_world, delta, moment_after
from caseharden.tests.worked_example import SHOP


def world(**more: Any) -> dict[str, Any]:
    return {"format": "world/1", "name": "w", **more}


def scene(data: dict[str, Any], **more: Any) -> Scene:
    made = Scene(compile_world(load(World, data, "world")), (7, "refund-late-parcel", 1), **more)
    made.prepare()
    return made


def refusal(data: dict[str, Any]) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        compile_world(load(World, data, "world"))
    return caught.value


def test_worked_example_leaves_the_recorded_patches_and_delta() -> None:
    s = scene(SHOP)
    s.begin_turn()
    s.think()
    s.begin_turn()
    s.think()
    s.advance(2)
    s.think()
    looked = s.call("get_order", {"order_id": "#W1"})
    assert (looked.ok, looked.kind, looked.t) == (True, "read", 39)
    assert looked.result == {"order_id": "#W1", "user_id": "u1", "status": "delivered", "total": 59.9}
    steps = [
        {"set": {"db.settings.refund_limit": 50}},
        {"notify": "Card refunds are now limited to {db.settings.refund_limit} dollars"},
    ]
    limit = s.run_steps(s.world.compile_steps(steps, "event", "limit"), "event:limit")
    assert [p.record() for p in limit.patches] == [
        {"op": "set", "path": "db.settings.refund_limit", "by": "event:limit", "old": 100, "new": 50}
    ]
    assert s.take_notices("agent") == ["Card refunds are now limited to 50 dollars"]
    assert s.call("refund_order", {"order_id": "#W1", "to": "card"}).text == "card refunds only up to 50"
    s.advance(32)
    done = s.call("refund_order", '{"order_id": "#W1", "to": "credit", "note": "late parcel"}')
    entry = {"refunded": 59.9, "to": "credit", "at": "2026-11-21T10:01:13", "note": "late parcel"}
    assert [p.record() for p in done.patches] == [
        {
            "op": "set",
            "path": "db.orders['#W1'].status",
            "by": "agent",
            "old": "delivered",
            "new": "refunded",
        },
        {"op": "set", "path": "db.users.u1.credit", "by": "agent", "old": 0, "new": 59.9},
        {"op": "insert", "path": "db.orders['#W1'].history[0]", "by": "agent", "new": entry},
        {"op": "set", "path": "user_db.phone.banner", "by": "sync", "old": None, "new": "Refund on its way"},
    ]
    assert done.text == '{"order_id": "#W1", "refunded": 59.9, "to": "credit"}' and done.kind == "write"
    assert [(p.op, p.shown, p.new) for p in delta(s.world.base, s.state.root)] == [
        ("set", "db.orders['#W1'].history[0]", entry),
        ("set", "db.orders['#W1'].status", "refunded"),
        ("set", "db.settings.refund_limit", 50),
        ("set", "db.users.u1.credit", 59.9),
        ("set", "user_db.phone.banner", "Refund on its way"),
    ]
    assert s.call("transfer_to_human", {}).kind == "terminal"
    assert s.world.base["db"]["orders"]["#W1"]["status"] == "delivered"


def test_hash_of_a_world_depends_on_content_alone() -> None:
    first = compile_world(load(World, SHOP, "world")).hash
    again = compile_world(load(World, json.loads(json.dumps(SHOP, sort_keys=True)), "world")).hash
    other = compile_world(load(World, {**SHOP, "policy": "x"}, "world")).hash
    assert first == again != other and len(first) == 64


PARAMETERS: dict[str, Any] = {
    "type": "object",
    "required": ["n"],
    "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 9},
        "who": {"type": "string", "enum": ["Ann", "Bob"], "default": "Ann"},
        "code": {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"},
        "lines": {
            "type": "array",
            "items": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
        },
        "maybe": {"type": ["string", "null"]},
        "flag": {"type": "boolean"},
    },
}
CALLED = world(
    tools=[{"name": "t", "parameters": PARAMETERS, "steps": [{"return": "[n, who, code, maybe]"}]}]
)


WRONG_ARGUMENTS: list[tuple[Any, str]] = [
    ({}, "t: missing argument `n`"),
    ({"n": "1"}, 'argument `n` must be integer, got "1"'),
    ({"n": True}, "must be integer, got true"),
    ({"n": 1.5}, "must be integer"),
    ({"n": 0}, "at least 1"),
    ({"n": 10}, "at most 9"),
    ({"n": 1, "who": "Bo"}, 'one of "Ann", "Bob", got "Bo". Did you mean `Bob`?'),
    ({"n": 1, "code": "a"}, "at least 2 characters"),
    ({"n": 1, "code": "abcd"}, "at most 3 characters"),
    ({"n": 1, "code": "a1"}, "must match ^[a-z]+$"),
    ({"n": 1, "lines": [{"sku": "a"}, {"sku": 1}]}, "argument `lines[1].sku` must be string"),
    ({"n": 1, "lines": [{}]}, "missing argument `lines[0].sku`"),
    ({"n": 1, "maybe": 1}, "string or null"),
    ({"n": 1, "flag": 0}, "must be boolean"),
    ({"n": 1, "whoo": "Ann"}, "unknown argument `whoo`. Did you mean `who`? Allowed: n, who"),
    ('{"n": 1', "the arguments are not JSON"),
    ("[1]", "a list, not an object"),
    ('{"n": NaN}', "a number that JSON does not have"),
    ('{"n": 1e999}', "a number that JSON does not have"),
    ("[" * 100_000, "nested too deep"),
    ({"n": 1, "code": "a" * 300_000}, "larger than 256,000"),
    (None, "null, not an object"),
]


@pytest.mark.parametrize(("args", "part"), WRONG_ARGUMENTS)
def test_wrong_arguments_are_an_error_of_the_call_that_says_what(args: Any, part: str) -> None:
    outcome = scene(CALLED).call("t", args)
    assert (outcome.ok, outcome.error) == (False, "arguments")
    assert part in outcome.text


def test_right_arguments_pass_uncoerced_and_absent_ones_are_default_or_null() -> None:
    s = scene(CALLED)
    assert s.call("t", {"n": 5.0}).result == [5.0, "Ann", None, None]
    assert s.call("t", '{"n": 1, "maybe": null, "who": "Bob"}').result == [1, "Bob", None, None]


def test_lax_tool_takes_arguments_as_they_are() -> None:
    data = world(
        tools=[{"name": "t", "strict": False, "parameters": PARAMETERS, "steps": [{"return": "[n, who]"}]}]
    )
    assert scene(data).call("t", {"n": "x", "zzz": 1}).result == ["x", "Ann"]


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"properties": {"db": {}}}, "cannot be a parameter"),
        ({"properties": {"a-b": {}}}, "cannot be a parameter"),
        ({"properties": {"a": {"typ": "string"}}}, "Did you mean `type`?"),
        ({"properties": {"a": {"type": "str"}}}, "is not a type"),
        ({"properties": {"a": {"oneOf": []}}}, "`oneOf` is not known"),
        ({"properties": {"a": {"pattern": "(?<=a)"}}}, "RE2"),
        ({"properties": {"a": {"type": "integer", "default": "x"}}}, "The default does not fit"),
        ({"properties": {"a": {}}, "required": ["b"]}, "required but not a property"),
        ({"type": "array"}, "are an object"),
    ],
)
def test_wrong_parameters_are_refused_at_load(parameters: dict[str, Any], part: str) -> None:
    error = refusal(world(tools=[{"name": "t", "parameters": parameters}]))
    assert part in error.what and error.where.startswith("world.tools[0](t).parameters")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (world(nmae="x"), "Did you mean `name`?"),
        (world(format="world/2"), "world/1"),
        (world(db={"a": float("nan")}), "nan at ['a'] is not a JSON number"),
        (world(db={"a": 2**70}), "beyond 2^63"),
        (world(db={"a": nested(100_000)}), "nested deeper than 100 levels"),
        (world(sync=[{"set": {"db.a": nested(100_000)}}]), "nested deeper than 100 levels"),
        (world(x_source=nested(100_000)), "nested deeper than 100 levels"),
        (world(policy="x" * 10_000_000), "at most 200000"),
        (world(tools=[{"name": "t", "impl": {}}]), "exactly one of python, canned, mcp and http"),
        (world(tools=[{"name": "t", "impl": {"mcp": "desk"}}]), "no server `desk`"),
        (world(tools=[{"name": "t", "impl": {"python": "a.sh:b"}}]), "such as tools.py:Cancel"),
        (world(tools=[{"name": "t", "impl": {"canned": [], "style": "tau1"}}]), "belong to python"),
        (
            world(tools=[{"name": "t", "steps": [{"return": "1"}], "impl": {"canned": []}}]),
            "`steps` or `impl`, not both",
        ),
        (world(tools=[{"name": "t", "hiden": True}]), "Did you mean `hidden`?"),
        (world(clock={"now": "2026-02-30T00:00:00"}), "no such moment"),
        (world(clock={"now": "noon"}), "not a moment"),
        (world(rules=[{"id": "r"}]), "exactly one of before, after"),
        (world(rules=[{"id": "r", "before": "t"}]), "`need` belongs"),
        (world(rules=[{"id": "r", "never": "t*"}]), "No tool matches `t*`"),
        (
            world(tools=[{"name": "t"}], rules=[{"id": "r", "at_most_once": "t", "per": ["a"]}]),
            "no argument `a`",
        ),
        (
            world(tools=[{"name": "t"}], rules=[{"id": "r", "never": "t"}, {"id": "r", "never": "t"}]),
            "two rules",
        ),
        (world(db={"orders": {}}, schema={"db.order": {}}), "Did you mean `db.orders`?"),
        (
            world(db={"orders": {}}, schema={"db.orders": {"fields": {"u": {"ref": "users"}}}}),
            "no collection `users`",
        ),
        (world(db={"orders": {}}, schema={"db.orders": {"fields": {"a b": {}}}}), "not a path"),
        (world(db={"o": {"1": {}}}, schema={"db.o": {"required": ["id"]}}), "required key is missing"),
        (world(db={"o": {"1": 5}}, schema={"db.o": {}}), "an object, not a number"),
        (world(tools=[{"name": "wait"}], clock={"wait_tool": True}), "two tools `wait`"),
    ],
)
def test_wrong_worlds_are_refused_with_path_and_what_is_meant(data: dict[str, Any], part: str) -> None:
    error = refusal(data)
    assert part in error.what + error.allowed and error.where.startswith("world")


CHECKED = world(
    db={
        "users": {"u1": {}},
        "o": {"1": {"s": "a", "n": 1, "who": ["u1"], "items": [{"sku": "x1"}], "z": None}},
    },
    schema={
        "db.o": {
            "required": ["s"],
            "fields": {
                "s": {"enum": ["a", "b"]},
                "n": {"type": ["integer", "null"], "min": 0, "max": 9},
                "who": {"ref": "users"},
                "items[*].sku": {"type": "string", "pattern": "^x[0-9]$"},
            },
        }
    },
    tools=[
        {
            "name": "put",
            "parameters": {"properties": {"k": {}, "v": {}}},
            "steps": [{"set": {"db.o['1'][k]": "v"}}],
        },
        {"name": "drop", "parameters": {"properties": {"k": {}}}, "steps": [{"remove": "db.o['1'][k]"}]},
        {"name": "add", "parameters": {"properties": {"v": {}}}, "steps": [{"set": {"db.o['2']": "v"}}]},
        {
            "name": "loose",
            "atomic": False,
            "steps": [{"set": {"db.o['1'].s": "'zz'"}}, {"require": "false", "error": "x"}],
        },
    ],
)


@pytest.mark.parametrize(
    ("tool", "args", "part"),
    [
        ("put", {"k": "s", "v": "c"}, "db.o['1'].s: \"c\" is not one of the allowed values"),
        ("put", {"k": "n", "v": 10}, "db.o['1'].n: 10 is more than 9"),
        ("put", {"k": "n", "v": -1}, "less than 0"),
        ("put", {"k": "n", "v": "1"}, "must be integer or null"),
        ("put", {"k": "who", "v": ["u1", "u2"]}, 'refers to "u2" in db.users'),
        (
            "put",
            {"k": "items", "v": [{"sku": "x1"}, {"sku": "y"}]},
            "db.o['1'].items[1].sku: \"y\" does not match",
        ),
        ("drop", {"k": "s"}, "db.o['1'].s: a required key is missing"),
        ("add", {"v": {"n": 1}}, "db.o['2'].s: a required key is missing"),
        ("loose", {}, "x"),
    ],
)
def test_record_that_breaks_the_schema_fails_the_call_and_is_rolled_back(
    tool: str, args: Any, part: str
) -> None:
    s = scene(CHECKED)
    outcome = s.call(tool, args)
    assert not outcome.ok and part in outcome.text
    assert outcome.error == ("refused" if tool == "loose" else "runtime")
    assert s.state.journal == [] and s.state.root == s.world.base


def test_schema_holds_after_init_too() -> None:
    made = compile_world(load(World, CHECKED, "world"))
    for steps in ([{"set": {"db.o['1'].n": 99}}], [{"remove": "db.users.u1"}]):
        with pytest.raises(WorldFault, match=r"db\.o"):
            Scene(made).prepare(init=made.compile_steps(steps, "init", "scenario.init"))
    assert scene(CHECKED).call("put", {"k": "n", "v": None}).ok


SIDES = world(
    db={"a": 1},
    user_db={"b": 2},
    tools=[
        {"name": "look", "description": "old", "steps": [{"return": "db.a"}]},
        {"name": "secret", "hidden": True, "steps": []},
        {"name": "tap", "for": "user", "steps": [{"return": "user_db.b"}]},
        {"name": "swipe", "for": "user", "steps": []},
    ],
)


def names(s: Scene, side: Any) -> list[str]:
    return [t.name for t in s.offered(side)]


def test_each_side_is_offered_and_may_call_its_own_tools_only() -> None:
    s = scene(SIDES)
    assert (names(s, "agent"), names(s, "user")) == (["look"], ["tap", "swipe"])
    assert s.call("tap", {}).text == "unknown tool `tap`. Available: look"
    assert s.call("look", {}, "user").error == "arguments"
    assert s.call("tap", {}, "user").result == 2
    assert s.call("tap", {}, "world").ok and s.call("secret", {}, "world").ok
    assert s.call("secret", {}).kind is None


def test_scenario_may_rename_describe_hide_and_limit_tools() -> None:
    options = SceneOptions(
        rename_tools={"look": "peek"},
        describe_tools={"look": "new"},
        user_tools=["tap"],
        hide_tools=["swipe"],
    )
    s = scene(SIDES, options=options)
    options.check(s.world, "scenario.world")
    assert [(t.name, t.description) for t in s.offered("agent")] == [("peek", "new")]
    assert names(s, "user") == ["tap"]
    assert s.call("peek", {}, shown_name=True).tool == "look" and s.call("peek", {}, shown_name=True).ok
    assert not s.call("look", {}, shown_name=True).ok and s.call("look", {}).ok
    solo = scene(SIDES, options=SceneOptions(solo=True))
    assert (names(solo, "agent"), names(solo, "user")) == (["look", "tap", "swipe"], [])
    assert solo.call("tap", {}).result == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (SceneOptions(rename_tools={"lok": "a"}), "Did you mean `look`?"),
        (SceneOptions(rename_tools={"look": "tap"}), "Two tools would be called `tap`"),
        (SceneOptions(now="later"), "not a moment"),
    ],
)
def test_options_that_do_not_fit_the_world_are_refused(options: SceneOptions, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        options.check(compile_world(load(World, SIDES, "world")), "scenario.world")
    assert part in caught.value.what and caught.value.where.startswith("scenario.world.")


@pytest.mark.parametrize(
    ("start", "seconds", "expected"),
    [
        ("2026-11-21T10:00:00", 73, "2026-11-21T10:01:13"),
        ("2026-11-21 10:00", 3600, "2026-11-21 11:00"),
        ("2026-12-31T23:59:59Z", 1, "2027-01-01T00:00:00Z"),
        ("2026-02-28T00:00:00.000+02:00", 86400.25, "2026-03-01T00:00:00.250+02:00"),
        ("2024-05-15", 90000, "2024-05-16"),
    ],
)
def test_now_keeps_the_spelling_of_the_clock(start: str, seconds: float, expected: str) -> None:
    assert moment_after(start, seconds) == expected


def test_clock_moves_by_turns_calls_and_thoughts_only() -> None:
    s = scene(
        world(
            clock={"turn_s": 10, "call_s": 2, "think_s": 0.5},
            tools=[{"name": "t", "steps": [{"return": "now()"}]}],
        )
    )
    s.begin_turn()
    assert (s.t, s.turn) == (0, 1)
    s.think(99)
    assert s.call("t", {}).result == "2026-01-01T09:00:02" and s.t == 2.5
    s.begin_turn()
    assert s.t == 12.5 and s.call("t", {}, tick=False).t == 12.5
    measured = scene(world(clock={"think": "measured", "think_s": 5}))
    measured.think(1.25)
    assert measured.t == 1.25


def test_wait_tool_lets_time_pass_to_the_next_event_at_most() -> None:
    s = scene(world(clock={"wait_tool": True, "call_s": 0}))
    assert names(s, "agent") == ["wait"] and s.call("wait", {"seconds": 60}).result == "2026-01-01T09:01:00"
    s.next_due = 90
    s.call("wait", {"seconds": 600})
    assert s.t == 90 and s.call("wait", {"seconds": -1}).error == "arguments"


def test_rand_draws_depend_on_the_key_and_go_back_with_a_checkpoint() -> None:
    data = world(tools=[{"name": "r", "steps": [{"return": "[rand(), rand()]"}]}])
    s = scene(data)
    moment = s.checkpoint()
    first = s.call("r", {}).result
    assert first == [draw(7, "refund-late-parcel", 1, "world", i) for i in (1, 2)]
    assert s.call("r", {}).result != first
    s.restore(moment)
    assert s.call("r", {}).result == first and scene(data).call("r", {}).result == first


def test_checkpoint_and_branch_bring_back_state_clock_and_unlocked_tools() -> None:
    data = world(
        db={"n": {"v": 0}},
        tools=[
            {
                "name": "go",
                "steps": [{"set": {"db.n.v": "db.n.v + 1"}}, {"unlock": "more"}, {"notify": "hi"}],
            },
            {"name": "more", "hidden": True},
        ],
    )
    s = scene(data)
    start = s.checkpoint()
    s.call("go", {})
    later = s.branch()
    s.restore(start)
    assert (s.state.get(("db", "n", "v")), s.t, names(s, "agent"), s.take_notices("agent")) == (
        0,
        0,
        ["go"],
        [],
    )
    s.call("go", {})
    s.call("go", {})
    assert (later.state.get(("db", "n", "v")), later.t, names(later, "agent")) == (1, 1, ["go", "more"])
    assert later.take_notices("agent") == ["hi"] and s.state.get(("db", "n", "v")) == 2


def test_scenes_of_one_world_share_its_state_until_they_write() -> None:
    made = compile_world(load(World, SHOP, "world"))
    scenes = [Scene(made) for _ in range(100)]
    for s in scenes:
        s.prepare()
        assert s.state.root is made.base
    scenes[0].call("refund_order", {"order_id": "#W1", "to": "card"})
    assert scenes[0].state.root["db"]["users"] is made.base["db"]["users"]
    assert scenes[1].state.root is made.base


def test_record_shares_nothing_with_what_was_given() -> None:
    given: dict[str, Any] = world(db={"a": {"b": [1]}})
    made = load(World, given, "world")
    given["db"]["a"]["b"].append(2)
    assert made.db == {"a": {"b": [1]}}
