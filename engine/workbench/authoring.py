"""Stores authored records: one wrong record does not stop the others, identical content changes nothing."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from ..canonical import canonical, digest, equal
from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall
from ..exchange import Roots, parse_jsonl
from .archive import Shelf
from .instructions import MadeMeanwhile
from .results import Creation

Content = Mapping[str, Any]
_SHOWN_CHANGES = 500
MOST = 20_000
"""Most records per call."""


V = TypeVar("V", bound=Any)


class Authoring:
    """One call that creates records of a kind; collects what was made, left unchanged and refused."""

    def __init__(self, kind: str, environment: str, shelf: Shelf[Any], replace: bool) -> None:
        self._kind = kind
        self._environment = environment
        self._shelf = shelf
        self._replace = replace
        self._seen: dict[str, str] = {}
        self._new: set[str] = set()
        self.unchanged: list[str] = []
        self.refused: list[dict[str, str]] = []
        self.errors: list[CasehardenError] = []

    @contextmanager
    def refusing(self, where: str) -> Generator[None]:
        """An error inside the block refuses this record only."""
        try:
            yield
        except CasehardenError as error:
            row = {"at": error.where or where, "what": error.what, "allowed": error.allowed}
            self.refused.append({k: v for k, v in row.items() if v})
            self.errors.append(error)

    def take(self, id: str, content: Content, existing: Content | None, where: str) -> bool:
        """Whether to store the record: it is new, or differs from the existing one and may replace it.

        `content` and `existing` are complete, with defaults; Conflict names the fields that differ.
        """
        mark = digest(content)
        if id in self._seen:
            if self._seen[id] == mark:
                return False
            raise Conflict(
                f"`{id}` stands twice in this call, with other content.", where=where, allowed="each id once"
            )
        self._seen[id] = mark
        if existing is None:
            self._new.add(id)
            return True
        names = {*content, *existing}
        differ = sorted(n for n in names if not equal(content.get(n), existing.get(n)))
        if not differ:
            self.unchanged.append(id)
            return False
        if self._replace:
            return True
        changes = {n: content.get(n) for n in differ[:5]}
        if len(canonical(changes)) > _SHOWN_CHANGES:
            changes = {}
        raise Conflict(
            f"The {self._kind} `{id}` exists with other content ({', '.join(differ)}).",
            where=where,
            allowed="update_item, or another id",
            next=[NextCall("update_item", {"kind": self._kind, "id": id, "changes": changes})],
        )

    def finish(self, shelf: Shelf[V], records: Sequence[V]) -> Creation:
        """Store the records; those that replace one become its next version. Run in a worker thread.

        MadeMeanwhile, and nothing is stored, if one that was new has been stored by somebody else since.
        """
        if not records and not self.unchanged and self.errors:
            first = self.errors[0]
            count = len(self.errors)
            what = first.what if count == 1 else f"All {count} {self._kind}s refused; the first: {first.what}"
            raise type(first)(
                what, where=first.where, allowed=first.allowed, next=first.next, quoted=first.quoted
            )
        with shelf.table.transaction():
            for record in records:
                self._follow(shelf.find(record.id), record)
            shelf.put_many({record.id: record for record in records})
        for record in records:
            shelf.audit("create" if record.version == 1 else "update", record.id)
        return Creation(
            environment=self._environment,
            kind=self._kind,
            made=[record.id for record in records],
            unchanged=self.unchanged,
            refused=self.refused,
            counts={f"{self._kind}s": shelf.count(environment=self._environment)},
        )

    def _follow(self, before: Any, record: Any) -> None:
        """Make the record the next version of the one that it replaces, if any."""
        if before is None:
            return
        if record.id in self._new:
            raise MadeMeanwhile(
                f"Somebody else made {self._kind} `{record.id}` at the same moment.",
                where=f"{self._kind}s",
                allowed="the same call again",
            )
        record.version, record.created_at, record.updated_at = (
            before.version + 1,
            before.created_at,
            record.created_at,
        )


def read_items(
    items: Sequence[Any], file: str, name: str, roots: Roots, guide: str, most: int = MOST
) -> list[Any]:
    """The records of a call: inline, or from a JSON or JSONL file under an allowed root."""
    help_call = [NextCall("get_item", {"kind": "guide", "id": guide})]
    if bool(items) == bool(file):
        what = f"Give `{name}` or `file`, one of them."
        raise InvalidArgument(
            what, where=name, allowed=f"a list of {name}, or a JSON/JSONL file", next=help_call
        )
    found = list(items)
    if file:
        text = roots.read_text(file, "file")
        value: Any = parse_jsonl(text, "file") if file.endswith(".jsonl") else roots.read_json(file, "file")
        found = _listed(value, name)
    if found is None:
        allowed = "a JSON list, or JSONL"
        raise InvalidArgument(
            f"`{file}` holds no list of {name}.", where="file", allowed=allowed, next=help_call
        )
    if len(found) > most:
        raise InvalidArgument(
            f"{len(found):,} {name} are too many.", where=name, allowed=f"up to {most:,} a call"
        )
    return found


def _listed(value: Any, name: str) -> list[Any] | None:
    inner: Any = cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else value
    return cast("list[Any]", inner) if isinstance(inner, list) else None
