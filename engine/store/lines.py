"""The lines of a journal: how a transaction is written, and how many lines are read back quickly.

A line is `[serial, {id: document or null, ...}]`; null removes. New documents of the line are numbered from
`serial` on, so that their order is the order of their making whatever is compacted away. The first line of a
file is `{"format": "journal/1", "next": serial}`. Lone surrogates are kept as they are (UTF-8 with surrogates
let through).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from ..errors import InvalidArgument

Document: TypeAlias = dict[str, Any]
Changes: TypeAlias = Mapping[str, Document | None]

VERSION: Final = 1
MAX_DEPTH: Final = 100
_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class NewerFormat(Exception):
    """The file says that it was written by a newer version."""


def encode(value: Any) -> str:
    """Compact JSON of a value; InvalidArgument when it is not one, or is nested deeper than 100 levels."""
    try:
        text = _dump(value)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise InvalidArgument(
            f"The document cannot be stored: {reason}.", where="document", allowed="finite JSON values"
        ) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise InvalidArgument(
            "The document is nested too deep.", where="document", allowed=f"at most {MAX_DEPTH} levels"
        )
    return text


def copied(value: Any) -> Any:
    """A deep copy of a JSON value; whoever gets it may change it."""
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [copied(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def header(next_serial: int) -> bytes:
    return to_bytes(encode({"format": f"journal/{VERSION}", "next": next_serial}))


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass") + b"\n"


def from_bytes(line: bytes) -> Any:
    """The JSON value; ValueError or RecursionError when there is none."""
    return json.loads(line.decode("utf-8", "surrogatepass"))


def parse(lines: list[bytes]) -> list[Any]:
    """The value of each line; None for a damaged one. Joined they are parsed in a third of the time."""
    try:
        values = from_bytes(b"[" + b",".join(lines) + b"]")
        if len(values) == len(lines):
            return values
    except (ValueError, RecursionError):
        pass
    return [_parse_one(line) for line in lines]


def next_in_header(value: Any) -> int | None:
    """The serial that a header line holds; None when it is no header. Raises NewerFormat."""
    if not isinstance(value, dict):
        return None
    head = cast("dict[str, Any]", value)
    stated = str(head.get("format"))
    found = re.fullmatch(r"journal/(\d{1,9})", stated)
    if not found:
        return None
    if int(found[1]) > VERSION:
        raise NewerFormat(stated)
    serial = head.get("next")
    return serial if type(serial) is int else 0


def is_transaction(value: Any) -> bool:
    """Whether it is `[serial, {id: document or null}]`."""
    if type(value) is not list or len(value) != 2:  # pyright: ignore[reportUnknownArgumentType]
        return False
    serial, changes = value  # pyright: ignore[reportUnknownVariableType]
    return (
        type(serial) is int  # pyright: ignore[reportUnknownArgumentType]
        and type(changes) is dict  # pyright: ignore[reportUnknownArgumentType]
        and all(d is None or type(d) is dict for d in changes.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    )


def _parse_one(line: bytes) -> Any:
    try:
        return from_bytes(line)
    except (ValueError, RecursionError):
        return None


def _deeper(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit + 2):  # the line itself adds two levels
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
            elif isinstance(item, list | tuple):
                inner.extend(item)  # pyright: ignore[reportUnknownArgumentType]
        if not inner:
            return False
        level = inner
    return any(isinstance(item, dict | list | tuple) for item in level)
