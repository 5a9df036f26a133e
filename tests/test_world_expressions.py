"""The expression language: what it computes, what it refuses, and that nothing gets out of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.world import CallFailed, State, compile_expression, evaluate
from caseharden.engine.world.frames import Frame

ROOT: dict[str, Any] = {
    "db": {
        "orders": {
            "#W1": {"total": 59.9, "status": "open", "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]},
            "#W7": {"total": 12, "status": "sent", "items": []},
        },
        "flag": True,
        "one": 1,
        "names": ["Bo", "Al", "Bo"],
        "deep": {"keys": {"items": 5}},
    },
    "user_db": {"phone": None},
}


def value(text: str, now: str | None = "2026-02-27T10:00:00") -> Any:
    return evaluate(compile_expression(text), State(ROOT), now=now)


def failure(text: str) -> str:
    with pytest.raises(CallFailed) as caught:
        value(text)
    assert caught.value.kind == "runtime"
    return caught.value.text


def refusal(text: str) -> str:
    with pytest.raises(InvalidArgument) as caught:
        compile_expression(text, where="w")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db.orders['#W1'].total + 1", 60.9),
        ("db.orders['#W1'].items[-1].sku", "b"),
        ("db.orders.get('#nope')", None),
        ("db.orders.get('#nope', 3)", 3),
        ("db.deep.keys.items", 5),
        ("keys(db.orders)", ["#W1", "#W7"]),
        ("[k for k, o in items(db.orders) if o.total < 20]", ["#W7"]),
        ("[[k, i.sku] for k, o in db.orders.items() for i in o.items]", [["#W1", "a"], ["#W1", "b"]]),
        ("sum(i.n for i in db.orders['#W1'].items)", 3),
        ("1 == 1.0 and not (true == 1) and 1 not in [true]", True),
        ("1 < 2 < 3", True),
        ("'a' if db.flag else 'b'", "a"),
        ("f'{db.one} {db.orders[\"#W1\"].total:.2f} {[1, null]}'", "1 59.90 [1, null]"),
        ("f'{5:04d}|{\"x\":>3}'", "0005|  x"),
        ("'abcd'[1:3] + 'z'", "bcz"),
        ("[1] + [2]", [1, 2]),
        ("7 // 2 + 7 % 4 - -1", 7),
        ("round(2.5) + round(2.675, 2)", 4.67),
        ("sorted(values(db.orders), by='total')[0].status", "sent"),
        ("sorted([[2, 'b'], [2, 'a'], [1, 'z']])", [[1, "z"], [2, "a"], [2, "b"]]),
        ("sorted([3, 1, 2], reverse=true)", [3, 2, 1]),
        ("min(3, 1.5)", 1.5),
        ("max([x.total for x in values(db.orders)])", 59.9),
        ("first([], default='none')", "none"),
        ("distinct([1, 1.0, true, 'a', 'a'])", [1, True, "a"]),
        ("merge({'a': 1}, {'b': 2})", {"a": 1, "b": 2}),
        ("without(db.orders['#W7'], 'items', 'total')", {"status": "sent"}),
        ("matches('order #W12', '#W[0-9]+')", True),
        ("now()", "2026-02-27T10:00:00"),
        ("add_days(now(), 2)", "2026-03-01T10:00:00"),
        ("days_between('2026-02-27', '2026-03-01T09:00:00')", 2),
        ("weekday('2026-02-27')", "Friday"),
        ("next_id(db.orders, '#W{n}')", "#W8"),
        ("str({'a': [1, null, 'é']})", '{"a": [1, null, "é"]}'),
        ("int('12') + int(3.9) + float('0.5')", 15.5),
        ("len(range(3, 9, 2)) + len(range(5, 0)) + len(range(5, 0, -2))", 6),
        ("' A b '.strip().lower().replace('b', 'c').split()", ["a", "c"]),
        ("', '.join(db.names)", "Bo, Al, Bo"),
        ("db.names.count('Bo') + db.names.index('Al')", 3),
        ("any(x > 1 for x in [1, 2]) and all([])", True),
        ("abs(-3)", 3),
        ("null is null and 1 is not null", True),
        ("'#W1' in db.orders and 'W' in '#W1'", True),
        ("(1, 2)[1.0]", 2),
        ("user_db.phone", None),
    ],
)
def test_expression_has_the_value_of_the_language(text: str, expected: Any) -> None:
    got = value(text)
    assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("refunded", "'refunded'\""),
        ("db.orders.get", "no key 'get'"),
        ("1 / 0", "division by zero"),
        ("5 % 0", "division by zero"),
        ("2 * 'a'", "takes two numbers, not a number and a text"),
        ("true + 1", "not true and a number"),
        ("'a' < 1", "have no order"),
        ("null.x", "null has no key 'x'"),
        ("db.orders['#W1'].totl", "Did you mean `total`?"),
        ("db.names[9]", "index 9 is outside a list of 3"),
        ("[x for x in db.orders]", "for an object write keys(..)"),
        ("[a for a, b in [[1]]]", "needs lists of 2, not a list of 1"),
        ("9223372036854775807 + 9223372036854775807", "beyond 2^63"),
        ("1e308 * 10", "not a finite number"),
        ("float('nan')", "nan is not a number"),
        ("int('x')", "'x' is not a whole number"),
        ("range(10001)", "at most 10,000"),
        ("range(0, 9, 0)", "not 0"),
        ("max([])", "empty list"),
        ("rand()", "cannot be used here"),
        ("matches('a', '(' + 'b')", "not a pattern"),
        ("weekday('2026-02-30')", "not a date"),
        ("add_days('2026-01-01', 99999999999)", "outside the years"),
        ("f'{\"a\":.2f}'", "does not fit a text"),
        ("round(1.5, 99)", "-15 to 15"),
        ("'a'.split('')", "needs a text to split at"),
        ("[x for x in range(9000) for y in range(9000)]", "out of fuel"),
        ("len([1 for x in range(10000) for y in range(10000)])", "out of fuel"),
    ],
)
def test_runtime_message_is_ours_and_names_the_column(text: str, part: str) -> None:
    if text == "refunded":
        assert part in refusal(text)
        return
    told = failure(text)
    assert part in told and told.startswith("expression column ")
    for foreign in ("TypeError", "KeyError", "object is not", "unsupported operand", "int()", "NoneType"):
        assert foreign not in told


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("db.__class__", "['__class__']"),
        ("().__class__.__bases__", "['__bases__']"),
        ("__import__('os')", "Unknown function"),
        ("lambda: 1", "`lambda`"),
        ("2 ** 9", "`**`"),
        ("{1, 2}", "A set"),
        ("[*db.names]", "`*`"),
        ("(x := 1)", "`:=`"),
        ("db.names.sort()", "Unknown method 'sort'"),
        ("len(1, 2)", "len(x)"),
        ("len", "write len(x)"),
        ("f'{1!r}'", "`!r`"),
        ("f'{1:{2}}'", "format is not known"),
        ("(x for x in [1])", "A generator outside a call"),
        ("db.names[::2]", "no step"),
        ("b'x'", "not a JSON value"),
        ("1e999", "too large"),
        ("99999999999999999999", "too large"),
        ("-" * 1500 + "1", "is not"),
        ("[" * 900 + "]" * 900, "is not"),
        ("(" * 60 + "1" + ")" * 60 + "+ a.b" * 60, "nested deeper"),
        ("1 +", "is not an expression"),
        ("x" * 3000, "3,000 characters"),
        ("a\0b", "is not an expression"),
        ("matches('a', '(?=a)')", "look-around"),
        ("matches('a', '" + "a" * 501 + "')", "500"),
        ("[a for a in [1] for b in [1] for c in [1]]", "at most two"),
        ("[db for db in [1]]", "cannot be a name"),
        ("ordrs", "Unknown name"),
    ],
)
def test_what_is_not_in_the_language_is_refused_at_load(text: str, part: str) -> None:
    told = refusal(text)
    assert part in told or "nested deeper" in told
    assert "At: w" in told


def test_error_tells_column_in_characters_and_nearest_name() -> None:
    with pytest.raises(InvalidArgument) as caught:
        compile_expression("'é' + totel", {"total": "value"}, "world.tools[1](t).steps[3].set.o.status")
    assert caught.value.where == "world.tools[1](t).steps[3].set.o.status column 7"
    assert caught.value.what == "Unknown name 'totel'; for the text write \"'totel'\". Did you mean `total`?"


def test_names_of_a_comprehension_hide_others_and_end_with_it() -> None:
    compiled = compile_expression("[x for x in [1, 2]] + [x]", {"x": "value"})

    class Still:
        def now(self) -> str:
            return ""

        def rand(self) -> float:
            return 0.0

    assert compiled.value(Frame(State(ROOT), Still(), {"x": 9})) == [1, 2, 9]


def test_hostile_pattern_runs_in_linear_time() -> None:
    assert value("matches('" + "a" * 400 + "b', '(a+)+$')") is False


PIECES = st.sampled_from(
    [
        "db",
        "user_db",
        ".orders",
        "['#W1']",
        ".items",
        ".total",
        ".get(",
        ")",
        "[",
        "]",
        "[0]",
        "[-1]",
        "[1:]",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "==",
        "!=",
        "<",
        "in",
        "not",
        "and",
        "or",
        "if",
        "else",
        "for",
        "x",
        "x,",
        "y",
        "in",
        "1",
        "0",
        "2.5",
        "'a'",
        "''",
        "null",
        "true",
        "false",
        "(",
        ",",
        "len(",
        "sum(",
        "sorted(",
        "keys(",
        "str(",
        "range(",
        "int(",
        "round(",
        "f'{x}'",
        "next_id(",
        "now()",
        "rand()",
        "matches(",
        ".split(",
        ".join(",
        ".index(",
        "{",
        "}",
        ":",
        "by=",
        "distinct(",
        "merge(",
        "10000",
        "99999999",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=14))
def test_any_text_is_refused_or_evaluates_or_fails_as_a_call(pieces: list[str]) -> None:
    try:
        compiled = compile_expression(" ".join(pieces), {"db": "place", "user_db": "place"})
    except InvalidArgument:
        return
    try:
        evaluate(compiled, State(ROOT), now="2026-01-01")
    except CallFailed as failed:
        assert failed.kind == "runtime" and failed.text


LEAVES = st.sampled_from(
    ["db.one", "db.names", "db.orders", "'ab'", "2", "0", "-1.5", "null", "true", "[]", "{'k': 1}", "1e300"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "==", "<", ">=", "in", "and", "or"]), inner
        ).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(
            st.sampled_from(
                [
                    "len",
                    "sum",
                    "min",
                    "max",
                    "any",
                    "all",
                    "abs",
                    "int",
                    "float",
                    "str",
                    "round",
                    "sorted",
                    "keys",
                    "values",
                    "items",
                    "first",
                    "distinct",
                ]
            ),
            inner,
        ).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"{t[0]}[{t[1]}]"),
        st.tuples(
            inner, st.sampled_from(["lower()", "split()", "keys()", "count(1)", "index('a')", "get('k')"])
        ).map(".".join),
        st.tuples(inner, inner).map(lambda t: f"[{t[0]} for x in {t[1]} if x]"),
        inner.map(lambda t: f"matches('x', str({t}))"),
    ),
    max_leaves=12,
)


@settings(max_examples=250, deadline=None)
@given(TREES)
def test_well_formed_expression_gives_json_or_fails_as_a_call(text: str) -> None:
    try:
        compiled = compile_expression(text)
    except InvalidArgument as refused:
        assert refused.where.startswith("expression")
        return
    try:
        got = evaluate(compiled, State(ROOT), now="2026-01-01")
    except CallFailed as failed:
        assert failed.text.startswith("expression column ")
    else:
        assert got is None or isinstance(got, str | int | float | bool | list | dict)
