"""Jobs as durable records: made once, owned by one process at a time, found again after a crash.

The coroutine that does the work lives with the caller: it takes the job, claims its units, gives signs of life,
answers, and marks how it ended. A job whose owner is gone is an orphan, to be taken by the next process that starts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import anyio

from ..errors import Conflict, NextCall
from ..records.job import ACTIVE_STATES, Job, JobState, UnitCounts
from .clock import Clock
from .documents import Condition, Row, Table
from .index import Page
from .lines import Document, copied
from .owner import Owner
from .transaction import Transaction
from .units import LEASE_S, WorkQueue
from .waiting import Waiting

JOB_INDEXES: Final = ("state", "kind", "key", "environment", "run", "untidy")
PROGRESS_EVERY_S: Final = 0.1
BRIEF: Final = tuple(name for name in Job.model_fields if name not in ("spec", "result", "error"))
"""The fields of a job that lists show."""


class TakenOver(Conflict):
    """The lease was lost: another process resumed the job, or it was ended. Anything still at hand is late."""


class Jobs:
    """All jobs of a data folder. `work` is the queue of their units."""

    def __init__(
        self,
        table: Table,
        open_units: Callable[[str], Table],
        next_id: Callable[[str], str],
        owner: Owner,
        clock: Clock,
        lease_s: float = LEASE_S,
    ) -> None:
        self.table = table
        self._waiting = Waiting(lambda id: (table.journal.mark(), open_units(id).journal.mark()))
        self.work = WorkQueue(open_units, owner, clock, self._waiting.wake, lease_s)
        self._lease_s = lease_s
        self._next_id = next_id
        self._owner = owner
        self._clock = clock
        self._mutex = threading.RLock()
        self._progress: dict[str, _Progress] = {}

    # making and reading

    def create(
        self, kind: str, spec: Mapping[str, Any], *, key: str = "", total: int = 0, **fields: Any
    ) -> tuple[Job, bool]:
        """Make a job, owned by this process and queued; return (job, whether it is new).

        With an idempotency `key` there is one job for a kind and key: the second call gets the first's job, or
        Conflict if its spec differs. `total` is for jobs without units. `fields` (such as environment="support",
        run="run-7") are stored too and can be filtered by in `page`.
        """
        with self.table.transaction() as change:
            found = self._keyed(kind, key) if key else None
            if found is not None:
                if found.spec != dict(spec):
                    raise Conflict(
                        f"The key `{key[:80]}` was used for {found.id} with other arguments.",
                        where="key",
                        allowed="another key, or the same arguments",
                        next=[NextCall("get_item", {"kind": "job", "id": found.id})],
                    )
                return found, False
            stamp = self._clock.stamp()
            job = Job(
                id=self._next_id("job"),
                kind=kind,
                units=UnitCounts(total=total, pending=total),
                spec=dict(spec),
                key=key,
                created_at=stamp,
                updated_at=stamp,
                owner=self._owner.token,
            )
            change.put(job.id, {**fields, **_dumped(job)})
        return self._read(job.model_dump()), True

    def get(self, id: str) -> Job:
        """The job as it is now, with live counts. NotFound names the nearest."""
        return self._read(self.table.fetch(id, "job"))

    def page(
        self,
        where: Mapping[str, Any] | None = None,
        limit: int = 20,
        cursor: str | None = None,
        match: Condition | None = None,
        match_name: str = "",
    ) -> Page[Job]:
        """Newest first, without spec, result and error; `where` may filter by state, kind, key, environment and run."""
        page = self.table.page(where, limit, cursor, match, match_name, show=_brief)
        return Page([self._read(row) for row in page.items], page.cursor)

    def active(self) -> list[Job]:
        """The queued, running and waiting jobs of all processes, oldest first, without spec, result and error."""
        rows = [
            row for state in sorted(ACTIVE_STATES) for row in self.table.walk({"state": state}, show=_brief)
        ]
        return sorted(map(Job.model_validate, rows), key=lambda job: (job.created_at, job.id))

    def orphans(self) -> list[Job]:
        """The active jobs without a living owner, oldest first, to be taken and resumed."""
        left = [job.id for job in self.active() if not (self.is_mine(job) or self._held(job))]
        return [self._read(row) for row in map(self.table.find, left) if row is not None]

    def is_mine(self, job: Job) -> bool:
        """Whether this process owns the job."""
        return job.owner == self._owner.token

    def check_ours(self, job: Job) -> None:
        """Raise TakenOver unless this process still holds the job as it took it. Microseconds.

        Called under the lock of the table about to be written, so that nothing another process wrote there since it
        took the job is overwritten.
        """
        now = self.table.journal.current(job.id)
        if now is None or now["owner"] != self._owner.token or now["attempt"] != job.attempt:
            raise TakenOver(f"Another process has gone on with {job.id}, or it was ended.", where="job")

    def check_ended(self, change: Transaction, ids: Collection[str]) -> None:
        """Raise Conflict if one of these jobs is active."""
        for id in ids:
            row = change.get(id)
            if row is not None and row["state"] in ACTIVE_STATES:
                raise Conflict(f"{id} goes on.", where="job", next=[NextCall("cancel_job", {"job": id})])

    # owning

    def take(self, id: str) -> Job | None:
        """Become the owner and set the job running.

        None if another living owner has it, or it is not active.
        """
        self._owner.beat()
        with self.table.transaction() as change:
            job = self._within(change, id)
            if not job.active or (not self.is_mine(job) and self._held(job)):
                return None
            stamp = self._clock.stamp()
            update: dict[str, Any] = {
                "state": "running",
                "owner": self._owner.token,
                "error": None,
                "attempt": job.attempt + 1,
                "started_at": stamp,
                "started_with": self._counted(job).units.finished,
                "updated_at": stamp,
            }
            change.put(id, {**self._raw(change, id), **update})
        self._waiting.wake(id)
        return self.get(id)

    def leave(self, id: str, why: Mapping[str, Any]) -> None:
        """Leave an orphan to other processes, with the reason; the first one that is given stands until it is taken."""
        with self.table.transaction() as change:
            job = self._within(change, id)
            if job.active and not job.left and not self._held(job):
                update = {"state": "queued", "owner": "", "waiting_for": "", "error": dict(why)}
                change.put(id, {**self._raw(change, id), **update, "updated_at": self._clock.stamp()})
        self._waiting.wake(id)

    def heartbeat(self) -> None:
        """Give a sign of life for all jobs and units of this process. Microseconds; call it every few seconds."""
        self._owner.beat()

    def progress(self, id: str, *, completed: int = 0, failed: int = 0, total: int | None = None) -> None:
        """Report the progress of a job without units (absolute numbers). Written at most ten times a second."""
        with self._mutex:
            known = self._progress.setdefault(id, _Progress())
            known.counts = (completed, failed, total)
            due = self._clock.steady() - known.written_at >= PROGRESS_EVERY_S
        if due:
            self.write_progress(id)
        self._waiting.wake(id)

    def write_progress(self, id: str | None = None) -> None:
        """Write the progress reported but not written yet: of one job, or of all."""
        with self._mutex:
            parts = [i for i, p in self._progress.items() if p.counts is not None and id in (None, i)]
        for one in parts:
            with self.table.transaction() as change:
                document = change.get(one)
                with self._mutex:
                    known = self._progress.get(one)
                    counts = known.counts if known else None
                    if document is None or known is None or counts is None or self._of_other(document):
                        continue
                    known.counts = None
                    known.written_at = self._clock.steady()
                before = UnitCounts.model_validate(document["units"])
                after = _counts_with(before, counts)
                if after != before:
                    stamp = self._clock.stamp()
                    change.put(one, {**document, "units": after.model_dump(), "updated_at": stamp})

    def mark(
        self,
        id: str,
        state: JobState,
        *,
        waiting_for: str = "",
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> Job:
        """Set the state of a job that this process owns, or that has no living owner.

        `result` and `error` stay as they are if not given. Leaving the active states gives back running units and
        freezes the counts. Conflict: it has another living owner, has already ended in another state, or is to be done
        while units are unfinished.
        """
        self.write_progress(id)
        with self.table.transaction() as change:
            job = self._counted(self._within(change, id))
            self._may_mark(job, state)
            active = state in ACTIVE_STATES
            if not active and job.units.running:
                self.work.release_all(id)
                job = self._counted(job)
            update: dict[str, Any] = {
                "state": state,
                "waiting_for": waiting_for,
                "updated_at": self._clock.stamp(),
                "units": _settled(job.units, active).model_dump(),
                "owner": job.owner if active else "",
                "cancel_requested": job.cancel_requested and active,
                "result": job.result if result is None else dict(result),
                "error": job.error if error is None else dict(error),
            }
            change.put(id, {**self._raw(change, id), **update})
        with self._mutex:
            self._progress.pop(id, None)
        self._waiting.wake(id)
        return self.get(id)

    def request_cancel(self, id: str) -> Job:
        """Ask the owner to cancel the job (it sees `cancel_requested`); cancelled at once if nobody owns it.

        Conflict if it has ended.
        """
        with self.table.transaction() as change:
            job = self._within(change, id)
            if job.ended:
                raise Conflict(
                    f"{id} is {job.state} already; nothing to cancel.",
                    where="job",
                    next=[NextCall("wait_job", {"job": id, "wait_s": 0})],
                )
            if self.is_mine(job) or self._held(job):
                update = {"cancel_requested": True, "updated_at": self._clock.stamp()}
                change.put(id, {**self._raw(change, id), **update})
            else:  # nobody can take it before this transaction has ended
                self.mark(id, "cancelled")
        self._waiting.wake(id)
        return self.get(id)

    def resume(self, id: str, *, retry_failed: bool = False, reopen: bool = False) -> Job:
        """Queue a paused, failed or cancelled job again, owned by this process; `take` then resumes what is left.

        An active job is returned as it is. Conflict if it is done, unless `reopen`.
        """
        with self.table.transaction() as change:
            job = self._within(change, id)
            if job.active:
                return self._read(self._raw(change, id))
            if job.state == "done" and not reopen:
                raise Conflict(f"{id} is done; there is nothing to go on with.", where="job")
            update: dict[str, Any] = {
                "state": "queued",
                "owner": self._owner.token,
                "error": None,
                "cancel_requested": False,
                "updated_at": self._clock.stamp(),
            }
            if retry_failed:  # first: if we are killed between the two, the job is still to be resumed
                self.work.retry_failed(id)
            change.put(id, {**self._raw(change, id), **update})
        self._waiting.wake(id)
        return self.get(id)

    # waiting

    async def changed(self, id: str, timeout: float, since: Job | None = None) -> Job:
        """Wait until the job differs from `since` (default: from now) or `timeout` seconds have passed.

        Changes by this process wake it at once, those of others within 0.1 s. Signs of life do not count as changes.
        """
        before = _face(since or self.get(id))
        with anyio.move_on_after(timeout):
            while True:
                with self._waiting.sign(id) as sign:
                    now = self.get(id)
                    if _face(now) != before:
                        return now
                    await sign.given()
        return self.get(id)

    async def settled(self, id: str, timeout: float) -> Job:
        """Wait until the job is neither queued nor running, or `timeout` seconds have passed.

        It is then done, failed, cancelled, paused, or waiting for the caller.
        """
        job = self.get(id)
        with anyio.move_on_after(timeout):
            while job.state in ("queued", "running"):
                job = await self.changed(id, timeout, job)
        return self.get(id)

    # inside

    def _of_other(self, document: Document) -> bool:
        return bool(document["owner"] != self._owner.token)

    def _held(self, job: Job) -> bool:
        """Whether the owner of a job is alive and well."""
        return self._owner.holds(job.owner, self._lease_s)

    def _keyed(self, kind: str, key: str) -> Job | None:
        rows = self.table.walk({"key": key, "kind": kind})
        return next((self._read(row) for row in rows), None)

    def _raw(self, change: Transaction, id: str) -> dict[str, Any]:
        found = change.get(id)
        return self.table.fetch(id, "job") if found is None else found

    def _within(self, change: Transaction, id: str) -> Job:
        return Job.model_validate(self._raw(change, id))

    def _read(self, document: Row | dict[str, Any]) -> Job:
        job = self._counted(Job.model_validate(document))
        age = self._owner.age(job.owner) if job.active and job.owner else None
        return job.model_copy(update={"heartbeat_age_s": age})

    def _counted(self, job: Job) -> Job:
        if job.ended:
            return job
        counts = self.work.stats(job.id)
        if not counts.total:
            counts = job.units
            with self._mutex:
                known = self._progress.get(job.id)
                if known is not None and known.counts is not None:
                    counts = _counts_with(counts, known.counts)
        return job.model_copy(update={"units": counts})

    def _may_mark(self, job: Job, state: JobState) -> None:
        if not self.is_mine(job) and self._held(job):
            raise Conflict(f"{job.id} is run by another process.", where="job")
        if job.ended and job.state != state:
            raise Conflict(f"{job.id} is {job.state} already.", where="job")
        if state == "done" and job.units.finished != job.units.total:
            left = job.units.total - job.units.finished
            raise Conflict(
                f"{job.id} cannot be done: {left} of {job.units.total} units are not.", where="job"
            )


class _Progress:
    def __init__(self) -> None:
        self.counts: tuple[int, int, int | None] | None = None
        self.written_at = float("-inf")


def _brief(document: Document, id: str) -> dict[str, Any]:
    return {name: copied(document[name]) for name in BRIEF if name in document}


def _dumped(job: Job) -> dict[str, Any]:
    return job.model_dump(exclude={"heartbeat_age_s"})


def _face(job: Job) -> Job:
    return job.model_copy(update={"heartbeat_age_s": None})


def _counts_with(before: UnitCounts, told: tuple[int, int, int | None]) -> UnitCounts:
    completed, failed, total = told
    whole = max(completed + failed, before.total if total is None else total)
    return UnitCounts(
        total=whole, pending=whole - completed - failed, running=0, completed=completed, failed=failed
    )


def _settled(counts: UnitCounts, active: bool) -> UnitCounts:
    """Counts as they are frozen: nothing is running in a job that is not active."""
    if active:
        return counts
    return counts.model_copy(update={"pending": counts.pending + counts.running, "running": 0})
