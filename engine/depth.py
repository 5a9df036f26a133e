"""How deep a Caseharden is inside another, so that one that tests itself comes to an end.

What we start has the depth in its environment, and what we send in a header; whoever is started or asked so is one
deeper. A server whose agent or world is the server itself is stopped by it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

VARIABLE: Final = "CASEHARDEN_DEPTH"
HEADER: Final = "Caseharden-Depth"
MOST: Final = 2
"""Caseharden may test an agent that tests an agent by Caseharden; that one starts and asks nobody."""
_DEPTH: ContextVar[int] = ContextVar("caseharden_depth", default=0)


def depth() -> int:
    """The depth here: that of this process, or of the request that is served, whichever is more."""
    return max(_DEPTH.get(), _read(os.environ.get(VARIABLE, "")))


def too_deep() -> str:
    """Why nothing more may be started or asked here; "" where it may."""
    if depth() < MOST:
        return ""
    return f"may not be asked: Caseharden tests itself here, {MOST} levels deep, and goes no deeper"


def one_deeper() -> str:
    """The depth that is told to what we start and ask."""
    return str(depth() + 1)


@contextmanager
def at_depth(told: str) -> Generator[None]:
    """What goes on inside, and the tasks and threads that it starts, are as deep as a request tells."""
    before = _DEPTH.set(_read(told))
    try:
        yield
    finally:
        _DEPTH.reset(before)


def _read(told: str) -> int:
    """A depth as somebody tells it; 0 where it is none."""
    return min(int(told), 1000) if told.isascii() and told.isdecimal() and len(told) < 10 else 0
