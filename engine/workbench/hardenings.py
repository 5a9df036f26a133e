"""Hardenings: search for better instructions, prove them on held-out scenarios, decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread

from ..errors import CasehardenError, InvalidArgument, NextCall, NotFound
from ..records.environment import EnvironmentRecord
from ..records.hardening import Candidate, Hardening
from ..records.job import Job
from .archive import Archive
from .decisions import Decisions
from .hardening_drafts import HardeningDrafts, HardenOptions, harden_options, harden_strategy
from .hardening_locks import OPEN_STATES, HardeningLocks
from .instructions import Instructions
from .job_errors import standstill
from .jobs import Jobs, Progress, check_wait
from .plain import check_plain, check_range
from .proving import Proving
from .results import HardeningReport
from .submissions import Submissions, submission, submitted

MOST_ROUNDS = 20
_BEGIN_S = 10


class Hardenings:
    """Starts, continues and decides hardenings."""

    def __init__(
        self,
        archive: Archive,
        jobs: Jobs,
        instructions: Instructions,
        locks: HardeningLocks,
        drafts: HardeningDrafts,
        proving: Proving,
    ) -> None:
        self._archive = archive
        self._jobs = jobs
        self._locks = locks
        self._drafts = drafts
        self._proving = proving
        self._submissions = Submissions(archive, locks, proving)
        self._decisions = Decisions(archive, instructions)
        jobs.handle("hardening", self._perform, self._stopped, self._check_means)

    async def harden(
        self,
        environment: str,
        *,
        strategy: str = "auto",
        hardening: str = "",
        run: str = "",
        rounds: int = 5,
        models: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        wait_s: float = 20,
        idempotency_key: str = "",
        on_progress: Progress | None = None,
    ) -> HardeningReport:
        """Search and prove (`auto`, `rules`), or give a brief to write from (`submit`). Puts nothing in force."""
        check_wait(wait_s)
        check_range(rounds, "rounds", 1, MOST_ROUNDS)
        check_plain(dict(models or {}), "models")
        owner = self._archive.environments.get(environment, "environment")
        if hardening:
            return await self._go_on(owner, hardening, harden_options(options), wait_s, on_progress)
        spec: dict[str, Any] = {
            "op": "harden",
            "environment": environment,
            "strategy": harden_strategy(strategy),
            "run": run,
            "rounds": rounds,
            "models": dict(models or {}),
            "options": harden_options(options).model_dump(mode="json", exclude_unset=True),
        }
        draft: Hardening | None = None
        if not self._jobs.known("hardening", idempotency_key):
            draft = await anyio.to_thread.run_sync(self._drafts.draft, spec)
            await self._drafts.reachable(draft)
        job = await self._begin(spec, draft, idempotency_key)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    async def submit(
        self,
        hardening: str,
        *,
        instructions: str = "",
        edits: Sequence[Any] = (),
        why: str = "",
        cluster: str = "",
        wait_s: float = 20,
        idempotency_key: str = "",
        on_progress: Progress | None = None,
    ) -> HardeningReport:
        """A client's own text: guards run at once; if it passes, it is run on train and, if it holds, proven.

        One already proven, ignoring blanks, keeps its outcome: nothing is run and no look is taken.
        """
        check_wait(wait_s)
        record = self._archive.hardenings.get(hardening, "hardening")
        spec = submission(hardening, instructions, edits, why, cluster)
        if not self._jobs.known("hardening", idempotency_key):
            await anyio.to_thread.run_sync(self._locks.may_submit, record)
            earlier = await anyio.to_thread.run_sync(self._submissions.earlier, record, spec)
            if earlier is not None:
                return self._again(*earlier)
        job = await self._put(spec, record, idempotency_key)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    async def decide(
        self, candidate: str, decision: str, *, reason: str = "", override: bool = False
    ) -> HardeningReport:
        """Promote or reject a candidate (`hard-2/c1`), close a hardening (`hard-2`), or return to `support@1`."""
        return await anyio.to_thread.run_sync(self._decisions.decide, candidate, decision, reason, override)

    def report(self, record: Hardening, candidate: str = "", job: Job | None = None) -> HardeningReport:
        """The state of a hardening; `candidate` empty: the best."""
        going = job if job is not None and not job.ended else None
        warnings = list(record.warnings)
        warnings[:0] = standstill(job)
        return HardeningReport(record, candidate or record.candidate, going, warnings=warnings)

    def stored(self, hardening: str) -> HardeningReport:
        """A hardening by its id, as stored."""
        return self.report(self._archive.hardenings.get(hardening, "id"))

    def report_of(self, job: Job) -> HardeningReport:
        """What the starter of a job would have returned; its error if it failed."""
        self._jobs.raise_failure(job)
        record = self._of_job(job)
        if record is None:
            raise NotFound(
                f"{job.id} has no hardening: it was deleted.",
                where="job",
                next=[NextCall("list_items", {"kind": "hardening"})],
            )
        candidate = submitted(record, job.id)
        return self.report(record, candidate.id if candidate else "", job)

    def _again(self, record: Hardening, candidate: Candidate) -> HardeningReport:
        """The report on a text that was proven before."""
        report = self.report(record, candidate.id)
        text = f"{candidate.id} is the same text: its outcome stands, nothing was run and no look was taken."
        report.warnings.insert(0, text)
        return report

    async def _go_on(
        self,
        owner: EnvironmentRecord,
        id: str,
        opted: HardenOptions,
        wait_s: float,
        on_progress: Progress | None,
    ) -> HardeningReport:
        record = self._archive.hardenings.get(id, "hardening")
        if record.environment != owner.id:
            raise InvalidArgument(
                f"{id} is of {record.environment}.",
                where="hardening",
                allowed="a hardening of this environment",
            )
        job = self._locks.job_of(record)
        if job is None:
            return self.report(record)
        if job.state in ("cancelled", "paused", "failed") and self._can_go_on(record, job):
            self._locks.none_open(owner.id, but=record.id)
            await self._jobs.check_means(job)
            self._archive.hardenings.change(id, lambda stored: _with_limits(stored, opted))
            job = self._jobs.again(job.id)
        else:
            await self._jobs.adopt(job)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    def _can_go_on(self, record: Hardening, job: Job) -> bool:
        candidate = submitted(record, job.id)
        unproven = candidate is not None and candidate.outcome is None
        return record.state in ("cancelled", "paused", *OPEN_STATES) or (
            record.state == "decided" and unproven
        )

    async def _begin(self, spec: Mapping[str, Any], draft: Hardening | None, key: str) -> Job:
        """The job of a hardening, made and launched whether or not the caller stays."""
        job, new = self._jobs.create("hardening", spec, key, environment=spec["environment"])
        if not new:
            await self._jobs.adopt(job)
            await self._begun(job)
            return job
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._drafts.begin, job, draft)
            except CasehardenError as error:
                self._jobs.give_up(job, error)
                raise
            self._jobs.launch(job)
        return job

    async def _begun(self, job: Job) -> None:
        """Wait until the hardening of a job made by the same call at the same moment exists."""
        with anyio.move_on_after(_BEGIN_S):
            while self._jobs.get(job.id).active and self._drafts.of_job(job.id) is None:
                await anyio.sleep(0.01)

    async def _put(self, spec: Mapping[str, Any], record: Hardening, key: str) -> Job:
        """The job of a submission, launched; one that a guard refused needs no work and is done."""
        job, new = self._jobs.create(
            "hardening", spec, key, environment=record.environment, hardening=record.id
        )
        if not new:
            await self._jobs.adopt(job)
            return job
        with anyio.CancelScope(shield=True):
            try:
                candidate = await anyio.to_thread.run_sync(self._submissions.put, job)
            except CasehardenError as error:
                if job.attempt:
                    self._jobs.give_up(job, error)
                else:
                    self._archive.store.delete_jobs([job.id])
                raise
            if candidate.state == "refused":
                self._archive.store.jobs.mark(job.id, "done", result={"hardening": record.id})
            else:
                self._jobs.launch(job)
        return job

    async def _check_means(self, job: Job) -> None:
        """What the trials and the writer of a hardening need; nothing if it has no cases yet."""
        record = self._of_job(job)
        if record is not None and record.snapshot is not None:
            await self._proving.check_means(record)

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """The work of a hardening's job: search and prove, or prove a submitted candidate."""
        done = 0

        def check() -> None:
            self._jobs.check_ours(job)

        async def tell(trials: int) -> None:
            nonlocal done
            done += trials
            self._archive.store.jobs.progress(job.id, completed=done, total=done)

        if job.spec["op"] == "submit":
            candidate = await anyio.to_thread.run_sync(self._submissions.put, job)
            if candidate.state != "refused":
                record = self._archive.hardenings.get(job.spec["hardening"])
                await self._proving.prove(record, candidate.id, tell, check)
            return {"hardening": job.spec["hardening"]}
        record = await anyio.to_thread.run_sync(self._drafts.begin, job)
        await self._proving.search(record, tell, check)
        return {"hardening": record.id}

    async def _stopped(self, job: Job, state: str) -> None:
        """A hardening whose job was stopped can be resumed; one waiting for candidates is reopened."""
        record = self._of_job(job)
        if record is None:
            return
        submits = job.spec["op"] == "submit"

        def interrupt(stored: Hardening) -> Hardening:
            stored.proving = False
            if stored.state == "running":
                before = "decided" if stored.outcome else "open"
                stored.state = before if submits else "paused" if state == "paused" else "cancelled"
                stored.stop_reason = stored.stop_reason if submits else state
            return stored

        if not submits or submitted(record, job.id) is not None:
            self._archive.hardenings.change(record.id, interrupt)
        await anyio.to_thread.run_sync(self._proving.score_runs, record.id)

    def _of_job(self, job: Job) -> Hardening | None:
        if job.spec["op"] == "submit":
            return self._archive.hardenings.find(job.spec["hardening"])
        return self._drafts.of_job(job.id)


def _with_limits(record: Hardening, opted: HardenOptions) -> Hardening:
    """The hardening with what may differ when it resumes: concurrency, pause_after, budget."""
    limits = {"concurrency": opted.concurrency, "pause_after": opted.pause_after, "budget": opted.spending}
    given = {name: value for name, value in limits.items() if name in opted.model_fields_set}
    return record.model_copy(update={"limits": record.limits.model_copy(update=given)})
