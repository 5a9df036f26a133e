"""The operators of the expression language on JSON values: equality, order, arithmetic, lookup."""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import math
from typing import Any

from ..canonical import equal
from ..errors import did_you_mean
from ..records.checked_json import MAX_INTEGER
from .values import FUEL_UNIT, MAX_SIZE, MISSING, Fault, is_number, kind_of, weight


def same(a: Any, b: Any) -> bool:
    """Equality by value: 1 equals 1.0, true does not equal 1."""
    return a is b or equal(a, b)


def cost_of_same(a: Any, b: Any) -> int:
    """The fuel for comparing two values: all their leaves."""
    if a is b or not isinstance(a, dict | list | str) or not isinstance(b, dict | list | str):
        return 0
    return (weight(a) + weight(b)) // FUEL_UNIT


def inside(item: Any, box: Any) -> bool:
    """`in`: an element of a list, a key of an object, a part of a text."""
    if isinstance(box, list):
        return any(same(item, x) for x in box)
    if isinstance(box, dict):
        return isinstance(item, str) and item in box
    if isinstance(box, str):
        if not isinstance(item, str):
            raise Fault(f"only a text can be in a text, not {kind_of(item)}")
        return item in box
    raise Fault(f"`in` looks into a list, an object or a text, not {kind_of(box)}")


def cost_of_inside(item: Any, box: Any) -> int:
    """The fuel for `in`."""
    if isinstance(item, dict | list) and isinstance(box, list):
        return (weight(item) * len(box) + weight(box)) // FUEL_UNIT
    return length(item) // FUEL_UNIT + length(box) // FUEL_UNIT


def order(a: Any, b: Any) -> int:
    """-1, 0 or 1 for two numbers, two texts, or two lists of such."""
    if is_number(a) and is_number(b):
        return (a > b) - (a < b)
    if isinstance(a, str) and isinstance(b, str):
        return (a > b) - (a < b)
    if isinstance(a, list) and isinstance(b, list):
        for x, y in zip(a, b, strict=False):
            found = 0 if same(x, y) else order(x, y)
            if found:
                return found
        return (len(a) > len(b)) - (len(a) < len(b))
    raise Fault(f"{kind_of(a)} and {kind_of(b)} have no order")


def number(value: Any) -> Any:
    """Return a result that JSON can hold: finite, and whole numbers within 2^63; Fault otherwise."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Fault("the result is not a finite number")
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise Fault("the result is beyond 2^63")
    return value


def add(a: Any, b: Any) -> Any:
    """The sum of two numbers, or two texts or two lists joined."""
    if is_number(a) and is_number(b):
        return number(_arithmetic(lambda: a + b))
    if isinstance(a, str) and isinstance(b, str):
        _check_joined(a, b)
        return a + b
    if isinstance(a, list) and isinstance(b, list):
        _check_joined(a, b)
        return a + b
    raise Fault(f"`+` takes two numbers, two texts or two lists, not {kind_of(a)} and {kind_of(b)}")


def subtract(a: Any, b: Any) -> Any:
    _numbers("-", a, b)
    return number(_arithmetic(lambda: a - b))


def multiply(a: Any, b: Any) -> Any:
    _numbers("*", a, b)
    return number(_arithmetic(lambda: a * b))


def divide(a: Any, b: Any) -> Any:
    _divisor("/", a, b)
    return number(_arithmetic(lambda: a / b))


def floor_divide(a: Any, b: Any) -> Any:
    _divisor("//", a, b)
    return number(_arithmetic(lambda: a // b))


def modulo(a: Any, b: Any) -> Any:
    _divisor("%", a, b)
    return number(_arithmetic(lambda: a % b))


def negate(a: Any) -> Any:
    if not is_number(a):
        raise Fault(f"`-` takes a number, not {kind_of(a)}")
    return number(-a)


def key_of(box: Any, key: Any) -> Any:
    """`x['key']`, `x[0]`, `x[-1]`."""
    if isinstance(box, dict):
        if isinstance(key, str):
            found = box.get(key, MISSING)
            if found is not MISSING:
                return found
            raise Fault(no_key(box, key))
        raise Fault(f"the keys of an object are texts, not {kind_of(key)}")
    if isinstance(box, list | str):
        index = whole(key, "an index")
        if -len(box) <= index < len(box):
            return box[index]
        raise Fault(f"index {index} is outside {kind_of(box)} of {len(box)}")
    raise Fault(f"{kind_of(box)} has no {key if isinstance(key, str | int) else kind_of(key)!s:.40}")


def no_key(box: Any, key: str) -> str:
    """The message if `x.key` finds nothing."""
    if not isinstance(box, dict):
        return f"{kind_of(box)} has no key {key[:60]!r}"
    hint = did_you_mean(key, box) if len(box) <= 1000 else ""
    return f"there is no key {key[:60]!r}.{hint}" if hint else f"there is no key {key[:60]!r}"


def part(box: Any, low: Any, high: Any) -> Any:
    """`x[a:b]` of a text or a list; null stands for the end."""
    if not isinstance(box, str | list):
        raise Fault(f"only a text or a list can be cut, not {kind_of(box)}")
    start = None if low is None else whole(low, "an index")
    end = None if high is None else whole(high, "an index")
    return box[start:end]


def whole(value: Any, what: str) -> int:
    """A whole number; 5.0 counts as one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(f"{what} is a whole number, not {kind_of(value)}")
    if isinstance(value, float):
        if not value.is_integer():
            raise Fault(f"{what} is a whole number, not {value}")
        return int(value)
    return value


def length(value: Any) -> int:
    """Characters or elements at the top level; 0 for a value without any."""
    return len(value) if isinstance(value, str | list | dict) else 0


def _check_joined(a: Any, b: Any) -> None:
    if len(a) + len(b) > MAX_SIZE:
        raise Fault(f"the value is larger than {MAX_SIZE:,} characters and elements")


def _arithmetic(operation: Any) -> Any:
    try:
        return operation()
    except OverflowError:
        raise Fault("the result is too large for a number") from None


def _numbers(sign: str, a: Any, b: Any) -> None:
    if not (is_number(a) and is_number(b)):
        raise Fault(f"`{sign}` takes two numbers, not {kind_of(a)} and {kind_of(b)}")


def _divisor(sign: str, a: Any, b: Any) -> None:
    _numbers(sign, a, b)
    if b == 0:
        raise Fault("division by zero")
