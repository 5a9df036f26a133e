"""Jobs: durable work in the background. A caller may stop waiting or go away; only `cancel` ends one."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from anyio.abc import TaskGroup

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, NotFound
from ..records.job import Job
from ..store import Store

Handler = Callable[[Job], Awaitable[Mapping[str, Any]]]
"""Does the work of a job and gives its result: references, such as {"run": "run-7"}. Called again after a crash."""
Progress = Callable[[Job], Awaitable[None]]
"""Told how a job goes, every few seconds while somebody waits."""

MAX_WAIT_S = 45
TELL_EVERY_S = 3.0
BEAT_EVERY_S = 1.0
_log = logging.getLogger("caseharden.jobs")


class Jobs:
    """Starts, waits for, cancels and resumes jobs; the work itself is the handlers'."""

    def __init__(self, store: Store, tasks: TaskGroup) -> None:
        self._store = store
        self._tasks = tasks
        self._handlers: dict[str, Handler] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}

    def handle(self, kind: str, handler: Handler) -> None:
        """Register who does the work of a kind."""
        self._handlers[kind] = handler

    def create(
        self, kind: str, spec: Mapping[str, Any], key: str = "", total: int = 0, **fields: Any
    ) -> tuple[Job, bool]:
        """A queued job and whether it is new; with a key the same call gives the same job.

        A found one that was paused, cancelled or failed is queued again.
        """
        check_key(key)
        job, new = self._store.jobs.create(kind, spec, key=key, total=total, **fields)
        if new:
            self._store.audit("start", kind, job.id)
        elif job.state in ("paused", "cancelled", "failed"):
            job, new = self._store.jobs.resume(job.id), True
        return job, new

    def again(self, id: str) -> Job:
        """Go on with a job that was paused, cancelled or failed."""
        job = self._store.jobs.resume(id)
        self.launch(job)
        return job

    def launch(self, job: Job) -> None:
        """Begin working on a queued job of this process."""
        if job.id not in self._scopes:
            self._scopes[job.id] = anyio.CancelScope()
            self._tasks.start_soon(self._work, job.id)

    def resume_orphans(self) -> list[str]:
        """Go on with what a process that is gone left behind."""
        found = [job for job in self._store.jobs.orphans() if job.kind in self._handlers]
        for job in found:
            _log.info("going on with %s (%s)", job.id, job.kind)
            self.launch(job)
        return [job.id for job in found]

    def get(self, id: str) -> Job:
        try:
            return self._store.jobs.get(id)
        except NotFound as error:
            call = NextCall("list_items", {"kind": "job", "where": {"state": "running"}})
            raise NotFound(error.what, where="job", next=[call]) from None

    async def settled(self, id: str, wait_s: float, on_progress: Progress | None = None) -> Job:
        """The job once it no longer runs, or as it stands after `wait_s` seconds (0..45)."""
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise InvalidArgument(
                f"`wait_s` is {wait_s:g}.",
                where="wait_s",
                allowed=f"0 to {MAX_WAIT_S}; call again to go on waiting",
            )
        until = time.monotonic() + wait_s
        job = self.get(id)
        while job.state in ("queued", "running") and time.monotonic() < until:
            pause = min(TELL_EVERY_S, until - time.monotonic())
            job = await self._store.jobs.settled(id, max(0.0, pause))
            if on_progress is not None:
                await on_progress(job)
        return job

    async def cancel(self, id: str, reason: str = "") -> Job:
        """Stop a job; what it finished is kept."""
        job = self.get(id)
        if job.ended:
            raise Conflict(
                f"{id} is {job.state} already; nothing to cancel.",
                where="job",
                next=[NextCall("wait_job", {"job": id, "wait_s": 0})],
            )
        self._store.jobs.request_cancel(id)
        self._store.audit("cancel", job.kind, id, reason=reason[:500])
        scope = self._scopes.get(id)
        if scope is not None:
            scope.cancel()
        return await self._ended(id)

    async def beat(self) -> None:
        """Signs of life for our jobs, and an ear for cancellations from other processes; runs until cancelled."""
        while True:
            await anyio.sleep(BEAT_EVERY_S)
            self._store.jobs.heartbeat()
            for id, scope in list(self._scopes.items()):
                if self._store.jobs.get(id).cancel_requested:
                    scope.cancel()

    async def _ended(self, id: str) -> Job:
        with anyio.move_on_after(2 * BEAT_EVERY_S):
            job = self.get(id)
            while not job.ended:
                job = await self._store.jobs.changed(id, BEAT_EVERY_S)
        return self.get(id)

    async def _work(self, id: str) -> None:
        scope = self._scopes[id]
        try:
            with scope:
                await self._perform(id)
            if scope.cancelled_caught:
                self._store.jobs.mark(id, "cancelled")
        except anyio.get_cancelled_exc_class():
            self._store.jobs.work.release_all(id)
            raise
        finally:
            self._scopes.pop(id, None)

    async def _perform(self, id: str) -> None:
        job = self._store.jobs.take(id)
        if job is None:
            return
        try:
            result = await self._handlers[job.kind](job)
        except CasehardenError as error:
            self._store.jobs.mark(id, "failed", error=told(error))
        except Exception:
            mark = uuid.uuid4().hex[:12]
            _log.exception("job %s failed (%s)", id, mark)
            what = f"An internal error; the server's log has it under {mark}."
            self._store.jobs.mark(id, "failed", error={"code": "internal", "what": what})
        else:
            self._store.jobs.mark(id, "done", result=result)


def told(error: CasehardenError) -> dict[str, Any]:
    """An error as it is stored with a job."""
    return {"code": error.code, "what": error.what, "where": error.where, "allowed": error.allowed}


def check_key(key: str) -> None:
    """Idempotency keys are short texts."""
    if len(key) > 200:
        raise InvalidArgument(
            f"`idempotency_key` has {len(key)} characters.", where="idempotency_key", allowed="up to 200"
        )
