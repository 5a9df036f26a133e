"""Runs: trials of chosen simulations under one instructions version, scored; rounds of a series."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, NotFound
from ..evaluate import EndedTrial, totals
from ..records.environment import AgentSpec
from ..records.job import Job, Unit
from ..records.run import RunRecord, RunState, Totals
from ..records.simulation import SimulationRecord
from ..seeds import shuffled
from .archive import Archive, utc_now
from .jobs import Jobs, Progress, check_wait, told_of
from .plain import check_plain, check_range
from .results import RunReport
from .run_drafts import RunDrafts, run_options, trials_of, trials_wanted
from .scoring import Scoring
from .trials import DEFAULT_CONCURRENCY, TrialRunner, in_parallel

MOST_TRIALS = 50
MOST_BROKEN = 10
"""Trials of a run that may break by an error of ours before the others are not even begun."""
_BEGIN_S = 10
_log = logging.getLogger("caseharden.runs")
Draft = tuple[RunRecord, list[SimulationRecord]]


class Runs:
    """Starts runs and says how they stand."""

    def __init__(
        self, archive: Archive, trials: TrialRunner, jobs: Jobs, drafts: RunDrafts, scoring: Scoring
    ) -> None:
        self._archive = archive
        self._trials = trials
        self._jobs = jobs
        self._drafts = drafts
        self._scoring = scoring
        self._making = threading.Lock()
        self._ended: dict[str, list[EndedTrial]] = {}
        """Of the runs that go on here: the trials that are over."""
        jobs.handle("run", self._perform, self._stopped)

    async def start(
        self,
        environment: str,
        *,
        select: Sequence[str] = ("all",),
        instructions: str = "",
        trials: int = 0,
        metrics: Sequence[Any] = (),
        models: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        continue_run: str = "",
        wait_s: float = 20,
        idempotency_key: str = "",
        on_progress: Progress | None = None,
    ) -> RunReport:
        """Simulate and score; the finished run, or the run so far with its job after `wait_s` seconds.

        `trials` 0: the scenario's number, else the environment's. `continue_run`: this becomes the next round of
        that run's series, on its simulations unless `select` says otherwise.
        """
        check_wait(wait_s)
        check_range(trials, "trials", 0, MOST_TRIALS)
        check_plain(list(select), "select")
        check_plain(dict(models or {}), "models")
        opted = run_options(options)
        if metrics:
            raise InvalidArgument(
                "Metrics are not in this version; checks score every run.", where="metrics", allowed="[]"
            )
        if opted.resume:
            return await self._resume(environment, opted.resume, wait_s, on_progress)
        spec: dict[str, Any] = {
            "environment": environment,
            "select": list(select),
            "instructions": instructions,
            "trials": trials,
            "models": dict(models or {}),
            "options": opted.model_dump(mode="json", exclude_unset=True),
            "continue_run": continue_run,
        }
        draft: Draft | None = None
        if not self._jobs.known("run", idempotency_key):
            draft = await anyio.to_thread.run_sync(self._drafts.draft, spec)
            run = draft[0]
            await self._drafts.reachable(AgentSpec.model_validate(run.agent), run.models, trials_wanted(run))
        job, new = self._jobs.create("run", spec, idempotency_key, environment=environment)
        if new:
            await self._begin(job, draft)
        else:
            await self._begun(job)
        return await self._settled(job, wait_s, on_progress)

    def report_of(self, job: Job) -> RunReport:
        """The run of a job as it is stored."""
        found = self._archive.runs.where(job=job.id)
        if not found:
            self._jobs.raise_failure(job)
            raise NotFound(
                f"{job.id} has no run: it was deleted.",
                where="job",
                next=[NextCall("list_items", {"kind": "run"})],
            )
        run = found[-1]
        warnings = list(run.warnings)
        if job.ended and job.error:
            warnings.insert(0, f"{job.id} failed: {job.error.get('what', '')}")
        used = run.models_used.values()
        usd = None if any(use.cost_usd is None for use in used) else sum(use.cost_usd or 0.0 for use in used)
        return RunReport(run, None if job.ended else job, warnings, sum(u.calls for u in used), usd)

    async def _settled(self, job: Job, wait_s: float, on_progress: Progress | None) -> RunReport:
        """The run of a job after at most so many seconds; while it goes on, with the totals so far."""
        report = self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))
        if report.job is not None:
            so_far = await self._so_far(report.run.id)
            report.run = report.run.model_copy(update={"totals": so_far})
        return report

    async def _so_far(self, run: str) -> Totals:
        ended = self._ended.get(run)
        if ended is None:
            ended = await anyio.to_thread.run_sync(self._scoring.ended, run)
        return totals(ended)

    async def _begin(self, job: Job, draft: Draft | None) -> None:
        """Store the run and launch its job: both or, where that fails, neither, whether the caller waits or not."""
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._ensure_run, job, draft)
            except Exception as error:
                self._jobs.give_up(job, error)
                for half in self._archive.runs.where(job=job.id):
                    self._set_state(half.id, "failed")
                raise
            self._jobs.launch(job)

    async def _begun(self, job: Job) -> None:
        """Until the run of a job that the same call made at the same moment is there."""
        with anyio.move_on_after(_BEGIN_S):
            while self._jobs.get(job.id).active and not self._archive.runs.count(job=job.id):
                await anyio.sleep(0.01)

    def _ensure_run(self, job: Job, draft: Draft | None = None) -> RunRecord:
        """The run of a job, stored with a copy of its cases; one that was half made keeps its id and round."""
        with self._making:
            found = self._archive.runs.where(job=job.id)
            half = found[-1] if found else None
            if half is not None and half.options.get("copied"):
                return half
            run, simulations = draft or self._drafts.draft(job.spec)
            run.id = half.id if half else self._archive.store.next_id("run")
            run.series = run.series or run.id
            run.job, run.created_at = job.id, utc_now()
            with self._archive.runs.table.transaction():
                run.round = half.round if half else self._drafts.next_round(run.series)
                self._archive.runs.put(run.id, run)
            self._archive.store.jobs.table.update({"run": run.id}, doc_ids=[job.id])
            self._trials.cases(run).copy(self._archive, simulations)
            run.options["copied"] = True
            self._archive.runs.put(run.id, run)
            self._archive.runs.audit("create", run.id)
            return run

    async def _resume(
        self, environment: str, id: str, wait_s: float, on_progress: Progress | None
    ) -> RunReport:
        run = self._archive.runs.get(id, "options.resume")
        if run.environment != environment:
            raise InvalidArgument(
                f"{id} is a run of {run.environment}.",
                where="options.resume",
                allowed="a run of this environment",
            )
        if not run.job:
            raise Conflict(
                f"{id} belongs to {run.hardening}.",
                where="options.resume",
                next=[NextCall("harden_agent", {"environment": environment, "hardening": run.hardening})],
            )
        job = self._jobs.get(run.job)
        if job.state != "done" and not job.active:
            job = self._jobs.again(job.id)
        return await self._settled(job, wait_s, on_progress)

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """The work of a run's job: every missing trial, then the scores."""
        run = await anyio.to_thread.run_sync(self._ensure_run, job)
        began = time.perf_counter()
        self._set_state(run.id, "running")
        cast = self._trials.cast(AgentSpec.model_validate(run.agent), run.models)
        cases = self._trials.cases(run, lambda: self._jobs.check_ours(job))
        work = self._archive.store.jobs.work
        claimed = await anyio.to_thread.run_sync(self._claimed, job.id, run)
        ended = await anyio.to_thread.run_sync(self._scoring.ended, run.id)
        broken: list[Exception] = []

        async def one(simulation: str, trial: int) -> None:
            unit = claimed.pop((simulation, trial))
            try:
                record = await self._trials.execute(cases, cast, simulation, trial)
            except Exception as error:
                broken.append(error)
                if isinstance(error, CasehardenError) or len(broken) >= MOST_BROKEN:
                    raise
                _log.error("%s/%s/%d broke", run.id, simulation, trial)
                work.fail(unit, told_of(error))
            else:
                ended.append(EndedTrial(record.simulation, record.scenario, record.verdict))
                work.complete(unit)

        self._ended[run.id] = ended
        try:
            await in_parallel(
                _in_fair_order(claimed, run.seed), run.options.get("concurrency", DEFAULT_CONCURRENCY), one
            )
        finally:
            del self._ended[run.id]
        if broken:
            raise broken[0]
        wall_s = time.perf_counter() - began
        await anyio.to_thread.run_sync(self._scoring.score, run.id, "done", wall_s)
        return {"run": run.id}

    async def _stopped(self, job: Job, state: str) -> None:
        """A run that was cancelled or failed is scored as far as it came; its state is told in any case."""
        kept: RunState = "cancelled" if state == "cancelled" else "failed"
        for run in self._archive.runs.where(job=job.id):
            try:
                await anyio.to_thread.run_sync(self._scoring.score, run.id, kept)
            except Exception:
                self._set_state(run.id, kept)
                raise

    def _claimed(self, job: str, run: RunRecord) -> dict[tuple[str, int], Unit]:
        """What is left of a run's work, held by us."""
        work = self._archive.store.jobs.work
        work.enqueue(
            job,
            ({"simulation": s, "trial": t} for s in run.simulations for t in range(1, trials_of(run, s) + 1)),
        )
        units: list[Unit] = []
        while batch := work.claim(job, limit=1000):
            units += batch
        return {(u.spec["simulation"], u.spec["trial"]): u for u in units}

    def _set_state(self, id: str, state: RunState) -> None:
        self._archive.runs.change(
            id, lambda run: run.model_copy(update={"state": state, "updated_at": utc_now()})
        )


def _in_fair_order(trials: Iterable[tuple[str, int]], seed: int) -> list[tuple[str, int]]:
    """Trials in the order in which they are begun: simulations drawn, so that a part of a run favours none.

    The trials of one simulation follow each other, for its case is prepared once.
    """
    of: dict[str, list[tuple[str, int]]] = {}
    for simulation, trial in trials:
        of.setdefault(simulation, []).append((simulation, trial))
    return [one for simulation in shuffled(sorted(of), seed, "order") for one in of[simulation]]
