"""How many calls may be open at one endpoint, and from when: an overload answer to one caller slows all of them."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import anyio

from .errors import BadStatus, NetError

START: Final = 128
"""Calls that may be open at an endpoint about which nothing is known."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance as retries use them. `now` in seconds, monotonic; `chance` gives 0..1."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    chance: Callable[[], float] = random.random


class _Waiter:
    """A caller waiting for its place."""

    __slots__ = ("event", "gone", "let_in")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.let_in = False
        self.gone = False


class Pace:
    """Admits callers of one endpoint in order of arrival.

    The limit grows by one with each success while others wait, until the endpoint first reports overload; then it
    is halved, once for all calls that were open, and grows by one a round. `Retry-After` holds every caller back.
    `most`: the upper bound of the limit.
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = max(1, most)
        self._clock = clock
        self._limit = float(min(START, self._most))
        self._out = 0
        self._waiting: deque[_Waiter] = deque()
        self._from = 0.0
        self._because: NetError | None = None
        self._cuts = 0

    @property
    def limit(self) -> int:
        """Calls that may be open now."""
        return int(self._limit)

    @property
    def idle(self) -> bool:
        """Whether no call is open or waits, and none is held back."""
        return not self._out and not self._waiting and self._from <= self._clock.now()

    async def enter(self, patience_s: float) -> int:
        """Wait for a place, and until the endpoint may be asked again; return the ticket to leave with.

        Raises the endpoint's own error at once if it asks for a wait longer than `patience_s`.
        """
        if self._out < int(self._limit) and not self._waiting:
            self._out += 1
        else:
            await self._queued()
        if self._from:
            try:
                await self._held_back(patience_s)
            except BaseException:
                self._free()
                raise
        return self._cuts

    def leave(self, ticket: int, error: BaseException | None) -> None:
        """Give the place back, with the outcome of the call."""
        if isinstance(error, NetError) and error.overloaded:
            self._slower(ticket, error)
        elif error is None and self._waiting and self._limit < self._most:
            self._limit += 1.0 if self._cuts == 0 else 1.0 / self._limit
        self._free()

    def _slower(self, ticket: int, error: NetError) -> None:
        if ticket == self._cuts:
            self._limit = max(1.0, self._limit / 2)
            self._cuts += 1
        after = error.retry_after_s if isinstance(error, BadStatus) else None
        if after is not None and (until := self._clock.now() + after) > self._from:
            self._from, self._because = until, error

    def _free(self) -> None:
        self._out -= 1
        while self._waiting and self._out < int(self._limit):
            waiter = self._waiting.popleft()
            if not waiter.gone:
                waiter.let_in = True
                self._out += 1
                waiter.event.set()

    async def _queued(self) -> None:
        waiter = _Waiter()
        self._waiting.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            waiter.gone = True
            if waiter.let_in:
                self._free()
            raise

    async def _held_back(self, patience_s: float) -> None:
        while (wait := self._from - self._clock.now()) > 0:
            if wait > patience_s and self._because is not None:
                raise self._because.with_traceback(None)
            await self._clock.sleep(wait)
        self._from = 0.0
