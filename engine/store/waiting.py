"""Waiting for a sign: what this thread tells wakes at once, what others write is seen by the files that grow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import anyio

LOOK_EVERY_S: Final = 0.1
"""How often is looked whether other processes or threads have written: two calls of the system, no reading."""


class Sign:
    """Something was told or written since this was made."""

    def __init__(self, written: Callable[[], object]) -> None:
        self.thread = threading.get_ident()
        self.event = anyio.Event()
        self._written = written
        self._before = written()

    async def given(self) -> None:
        """Until there is one."""
        while not self.event.is_set() and self._written() == self._before:
            with anyio.move_on_after(LOOK_EVERY_S):
                await self.event.wait()


class Waiting:
    """Those who wait, by what they wait for. `written` gives what is other after each write about it."""

    def __init__(self, written: Callable[[str], object]) -> None:
        self._written = written
        self._signs: dict[str, list[Sign]] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def sign(self, id: str) -> Generator[Sign]:
        """A sign to wait for; whatever happens about `id` from here on gives it."""
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
        """Give the sign to those who wait in this thread."""
        with self._mutex:
            signs = list(self._signs.get(id, ()))
        here = threading.get_ident()
        for one in signs:
            if one.thread == here:
                one.event.set()
