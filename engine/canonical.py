"""Canonical JSON, its hash, and the equality of values.

Keys sorted by code point, no whitespace, UTF-8; integral floats below 2^53 are written as integers, other floats
shortest; NaN and infinity are refused. 1 equals 1.0, true does not equal 1, a missing value differs from null.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

_SAFE_INTEGER: Final = 2**53
_AS_IT_IS: Final = (str, int, bool)
"""Kinds of scalars that are written as they are: the most frequent, so they are looked for first."""
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, sort_keys=True).encode


def canonical(value: Any) -> str:
    """Canonical JSON of a JSON value. Raises ValueError on NaN, infinity and anything that is not JSON."""
    try:
        return _encode(_plain(value))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not a JSON value: {error}") from None


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def equal(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Whether two JSON values are the same; `tolerance` is absolute and for numbers only."""
    if a is b:
        return True
    if type(a) is str:
        return a == b
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and len(a) == len(b)  # pyright: ignore[reportUnknownArgumentType]
            and all(k in b and equal(v, b[k], tolerance) for k, v in a.items())  # pyright: ignore[reportUnknownVariableType]
        )
    if isinstance(a, list):
        return (
            isinstance(b, list)
            and len(a) == len(b)  # pyright: ignore[reportUnknownArgumentType]
            and all(equal(x, y, tolerance) for x, y in zip(a, b, strict=True))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        )
    return equal_scalars(a, b, tolerance)


def equal_scalars(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Equality of two values, at most one of which is an object or a list."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or (tolerance > 0 and abs(a - b) <= tolerance + 1e-12)
    return type(a) is type(b) and a == b


def _plain(value: Any) -> Any:
    if value is None or type(value) in _AS_IT_IS:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON number")
        return int(value) if value.is_integer() and abs(value) < _SAFE_INTEGER else value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [v if type(v) is str else _plain(v) for v in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return value
