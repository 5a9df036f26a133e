"""Retries: a call that may succeed later is repeated a few times, for a limited time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from .errors import NetError, TimedOut
from .pace import Clock, Pace

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """`tries` in all; pauses start at `first_s`, double up to `longest_s`; none begins after `patience_s`."""

    tries: int = 5
    first_s: float = 0.5
    longest_s: float = 20.0
    patience_s: float = 120.0

    def pause_s(self, failed: int, chance: float) -> float:
        """The pause after so many failures: between half and all of the step."""
        return min(self.longest_s, self.first_s * 2 ** (failed - 1)) * (0.5 + chance / 2)


async def tried(
    attempt: Callable[[], Awaitable[T]], *, pace: Pace, clock: Clock, timeout_s: float, retries: Retries
) -> T:
    """Return the attempt's result, each attempt within `timeout_s`; raise the last NetError if none succeeds.

    An error that never changes is raised at once. Between attempts the place at the endpoint is free for others.
    """
    began = clock.now()
    failed = 0
    while True:
        left_s = began + retries.patience_s - clock.now()
        ticket = await pace.enter(max(left_s, 0.0))
        ended: BaseException | None = None
        try:
            return await in_time(attempt, timeout_s)
        except NetError as error:
            ended = error
            failed += 1
            pause_s = retries.pause_s(failed, clock.chance())
            late = clock.now() - began + pause_s > retries.patience_s
            if not error.again or failed >= retries.tries or late:
                raise
        except BaseException as error:
            ended = error
            raise
        finally:
            pace.leave(ticket, ended)
        await clock.sleep(pause_s)


async def in_time(attempt: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """Return the attempt's result; TimedOut if it takes longer."""
    with anyio.move_on_after(timeout_s):
        return await attempt()
    raise TimedOut(f"no whole answer within {timeout_s:g} s")
