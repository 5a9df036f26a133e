"""Wall time that stands still while the host is asked: people and their assistants take as long as they take."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio


class Patience:
    """The wall time that something may take. `waited_s`: seconds during which it stood still."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.waited_s = 0.0
        self._scope = scope
        self._waits = 0
        self._since = 0.0
        self._left = math.inf

    @contextmanager
    def standing_still(self) -> Generator[None]:
        """Keep the deadline as far away after the block as before it."""
        if not self._waits:
            self._since = anyio.current_time()
            self._left = self._scope.deadline - self._since
            self._scope.deadline = math.inf
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            if not self._waits:
                now = anyio.current_time()
                self.waited_s += now - self._since
                self._scope.deadline = now + self._left


_PATIENCE: ContextVar[Patience | None] = ContextVar("caseharden_patience", default=None)


@contextmanager
def patient(scope: anyio.CancelScope) -> Generator[Patience]:
    """Keep the deadline of `scope` from coming nearer while the block waits for the host."""
    mine = Patience(scope)
    before = _PATIENCE.set(mine)
    try:
        yield mine
    finally:
        _PATIENCE.reset(before)


@contextmanager
def waiting_for_the_host() -> Generator[None]:
    """Keep the caller's deadline from coming nearer inside."""
    patience = _PATIENCE.get()
    if patience is None:
        yield
        return
    with patience.standing_still():
        yield
