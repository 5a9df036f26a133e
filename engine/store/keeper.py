"""The thread that makes writes survive a power cut, in groups, and compacts tables beside the event loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

from ..errors import StorageError
from .journal import Journal
from .segments import Segments

GROUP_S: Final = 0.5
_log = logging.getLogger("caseharden.store")


class Keeper:
    """Starts its thread with the first write; `flush` does at once what the thread would do later.

    `also`: called each time before that. If one raises, the rest is still done.
    """

    def __init__(self, segments: Segments, also: Sequence[Callable[[], None]]) -> None:
        self._segments = segments
        self._also = also
        self._dirty: dict[int, Journal] = {}
        self._mutex = threading.Lock()
        self._working = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble: Exception | None = None

    def wrote(self, journal: Journal | None = None) -> None:
        """Note a write (None: to a segment)."""
        with self._mutex:
            if journal is not None:
                self._dirty[id(journal)] = journal
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="caseharden-store", daemon=True)
                self._thread.start()
        self._wake.set()

    def flush(self) -> None:
        """Make everything written durable, conversations before the documents that point to them.

        Raises StorageError, also for anything the thread failed to make durable since the last call.
        """
        with self._working:
            self._work()
            trouble, self._trouble = self._trouble, None
        if trouble is not None:
            raise StorageError(
                f"What was written may not survive a power cut: {trouble}",
                where="store",
                allowed="check the disk of the data folder",
            ) from trouble

    def close(self) -> None:
        """End the thread, then flush."""
        with self._mutex:  # a thread is either started already, or will not be
            self._stop.set()
            thread = self._thread
        self._wake.set()
        if thread is not None:
            thread.join()
        self.flush()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait()
            if self._stop.wait(GROUP_S):
                return
            self._wake.clear()
            with self._working:
                self._work()

    def _work(self) -> None:
        for act in self._also:
            self._guarded(act)
        with self._mutex:
            journals = list(self._dirty.values())
            self._dirty.clear()
        self._guarded(self._segments.sync)
        for journal in journals:
            self._guarded(journal.sync)
            if journal.wants_compaction:
                self._guarded(journal.compact)

    def _guarded(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            if isinstance(error.__cause__ or error, FileNotFoundError):  # deleted meanwhile: nothing to keep
                return
            if self._trouble is None:
                _log.error("what was written may not survive a power cut", exc_info=error)
            self._trouble = error
