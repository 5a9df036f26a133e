"""Forms: prompt for a tool's arguments one by one, each as its schema requires."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

from ..engine.llm import ToolSignature
from .terminal import clean, cut

Ask = Callable[[str], Awaitable[str | None]]
"""Shows a prompt and returns the typed line, None at the end of the input."""
CANCEL: Final = "/cancel"
_YES: Final[Mapping[str, bool]] = {
    "true": True,
    "yes": True,
    "y": True,
    "false": False,
    "no": False,
    "n": False,
}
_SHOWN: Final = 60


class NotAValue(Exception):
    """What was typed is not a value of the field; says what would be."""


async def fill(signature: ToolSignature, ask: Ask, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The arguments of a tool; None if the form was left. Invalid values are asked for again."""
    properties = cast("Mapping[str, Mapping[str, Any]]", signature.parameters.get("properties", {}))
    needed = cast("Sequence[str]", signature.parameters.get("required", ()))
    filled: dict[str, Any] = {}
    for name, schema in properties.items():
        while True:
            typed = await ask(f"  {clean(name)} ({described(schema, name in needed)}): ")
            if typed is None or typed.strip() == CANCEL:
                return None
            if not typed.strip() and name not in needed:
                break
            try:
                filled[name] = value_of(typed.strip(), schema)
            except NotAValue as error:
                say(f"  {error}; {CANCEL} leaves the form")
            else:
                break
    return filled


def described(schema: Mapping[str, Any], needed: bool) -> str:
    """`integer 1 to 9, optional`, `one of card, credit`: what may be typed."""
    choices = _choices(schema)
    kind = f"one of {', '.join(choices)}" if choices else _kind(schema)
    bounds = _bounds(schema)
    text = cut(clean(str(schema.get("description", ""))), _SHOWN)
    parts = [f"{kind} {bounds}".strip(), text, _optional(schema) if not needed else ""]
    return "; ".join(part for part in parts if part)


def form_line(signature: ToolSignature) -> str:
    """`refund_order  order_id: string, method?: one of card, credit`"""
    properties = cast("Mapping[str, Mapping[str, Any]]", signature.parameters.get("properties", {}))
    needed = cast("Sequence[str]", signature.parameters.get("required", ()))
    fields = [
        f"{clean(name)}{'' if name in needed else '?'}: {_short(schema)}"
        for name, schema in properties.items()
    ]
    return f"{clean(signature.name)}  {', '.join(fields)}".rstrip()


def value_of(typed: str, schema: Mapping[str, Any]) -> Any:
    """The typed text as a value of the schema's type. NotAValue if it is not one."""
    kind = _kind(schema)
    value = _parsed(typed, kind)
    choices = cast("Sequence[Any]", schema.get("enum", ()))
    if choices and value not in choices:
        raise NotAValue(f"one of {', '.join(_choices(schema))}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is not None and value < low) or (high is not None and value > high):
            raise NotAValue(f"a number {_bounds(schema)}")
    return value


def _parsed(typed: str, kind: str) -> Any:
    if kind == "string":
        if not typed:
            raise NotAValue("a text that is not empty")
        return typed
    if kind == "boolean":
        if typed.casefold() not in _YES:
            raise NotAValue("yes or no")
        return _YES[typed.casefold()]
    try:
        value = json.loads(typed)
    except (ValueError, RecursionError):
        raise NotAValue(_example(kind)) from None
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    if not fits.get(kind, True):
        raise NotAValue(_example(kind))
    return value


def _example(kind: str) -> str:
    row = {"integer": "a whole number", "number": "a number", "array": 'a JSON list such as ["a", "b"]'}
    return row.get(kind, 'JSON such as {"a": 1}')


def _kind(schema: Mapping[str, Any]) -> str:
    told: Any = schema.get("type", "string")
    if isinstance(told, list):
        kinds = [str(one) for one in cast("list[Any]", told) if one != "null"]
        return kinds[0] if kinds else "string"
    return str(told)


def _choices(schema: Mapping[str, Any]) -> list[str]:
    return [clean(str(one)) for one in cast("Sequence[Any]", schema.get("enum", ()))]


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"from {low}"
    return f"up to {high}" if high is not None else ""


def _optional(schema: Mapping[str, Any]) -> str:
    return f"Enter: {clean(json.dumps(schema['default']))}" if "default" in schema else "Enter leaves it out"


def _short(schema: Mapping[str, Any]) -> str:
    choices = _choices(schema)
    return f"one of {', '.join(choices)}" if choices else _kind(schema)
