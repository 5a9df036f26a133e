"""The world format, sentence by sentence: limits, defaults and refusals that no other test holds."""

from __future__ import annotations

from typing import Any

import pytest

from caseharden.engine.canonical import digest
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.world import World
from caseharden.engine.seeds import draw
from caseharden.engine.world import CompiledWorld, Scene, compile_world

ANY: dict[str, Any] = {"type": "object", "properties": {"x": {}}}


def world(*steps: Any, **fields: Any) -> CompiledWorld:
    """A world whose tool `t` takes these steps with an argument `x`."""
    tool = {"name": "t", "parameters": ANY, "steps": list(steps)}
    base: dict[str, Any] = {"format": "world/1", "name": "w", "db": {"box": {"list": [1, 2], "o": {"a": 1}}}}
    return compile_world(load(World, {**base, "tools": [tool], **fields}, "world"))


def ran(*steps: Any, x: Any = None, **fields: Any) -> Any:
    return Scene(world(*steps, **fields)).call("t", {"x": x})


def test_a_draw_and_a_hash_are_those_of_the_specification() -> None:
    """Stored runs rest on both: another value would change every seeded trial."""
    assert draw(7, "refund-late-parcel", 1, "fault:0:get_order", 1) == 0.9723799935358011
    assert digest({"a": 1.0, "b": [True, None]}).startswith("1cc69c7fa23616ca")


MANY = [{"for": "i", "in": "range(30)", "do": [{"append": "db.box.list", "value": "x"}]}]
FIVE = " + ".join(["db.box.list"] * 5)
LIMITS: list[tuple[str, list[Any], Any, str]] = [
    (
        "fuel",
        [{"for": "i", "in": "range(10000)", "do": [{"let": {"a": "[j for j in range(20)]"}}]}],
        0,
        "fuel",
    ),
    ("range", [{"return": "range(10001)"}], None, "at most 10,000"),
    ("size", [*MANY, {"return": FIVE}], "a" * 100_000, "larger than 1,000,000"),
    ("infinity", [{"return": "x * 10"}], 1e308, "number"),
    ("integers", [{"return": "x * 4"}], 2**62, "2^63"),
    ("division", [{"return": "x / 0"}], 1, "division by zero"),
    ("text times number", [{"return": "x * 300"}], "a", "numbers"),
    ("pattern", [{"return": "matches('a', x)"}], "a" * 501, "500"),
    ("lookaround", [{"return": "matches('a', x)"}], "(?=a)", "pattern"),
]


@pytest.mark.parametrize(("steps", "x", "told"), [row[1:] for row in LIMITS], ids=[row[0] for row in LIMITS])
def test_what_goes_beyond_a_limit_of_a_call_ends_in_a_runtime_error(
    steps: list[Any], x: Any, told: str
) -> None:
    outcome = ran(*steps, x=x)
    assert (outcome.error, outcome.ok) == ("runtime", False)
    assert told.lower() in str(outcome.result).lower()
    assert outcome.patches == ()


FAILS: list[tuple[str, list[Any], str]] = [
    ("set behind a missing way", [{"set": {"db.box.no.way": "1"}}], "no"),
    ("set outside a list", [{"set": {"db.box.list[5]": "1"}}], "5"),
    ("merge of nothing", [{"merge": "db.none.here", "value": {"a": 1}}], "none"),
    ("append to no list", [{"append": "db.box.o", "value": "1"}], "list"),
    ("insert outside", [{"insert": "db.box.list", "at": "9", "value": "1"}], "9"),
    ("remove what is not there", [{"remove": "db.box.o.b"}], "there is nothing at"),
    ("for over an object", [{"for": "k", "in": "db.box.o", "do": []}], "list"),
    ("rebound", [{"let": {"a": "db.box"}}, {"let": {"a": "1"}}], ""),
]


@pytest.mark.parametrize(("steps", "told"), [row[1:] for row in FAILS], ids=[row[0] for row in FAILS])
def test_a_step_fails_where_its_table_says_so(steps: list[Any], told: str) -> None:
    try:
        outcome = ran(*steps)
    except InvalidArgument as error:
        assert "place" in str(error)  # told at load already
        return
    assert outcome.error == "runtime" and told in str(outcome.result)
    assert outcome.patches == ()


def test_numbers_and_texts_of_a_call_keep_to_their_limits_at_load() -> None:
    with pytest.raises(InvalidArgument, match="2,000"):
        world({"return": "1 + " * 600 + "1"})
    with pytest.raises(InvalidArgument, match="40 levels"):
        world({"return": "-" * 45 + "1"})
    with pytest.raises(InvalidArgument, match="format is not known"):
        world({"return": "f'{x:%Y}'"})
    with pytest.raises(InvalidArgument, match="beyond 2"):
        world(db={"n": 2**64})
    with pytest.raises(InvalidArgument, match="not a JSON number"):
        world(db={"n": float("nan")})
    with pytest.raises(InvalidArgument, match="not a JSON number"):
        world({"return": float("inf")})


@pytest.mark.parametrize(
    ("parameters", "args", "ok"),
    [
        ({"type": "integer"}, 5.0, True),
        ({"type": "integer"}, "5", False),
        ({"type": "integer"}, True, False),
        ({"type": "number"}, "5", False),
        ({"type": "string"}, 5, False),
        ({"type": ["string", "null"]}, None, True),
        ({"type": "array", "items": {"type": "string", "minLength": 2}}, ["ab", "c"], False),
        ({"type": "string", "pattern": "^W\\d+$"}, "xW1", False),
        ({"enum": [1, "a"]}, 1.0, True),
    ],
)
def test_arguments_are_checked_and_never_coerced(parameters: dict[str, Any], args: Any, ok: bool) -> None:
    tool = {
        "name": "t",
        "parameters": {"type": "object", "properties": {"x": parameters}},
        "steps": [{"return": "[x]"}],
    }
    outcome = Scene(world(tools=[tool])).call("t", {"x": args})
    assert outcome.ok is ok
    assert outcome.result == [args] if ok else outcome.error == "arguments"


def test_schema_reaches_into_records_by_paths_and_lists_of_references() -> None:
    db: dict[str, Any] = {
        "orders": {"W1": {"items": [{"sku": "S1"}, {"sku": "S2"}], "friends": ["u1"]}},
        "users": {"u1": {}, "u2": {}},
    }
    schema = {
        "db.orders": {
            "fields": {
                "items[*].sku": {"pattern": "^S\\d$"},
                "items[0].sku": {"enum": ["S1"]},
                "friends": {"ref": "users"},
                "friends[*]": {"type": "string"},
            }
        }
    }
    steps = [{"set": {"db.orders.W1.items[1].sku": "x"}}]
    scene = Scene(world(*steps, db=db, schema=schema))
    assert scene.call("t", {"x": "S9"}).ok
    broken = scene.call("t", {"x": "T9"})
    assert (broken.error, broken.patches) == ("runtime", ())
    assert "db.orders.W1.items[1].sku" in broken.result
    lists = Scene(world({"set": {"db.orders.W1.friends": "x"}}, db=db, schema=schema))
    assert lists.call("t", {"x": ["u1", "u2"]}).ok
    assert "`u1`" in lists.call("t", {"x": ["u11"]}).result
    with pytest.raises(InvalidArgument, match=r"db\.orders\.W1\.items\[1\]\.sku"):
        world(db={**db, "orders": {"W1": {"items": [{"sku": "S1"}, {"sku": "no"}]}}}, schema=schema)


def test_a_think_tool_that_writes_and_a_read_tool_that_unlocks_nothing_else_are_told_apart() -> None:
    writing = {"name": "t", "kind": "think", "steps": [{"set": {"db.box.a": "1"}}]}
    with pytest.raises(InvalidArgument, match=r"`think` tool must not write"):
        world(tools=[writing])
    with pytest.raises(InvalidArgument, match=r"nothing"):
        world({"unlock": "nothing"})


def test_every_record_of_a_world_keeps_what_an_importer_could_not_map() -> None:
    kept = {"from": ["elsewhere", 1, None]}
    written: dict[str, Any] = {
        "format": "world/1",
        "name": "w",
        "x_source": kept,
        "db": {"orders": {"W1": {"n": 1}}},
        "clock": {"now": "2026-01-01", "x_source": kept},
        "schema": {"db.orders": {"fields": {"n": {"type": "integer", "x_source": kept}}, "x_source": kept}},
        "tools": [{"name": "t", "x_source": kept}],
        "rules": [{"id": "r", "before": "t", "need": {"tool": "t", "x_source": kept}, "x_source": kept}],
    }
    made = compile_world(load(World, written, "world")).world
    assert made.model_dump(mode="json", by_alias=True, exclude_unset=True) == written


def test_all_mistakes_of_a_world_are_told_with_path_and_nearest() -> None:
    with pytest.raises(InvalidArgument) as shape:
        load(World, {"format": "world/2", "name": "W!", "tolls": [], "clock": {"turns": 1}}, "world")
    assert str(shape.value).count("world.") >= 4 and "Did you mean `tools`" in str(shape.value)
    with pytest.raises(InvalidArgument) as whole:
        world(
            {"set": {"db.box.a": "open"}},
            {"return": "lenn(x)"},
            schema={"db.boxx": {}},
            rules=[{"id": "r", "never": "tt"}],
        )
    for told in (
        "steps[0].set",
        "steps[1].return",
        "Did you mean `db.box`",
        "world.rules[0](r).never",
        "`len`",
    ):
        assert told in str(whole.value), told
