"""Python's garbage collector while a large file is read.

It belongs to the whole process, and whoever uses us as a library has set it up as they want: it is touched only if one
of our own programs has declared the process its own.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_mutex = threading.Lock()
_ours = threading.Event()
_readers = 0


def own_process() -> None:
    """Declare, once at the start of a program, that no other code relies on the collector of this process."""
    _ours.set()


@contextmanager
def uncollected() -> Generator[None]:
    """Turn the collector off while a large file is read, since none of the many objects made is garbage.

    It would look at all of them again and again. Afterwards it leaves them alone: looking at a million of them stops
    everything for a second. Existing garbage is collected first. Several threads may be inside.
    """
    if not _ours.is_set():
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _readers
    with _mutex:
        _readers += 1
        if _readers == 1:
            gc.collect()
            gc.disable()


def _leave() -> None:
    global _readers
    with _mutex:
        _readers -= 1
        if _readers == 0:
            gc.freeze()
            gc.enable()
