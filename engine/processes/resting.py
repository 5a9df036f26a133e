"""Warm processes that nobody needs at present: each is ended after a while, the oldest as soon as a place is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio

from .talk import Talk

IDLE_S: Final = 60.0
"""Seconds after its last use until a warm process is ended."""


class Resting:
    """Those processes, the longest idle first. `soon` runs something beside its caller."""

    def __init__(self, soon: Callable[..., None], idle_s: float = IDLE_S) -> None:
        self._soon: Callable[[Callable[..., Coroutine[Any, Any, None]]], None] = soon
        self._idle_s = idle_s
        self._since: dict[Talk, float] = {}
        self._watching = False

    def add(self, talk: Talk) -> None:
        """Let a process rest from now on."""
        self._since[talk] = time.monotonic()
        if not self._watching:
            self._watching = True
            self._soon(self._watch)

    def wake(self, talk: Talk) -> bool:
        """Take a process out again; False if it has been ended, or is about to be."""
        return self._since.pop(talk, None) is not None and talk.alive

    async def end_one(self) -> None:
        """End the one that has rested longest, if there is any."""
        if self._since:
            await self._end(next(iter(self._since)))

    async def _watch(self) -> None:
        while self._since:
            oldest, since = next(iter(self._since.items()))
            left = since + self._idle_s - time.monotonic()
            if left > 0 and oldest.alive:
                await anyio.sleep(left)
            else:
                await self._end(oldest)
        self._watching = False

    async def _end(self, talk: Talk) -> None:
        del self._since[talk]
        await talk.stop()
