"""TinyDB over journals: a database is a folder, a table is a journal in it.

Only this module and `storage` know TinyDB. `Table` is TinyDB's table (its queries, `insert`, `search`, `update`,
`upsert`, `remove`… work as they do there) with string ids chosen by us, no query cache, and what lists need: pages
that walk an index. Everything read is a copy: changing it changes nothing in the store.
"""

# TinyDB's annotations have integer ids and bare mappings; ours are narrower.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast, overload

import tinydb
from tinydb.table import Document as TinyDocument, Table as TinyTable

from ..errors import Conflict, InvalidArgument, NotFound, did_you_mean, nearest
from .index import Page, make_cursor, read_cursor
from .journal import Journal
from .lines import Document, copied
from .storage import JournalStorage
from .transaction import Touched, Transaction

Condition: TypeAlias = Callable[[Any], bool]
"""A TinyDB query, or any function from a document to whether it matches."""
Fields: TypeAlias = Mapping[str, Any] | Callable[[Any], None]

Show: TypeAlias = Callable[[Document, str], Any]
"""What a list shows of a document and its id; it must not change the document. What it returns is copied."""

SCAN_LIMIT: Final = 2000

if TYPE_CHECKING:

    class Row(dict[str, Any]):
        """A document with its id: TinyDB's `Document`."""

        doc_id: str

        def __init__(self, value: Mapping[str, Any], doc_id: str) -> None: ...

else:
    Row = TinyDocument


def whole(document: Document, id: str) -> Row:
    """A copy of the whole document."""
    return Row(copied(document), id)


class Table(TinyTable):
    """A table of documents under string ids, shared with other processes; safe to use from several threads."""

    document_id_class = str  # pyright: ignore[reportAssignmentType]
    default_query_cache_capacity = 0

    def __init__(self, storage: JournalStorage, name: str, indexes: Iterable[str] = ()) -> None:
        super().__init__(cast("Any", storage), name, cache_size=0)
        self.journal = storage.journal(name)
        self._indexes = dict.fromkeys(indexes)

    # by id

    def find(self, id: str) -> Row | None:
        """A copy of the document, or None."""
        found = self.journal.current(id)
        return None if found is None else Row(copied(found), id)

    def fetch(self, id: str, what: str = "document") -> Row:
        """A copy of the document. NotFound names the nearest id; `what` is the word for such a document in messages."""
        found = self.find(id)
        if found is None:
            near = nearest(id, [known for known, _ in self._rows()])
            hint = f"; nearest `{near}`" if near else ""
            raise NotFound(f"No {what} `{id[:120]}`{hint}.", where="id")
        return found

    def put(self, id: str, document: Mapping[str, Any]) -> None:
        """Make the document, or replace all of it."""
        self.put_many({id: document})

    def put_many(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        """Make or replace several at once: all of them or, on failure, none."""
        with self.transaction() as change:
            for id, document in documents.items():
                change.put(id, dict(document))

    def add(self, id: str, document: Mapping[str, Any]) -> bool:
        """Make the document unless the id is taken; return whether it was made."""
        with self.transaction() as change:
            if change.get(id) is not None:
                return False
            change.put(id, dict(document))
            return True

    def change(self, id: str, how: Callable[[Document], Document | None], what: str = "document") -> Row:
        """Read, change and write under the lock, so that no other writer comes between.

        `how` gets a copy, which it may change in place or replace by what it returns; if it raises, the document stays
        as it was. It runs under the lock between processes, so it must be quick. NotFound as in `fetch`.
        """
        with self.transaction() as change:
            found = change.get(id)
            if found is None:
                return self.fetch(id, what)
            mine = copied(found)
            new = how(mine)
            new = mine if new is None else new
            change.put(id, new)
        return Row(copied(new), id)

    def delete(self, ids: Iterable[str]) -> list[str]:
        """Remove documents and purge them from the file at once, also those removed earlier; return the ids that were
        there.

        For a worker thread.
        """
        named = list(ids)
        with self.transaction() as change:
            gone = [id for id in named if change.remove(id)]
        if named:
            self.journal.purge()
        return gone

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Several changes as one line in the file. Read through the transaction while in it."""
        return self.journal.transaction()

    # lists

    @property
    def indexes(self) -> tuple[str, ...]:
        """The fields that `page`, `walk` and `tally` can filter by."""
        return tuple(self._indexes)

    def declare(self, indexes: Iterable[str]) -> None:
        """Add fields to filter by; each is indexed when first used."""
        self._indexes.update(dict.fromkeys(indexes))

    def load(self) -> None:
        """Read the file and build the indexes now: about 15 us a document, for a worker thread."""
        with self.journal.indexed(self.indexes):
            pass

    def page(
        self,
        where: Mapping[str, Any] | None = None,
        limit: int = 20,
        cursor: str | None = None,
        match: Condition | None = None,
        match_name: str = "",
        show: Show = whole,
    ) -> Page[Any]:
        """The documents whose fields equal `where` (a field holding a list: contain it), newest first.

        Walks an index and stops at `limit` (1..1000). `match` filters further by looking at documents, at most 2,000 a
        page, so a page may hold fewer items and still have a cursor; `match_name` tells one such filter from another.
        `show`: what an item shows of its document, by default all. InvalidArgument for a field without index and for
        another query's cursor.
        """
        if not 1 <= limit <= 1000:
            raise InvalidArgument(f"`limit` is {limit}.", where="limit", allowed="1 to 1000")
        asked = self._asked(where)
        query = [self.journal.name, asked, match_name if match else None]
        before = read_cursor(query, cursor) if cursor else None
        found: list[tuple[str, Document]] = []
        ended = None
        looked = 0
        last: int | None = None
        documents = self.journal.documents
        with self.journal.indexed(asked) as index:
            for serial, id in index.matching(asked, documents, before=before):
                if len(found) == limit or looked == SCAN_LIMIT:
                    ended = make_cursor(query, last or 0)
                    break
                looked += 1
                last = serial
                document = documents[id]
                if match is None or match(document):
                    found.append((id, document))
        return Page([_shown(show, document, id) for id, document in found], ended)

    def tally(self, where: Mapping[str, Any] | None = None, match: Condition | None = None) -> int:
        """How many documents match; immediate for up to one field, else the shortest posting list is walked.

        `match` looks at each of them: for a worker thread.
        """
        if match is not None:
            return sum(self.walk(where, show=lambda document, _: bool(match(document))))
        asked = self._asked(where)
        documents = self.journal.documents
        with self.journal.indexed(asked) as index:
            return index.count(asked, documents)

    def walk(
        self, where: Mapping[str, Any] | None = None, *, oldest_first: bool = False, show: Show = whole
    ) -> Iterator[Any]:
        """What `show` returns for each match, as they were when the walk began; newest first.

        For a worker thread if there may be more than a few hundred.
        """
        asked = self._asked(where)
        documents = self.journal.documents
        with self.journal.indexed(asked) as index:
            hits = [(id, documents[id]) for _, id in index.matching(asked, documents)]
        for id, document in reversed(hits) if oldest_first else hits:
            yield _shown(show, document, id)

    def oldest(self, where: Mapping[str, Any] | None = None) -> Iterator[tuple[str, Document]]:
        """(id, document) of those that match, oldest first, one at a time and not copied: do not change them.

        Only inside a transaction, which holds the table still.
        """
        asked = self._asked(where)
        documents = self.journal.documents
        with self.journal.indexed(asked) as index:
            hits = index.matching(asked, documents, oldest_first=True)
        return ((id, documents[id]) for _, id in hits)

    # TinyDB's methods, with our ids and copies

    def insert(self, document: Mapping[str, Any]) -> str:
        """Insert it under its `doc_id` (a `Row`) or a new random id. Conflict if the id is taken."""
        return self.insert_multiple([document])[0]

    def insert_multiple(self, documents: Iterable[Mapping[str, Any]]) -> list[str]:
        """Insert several as one transaction."""
        ids: list[str] = []
        with self.transaction() as change:
            for document in documents:
                if not isinstance(document, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
                    raise ValueError("Document is not a Mapping")
                id = str(document.doc_id) if isinstance(document, TinyDocument) else self._get_next_id()
                if change.get(id) is not None:
                    raise Conflict(f"`{id}` exists already.", where=self.journal.name)
                change.put(id, dict(document))
                ids.append(id)
        return ids

    def all(self) -> list[Row]:
        """Copies of all documents, in order of creation. For a worker thread if there are many."""
        return list(iter(self))

    def search(self, cond: Condition) -> list[Row]:
        """Copies of all documents that satisfy a query. Looks at every one: lists use `page`."""
        return [Row(copied(document), id) for id, document in self._rows() if cond(document)]

    @overload
    def get(self, cond: Condition | None = None, doc_id: None = None, *, doc_ids: list[str]) -> list[Row]: ...
    @overload
    def get(
        self, cond: Condition | None = None, doc_id: str | None = None, doc_ids: None = None
    ) -> Row | None: ...
    def get(
        self, cond: Condition | None = None, doc_id: str | None = None, doc_ids: list[str] | None = None
    ) -> Row | list[Row] | None:
        """One document by id or query, or those of several ids."""
        if doc_id is not None:
            return self.find(doc_id)
        if doc_ids is not None:
            return [row for row in map(self.find, dict.fromkeys(doc_ids)) if row is not None]
        if cond is None:
            raise RuntimeError("You have to pass either cond or doc_id or doc_ids")
        return next((Row(copied(d), id) for id, d in self._rows() if cond(d)), None)

    def contains(self, cond: Condition | None = None, doc_id: str | None = None) -> bool:
        """Whether there is such a document."""
        return self.get(cond, doc_id) is not None

    def count(self, cond: Condition) -> int:
        """How many satisfy a query. Looks at every document: lists use `tally`."""
        return sum(1 for _, document in self._rows() if cond(document))

    def update(
        self, fields: Fields, cond: Condition | None = None, doc_ids: Iterable[str] | None = None
    ) -> list[str]:
        """Set fields of, or call a function on, the documents of a query, with ids, or all; return the ids changed."""
        with self.transaction():
            ids = self._chosen(cond) if doc_ids is None else list(doc_ids)
            return cast("list[str]", super().update(cast("Any", fields), doc_ids=cast("Any", ids)))

    def update_multiple(self, updates: Iterable[tuple[Fields, Condition]]) -> list[str]:
        """Several updates as one transaction, each seeing those before it."""
        ids: list[str] = []
        with self.transaction() as change:
            for fields, cond in updates:
                seen = {**self.journal.documents, **change.changes}
                hits = [id for id, document in seen.items() if document is not None and cond(document)]
                ids += self.update(fields, doc_ids=hits)
        return ids

    def upsert(self, document: Mapping[str, Any], cond: Condition | None = None) -> list[str]:
        """Update the documents matching a query, or that with the `doc_id` of a `Row`; insert it if there is none."""
        with self.transaction():
            return cast("list[str]", super().upsert(document, cast("Any", cond)))

    def remove(self, cond: Condition | None = None, doc_ids: Iterable[str] | None = None) -> list[str]:
        """Remove the documents matching a query, or with ids. The file keeps the text until compacted: see `delete`."""
        if cond is None and doc_ids is None:
            raise RuntimeError("Use truncate() to remove all documents")
        with self.transaction() as change:
            ids = self._chosen(cond) if doc_ids is None else list(doc_ids)
            return [id for id in ids if change.remove(id)]

    def __iter__(self) -> Iterator[Row]:
        for id, document in self._rows():
            yield Row(copied(document), id)

    def __len__(self) -> int:
        with self.journal.mutex:
            self.journal.refresh()
            return len(self.journal.documents)

    # what TinyDB calls

    def _get_next_id(self) -> str:
        return secrets.token_hex(16)

    def _read_table(self) -> dict[str, Any]:
        return dict(self._rows())

    def _update_table(self, updater: Callable[[Any], None]) -> None:
        with self.transaction() as change:
            touched = Touched(self.journal.documents, change)
            updater(touched)
            touched.settle()

    def _rows(self) -> list[tuple[str, Document]]:
        with self.journal.mutex:
            self.journal.refresh()
            return list(self.journal.documents.items())

    def _chosen(self, cond: Condition | None) -> list[str]:
        return [id for id, document in self._rows() if cond is None or cond(document)]

    def _asked(self, where: Mapping[str, Any] | None) -> dict[str, Any]:
        asked = dict(where or {})
        for field in asked:
            if field not in self._indexes:
                hint = did_you_mean(field, self._indexes)
                raise InvalidArgument(
                    f"`{field}` cannot be asked for.{hint}", where=f"where.{field}", allowed=self._indexes
                )
        return asked


def _shown(show: Show, document: Document, id: str) -> Any:
    return whole(document, id) if show is whole else copied(show(document, id))


class Database(tinydb.TinyDB):
    """A folder of tables, as a TinyDB database."""

    table_class = Table
    default_storage_class = JournalStorage

    def __init__(self, folder: Path, open_journal: Callable[[Path], Journal]) -> None:
        super().__init__(folder, open_journal)

    @property
    def journals(self) -> list[Journal]:
        return cast(JournalStorage, self.storage).journals()

    def table(self, name: str, indexes: Iterable[str] = ()) -> Table:
        """The table, which need not exist yet; `indexes` are the fields that lists can filter by."""
        table = cast("Table | None", self._tables.get(name))
        if table is None:
            made = Table(cast(JournalStorage, self.storage), name)
            table = cast(Table, self._tables.setdefault(name, made))
        table.declare(indexes)
        return table

    def tables(self) -> set[str]:
        """The names of the tables that have a file."""
        return cast(JournalStorage, self.storage).names()

    def drop_table(self, name: str) -> None:
        """Delete a table and its file."""
        self._tables.pop(name, None)
        cast(JournalStorage, self.storage).journal(name).drop()
