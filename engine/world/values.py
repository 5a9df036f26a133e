"""JSON values at run time: what is missing or too large, how messages name them, how a call fails."""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import json
from typing import Any, Final, Literal

from ..records.checked_json import MAX_JSON_DEPTH

ErrorKind = Literal["arguments", "refused", "runtime", "injected"]

MAX_FUEL: Final = 100_000
"""Fuel of one call: one per statement, iteration and function call, and one per 50 characters or elements."""
MAX_SIZE: Final = 1_000_000
"""Characters and elements of one written, returned or computed value."""
MAX_ARGUMENTS: Final = 256_000
"""Characters and elements of the arguments of one call."""
FUEL_UNIT: Final = 50


_as_json: Final = json.JSONEncoder(ensure_ascii=False).encode


class Missing:
    """Nothing is there, as opposed to JSON's null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "missing"

    def __bool__(self) -> bool:
        return False

    def __copy__(self) -> Missing:
        return self

    def __deepcopy__(self, memo: object) -> Missing:
        return self


MISSING: Final = Missing()


class CallFailed(Exception):
    """A call that ends in an error result; its text is shown to the caller."""

    def __init__(self, text: str, kind: ErrorKind = "runtime") -> None:
        super().__init__(text)
        self.text = text
        self.kind: ErrorKind = kind


class Fault(Exception):
    """Says what is wrong inside an expression or a write, before its place is known."""


def copied(value: Any, limit: int = MAX_SIZE) -> tuple[Any, int]:
    """(copy, weight) of a JSON value; the weight is its characters and elements.

    Raises Fault if it weighs more than `limit`, or is nested deeper than 100 levels.
    """
    if value is None or isinstance(value, bool | int | float):
        return value, 1
    copier = _Copier(limit)
    return copier.copy(value, 0), limit - copier.left


class _Copier:
    __slots__ = ("left", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def copy(self, item: Any, depth: int) -> Any:
        self.left -= len(item) + 1 if isinstance(item, str) else 1
        if self.left < 0:
            raise _too_large(self.limit)
        if not isinstance(item, dict | list):
            return item
        if depth >= MAX_JSON_DEPTH:
            raise Fault(f"the value is nested deeper than {MAX_JSON_DEPTH} levels")
        if isinstance(item, dict):
            return {key: self.copy(value, depth + 1) for key, value in item.items()}
        return [self.copy(value, depth + 1) for value in item]


def weight(value: Any, limit: int = MAX_SIZE) -> int:
    """Characters and elements of a value; Fault beyond the limit or 100 levels."""
    if isinstance(value, str):
        return len(value) + 1
    if not isinstance(value, dict | list):
        return 1
    left = limit
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, dict | list):
            if depth >= MAX_JSON_DEPTH:
                raise Fault(f"the value is nested deeper than {MAX_JSON_DEPTH} levels")
            waiting.extend((x, depth + 1) for x in (item.values() if isinstance(item, dict) else item))
        left -= len(item) + 1 if isinstance(item, str) else 1
        if left < 0:
            raise _too_large(limit)
    return limit - left


def as_text(value: Any) -> str:
    """A text unchanged, anything else as JSON (`", "`, `": "`, not ASCII-escaped)."""
    return value if isinstance(value, str) else _as_json(value)


def shown(value: Any, width: int = 60) -> str:
    """A value as a message quotes it: JSON, cut to `width` characters."""
    if isinstance(value, dict | list) and len(value) > 20:
        return f"{kind_of(value)} of {len(value)}"
    try:
        text = _as_json(value)
    except (RecursionError, TypeError, ValueError):
        return kind_of(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def kind_of(value: Any) -> str:
    """The name of a value in messages: `a text`, `a number`, `a list`, `an object`, `null`, `true`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    return "nothing" if value is MISSING else f"a {type(value).__name__}"


def is_number(value: Any) -> bool:
    """Whether it is a JSON number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _too_large(limit: int) -> Fault:
    return Fault(f"the value is larger than {limit:,} characters and elements")
