"""The queue of a job's units: handed out under leases, answered once.

A lease holds while its owner is alive and gave a sign of life in time; after that the unit is handed out again with a
higher attempt, and answers of older attempts are refused. What `complete` or `fail` accepted is not lost if the
process is killed. Each answer is one line in the job's own table (about 50 us); the job's record is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from ..records.job import Unit, UnitCounts, UnitState, unit_id
from .clock import Clock
from .documents import Table
from .owner import Owner
from .transaction import Transaction

LEASE_S: Final = 60.0


class WorkQueue:
    """The units of all jobs.

    `open_table` gives the table of a job's units, `changed` is called with the job after each change.
    """

    def __init__(
        self,
        open_table: Callable[[str], Table],
        owner: Owner,
        clock: Clock,
        changed: Callable[[str], None],
        lease_s: float = LEASE_S,
    ) -> None:
        self._table = open_table
        self._owner = owner
        self._clock = clock
        self._changed = changed
        self._lease_s = lease_s

    def enqueue(self, job: str, specs: Iterable[Mapping[str, Any]]) -> int:
        """Queue units, each under the hash of its spec; return how many were new (others stay as they are)."""
        table = self._table(job)
        new = 0
        with table.transaction() as change:
            for spec in specs:
                unit = Unit(id=unit_id(spec), job=job, spec=dict(spec))
                if change.get(unit.id) is None:
                    change.put(unit.id, unit.model_dump())
                    new += 1
        if new:
            self._changed(job)
        return new

    def claim(self, job: str, limit: int = 1, lease_s: float | None = None) -> list[Unit]:
        """Take up to `limit` units, oldest first: pending ones that are due, and those whose lease ran out."""
        self._owner.beat()
        table = self._table(job)
        taken: list[Unit] = []
        with table.transaction() as change:
            for unit in self._free(table):
                if len(taken) == limit:
                    break
                mine = unit.model_copy(
                    update={
                        "state": "running",
                        "attempt": unit.attempt + 1,
                        "owner": self._owner.token,
                        "lease_s": self._lease_s if lease_s is None else lease_s,
                    }
                )
                change.put(mine.id, mine.model_dump())
                taken.append(mine)
        if taken:
            self._changed(job)
        return taken

    def heartbeat(self) -> None:
        """Renew the leases of everything this process holds. Microseconds; call it every few seconds."""
        self._owner.beat()

    def complete(self, unit: Unit, result: Mapping[str, Any] | None = None) -> bool:
        """Answer a claimed unit. False, and nothing is kept, if the claim is no longer the newest."""
        done = {"state": "completed", "result": None if result is None else dict(result), "error": None}
        return self._answer(unit, done)

    def fail(self, unit: Unit, error: Mapping[str, Any], retry_in_s: float | None = None) -> bool:
        """Answer that a claimed unit failed: for good, or to be handed out again after `retry_in_s` seconds."""
        if retry_in_s is None:
            return self._answer(unit, {"state": "failed", "error": dict(error)})
        later = {"not_before": self._clock.wall() + retry_in_s, "retry_in_s": retry_in_s}
        return self._answer(unit, {"state": "pending", "owner": "", "error": dict(error), **later})

    def release(self, unit: Unit) -> bool:
        """Give a claimed unit back unanswered."""
        return self._answer(unit, {"state": "pending", "owner": ""})

    def release_all(self, job: str) -> int:
        """Give back every running unit of the job, whoever holds it; their answers will be refused. Return how many."""
        return self._reset(job, "running", {"state": "pending", "owner": ""})

    def retry_failed(self, job: str) -> int:
        """Put the failed units of the job back in the queue; return how many."""
        again = {"state": "pending", "owner": "", "error": None, "not_before": 0.0, "retry_in_s": 0.0}
        return self._reset(job, "failed", again)

    def redo(self, job: str, ids: Iterable[str]) -> int:
        """Put completed units back in the queue, because their results are to be discarded; return how many."""
        again = {"state": "pending", "owner": "", "result": None, "not_before": 0.0, "retry_in_s": 0.0}
        count = 0
        with self._table(job).transaction() as change:
            for id in ids:
                held = change.get(id)
                if held is not None and held["state"] == "completed":
                    change.put(id, {**held, **again})
                    count += 1
        if count:
            self._changed(job)
        return count

    def stats(self, job: str) -> UnitCounts:
        """How many units are in each state."""
        table = self._table(job)
        return UnitCounts(
            total=table.tally(),
            pending=table.tally({"state": "pending"}),
            running=table.tally({"state": "running"}),
            completed=table.tally({"state": "completed"}),
            failed=table.tally({"state": "failed"}),
        )

    def units(self, job: str, state: UnitState | None = None) -> Iterator[Unit]:
        """The units of a job in the order they were queued; only those in `state` if given."""
        where = {"state": state} if state else None
        return (Unit.model_validate(row) for row in self._table(job).walk(where, oldest_first=True))

    def find(self, job: str, id: str) -> Unit | None:
        """One unit by its id."""
        row = self._table(job).find(id)
        return None if row is None else Unit.model_validate(row)

    def _free(self, table: Table) -> Iterator[Unit]:
        alive: dict[tuple[str, float], bool] = {}
        for _, row in table.oldest({"state": "running"}):
            lease = (str(row["owner"]), float(row["lease_s"]))
            if lease not in alive:
                alive[lease] = self._owner.holds(*lease)
            if not alive[lease]:
                yield Unit.model_validate(row)
        now = self._clock.wall()
        for _, row in table.oldest({"state": "pending"}):
            due = float(row["not_before"])
            set_back = now < due - float(row["retry_in_s"])
            if now >= due or set_back:
                yield Unit.model_validate(row)

    def _answer(self, unit: Unit, fields: Mapping[str, Any]) -> bool:
        with self._table(unit.job).transaction() as change:
            held = change.get(unit.id)
            if held is None or held["state"] != "running" or held["attempt"] != unit.attempt:
                return False
            change.put(unit.id, {**held, **fields})
        self._changed(unit.job)
        return True

    def _reset(self, job: str, state: UnitState, fields: Mapping[str, Any]) -> int:
        table = self._table(job)
        with table.transaction() as change:
            ids = [id for id, _ in table.oldest({"state": state})]
            for id in ids:
                _lay_over(change, id, fields)
        if ids:
            self._changed(job)
        return len(ids)


def _lay_over(change: Transaction, id: str, fields: Mapping[str, Any]) -> None:
    held = change.get(id)
    if held is not None:
        change.put(id, {**held, **fields})
