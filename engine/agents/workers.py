"""Warm workers: processes that serve several conversations at a time, started when needed, ended when idle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import anyio

from ..processes import Command, Processes, Talk

SEATS: Final = 8
"""Conversations in one worker before another is started."""
IDLE_S: Final = 5.0
"""Seconds after the last conversation until a worker is ended."""


@dataclass(slots=True, eq=False)
class Worker:
    """A process with conversations in it. `retired`: it takes no new ones, and ends with its last."""

    talk: Talk
    seats: int = 0
    served: int = 0
    retired: bool = False


class Workers:
    """The workers of one agent. `most`: at the same time; by default the number of processors."""

    def __init__(self, processes: Processes, command: Command, most: int = 0) -> None:
        self._processes = processes
        self._command = command
        self._most = most or os.cpu_count() or 1
        self._lock = anyio.Lock()
        self._workers: list[Worker] = []

    async def take(self) -> Worker:
        """A seat in the worker with the fewest conversations; give it back afterwards. Raises NotStarted."""
        async with self._lock:
            self._workers = [w for w in self._workers if w.talk.alive]
            open = [w for w in self._workers if not w.retired]
            found = min(open, key=lambda w: w.seats, default=None)
            if found is None or (found.seats >= SEATS and len(self._workers) < self._most):
                found = Worker(await self._processes.start(self._command, lasting=True))
                self._workers.append(found)
            found.seats += 1
            found.served += 1
            return found

    async def give_back(self, worker: Worker, *, retire: bool = False) -> None:
        """Leave the seat. `retire`: something still running in that process can only be stopped with it."""
        worker.seats -= 1
        worker.retired = worker.retired or retire
        if worker.seats:
            return
        if worker.retired or not worker.talk.alive:
            await worker.talk.stop()
        else:
            self._processes.soon(self._end_if_idle, worker, worker.served)

    async def _end_if_idle(self, worker: Worker, served: int) -> None:
        await anyio.sleep(IDLE_S)
        if worker.served == served:
            worker.retired = True
            await worker.talk.stop()
