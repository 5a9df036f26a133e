"""Secondary indexes of a table: equality on fields, newest first, without looking at the other documents.

A posting list holds, for one value of a field, the serials of its documents in ascending order. A field that holds a
list is indexed by each member. Values that can be looked up are strings, numbers, booleans and null; 1 equals 1.0,
true does not equal 1, a missing field equals nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from ..canonical import digest
from ..errors import InvalidArgument
from .lines import Document

T = TypeVar("T")
FEW: Final = 1_000
"""Up to this many documents are looked at one by one rather than intersecting whole posting lists."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, newest first; `cursor` asks for the next ones, None if there are none."""

    items: list[T]
    cursor: str | None


class Index:
    """Posting lists over the documents of one journal. Fields are added when first used."""

    def __init__(self) -> None:
        self._order: list[int] = []
        self._ids: dict[int, str] = {}
        self._fields: dict[str, dict[Hashable, list[int]]] = {}

    def fill(self, serials: Mapping[str, int]) -> None:
        """Load all documents of the journal."""
        self._ids = {serial: id for id, serial in serials.items()}
        self._order = sorted(self._ids)  # in order already, unless a damaged line was lost
        self._fields = {}

    def want(self, field: str, documents: Mapping[str, Document]) -> None:
        """Index one more field, if it is not indexed yet."""
        if field in self._fields:
            return
        postings: dict[Hashable, list[int]] = {}
        for serial in self._order:
            document = documents[self._ids[serial]]
            value = document.get(field)
            for key in (value,) if type(value) is str else _keys(document, field):
                postings.setdefault(key, []).append(serial)
        self._fields[field] = postings

    def change(self, serial: int, id: str, old: Document | None, new: Document) -> None:
        """Note that a document was made (`old` is None) or replaced."""
        if old is None:
            self._ids[serial] = id
            insort(self._order, serial)
        for field, postings in self._fields.items():
            before = _keys(old, field) if old is not None else frozenset[Hashable]()
            after = _keys(new, field)
            for key in before - after:
                _discard(postings, key, serial)
            for key in after - before:
                insort(postings.setdefault(key, []), serial)

    def remove(self, serial: int, old: Document) -> None:
        """Note that a document was removed."""
        self._ids.pop(serial, None)
        _cut(self._order, serial)
        for field, postings in self._fields.items():
            for key in _keys(old, field):
                _discard(postings, key, serial)

    def serials(self, where: Mapping[str, Any]) -> list[int]:
        """The shortest posting list of the given fields (all of them indexed), ascending; do not change it."""
        shortest = self._order
        for field, value in where.items():
            found = self._fields[field].get(key_of(value), [])
            if len(found) < len(shortest):
                shortest = found
        return shortest

    def matching(
        self,
        where: Mapping[str, Any],
        documents: Mapping[str, Document],
        *,
        before: int | None = None,
        oldest_first: bool = False,
    ) -> Iterator[tuple[int, str]]:
        """(serial, id) of the documents that match, newest first; only those older than the serial `before`."""
        wanted = {field: key_of(value) for field, value in where.items()}
        chosen = self.serials(where)
        check = len(wanted) > 1
        end = len(chosen) if before is None else bisect_left(chosen, before)
        for position in range(end) if oldest_first else range(end - 1, -1, -1):
            serial = chosen[position]
            id = self._ids[serial]
            if not check or _holds(documents[id], wanted):
                yield serial, id

    def count(self, where: Mapping[str, Any], documents: Mapping[str, Document]) -> int:
        """How many match; immediate for one field, else by looking at a few or by intersecting the posting lists."""
        shortest = self.serials(where)
        if len(where) <= 1:
            return len(shortest)
        if len(shortest) <= FEW:
            return sum(1 for _ in self.matching(where, documents))
        lists = [self._fields[field].get(key_of(value), []) for field, value in where.items()]
        return len(set(shortest).intersection(*lists))


def key_of(value: Any) -> Hashable:
    """The key a value is indexed under. InvalidArgument for objects and lists."""
    if isinstance(value, bool):
        return (value,)
    if value is None or isinstance(value, str | int | float):
        return value
    raise InvalidArgument(
        "An object or a list cannot be asked for.", where="where", allowed="a string, number, boolean or null"
    )


def make_cursor(query: Any, serial: int) -> str:
    """An opaque text that continues after `serial` in this query and no other."""
    raw = json.dumps([digest(query)[:12], serial], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def read_cursor(query: Any, cursor: str) -> int:
    """The serial in a cursor. InvalidArgument if it is not one of ours, or belongs to another query."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        mark, serial = json.loads(raw)
        if not isinstance(mark, str) or type(serial) is not int:
            raise ValueError(mark)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise InvalidArgument(
            "The cursor is not one that was given out.",
            where="cursor",
            allowed="next_cursor of an earlier page, or none",
        ) from None
    if mark != digest(query)[:12]:
        raise InvalidArgument(
            "The cursor belongs to another query.",
            where="cursor",
            allowed="next_cursor of the same query, or none to start again",
        )
    return serial


def _keys(document: Document, field: str) -> frozenset[Hashable]:
    if field not in document:
        return frozenset()
    value: Any = document[field]
    members: list[Any] = value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]
    return frozenset(key_of(m) for m in members if not isinstance(m, dict | list))


def _holds(document: Document, wanted: Mapping[str, Hashable]) -> bool:
    return all(key in _keys(document, field) for field, key in wanted.items())


def _discard(postings: dict[Hashable, list[int]], key: Hashable, serial: int) -> None:
    found = postings.get(key)
    if found is not None:
        _cut(found, serial)
        if not found:
            del postings[key]


def _cut(serials: list[int], serial: int) -> None:
    position = bisect_left(serials, serial)
    if position < len(serials) and serials[position] == serial:
        del serials[position]
