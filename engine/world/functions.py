"""The functions and methods of the expression language.

Each is a plain function of JSON values; it raises Fault with what is wrong, in our own words. Those that need the live
world (`now`, `rand`) take it as their first argument.
"""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..canonical import canonical
from . import moments
from .operations import cost_of_inside, key_of, length, number, order, same, whole
from .patterns import BadPattern, compile_pattern
from .values import FUEL_UNIT, MAX_SIZE, Fault, as_text, is_number, kind_of, weight

MAX_RANGE: Final = 10_000


class Nature(Protocol):
    """What an expression can ask the live world for."""

    def now(self) -> str: ...

    def rand(self) -> float: ...


class Function:
    """A function or method: what it does, how it is written, whether it needs the live world, what it costs."""

    __slots__ = ("call", "deep", "live", "name", "signature", "usage")

    def __init__(
        self, name: str, call: Callable[..., Any], usage: str, *, live: bool = False, deep: bool = False
    ) -> None:
        self.name, self.call, self.usage, self.live, self.deep = name, call, usage, live, deep
        self.signature = inspect.signature(call)

    def takes(self, count: int, keywords: list[str]) -> bool:
        """Whether it can be called with that many arguments and these keywords."""
        given = count + (1 if self.live else 0)
        try:
            self.signature.bind(*([None] * given), **dict.fromkeys(keywords))
        except TypeError:
            return False
        return True


def _listed(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        more = "; for an object write keys(..) or values(..)" if isinstance(value, dict) else ""
        raise Fault(f"{what} takes a list, not {kind_of(value)}{more}")
    return value


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Fault(f"{what} takes an object, not {kind_of(value)}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise Fault(f"{what} takes a text, not {kind_of(value)}")
    return value


def _number(value: Any, what: str) -> Any:
    if not is_number(value):
        raise Fault(f"{what} takes a number, not {kind_of(value)}")
    return value


def _len(x: Any, /) -> int:
    if not isinstance(x, str | list | dict):
        raise Fault(f"len takes a text, a list or an object, not {kind_of(x)}")
    return len(x)


def _sum(xs: Any, /) -> Any:
    items = _listed(xs, "sum")
    for item in items:
        _number(item, "sum")
    try:
        return number(sum(items))
    except OverflowError:
        raise Fault("the result is too large for a number") from None


def _extreme(name: str, sign: int) -> Callable[..., Any]:
    def extreme(*xs: Any) -> Any:
        items = _listed(xs[0], name) if len(xs) == 1 else list(xs)
        if not items:
            raise Fault(f"{name} of an empty list")
        best = items[0]
        order(best, best)
        for item in items[1:]:
            if order(item, best) * sign > 0:
                best = item
        return best

    return extreme


def _any(xs: Any, /) -> bool:
    return any(_listed(xs, "any"))


def _all(xs: Any, /) -> bool:
    return all(_listed(xs, "all"))


def _abs(x: Any, /) -> Any:
    return number(abs(_number(x, "abs")))


def _int(x: Any, /) -> int:
    if isinstance(x, bool) or not isinstance(x, int | float | str):
        raise Fault(f"int takes a number or a text, not {kind_of(x)}")
    try:
        return int(number(int(x.strip() if isinstance(x, str) and len(x) <= 40 else x)))
    except (ValueError, OverflowError):
        raise Fault(
            f"{x[:40]!r} is not a whole number" if isinstance(x, str) else f"{x} is not a whole number"
        ) from None


def _float(x: Any, /) -> float:
    if isinstance(x, bool) or not isinstance(x, int | float | str):
        raise Fault(f"float takes a number or a text, not {kind_of(x)}")
    try:
        made = float(x)
    except (ValueError, OverflowError):
        raise Fault(f"{x!s:.40} is not a number") from None
    if not math.isfinite(made):
        raise Fault(f"{x!s:.40} is not a number")
    return made


def _round(x: Any, digits: Any = None, /) -> Any:
    _number(x, "round")
    if digits is None:
        return number(round(x))
    places = whole(digits, "digits")
    if not -15 <= places <= 15:
        raise Fault("round takes -15 to 15 digits")
    try:
        return number(round(x, places))
    except OverflowError:
        raise Fault("the result is too large for a number") from None


def _range(start: Any, end: Any = None, step: Any = 1, /) -> list[int]:
    low, high = (0, start) if end is None else (start, end)
    by = whole(step, "range")
    if by == 0:
        raise Fault("the step of range is not 0")
    first, last = whole(low, "range"), whole(high, "range")
    if -((first - last) // by) > MAX_RANGE:
        raise Fault(f"range has at most {MAX_RANGE:,} numbers")
    return list(range(first, last, by))


def _sorted(xs: Any, /, by: Any = None, reverse: Any = False) -> list[Any]:
    items = _listed(xs, "sorted")
    keys = items if by is None else [key_of(item, by) for item in items]
    if all(map(is_number, keys)) or all(isinstance(key, str) for key in keys):
        ranks = keys
    else:
        ranks = [functools.cmp_to_key(order)(key) for key in keys]
    return [items[i] for i in sorted(range(len(items)), key=ranks.__getitem__, reverse=bool(reverse))]


def _keys(o: Any, /) -> list[str]:
    return list(_object(o, "keys"))


def _values(o: Any, /) -> list[Any]:
    return list(_object(o, "values").values())


def _items(o: Any, /) -> list[Any]:
    return [[key, value] for key, value in _object(o, "items").items()]


def _first(xs: Any, /, default: Any = None) -> Any:
    items = _listed(xs, "first")
    return items[0] if items else default


def _distinct(xs: Any, /) -> list[Any]:
    made: dict[str, Any] = {}
    for item in _listed(xs, "distinct"):
        made.setdefault(canonical(item), item)
    return list(made.values())


def _merge(a: Any, b: Any, /) -> dict[str, Any]:
    return {**_object(a, "merge"), **_object(b, "merge")}


def _without(o: Any, /, *names: Any) -> dict[str, Any]:
    gone = {_text(name, "without") for name in names}
    return {key: value for key, value in _object(o, "without").items() if key not in gone}


def _matches(text: Any, pattern: Any, /) -> bool:
    try:
        return compile_pattern(_text(pattern, "matches")).found(_text(text, "matches"))
    except BadPattern as error:
        raise Fault(str(error)) from None


def _add_days(moment: Any, days: Any, /) -> str:
    return moments.add_days(_text(moment, "add_days"), whole(days, "a number of days"))


def _days_between(first: Any, second: Any, /) -> int:
    return moments.days_between(_text(first, "days_between"), _text(second, "days_between"))


def _weekday(moment: Any, /) -> str:
    return moments.weekday(_text(moment, "weekday"))


def _next_id(box: Any, pattern: Any, /) -> str:
    head, mark, tail = _text(pattern, "next_id").partition("{n}")
    if not mark:
        raise Fault("next_id takes a text with {n} in it, such as 'W{n}'")
    shape = re.compile(f"{re.escape(head)}([0-9]{{1,18}}){re.escape(tail)}").fullmatch
    keys = () if box is None else box if isinstance(box, list) else _object(box, "next_id")
    found = (shape(key) for key in keys if isinstance(key, str))
    return f"{head}{max((int(one[1]) for one in found if one), default=0) + 1}{tail}"


def _str(x: Any, /) -> str:
    try:
        return as_text(x)
    except RecursionError:
        raise Fault("the value is nested too deep") from None


def _now(nature: Nature, /) -> str:
    return nature.now()


def _rand(nature: Nature, /) -> float:
    return nature.rand()


FUNCTIONS: Final = {
    f.name: f
    for f in (
        Function("len", _len, "len(x)"),
        Function("sum", _sum, "sum(xs)"),
        Function("min", _extreme("min", -1), "min(xs) or min(a, b, ..)", deep=True),
        Function("max", _extreme("max", 1), "max(xs) or max(a, b, ..)", deep=True),
        Function("any", _any, "any(xs)"),
        Function("all", _all, "all(xs)"),
        Function("abs", _abs, "abs(x)"),
        Function("int", _int, "int(x)"),
        Function("float", _float, "float(x)"),
        Function("str", _str, "str(x)", deep=True),
        Function("range", _range, "range(end), range(start, end) or range(start, end, step)"),
        Function("round", _round, "round(x, digits)"),
        Function("sorted", _sorted, "sorted(xs, by='key', reverse=false)", deep=True),
        Function("keys", _keys, "keys(o)"),
        Function("values", _values, "values(o)"),
        Function("items", _items, "items(o)"),
        Function("first", _first, "first(xs, default=null)"),
        Function("distinct", _distinct, "distinct(xs)", deep=True),
        Function("merge", _merge, "merge(a, b)"),
        Function("without", _without, "without(o, 'key', ..)"),
        Function("matches", _matches, "matches(text, pattern)"),
        Function("now", _now, "now()", live=True),
        Function("add_days", _add_days, "add_days(iso, n)"),
        Function("days_between", _days_between, "days_between(a, b)"),
        Function("weekday", _weekday, "weekday(iso)"),
        Function("next_id", _next_id, "next_id(collection, 'W{n}')"),
        Function("rand", _rand, "rand()", live=True),
    )
}


def _get(o: Any, key: Any, default: Any = None, /) -> Any:
    box = _object(o, ".get")
    return box.get(key, default) if isinstance(key, str) else default


def _lower(text: Any, /) -> str:
    return _text(text, ".lower").lower()


def _upper(text: Any, /) -> str:
    return _text(text, ".upper").upper()


def _strip(text: Any, chars: Any = None, /) -> str:
    return _text(text, ".strip").strip(None if chars is None else _text(chars, ".strip"))


def _startswith(text: Any, part: Any, /) -> bool:
    return _text(text, ".startswith").startswith(_text(part, ".startswith"))


def _endswith(text: Any, part: Any, /) -> bool:
    return _text(text, ".endswith").endswith(_text(part, ".endswith"))


def _split(text: Any, joint: Any = None, /) -> list[str]:
    if joint is not None and not _text(joint, ".split"):
        raise Fault(".split needs a text to split at")
    return _text(text, ".split").split(joint)


def _replace(text: Any, old: Any, new: Any, /) -> str:
    whole_text, gone, put = _text(text, ".replace"), _text(old, ".replace"), _text(new, ".replace")
    if len(whole_text) + whole_text.count(gone) * (len(put) - len(gone)) > MAX_SIZE:
        raise Fault(f"the text is longer than {MAX_SIZE:,} characters")
    return whole_text.replace(gone, put)


def _join(joint: Any, parts: Any, /) -> str:
    between = _text(joint, ".join")
    texts = [_text(item, ".join") for item in _listed(parts, ".join")]
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_SIZE:
        raise Fault(f"the text is longer than {MAX_SIZE:,} characters")
    return between.join(texts)


def _index(xs: Any, item: Any, /) -> int:
    for i, x in enumerate(_listed(xs, ".index")):
        if same(x, item):
            return i
    raise Fault(f"{kind_of(item)} that .index looks for is not in the list")


def _count(xs: Any, item: Any, /) -> int:
    return sum(1 for x in _listed(xs, ".count") if same(x, item))


METHODS: Final = {
    m.name: m
    for m in (
        Function("get", _get, "o.get(key, default)"),
        Function("keys", _keys, "o.keys()"),
        Function("values", _values, "o.values()"),
        Function("items", _items, "o.items()"),
        Function("lower", _lower, "text.lower()"),
        Function("upper", _upper, "text.upper()"),
        Function("strip", _strip, "text.strip()"),
        Function("split", _split, "text.split(joint)"),
        Function("startswith", _startswith, "text.startswith(part)"),
        Function("endswith", _endswith, "text.endswith(part)"),
        Function("replace", _replace, "text.replace(old, new)"),
        Function("join", _join, "joint.join(texts)"),
        Function("index", _index, "xs.index(item)"),
        Function("count", _count, "xs.count(item)"),
    )
}


def cost(function: Function, given: list[Any]) -> int:
    """The fuel a call costs, before it runs: 1, plus 1 for every 50 characters or elements of its arguments."""
    if function.name in ("index", "count"):
        return 1 + cost_of_inside(given[1], given[0])
    if function.deep:
        return 1 + sum(map(weight, given)) // FUEL_UNIT
    total = 0
    for value in given:
        total += length(value)
    return 1 + total // FUEL_UNIT
