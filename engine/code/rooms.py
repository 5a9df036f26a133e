"""Rooms: warm processes for a folder of users' Python files, each asked one question at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio

from ..processes import AllowedCode, Answered, Limits, Processes, Talk, python_worker
from ..world import CodeBase

BASE_S: Final = 60.0
"""Wall seconds within which a process must have loaded a base."""
LIMITS: Final = Limits(memory_bytes=4 << 30, line_bytes=8_000_000)


class Room:
    """One process for the files below one folder; restarted if it has ended or its files have changed.

    Between two questions it rests, and may be ended.
    """

    def __init__(self, processes: Processes, allowed: AllowedCode, service: Path, file: Path) -> None:
        self._processes = processes
        self._command = python_worker(allowed, service, {}, file, LIMITS)
        self._lock = anyio.Lock()
        self._talk: Talk | None = None
        self._seen: dict[str, str] = {}

    async def ask(
        self,
        question: dict[str, Any],
        file: Path,
        call_s: float,
        mark: str,
        base: CodeBase | None = None,
    ) -> dict[str, Any]:
        """The answer to a question about a file; if the process needs the base first, it is sent.

        Raises ProcessError, having ended a process that did not answer in time. `mark`: differs if the file, or what
        it is made of, has changed.
        """
        async with self._lock:
            talk = await self._started(str(file), mark)
            try:
                answer = await talk.ask(question, call_s)
                if base is not None and answer.get("need") == "base":
                    await talk.ask({"do": "base", "key": base.hash, "root": base.root}, BASE_S)
                    answer = await talk.ask(question, call_s)
            except Answered:
                self._processes.rest(talk)
                raise
            except BaseException:
                # A late answer would be taken for another question's, and what hangs keeps hanging.
                self._talk = None
                with anyio.CancelScope(shield=True):
                    await talk.stop()
                raise
            self._processes.rest(talk)
            return answer

    async def _started(self, file: str, mark: str) -> Talk:
        changed = self._seen.setdefault(file, mark) != mark
        talk, self._talk = self._talk, None
        if talk is not None and not self._processes.wake(talk):
            talk = None
        if changed:
            self._seen = {file: mark}
            if talk is not None:
                await talk.stop()
        if talk is None or changed:
            talk = await self._processes.start(self._command, lasting=True)
        self._talk = talk
        return talk


class Rooms:
    """As many rooms for the files below one folder as are used at the same time, at most `most`."""

    def __init__(self, make: Callable[[], Room], most: int) -> None:
        self._make = make
        self._limiter = anyio.CapacityLimiter(most)
        self._free: list[Room] = []

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[Room]:
        """A room that nobody else is using; the one released last."""
        async with self._limiter:
            room = self._free.pop() if self._free else self._make()
            try:
                yield room
            finally:
                self._free.append(room)
