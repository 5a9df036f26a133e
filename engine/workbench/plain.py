"""Objects that callers hand in: JSON values of a sane size and depth, checked before anything else reads them."""

from __future__ import annotations

import math
from typing import Any, Final

from ..errors import InvalidArgument

DEPTH: Final = 100
"""Levels of nesting, as in files."""
RECORD_CHARS: Final = 1_000_000
"""Characters of text and keys in one record or set of options; a value of another kind counts as 8."""
WORLD_CHARS: Final = 10_000_000
_DIGITS: Final = 300


def check_plain(value: Any, where: str, chars: int = RECORD_CHARS) -> None:
    """InvalidArgument unless this is a JSON value of at most 100 levels and `chars` characters."""
    level: list[Any] = [value]
    left = chars
    for _ in range(DEPTH + 1):
        below: list[Any] = []
        for item in level:
            left -= _size(item, where)
            if isinstance(item, dict):
                below += item.values()  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            elif isinstance(item, list | tuple):
                below += item
        if left < 0:
            raise InvalidArgument("This is too large.", where=where, allowed=f"at most {chars:,} characters")
        if not below:
            return
        level = below
    raise InvalidArgument("The value is nested too deep.", where=where, allowed=f"at most {DEPTH} levels")


def check_range(value: int, name: str, low: int, high: int) -> int:
    """The number, if it lies in low..high."""
    if not low <= value <= high:
        raise InvalidArgument(f"`{name}` is {value:,}.", where=name, allowed=f"{low} to {high:,}")
    return value


def _size(item: Any, where: str) -> int:
    if isinstance(item, str):
        return len(item)
    if isinstance(item, dict):
        keys: list[Any] = list(item)  # pyright: ignore[reportUnknownArgumentType]
        if not all(isinstance(key, str) for key in keys):
            raise InvalidArgument("A key is not a text.", where=where, allowed="JSON")
        return sum(map(len, keys))
    if isinstance(item, float) and not math.isfinite(item):
        raise InvalidArgument(f"{item} is not a JSON number.", where=where, allowed="JSON")
    if isinstance(item, int) and abs(item) >= 10**_DIGITS:
        raise InvalidArgument("A number has too many digits.", where=where, allowed=f"up to {_DIGITS} digits")
    if item is None or isinstance(item, list | tuple | int | float):
        return 8
    raise InvalidArgument(f"A {type(item).__name__} is not a JSON value.", where=where, allowed="JSON")
