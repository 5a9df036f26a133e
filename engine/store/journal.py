"""One table as an append-only file that several processes share and that a killed one cannot damage.

A transaction is one line, written under a lock between processes. Every access first looks at the file: if it has
grown, it is replayed from where we stopped; if it was replaced (compacted by another process), it is read anew. A last
line without an end belongs to a writer that was killed: readers skip it, the next writer cuts it off. A damaged line
in the middle is quarantined and counted, and everything else carries on. What a killed process had acknowledged is in
the system's cache and stays; what a power cut may take is bounded by how often the owner calls `sync`.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from ..errors import StorageError
from . import lines
from .collector import uncollected
from .folder import FileLock, make_folder, open_file, read_span, sync_folder, telling, write_all
from .index import Index
from .lines import Changes, Document
from .transaction import Transaction

COMPACT_FROM_LINES: Final = 2000
_CHUNK: Final = 1 << 23
_BATCH: Final = 1000
_COMPACTIONS: Final = 20


class Journal:
    """The file `path`, its lock beside it, and the file `aside` that its damaged lines are put into.

    May be used from several threads. `on_open` is called before a file is opened, `on_write` after each write,
    `on_damage` with the number of lines put aside.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        aside: Path,
        *,
        durable: bool = False,
        on_open: Callable[[Journal], None] | None = None,
        on_write: Callable[[Journal], None] | None = None,
        on_damage: Callable[[Journal, int], None] | None = None,
    ) -> None:
        self.path = path
        self.aside = aside
        self.name = name
        """The table's name as people see it, with its partition: `runs/run-7/trials`."""
        self.mutex = threading.RLock()
        self.documents: dict[str, Document] = {}
        """In order of creation. Values are never changed in place, only replaced."""
        self.serials: dict[str, int] = {}
        self.index: Index | None = None
        self.wants_compaction = False
        self._durable = durable
        self._on_open = on_open
        self._on_write = on_write
        self._on_damage = on_damage
        self._lock = FileLock(path.with_suffix(".lock"))
        self._depth = 0
        self._readers = 0
        self._new_name = False
        self._unsynced = False
        self._transaction: Transaction | None = None
        self._known = False
        self._forget_file()

    # reading

    def refresh(self) -> None:
        """Replay what others have written since. Opening a large table takes about 10 us a document."""
        with self.mutex, telling("Cannot read the table", self.path):
            if not self._catch_up(locked=False):
                with self._locked():
                    pass

    def current(self, id: str) -> Document | None:
        """The document as it is now; do not change it in place."""
        with self.mutex:
            self.refresh()
            return self.documents.get(id)

    @contextmanager
    def indexed(self, fields: Iterable[str]) -> Generator[Index]:
        """The index over the documents as they are now, with these fields; the table holds still meanwhile."""
        with self.mutex:
            self.refresh()
            if self.index is None:
                self.index = Index()
                self.index.fill(self.serials)
            for field in fields:
                self.index.want(field, self.documents)
            self._readers += 1
            try:
                yield self.index
            finally:
                self._readers -= 1

    # writing

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """A block under the lock; its changes become one line at its end. A nested one joins the outer one.

        Raises StorageError if the line could not be written; then nothing was.
        """
        with self.mutex:
            if self._transaction is not None:
                yield self._transaction
                return
            with self._locked():
                self._transaction = started = Transaction(self.documents)
                try:
                    yield started
                finally:
                    self._transaction = None
                if started.changes:
                    with telling("Cannot write the table", self.path):
                        self._append(started.changes)

    def sync(self) -> None:
        """Make what was written survive a power cut. Milliseconds: for a worker thread. Raises OSError."""
        with self.mutex:
            if self._descriptor >= 0:
                copy = os.dup(self._descriptor)
            elif self._unsynced:
                copy = open_file(self.path, os.O_RDONLY)
            else:
                return
            new_name, self._new_name = self._new_name, False
            self._unsynced = False
        try:
            os.fsync(copy)
            if new_name:
                sync_folder(self.path.parent)
        finally:
            os.close(copy)

    def compact(self) -> bool:
        """Rewrite the file without outdated lines; return whether it was done (not if another process was first).

        About 10 us a document, most of it without the lock: for a worker thread.
        """
        with telling("Cannot compact the table", self.path):
            return self._compact()

    def purge(self) -> None:
        """Compact until nothing outdated is left in the file, and delete the quarantined lines.

        Those may come from deleted documents. For a worker thread. StorageError if other processes compacted first
        each time.
        """
        for _ in range(_COMPACTIONS):
            if self.compact() or self.mark() == (0, 0):
                break
        else:
            self._ask_for_compaction()
            raise StorageError(
                "What was deleted may still stand in its file, which other processes compacted at the same time.",
                where=str(self.path),
                allowed="nothing to do: it is compacted again in the background",
            )
        with self._locked(), telling("Cannot delete damaged lines", self.aside):
            self.aside.unlink(missing_ok=True)

    def unload(self) -> bool:
        """Give back memory and descriptors unless in use right now; return whether it was done.

        Never waits. The next access reads the file again, and `sync` still does what is due.
        """
        if not self.mutex.acquire(blocking=False):
            return False
        try:
            if self._depth or self._readers:
                return False
            wants_compaction = self.wants_compaction
            self.close()
            self.wants_compaction = wants_compaction
            return True
        finally:
            self.mutex.release()

    def close(self) -> None:
        """Give back memory and descriptors, but not in a transaction; the next access opens the file again."""
        with self.mutex:
            if self._transaction is None:
                self._forget_file()
                self._lock.close()

    def drop(self) -> None:
        """Delete the table's files, for all processes."""
        with self._locked(), telling("Cannot delete the table", self.path):
            for path in (self.path, self.aside):
                path.unlink(missing_ok=True)
            self._clear_drafts()
            self._forget_file()

    # the file

    def mark(self) -> tuple[int, int]:
        """Changes whenever anyone writes: the file's inode and size, or zeros if there is no file."""
        try:
            found = os.stat(self.path)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size

    def _forget_file(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._inode = 0
        self._offset = 0
        self._lines = 0
        self._sealed = True
        self._next_serial = 0
        self.documents.clear()
        self.serials.clear()
        self.index = None
        self.wants_compaction = False

    def _adopt(self) -> None:
        self._tell_open()
        self._descriptor = open_file(self.path, os.O_RDWR | os.O_APPEND)
        self._inode = os.fstat(self._descriptor).st_ino
        self._known = True

    def _tell_open(self) -> None:
        if self._on_open is not None:
            self._on_open(self)

    @contextmanager
    def _locked(self) -> Generator[None]:
        with self.mutex:
            if self._depth == 0:
                if not self._known:
                    make_folder(self.path.parent)
                if not self._lock.opened:
                    self._tell_open()
                with telling("Cannot lock the table", self.path):
                    self._lock.acquire()
            self._depth += 1
            try:
                if self._depth == 1:
                    with telling("Cannot read the table", self.path):
                        self._catch_up(locked=True)
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._lock.release()

    def _catch_up(self, *, locked: bool) -> bool:
        """Replay growth. False: a damaged line was found, which only the lock's holder may judge."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            if self._descriptor >= 0:
                self._forget_file()
            return True
        if found.st_ino != self._inode or found.st_size < self._offset:
            self._forget_file()
            try:
                self._adopt()
            except FileNotFoundError:
                return True
        elif found.st_size == self._offset:
            return True
        try:
            return self._replay(locked)
        except lines.NewerFormat as error:
            self._forget_file()
            raise StorageError(
                f"The table was written by a newer version ({error}).",
                where=str(self.path),
                allowed=f"journal/{lines.VERSION} and older; use the newer version, or another data folder",
            ) from None

    def _replay(self, locked: bool) -> bool:
        bad: list[bytes] = []
        large = os.fstat(self._descriptor).st_size - self._offset > _CHUNK
        with uncollected() if large else nullcontext():
            clean = self._read_lines(bad if locked else None)
        if bad:
            self._quarantine(bad)
        return clean

    def _read_lines(self, bad: list[bytes] | None) -> bool:
        rest = b""
        read_to = self._offset
        while chunk := read_span(self._descriptor, read_to, _CHUNK):
            read_to += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            for start in range(0, len(whole), _BATCH):
                if not self._take(whole[start : start + _BATCH], bad):
                    return False
        return True

    def _take(self, batch: list[bytes], bad: list[bytes] | None) -> bool:
        """Apply lines; put a damaged one into `bad`, or stop before it if that is None."""
        for line, value in zip(batch, lines.parse(batch), strict=True):
            if (found := lines.transaction_of(line, value)) is not None:
                self._apply(*found)
            elif (head := lines.header_of(line, value)) is not None:
                self._next_serial = max(self._next_serial, head.next)
                self._sealed = head.version >= lines.SEALED_FROM
            elif line.strip():
                if bad is None:
                    return False
                bad.append(line)
            self._offset += len(line) + 1
            self._lines += 1
        return True

    def _apply(self, serial: int, changes: Changes) -> None:
        for id, document in changes.items():
            old = self.documents.get(id)
            if document is None:
                if old is not None:
                    del self.documents[id]
                    number = self.serials.pop(id)
                    if self.index is not None:
                        self.index.remove(number, old)
                continue
            if old is None:
                self.serials[id] = serial
                serial += 1
            self.documents[id] = document
            if self.index is not None:
                self.index.change(self.serials[id], id, old, document)
        self._next_serial = max(self._next_serial, serial)

    def _append(self, changes: Changes) -> None:
        line = lines.transaction(self._next_serial, changes, sealed=self._sealed)
        if self._descriptor < 0:
            os.close(open_file(self.path, os.O_RDWR | os.O_CREAT))
            self._adopt()
            self._new_name = True
        if os.fstat(self._descriptor).st_size != self._offset:
            os.ftruncate(self._descriptor, self._offset)
        first = lines.header(self._next_serial) if self._offset == 0 else b""
        try:
            write_all(self._descriptor, first + line)
            if self._durable:
                os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._offset)
            raise
        self._offset += len(first) + len(line)
        self._lines += 1 + bool(first)
        serial, written, *_ = lines.from_bytes(line)
        self._apply(serial, written)
        self._unsynced = True
        if self._lines > COMPACT_FROM_LINES and self._lines > 2 * len(self.documents):
            self.wants_compaction = True
        if self._on_write is not None:
            self._on_write(self)

    def _ask_for_compaction(self) -> None:
        self.wants_compaction = True
        if self._on_write is not None:
            self._on_write(self)

    def _quarantine(self, bad: list[bytes]) -> None:
        """Put damaged lines into `aside` unless they are there already; the next compaction drops them here."""
        try:
            there = Counter(self.aside.read_bytes().split(b"\n"))
        except FileNotFoundError:
            there = Counter[bytes]()
        missing = Counter(bad) - there
        if missing:
            make_folder(self.aside.parent)
            descriptor = open_file(self.aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                write_all(descriptor, b"".join(line + b"\n" for line in missing.elements()))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if self._on_damage is not None:
                self._on_damage(self, missing.total())
        self._ask_for_compaction()

    def _compact(self) -> bool:
        with self.mutex:
            self.refresh()
            self.wants_compaction = False
            if self._descriptor < 0:
                return False
            inode, copied_to, next_serial = self._inode, self._offset, self._next_serial
            copied = os.dup(self._descriptor)  # while it is open no other file gets its inode
            rows = [(self.serials[id], id, document) for id, document in self.documents.items()]
        draft = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.tmp")
        descriptor = -1
        try:
            descriptor = open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            write_all(descriptor, lines.header(next_serial))
            for start in range(0, len(rows), _BATCH):
                batch = rows[start : start + _BATCH]
                write_all(descriptor, b"".join(lines.transaction(n, {i: d}) for n, i, d in batch))
            os.fsync(descriptor)
            with self._locked():
                if self._inode != inode:
                    return False
                tail = read_span(self._descriptor, copied_to, self._offset - copied_to)
                if tail:
                    write_all(descriptor, tail)
                    os.fsync(descriptor)
                self._clear_drafts(but=draft)
                try:
                    os.replace(draft, self.path)
                except FileNotFoundError:  # cleared by one that was killed before it replaced the file
                    self.wants_compaction = True
                    return False
                self._adopt_compacted(1 + len(rows) + tail.count(b"\n"))
            return True
        finally:
            for opened in (copied, descriptor):
                if opened >= 0:
                    os.close(opened)
            draft.unlink(missing_ok=True)

    def _adopt_compacted(self, line_count: int) -> None:
        os.close(self._descriptor)
        self._descriptor, self._inode = -1, 0  # if no other can be opened now, the next access does it
        self._adopt()
        self._offset = os.fstat(self._descriptor).st_size
        self._lines = line_count
        self._sealed = True
        with telling("Cannot make the compacted table durable", self.path):
            sync_folder(self.path.parent)

    def _clear_drafts(self, but: Path | None = None) -> None:
        """Remove what killed compactions left, under the lock.

        One still running elsewhere will find that it lost, if the file it copied is then replaced or gone: so this is
        called before the file is replaced, when nobody can have copied the new one yet.
        """
        for draft in self.path.parent.glob(f"{self.path.name}.*.tmp"):
            if draft != but:
                draft.unlink(missing_ok=True)
