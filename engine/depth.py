"""How deep one Caseharden runs inside another, so that one that tests itself comes to an end.

The depth is in the environment of whatever we start and in a header of whatever we send; the process started or
the server asked is one level deeper. This stops a server whose agent or world is the server itself.
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
"""Caseharden may test an agent that tests an agent with Caseharden; that one starts and asks nobody."""
_DEPTH: ContextVar[int] = ContextVar("caseharden_depth", default=0)


def depth() -> int:
    """The depth here: that of this process or of the request being served, whichever is greater."""
    return max(_DEPTH.get(), _read(os.environ.get(VARIABLE, "")))


def too_deep() -> str:
    """Why nothing more may be started or asked here; "" if it is allowed."""
    if depth() < MOST:
        return ""
    return f"may not be asked: Caseharden tests itself here, {MOST} levels deep, and goes no deeper"


def one_deeper() -> str:
    """The depth to pass on to whatever we start or ask."""
    return str(depth() + 1)


@contextmanager
def at_depth(told: str) -> Generator[None]:
    """Run the block, and the tasks and threads it starts, at the depth that a request states."""
    before = _DEPTH.set(_read(told))
    try:
        yield
    finally:
        _DEPTH.reset(before)


def _read(told: str) -> int:
    """Read a stated depth; 0 if it is invalid."""
    return min(int(told), 1000) if told.isascii() and told.isdecimal() and len(told) < 10 else 0
