"""Waiting for changes: those reported in this thread wake at once, those others write show in the growing files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import anyio

LOOK_EVERY_S: Final = 0.1
"""How often to check whether other processes or threads have written: two system calls, no reading."""


class Sign:
    """Whether anything was reported or written since this was made."""

    def __init__(self, written: Callable[[], object]) -> None:
        self.thread = threading.get_ident()
        self.event = anyio.Event()
        self._written = written
        self._before = written()

    async def given(self) -> None:
        """Wait until there is a sign."""
        while not self.event.is_set() and self._written() == self._before:
            with anyio.move_on_after(LOOK_EVERY_S):
                await self.event.wait()


class Waiting:
    """The waiters, by what they wait for. `written` returns a value that changes with each write about it."""

    def __init__(self, written: Callable[[str], object]) -> None:
        self._written = written
        self._signs: dict[str, list[Sign]] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def sign(self, id: str) -> Generator[Sign]:
        """A sign to wait for; anything that happens about `id` from now on triggers it."""
        mine = Sign(lambda: self._written(id))
        with self._mutex:
            self._signs.setdefault(id, []).append(mine)
        try:
            yield mine
        finally:
            with self._mutex:
                left = [one for one in self._signs[id] if one is not mine]
                if left:
                    self._signs[id] = left
                else:
                    del self._signs[id]

    def wake(self, id: str) -> None:
        """Give the sign to those waiting in this thread."""
        with self._mutex:
            signs = list(self._signs.get(id, ()))
        here = threading.get_ident()
        for one in signs:
            if one.thread == here:
                one.event.set()
