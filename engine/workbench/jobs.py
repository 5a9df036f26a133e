"""Jobs: durable background work. A caller may stop waiting or go away; only `cancel` ends a job."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskGroup

from ..errors import (
    CasehardenError,
    Conflict,
    InvalidArgument,
    MissingKey,
    NextCall,
    NotAllowed,
    NotFound,
    Unavailable,
)
from ..llm import asking_for
from ..records.job import Job, JobState
from ..store import Store, TakenOver
from .job_errors import error_row, failure, left_here, raised_row

Handler = Callable[[Job], Awaitable[Mapping[str, Any]]]
"""Does the work of a job; returns its result: references, such as {"run": "run-7"}. Called again after a crash."""
Stopped = Callable[[Job, str], Awaitable[None]]
"""Cleans up after a stopped job, given it and the state it will have (cancelled, paused, failed).

Repeatable.
"""
CheckMeans = Callable[[Job], Awaitable[None]]
"""Raises a CasehardenError if this process lacks what the job needs, such as a folder that the operator allows."""
Progress = Callable[[Job], Awaitable[None]]
"""Called with the job every few seconds while somebody waits for it."""
Listener = Callable[[Job], Awaitable[None]]
"""Called when a job of this process has ended."""

MAX_WAIT_S = 45
TELL_EVERY_S = 3.0
BEAT_EVERY_S = 1.0
ENDS_WITHIN_S = 15.0
"""How long `cancel` waits for the end: another process hears of it at its next beat, and has to tidy up."""
SHOWN = 5
"""How many active jobs an error names."""
TAKE_OVER_EVERY = 2
"""Beats between two checks for jobs of dead processes."""
LOOK_EVERY = 10
"""Beats between two checks for our jobs that were not begun, and for failed cleanups."""
LEFT_FOR_S = 60.0
"""Seconds for which a job is left to others after this process was found to lack something for it."""
_LACKS = NotAllowed | MissingKey | Unavailable
"""What ends the work here says nothing of the process that began it: the job pauses."""
_log = logging.getLogger("caseharden.jobs")


class Paused(Exception):
    """Raised by a handler that stops although work is left: `why` says why, and its `next` how to resume."""

    def __init__(self, why: CasehardenError) -> None:
        super().__init__(why.what)
        self.why = why


class Jobs:
    """Starts, waits for, cancels and resumes jobs; the work itself is the handlers'."""

    def __init__(self, store: Store, tasks: TaskGroup, *, take_over: bool = True) -> None:
        """`take_over`: resume the jobs of dead processes."""
        self._store = store
        self._take_over = take_over
        self._tasks = tasks
        self._handlers: dict[str, Handler] = {}
        self._stopped: dict[str, Stopped] = {}
        self._means: dict[str, CheckMeans] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._taken: dict[str, Job] = {}
        """The jobs being worked on here, as they were taken."""
        self._idle: set[str] = set()
        """Our jobs that nobody was working on at the last check."""
        self._left: dict[str, float] = {}
        """Jobs of dead processes that we may not go on with, and when that was found."""
        self._listeners: list[Listener] = []

    def handle(
        self, kind: str, handler: Handler, stopped: Stopped | None = None, means: CheckMeans | None = None
    ) -> None:
        """Register who does the work of a kind of job, who cleans up after it, and what it needs of a process."""
        self._handlers[kind] = handler
        if stopped is not None:
            self._stopped[kind] = stopped
        if means is not None:
            self._means[kind] = means

    def on_end(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for every job that ends here; call the result to stop that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def create(
        self, kind: str, spec: Mapping[str, Any], key: str = "", total: int = 0, **fields: Any
    ) -> tuple[Job, bool]:
        """A queued job and whether to launch it; with a key the same call gives the same job.

        An existing one that was paused, cancelled or failed is queued again; `adopt` one that is active.
        """
        check_key(key)
        try:
            job, new = self._store.jobs.create(kind, spec, key=key, total=total, **fields)
        except Conflict as error:
            raise Conflict(
                error.what, where="idempotency_key", allowed=error.allowed, next=error.next
            ) from None
        if new:
            self._store.audit("start", kind, job.id)
        elif job.state in ("paused", "cancelled", "failed"):
            job, new = self._store.jobs.resume(job.id, retry_failed=True), True
            self._store.audit("resume", kind, job.id)
        return job, new

    def known(self, kind: str, key: str) -> bool:
        """Whether a call with that key was made before."""
        return bool(key) and any(True for _ in self._store.jobs.table.walk({"key": key, "kind": kind}))

    def again(self, id: str, *, reopen: bool = False) -> Job:
        """Resume a job that was paused, cancelled or failed; with `reopen` also one that is done."""
        job = self._store.jobs.resume(id, retry_failed=True, reopen=reopen)
        self._store.audit("resume", job.kind, id)
        self.launch(job)
        return job

    async def adopt(self, job: Job) -> None:
        """Resume an orphaned active job when its caller retries; the error if this process may not go on with it."""
        if job.active and any(left.id == job.id for left in self._store.jobs.orphans()):
            await self.check_means(job)
            self.launch(job)

    async def check_means(self, job: Job) -> None:
        """Raise what this process lacks for the job."""
        means = self._means.get(job.kind)
        if means is not None:
            await means(job)

    def give_up(self, job: Job, error: Exception) -> None:
        """Fail a new job that could not even begin, so that nobody waits for it."""
        self._store.jobs.mark(job.id, "failed", error=raised_row(error))

    def launch(self, job: Job, *, orphan: bool = False) -> None:
        """Start working on a queued job of this process, or on one that a dead process left, if we may."""
        if job.id not in self._scopes:
            self._scopes[job.id] = anyio.CancelScope()
            self._tasks.start_soon(self._work, job.id, orphan)

    def resume_orphans(self) -> list[str]:
        """Resume jobs that dead processes left behind, and ours that nobody is working on.

        The latter must be seen at two checks: a job just made is about to be launched.
        """
        return [*self._take_over_from_dead(), *self._go_on_with(self._forgotten())]

    def _take_over_from_dead(self) -> list[str]:
        orphans = self._store.jobs.orphans() if self._take_over else []
        known, now = self._left, time.monotonic()
        still = [job.id for job in orphans if job.id in known and now - known[job.id] < LEFT_FOR_S]
        self._left = {id: known[id] for id in still}
        return self._go_on_with([job for job in orphans if job.id not in self._left], orphan=True)

    def _go_on_with(self, jobs: Sequence[Job], *, orphan: bool = False) -> list[str]:
        found = [job for job in jobs if job.kind in self._handlers and job.id not in self._scopes]
        for job in found:
            _log.info("going on with %s (%s)", job.id, job.kind)
            self.launch(job, orphan=orphan)
        return [job.id for job in found]

    def get(self, id: str) -> Job:
        try:
            return self._store.jobs.get(id)
        except NotFound as error:
            calls = [NextCall("list_items", {"kind": "job", "where": {"state": "running"}})]
            row = self._store.table("runs").find(id)
            if row is not None and row.get("job"):
                what = f"No job `{id}`; its job is {row['job']}."
                first = NextCall("wait_job", {"job": row["job"]})
                raise NotFound(what, where="job", allowed=row["job"], next=[first, *calls]) from None
            going = [job.id for job in self._store.jobs.active()][:SHOWN]
            raise NotFound(error.what, where="job", allowed=going, next=calls) from None

    async def settled(self, id: str, wait_s: float, on_progress: Progress | None = None) -> Job:
        """The job once it no longer runs, or its state after `wait_s` seconds (0..45)."""
        check_wait(wait_s)
        until = time.monotonic() + wait_s
        job = self.get(id)
        if on_progress is not None and wait_s and job.state in ("queued", "running"):
            await on_progress(job)
        while job.state in ("queued", "running") and time.monotonic() < until:
            pause = min(TELL_EVERY_S, until - time.monotonic())
            job = await self._store.jobs.settled(id, max(0.0, pause))
            if on_progress is not None:
                await on_progress(job)
        return job

    async def cancel(self, id: str, reason: str = "") -> Job:
        """Stop a job; finished work is kept."""
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
        job = await self._ended(id)
        if scope is None and job.state == "cancelled":
            await self._tidied(job, "cancelled")
        return job

    def raise_failure(self, job: Job) -> None:
        """Raise the error of a job that failed."""
        if job.state == "failed" and job.error:
            raise failure(job)

    async def beat(self, every_s: float = 0) -> None:
        """Show that our jobs are alive; watch for cancellations by other processes and for jobs they left.

        Runs until cancelled, one beat every `every_s` seconds (0: one second); errors in a beat are logged.
        """
        beats = 0
        while True:
            await anyio.sleep(every_s or BEAT_EVERY_S)
            beats += 1
            try:
                self._store.jobs.heartbeat()
                self._hear_cancels()
                if beats % TAKE_OVER_EVERY == 0:
                    self._take_over_from_dead()
                if beats % LOOK_EVERY == 0:
                    self.resume_orphans()
                    await self._tidy_again()
            except Exception:
                _log.exception("a beat failed")

    def check_ours(self, job: Job) -> None:
        """Raise TakenOver if this process no longer holds the job as it took it: its writes would be late."""
        self._store.jobs.check_ours(job)

    def _hear_cancels(self) -> None:
        for id, scope in list(self._scopes.items()):
            row = self._store.jobs.table.journal.current(id)
            if row is None or row["cancel_requested"] or self._lost(id):
                scope.cancel()

    def _lost(self, id: str) -> bool:
        """Whether a job that we took now belongs to another process, was ended elsewhere, or was deleted."""
        try:
            if id in self._taken:
                self._store.jobs.check_ours(self._taken[id])
        except TakenOver:
            return True
        return False

    def _late(self, id: str) -> bool:
        """Whether our result is no longer wanted; the job is left to its present owner."""
        lost = self._lost(id)
        if lost:
            _log.warning("%s was taken over or ended by another process: what was late here is not kept", id)
        return lost

    def _forgotten(self) -> list[Job]:
        """Our queued and running jobs that nobody is working on, at the second check."""
        idle = [job for job in self._store.jobs.active() if job.id not in self._scopes]
        mine = {job.id: job for job in idle if job.state != "waiting" and self._store.jobs.is_mine(job)}
        found = [job for id, job in mine.items() if id in self._idle]
        self._idle = set(mine) - {job.id for job in found}
        return found

    async def _ended(self, id: str) -> Job:
        with anyio.move_on_after(ENDS_WITHIN_S):
            job = self.get(id)
            while not job.ended:
                job = await self._store.jobs.changed(id, BEAT_EVERY_S)
        return self.get(id)

    async def _work(self, id: str, orphan: bool = False) -> None:
        scope = self._scopes[id]
        try:
            with scope:
                if not orphan or await self._may_go_on(id):
                    await self._perform(id, orphan)
            if scope.cancelled_caught and not self._late(id):
                await self._end(id, "cancelled")
        except anyio.get_cancelled_exc_class():
            self._leave(id)
            raise
        except Exception as error:
            # It was ended or deleted elsewhere meanwhile, or the disk is full: the others go on.
            if not self._late(id):
                _log.exception("job %s could not be ended", id)
                await self._fail_if_possible(id, error)
        finally:
            self._scopes.pop(id, None)
            self._taken.pop(id, None)
        await self._tell_end(id)

    async def _tell_end(self, id: str) -> None:
        """A failing listener must not harm the job."""
        for listener in list(self._listeners):
            try:
                job = self.get(id)
                if job.ended:
                    await listener(job)
            except Exception:
                _log.exception("the end of %s could not be told", id)

    def _leave(self, id: str) -> None:
        """Stop without ending the job: release its units to whoever resumes it."""
        try:
            if not self._lost(id):
                self._store.jobs.work.release_all(id)
        except Exception:
            _log.exception("the units of %s could not be given back", id)

    async def _fail_if_possible(self, id: str, error: Exception) -> None:
        try:
            if not self.get(id).ended:
                await self._end(id, "failed", raised_row(error))
        except Exception:
            _log.exception("job %s could not be marked failed", id)
            self._idle.add(id)  # the next check starts it again

    async def _may_go_on(self, id: str) -> bool:
        """Whether this process has what the orphan needs; if not, it is left as it is, with the reason."""
        job = self.get(id)
        try:
            await self.check_means(job)
        except Exception as raised:
            self._left[id] = time.monotonic()
            _log.warning("%s is left to others: %s", id, raised)
            if isinstance(raised, CasehardenError):
                self._store.jobs.leave(id, left_here(job, raised))
            return False
        return True

    async def _perform(self, id: str, orphan: bool) -> None:
        job = self._store.jobs.take(id)
        if job is None:
            return
        self._taken[id] = job
        try:
            with asking_for(id):
                result = await self._handlers[job.kind](job)
        except Paused as paused:
            if not self._late(id):
                await self._end(id, "paused", error_row(paused.why))
        except Exception as raised:
            if not self._late(id):
                state = "paused" if orphan and isinstance(raised, _LACKS) else "failed"
                await self._end(id, state, raised_row(raised))
        else:
            if not self._late(id):
                self._store.jobs.mark(id, "done", result=result)

    async def _end(self, id: str, state: JobState, error: Mapping[str, Any] | None = None) -> None:
        """Cancel, pause or fail a job; it also fails if its cleanup fails."""
        untidy = await self._tidied(self.get(id), state)
        if untidy is not None and state != "failed":
            state, error = "failed", untidy
        self._store.jobs.mark(id, state, error=error)

    async def _tidied(self, job: Job, state: JobState) -> Mapping[str, Any] | None:
        """None, or the cleanup error, which is kept with the job; the cleanup is retried now and then."""
        stopped = self._stopped.get(job.kind)
        if stopped is None:
            return None
        try:
            with anyio.CancelScope(shield=True):
                await stopped(job, state)
        except Exception as raised:
            _log.exception("tidying up behind job %s failed", job.id)
            self._store.jobs.table.update({"untidy": state}, doc_ids=[job.id])
            return raised_row(raised)
        if self._store.jobs.table.fetch(job.id, "job").get("untidy"):
            self._store.jobs.table.update({"untidy": ""}, doc_ids=[job.id])
        return None

    async def _tidy_again(self) -> None:
        """Retry failed cleanups for our jobs and those of dead processes."""
        states: tuple[JobState, ...] = ("cancelled", "failed")
        for state in states:
            for row in self._store.jobs.table.walk({"untidy": state}):
                job = self.get(str(row.doc_id))
                if job.ended:
                    await self._tidied(job, state)


def check_key(key: str) -> None:
    """Refuse idempotency keys that are not short texts."""
    if len(key) > 200:
        raise InvalidArgument(
            f"`idempotency_key` has {len(key)} characters.", where="idempotency_key", allowed="up to 200"
        )


def check_wait(wait_s: float) -> None:
    """Refuse anything outside 0 to 45 seconds; call before starting anything."""
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise InvalidArgument(
            f"`wait_s` is {wait_s:g}.",
            where="wait_s",
            allowed=f"0 to {MAX_WAIT_S}; call again to go on waiting",
        )
