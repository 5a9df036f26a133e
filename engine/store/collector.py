"""Python's garbage collector while a large file is read.

It is the whole process's, and whoever uses us as a library has set it as they want: it is touched only where a program
of ours has said that the process is its own.
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
    """Say, once at the start of a program, that nobody else's code relies on the collector of this process."""
    _ours.set()


@contextmanager
def uncollected() -> Generator[None]:
    """While a large file is read: none of the many objects made is garbage, and the collector would look at all of
    them again and again. Afterwards it leaves them alone: looking at a million of them stops everything for a second.

    What is garbage already is taken away first, since it would be left alone too. Several threads may be inside.
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
