"""Who holds what: a process proves by a file lock that it is alive, and by a time in that file that it is well.

The lock disappears with the process, however it ends, so nobody waits for the leases of a dead one. The time is
monotonic: a held lock was taken since the machine booted, so its holder's times can be compared with ours.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import StorageError
from .clock import Clock
from .folder import make_folder, open_file, telling, try_lock

LONG_DEAD_S: Final = 3600.0
"""Seconds since the last sign of life before a file is checked: a new one may not be locked yet."""
_TOKEN = re.compile(r"p\d{1,10}-[0-9a-f]{16}\Z")


class Owner:
    """One store of one process, as a holder of leases."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._mutex = threading.RLock()
        self._descriptor = -1
        self._token = ""

    @property
    def token(self) -> str:
        """Names this owner in records; its file is made on first use."""
        if not self._token:
            with self._mutex:
                if not self._token:
                    self._begin()
        return self._token

    def beat(self) -> None:
        """Give a sign of life, which renews all leases of this owner. A few microseconds."""
        token = self.token
        with self._mutex, telling("Cannot write", self._folder / token):
            if self._token:
                os.pwrite(self._descriptor, self._now(), 0)

    def age(self, token: str) -> float | None:
        """Seconds since the owner's last sign of life; None if it is dead. StorageError if that cannot be told."""
        if not _TOKEN.match(token):
            return None
        path = self._folder / token
        try:
            with telling("Cannot tell whether another process lives", path):
                descriptor = open_file(path, os.O_RDONLY)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        try:
            if try_lock(descriptor, shared=True):
                with suppress(OSError):
                    path.unlink()
                return None
            raw = os.pread(descriptor, 8, 0)
        finally:
            os.close(descriptor)
        return max(0.0, self._clock.steady() - struct.unpack("<d", raw)[0]) if len(raw) == 8 else 0.0

    def bury(self) -> None:
        """Remove the files of owners that died long ago, including those that held nothing when they were killed."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if _TOKEN.match(path.name) and time.time() - path.stat().st_mtime > LONG_DEAD_S:
                    self.age(path.name)

    def holds(self, token: str, lease_s: float) -> bool:
        """Whether the owner is alive and gave a sign of life within `lease_s` seconds."""
        age = self.age(token)
        return age is not None and age <= lease_s

    def close(self) -> None:
        """Give up everything held: others then see this owner as dead."""
        with self._mutex:
            if self._token:
                with suppress(OSError):
                    (self._folder / self._token).unlink()
                os.close(self._descriptor)
                self._token = ""
                self._descriptor = -1

    def _begin(self) -> None:
        token = f"p{os.getpid()}-{secrets.token_hex(8)}"
        make_folder(self._folder)
        with telling("Cannot write", self._folder / token):
            descriptor = open_file(self._folder / token, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                try_lock(descriptor)
                os.pwrite(descriptor, self._now(), 0)
            except OSError:
                os.close(descriptor)
                (self._folder / token).unlink()
                raise
        self._descriptor, self._token = descriptor, token

    def _now(self) -> bytes:
        return struct.pack("<d", self._clock.steady())
