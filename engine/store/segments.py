"""Conversations: each process appends to a file of its own, documents elsewhere hold a pointer.

No lock is needed, because no two processes append to one file. What is in a file never changes, except that a deleted
document becomes blanks. A file is deleted with the folder of its run.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from ..errors import InvalidArgument, NotFound, StorageError
from ..ids import check_slug
from . import lines
from .folder import make_folder, open_file, read_span, sync_folder, telling, write_all

ROLL_BYTES: Final = 64 << 20
OPEN_FILES: Final = 64
_POINTER = re.compile(r"([a-z0-9_-]{1,64})/([0-9a-f]{16}):(\d{1,15}):(\d{1,12})(?::([0-9a-f]{8}))?\Z")


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a document is: segment `run-7/0123456789abcdef`, first byte, length in bytes, CRC-32 of its bytes.

    `str` and `parse` convert it to text and back.
    """

    segment: str
    offset: int
    length: int
    crc: int | None = None
    """None: not known."""

    def __str__(self) -> str:
        seal = "" if self.crc is None else f":{self.crc:08x}"
        return f"{self.segment}:{self.offset}:{self.length}{seal}"

    @classmethod
    def parse(cls, text: str) -> Pointer:
        """Parse what `str` gave. InvalidArgument for anything else."""
        found = _POINTER.match(text)
        if not found:
            raise InvalidArgument(f"`{text[:80]}` is no pointer into a segment.", where="pointer")
        seal = int(found[5], 16) if found[5] else None
        return cls(f"{found[1]}/{found[2]}", int(found[3]), int(found[4]), seal)


class _Segment:
    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.descriptor = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.end = 0
        self.dirty = False
        self.new_name = True

    def sync_name(self) -> None:
        """Make its name durable, unless its run was deleted meanwhile. Raises OSError."""
        with suppress(FileNotFoundError):
            sync_folder(self.path.parent)


class Segments:
    """The segment files under `runs/`. May be used from several threads."""

    def __init__(
        self, runs: Path, *, durable: bool = False, on_write: Callable[[], None] | None = None
    ) -> None:
        self._runs = runs
        self._durable = durable
        self._on_write = on_write
        self._mutex = threading.Lock()
        self._open: dict[str, _Segment] = {}
        """By run, the least recently used first."""

    def append(self, run: str, document: Mapping[str, Any]) -> Pointer:
        """Store a document with a run. About 10 us and 3 ns a byte.

        StorageError if it cannot be written.
        """
        check_slug(run, "run")
        line = lines.to_bytes(lines.encode(document))
        with self._mutex, telling("Cannot write the conversation", self._runs / run):
            segment = self._for_run(run)
            try:
                if os.pwrite(segment.descriptor, line, segment.end) != len(line):
                    os.lseek(segment.descriptor, segment.end, os.SEEK_SET)
                    write_all(segment.descriptor, line)
                if self._durable:
                    os.fsync(segment.descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(segment.descriptor, segment.end)
                raise
            pointer = Pointer(segment.name, segment.end, len(line), crc32(line))
            segment.end += len(line)
            segment.dirty = True
        if self._on_write is not None:
            self._on_write()
        return pointer

    def read(self, pointer: Pointer | str) -> dict[str, Any]:
        """The document. NotFound if its run was deleted, StorageError if the bytes there are damaged."""
        place = Pointer.parse(str(pointer))
        path = self._path(place.segment)
        with telling("Cannot read the conversation", path):
            try:
                descriptor = open_file(path, os.O_RDONLY)
            except FileNotFoundError:
                raise NotFound(f"Segment `{place.segment}` is not there.", where="pointer") from None
            try:
                raw = read_span(descriptor, place.offset, place.length)
            finally:
                os.close(descriptor)
        try:
            whole = raw.endswith(b"\n") and len(raw) == place.length and place.crc in (None, crc32(raw))
            document = lines.from_bytes(raw) if whole else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise StorageError(
                "A stored conversation is damaged.",
                where=f"{path} at byte {place.offset}",
                allowed="run it again",
            )
        return document  # pyright: ignore[reportUnknownVariableType]

    def erase(self, pointer: Pointer | str) -> None:
        """Overwrite a document with blanks, so that nothing of it is left in the file; no other one moves.

        Reading it afterwards is a StorageError. Repeatable; does nothing if the segment is gone. For a worker thread.
        """
        place = Pointer.parse(str(pointer))
        path = self._path(place.segment)
        with telling("Cannot erase the conversation", path):
            try:
                descriptor = open_file(path, os.O_WRONLY)
            except FileNotFoundError:
                return
            try:
                room = os.fstat(descriptor).st_size - place.offset
                blank = b" " * (min(place.length, max(0, room)) - 1) + b"\n"
                os.lseek(descriptor, place.offset, os.SEEK_SET)
                write_all(descriptor, blank if room > 0 else b"")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def sync(self) -> None:
        """Make everything written survive a power cut. Milliseconds: for a worker thread.

        Raises the last OSError, having synced the other segments.
        """
        with self._mutex:
            dirty = [(run, segment) for run, segment in self._open.items() if segment.dirty]
        failed: OSError | None = None
        for run, segment in dirty:
            try:
                self._sync_one(run, segment)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def _sync_one(self, run: str, segment: _Segment) -> None:
        with self._mutex:
            if self._open.get(run) is not segment:  # retired meanwhile, which syncs it, or deleted
                return
            copy = os.dup(segment.descriptor)
            new_name, segment.new_name = segment.new_name, False
            segment.dirty = False
        try:
            os.fsync(copy)
            if new_name:
                segment.sync_name()
        finally:
            os.close(copy)

    def forget(self, run: str) -> None:
        """Close this process's segment of a run; the next `append` begins another."""
        with self._mutex:
            segment = self._open.pop(run, None)
            if segment is not None:
                os.close(segment.descriptor)

    def close(self) -> None:
        for run in list(self._open):
            self.forget(run)

    def _path(self, name: str) -> Path:
        run, _, token = name.partition("/")
        return self._runs / run / "segments" / f"{token}.jsonl"

    def _for_run(self, run: str) -> _Segment:
        found = self._open.pop(run, None)
        if found is not None and found.end >= ROLL_BYTES:
            self._retire(found)
            found = None
        if found is None:
            found = self._begin(run)
        self._open[run] = found
        if len(self._open) > OPEN_FILES:
            self._retire(self._open.pop(next(iter(self._open))))
        return found

    def _begin(self, run: str) -> _Segment:
        name = f"{run}/{secrets.token_hex(8)}"
        path = self._path(name)
        make_folder(path.parent)
        return _Segment(path, name)

    def _retire(self, segment: _Segment) -> None:
        try:
            if segment.dirty:
                os.fsync(segment.descriptor)
            if segment.new_name:
                segment.sync_name()
        finally:
            os.close(segment.descriptor)
