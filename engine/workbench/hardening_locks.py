"""Keeps hardenings apart: one open at a time per environment, one job at a time per hardening."""

from __future__ import annotations

from ..errors import Conflict, NextCall
from ..records.hardening import Hardening
from ..records.job import Job
from ..records.run import RunRecord
from .archive import Archive
from .jobs import Jobs

OPEN_STATES = ("open", "running")


class HardeningLocks:
    """Refuses what would interfere with a hardening and its proof. Every check may run inside a transaction."""

    def __init__(self, archive: Archive, jobs: Jobs) -> None:
        self._archive = archive
        self._jobs = jobs

    def job_of(self, record: Hardening) -> Job | None:
        """The newest job of a hardening."""
        rows = self._archive.store.jobs.table.walk({"environment": record.environment, "kind": "hardening"})
        mine = (row for row in rows if row.get("hardening") == record.id or row.doc_id == record.job)
        row = next(mine, None)
        return self._jobs.get(str(row.doc_id)) if row else None

    def none_open(self, environment: str, but: str = "") -> None:
        """Conflict if a hardening other than `but` is running or open for candidates; it says how to close it."""
        found = self._archive.hardenings.where(environment=environment)
        other = next((h for h in reversed(found) if h.state in OPEN_STATES and h.id != but), None)
        if other is None:
            return
        calls = [NextCall("harden_agent", {"environment": environment, "hardening": other.id})]
        if other.state == "open":
            last = other.candidates[-1].id if other.candidates else other.id
            calls.append(NextCall("decide_candidate", {"candidate": last, "decision": "reject"}, "closes it"))
        elif (job := self.job_of(other)) is not None:
            calls.append(NextCall("cancel_job", {"job": job.id}))
        raise Conflict(
            f"{other.id} is {other.state} on {environment}; one at a time.", where="environment", next=calls
        )

    def may_submit(self, record: Hardening, job: str = "") -> None:
        """Conflict, with what to wait for, while another step of the hardening than `job` is in progress, another one
        is open, or this one is over.
        """
        if record.state in ("promoted", "rejected"):
            raise Conflict(
                f"{record.id} is {record.state}.",
                where="hardening",
                allowed="an open hardening",
                next=[NextCall("harden_agent", {"environment": record.environment, "strategy": "submit"})],
            )
        going = self.job_of(record)
        others = going is not None and going.active and going.id != job
        if others or (record.state == "running" and not job):
            what = (
                "its base round is not over yet"
                if record.brief is None
                else "another candidate is being proven"
            )
            raise Conflict(
                f"{record.id} is running: {what}.",
                where="hardening",
                allowed="an open hardening",
                next=[NextCall("wait_job", {"job": going.id})] if going else [],
            )
        self.none_open(record.environment, but=record.id)


def nothing_rests_on(archive: Archive, run: RunRecord, what: str, where: str) -> None:
    """Conflict if an unfinished hardening depends on a run as it is; `what`: which part of it would change."""
    found = archive.hardenings.where(environment=run.environment)
    rests = next((h for h in found if h.base_run == run.id and h.state in OPEN_STATES), None)
    if rests is not None:
        args = {"environment": run.environment, "hardening": rests.id}
        raise Conflict(
            f"{rests.id} rests on the {what} of {run.id} and is {rests.state}.",
            where=where,
            next=[NextCall("harden_agent", args)],
        )
