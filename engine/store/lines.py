"""The lines of a journal: how a transaction is written, and how many lines are read back quickly.

A line is `[serial, {id: document or null, ...}, checksum]`; null removes. New documents of the line are numbered from
`serial` on, so they keep their order of creation whatever is compacted away. The first line of a file is `{"format":
"journal/2", "next": serial, "crc": checksum}`. A checksum is the CRC-32 of the line's bytes before the comma in front
of it: a flipped bit that leaves valid JSON is damage too. Files of journal/1 have no checksums; they are read, and
appended to in their own format, until they are compacted. Lone surrogates are kept as they are (UTF-8 with surrogates
let through).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias, cast
from zlib import crc32

from ..errors import InvalidArgument

Document: TypeAlias = dict[str, Any]
Changes: TypeAlias = Mapping[str, Document | None]

VERSION: Final = 2
SEALED_FROM: Final = 2
"""The first version whose lines carry checksums."""
MAX_DEPTH: Final = 100
_dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class NewerFormat(Exception):
    """The file says that it was written by a newer version."""


class Header(NamedTuple):
    """The contents of the first line of a file: its version, and the serial of the next new document."""

    version: int
    next: int


def encode(value: Any) -> str:
    """Compact JSON of a value; InvalidArgument if it is not JSON, or is nested deeper than 100 levels."""
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
    """A deep copy of a JSON value, which the caller may change."""
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [copied(v) for v in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def header(next_serial: int) -> bytes:
    opened = encode({"format": f"journal/{VERSION}", "next": next_serial})[:-1].encode()
    return b'%b,"crc":%d}\n' % (opened, crc32(opened))


def transaction(serial: int, changes: Changes, *, sealed: bool = True) -> bytes:
    """The line of a transaction, with its checksum when `sealed`."""
    text = encode([serial, changes])
    if not sealed:
        return to_bytes(text)
    opened = text[:-1].encode("utf-8", "surrogatepass")
    return b"%b,%d]\n" % (opened, crc32(opened))


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass") + b"\n"


def from_bytes(line: bytes) -> Any:
    """Parse a line as JSON; ValueError or RecursionError if it is invalid."""
    return json.loads(line.decode("utf-8", "surrogatepass"))


def parse(lines: list[bytes]) -> list[Any]:
    """The value of each line; None for a damaged one. Joined, they are parsed in a third of the time."""
    try:
        values = from_bytes(b"[" + b",".join(lines) + b"]")
        if len(values) == len(lines):
            return values
    except (ValueError, RecursionError):
        pass
    return [_parse_one(line) for line in lines]


def header_of(line: bytes, value: Any) -> Header | None:
    """The contents of a header line; None if it is not one, or is damaged. Raises NewerFormat."""
    if not isinstance(value, dict):
        return None
    head = cast("dict[str, Any]", value)
    stated = str(head.get("format"))
    found = re.fullmatch(r"journal/(\d{1,9})", stated)
    if not found or ("crc" in head and not _sealed_with(line, head["crc"])):
        return None
    if int(found[1]) > VERSION:
        raise NewerFormat(stated)
    serial = head.get("next")
    return Header(int(found[1]), serial if type(serial) is int else 0)


def transaction_of(line: bytes, value: Any) -> tuple[int, Changes] | None:
    """(serial, changes) of a transaction's line; None if it is not one, or its checksum does not match."""
    if type(value) is not list or len(value) not in (2, 3):  # pyright: ignore[reportUnknownArgumentType]
        return None
    serial, changes, *seal = cast("list[Any]", value)
    if type(serial) is not int or type(changes) is not dict:
        return None
    if seal and not _sealed_with(line, seal[0]):
        return None
    told = cast("Changes", changes)
    return (serial, told) if all(d is None or type(d) is dict for d in told.values()) else None


def _sealed_with(line: bytes, seal: Any) -> bool:
    return bool(crc32(memoryview(line)[: line.rfind(b",")]) == seal)


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
