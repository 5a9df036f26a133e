"""Changes to a table that are written together, and the mapping through which TinyDB makes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from .lines import Document, copied, encode


class Transaction:
    """Changes that are written together, as one line, when the block ends; none if it raises.

    Documents that `get` returns must not be changed in place: `put` a changed copy.
    """

    def __init__(self, documents: dict[str, Document]) -> None:
        self._documents = documents
        self.changes: dict[str, Document | None] = {}

    def get(self, id: str) -> Document | None:
        """The document as this transaction sees it."""
        return self.changes[id] if id in self.changes else self._documents.get(id)

    def put(self, id: str, document: Document) -> None:
        """Make the document, or replace all of it."""
        self.changes[id] = document

    def remove(self, id: str) -> bool:
        """Remove it; return whether it was there."""
        there = self.get(id) is not None
        if id in self._documents:
            self.changes[id] = None
        else:
            self.changes.pop(id, None)
        return there


class Touched(MutableMapping[str, Any]):
    """Stands for the table in TinyDB's updaters and notes which documents they touch."""

    def __init__(self, documents: Mapping[str, Document], change: Transaction) -> None:
        self._stored = documents
        self._change = change
        self._taken: dict[str, Document] = {}

    def __getitem__(self, id: str) -> Document:
        if id not in self._taken:
            found = self._change.get(id)
            if found is None:
                raise KeyError(id)
            self._taken[id] = copied(found)
        return self._taken[id]

    def __setitem__(self, id: str, document: Mapping[str, Any]) -> None:
        self._taken[id] = dict(document)

    def __delitem__(self, id: str) -> None:
        self._taken.pop(id, None)
        if not self._change.remove(id):
            raise KeyError(id)

    def __contains__(self, id: object) -> bool:
        return id in self._taken or self._change.get(str(id)) is not None

    def __iter__(self) -> Iterator[str]:
        known = dict.fromkeys([*self._stored, *self._change.changes, *self._taken])
        return (id for id in known if id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        for id in list(self):
            self._taken.pop(id, None)
            self._change.remove(id)

    def settle(self) -> None:
        """Put the documents that have changed."""
        for id, document in self._taken.items():
            before = self._change.get(id)
            if before is None or encode(before) != encode(document):
                self._change.put(id, document)
