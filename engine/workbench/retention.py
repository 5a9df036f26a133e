"""Retention: deletes what ended longer ago than the operator's limit, at the start and every hour.

Runs, hardenings, jobs and their conversations are deleted. Anything in use, still open, or referenced by something else
is kept, as are environments with every version of their instructions, the ledger of looks and the audit log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
import anyio.to_thread

from ..errors import InvalidArgument
from ..records.job import ENDED_STATES
from .archive import Archive
from .deleting import Deleting

EVERY_S: Final = 3600
_AT_ONCE: Final = 100
_OPEN: Final = ("open", "running", "paused")
_log = logging.getLogger("caseharden.retention")


class Retention:
    """Deletes by age. `days` 0: only what killed processes left half written."""

    def __init__(
        self,
        archive: Archive,
        deleting: Deleting,
        days: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._archive = archive
        self._deleting = deleting
        self._days = days
        self._now = now

    async def sweeps(self) -> None:
        """Sweep now and every hour, until cancelled; errors in a sweep are logged."""
        while True:
            try:
                await anyio.to_thread.run_sync(self.sweep)
            except Exception:
                _log.exception("a sweep failed")
            await anyio.sleep(EVERY_S)

    def sweep(self) -> dict[str, int]:
        """Delete what is past the limit; how many of each kind. Run in a worker thread."""
        self._archive.tidy()
        if not self._days:
            return {}
        before = (self._now() - timedelta(days=self._days)).isoformat()
        gone = {
            "hardening": self._retired("hardening", self._old_hardenings(before)),
            "run": self._retired("run", self._old_runs(before)),
            "session": self._retired("session", self._old_sessions(before)),
        }
        jobs = self._old_jobs(before)
        self._archive.store.delete_jobs(jobs)
        for job in jobs:
            self._archive.store.audit("retention", "job", job)
        return {**gone, "job": len(jobs)}

    def _retired(self, kind: str, ids: list[str]) -> int:
        parts = (ids[k : k + _AT_ONCE] for k in range(0, len(ids), _AT_ONCE))
        return sum(len(self._deleting.retire(kind, part)) for part in parts)

    def _old_hardenings(self, before: str) -> list[str]:
        def old(row: Mapping[str, Any], id: str) -> str:
            return "" if row["state"] in _OPEN or _last(row) >= before else id

        return [id for id in self._archive.hardenings.table.walk(show=old) if id]

    def _old_runs(self, before: str) -> list[str]:
        """Those of hardenings are deleted with them; one that a hardening or a recorded agent needs is kept."""
        rested = set(self._archive.environments.table.walk(show=lambda row, _: row["agent"].get("run", "")))
        rested |= set(self._archive.hardenings.table.walk(show=lambda row, _: row.get("base_run", "")))

        def old(row: Mapping[str, Any], id: str) -> str:
            kept = row["state"] in _OPEN or row["purpose"] != "run" or id in rested
            return "" if kept or _last(row) >= before else id

        return [id for id in self._archive.runs.table.walk(show=old) if id]

    def _old_sessions(self, before: str) -> list[str]:
        """Open ones too: nobody has come back to them for that long."""
        rows = self._archive.sessions.table.walk(show=lambda row, id: "" if _last(row) >= before else id)
        return [id for id in rows if id]

    def _old_jobs(self, before: str) -> list[str]:
        """Ended jobs with nothing left to resume."""
        runs, hardenings = self._archive.runs, self._archive.hardenings

        def old(row: Mapping[str, Any], id: str) -> tuple[str, str, str]:
            kept = row["state"] not in ENDED_STATES or _last(row) >= before
            return ("" if kept else id, row.get("run") or "", row.get("hardening") or "")

        return [
            id
            for id, run, hardening in self._archive.store.jobs.table.walk(show=old)
            if id
            and (not run or runs.find(run) is None)
            and (not hardening or hardenings.find(hardening) is None)
        ]


def check_retention(days: float) -> float:
    """The age limit in days; 0 for none."""
    if not 0 <= days <= 36_500:
        raise InvalidArgument(
            f"`retention_days` is {days:g}.", where="retention_days", allowed="0 (keep all) to 36500"
        )
    return days


def _last(row: Mapping[str, Any]) -> str:
    """When something last happened to it: UTC, ISO 8601, comparable as text up to its fraction of a second."""
    return str(row.get("updated_at") or row.get("ended_at") or row["created_at"])
