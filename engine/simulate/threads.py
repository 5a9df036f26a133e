"""The worker threads in which trials wait for code and servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

MOST: Final = 1000
"""Trials that wait at the same time: as many as any run plays at once."""
T = TypeVar("T")
_LIMITER: RunVar[anyio.CapacityLimiter] = RunVar("caseharden_world_threads")


async def in_world_thread(what: Callable[[], T]) -> T:
    """Run a blocking operation of a world in a thread and return its result.

    What it waits for may need a thread itself, such as starting a process, so it uses threads of its own.
    """
    try:
        limiter = _LIMITER.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MOST)
        _LIMITER.set(limiter)
    return await anyio.to_thread.run_sync(what, limiter=limiter)
