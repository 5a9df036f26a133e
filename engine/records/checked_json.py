"""JSON values that people write, checked and copied when a record is made from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from pydantic import BeforeValidator

MAX_JSON_DEPTH: Final = 100
"""Levels of nesting allowed in any JSON value that people write."""
MAX_INTEGER: Final = 2**63


def checked_json(value: Any) -> Any:
    """A copy of a JSON value that shares nothing with it.

    Raises ValueError, with the path inside the value, on NaN, infinity, integers beyond 2^63, keys that are not texts,
    anything JSON cannot hold, and nesting deeper than 100 levels.
    """
    return _copied(value, "", 0)


def kept_json(value: Any) -> Any:
    """Like checked_json for untrusted input: lone surrogates, which no file can hold, are replaced."""
    copied = checked_json(value)
    return json.loads(json.dumps(copied, ensure_ascii=False).encode("utf-8", "replace"))


Json = Annotated[Any, BeforeValidator(checked_json)]
"""Any JSON value, checked and copied."""
JsonObject = Annotated[dict[str, Any], BeforeValidator(checked_json)]
"""A JSON object, checked and copied."""


def _copied(value: Any, spot: str, depth: int) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise ValueError(f"the integer{_at(spot)} is beyond 2^63")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value}{_at(spot)} is not a JSON number")
        return value
    if depth >= MAX_JSON_DEPTH:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels{_at(spot[:60])}")
    if isinstance(value, Mapping):
        return _copied_object(cast("Mapping[Any, Any]", value), spot, depth)
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        return [_copied(item, f"{spot}[{i}]", depth + 1) for i, item in enumerate(items)]
    raise ValueError(f"a {type(value).__name__}{_at(spot)} is not a JSON value")


def _copied_object(value: Mapping[Any, Any], spot: str, depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise ValueError(f"the key {key!r:.40}{_at(spot)} is not a text")
        made[key] = (
            item
            if item is None or isinstance(item, str | bool)
            else _copied(item, f"{spot}[{key!r}]", depth + 1)
        )
    return made


def _at(spot: str) -> str:
    return f" at {spot}" if spot else ""
