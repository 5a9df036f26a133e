"""The audit: a line for every change, with its time, what was done, to which thing, and by whom.

A file that has grown large is put aside, and so many of those are kept.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, cast

from . import lines
from .clock import Clock
from .folder import FileLock, open_file, telling, write_all

TAIL_BYTES: Final = 1 << 20
ROTATED_BYTES: Final = 16 << 20
"""Size from which on a file is put aside, about 80,000 lines."""
KEPT: Final = 9
"""Files that are kept aside, `audit.1.jsonl` the newest; the oldest is deleted."""
_ACTOR: ContextVar[str] = ContextVar("caseharden_actor", default="")


@contextmanager
def acting_as(actor: str) -> Generator[None]:
    """Attribute changes made inside the block to `actor`, such as `stdio`, `http:ann` or `cli`.

    Tasks and worker threads started inside inherit it.
    """
    before = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(before)


class Audit:
    """`audit.jsonl`, which several processes append to, and the files put aside. `actor`: the default one."""

    def __init__(self, path: Path, clock: Clock, *, actor: str, durable: bool) -> None:
        self._path = path
        self._clock = clock
        self._actor = actor
        self._durable = durable
        self._lock = FileLock(path.with_suffix(".lock"))
        self._mutex = threading.Lock()
        with telling("Cannot write the data folder", path):
            os.close(open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))

    @property
    def actor(self) -> str:
        """Who is making the changes now."""
        return _ACTOR.get() or self._actor

    def add(self, action: str, kind: str, id: str, **details: Any) -> None:
        """Add a line: time, action, kind, id, actor and any details."""
        row = {"time": self._clock.stamp(), "action": action, "kind": kind, "id": id}
        line = lines.to_bytes(lines.encode({**row, "actor": self.actor, **details}))
        with self._mutex, telling("Cannot write the audit", self._path):
            self._lock.acquire()
            try:
                self._append(line)
            finally:
                self._lock.release()

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """The newest lines, oldest of them first; damaged ones are left out."""
        found: list[dict[str, Any]] = []
        for path in (self._path, self._aside(1)):
            for line in reversed(self._tail(path)):
                if len(found) == limit:
                    return found[::-1]
                try:
                    value: Any = json.loads(line.decode("utf-8", "surrogatepass"))
                except ValueError:
                    continue
                if isinstance(value, dict):
                    found.append(cast("dict[str, Any]", value))
        return found[::-1]

    def close(self) -> None:
        self._lock.close()

    def _aside(self, number: int) -> Path:
        return self._path.with_suffix(f".{number}{self._path.suffix}")

    def _tail(self, path: Path) -> list[bytes]:
        """The last lines of a file, the first of them perhaps cut; none if there is no file."""
        with telling("Cannot read the audit", path), suppress(FileNotFoundError), open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read().split(b"\n")
        return []

    def _rotate(self) -> None:
        """Put the file aside, and those that were put aside before one further."""
        for number in range(KEPT - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(self._aside(number), self._aside(number + 1))
        os.replace(self._path, self._aside(1))

    def _append(self, line: bytes) -> None:
        with suppress(FileNotFoundError):
            if os.stat(self._path).st_size > ROTATED_BYTES:
                self._rotate()
        descriptor = open_file(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                write_all(descriptor, b"\n" + line if torn else line)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            if self._durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
