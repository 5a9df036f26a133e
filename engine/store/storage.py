"""A folder of journals as TinyDB's storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tinydb.storages import Storage

from ..ids import check_slug
from .journal import Journal


class JournalStorage(Storage):
    """All tables of a folder, as TinyDB's storage. `open_journal` makes the journal for a table's file."""

    def __init__(self, folder: Path, open_journal: Callable[[Path], Journal]) -> None:
        self.folder = Path(folder)
        self._open = open_journal
        self._journals: dict[str, Journal] = {}

    def journal(self, name: str) -> Journal:
        """The journal of a table, which need not exist yet."""
        found = self._journals.get(name)
        if found is None:
            check_slug(name, "table")
            # Two threads must not have two of them, of which one would wait for the other's lock.
            found = self._journals.setdefault(name, self._open(self.folder / f"{name}.jsonl"))
        return found

    def names(self) -> set[str]:
        """The tables that have a file."""
        return {path.stem for path in self.folder.glob("*.jsonl")} if self.folder.is_dir() else set()

    def journals(self) -> list[Journal]:
        """The journals in use by this process."""
        return list(self._journals.values())

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Everything, as TinyDB expects it; None if there is no table."""
        content: dict[str, dict[str, Any]] = {}
        for name in sorted(self.names()):
            journal = self.journal(name)
            with journal.mutex:
                journal.refresh()
                content[name] = dict(journal.documents)
        return content or None

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Make the folder hold exactly this."""
        for name in self.names() - set(data):
            self.journal(name).drop()
        for name, documents in data.items():
            with self.journal(name).transaction() as change:
                for id in set(self.journal(name).documents) - set(documents):
                    change.remove(id)
                for id, document in documents.items():
                    if change.get(id) != document:
                        change.put(id, dict(document))

    def close(self) -> None:
        for journal in self.journals():
            journal.close()
