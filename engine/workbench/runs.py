"""Runs: trials of chosen simulations under one instructions version, scored; rounds of a series."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from ..errors import BudgetSpent, CasehardenError, Conflict, InvalidArgument, NextCall, NotFound
from ..evaluate import EndedTrial, choose_metrics, totals
from ..records.environment import DEFAULT_CONCURRENCY, AgentSpec
from ..records.job import Job, Unit, unit_id
from ..records.run import RunRecord, RunState, Totals
from ..records.simulation import SimulationRecord
from ..seeds import shuffled
from .archive import Archive, utc_now
from .attempts import Attempts
from .budget import Budget, Spent
from .hardening_locks import nothing_rests_on
from .job_errors import raised_row, standstill
from .jobs import Jobs, Paused, Progress, check_wait
from .judging import Judging
from .means import Means
from .naming import Naming
from .pacing import PAUSE_AFTER, Pacing
from .plain import check_plain, check_range
from .results import RunReport
from .run_drafts import RESUMED_WITH, RunDrafts, RunOptions, run_options, trials_of, trials_wanted
from .scoring import Scoring
from .select import ALLOWED
from .trials import TrialRunner

MOST_TRIALS = 50
MOST_BROKEN = 10
"""Trials of a run that may break through our own error before the remaining ones are not begun."""
_BEGIN_S = 10
_log = logging.getLogger("caseharden.runs")
Draft = tuple[RunRecord, list[SimulationRecord]]


@dataclass(frozen=True, slots=True)
class _Going:
    """A run in progress here: its finished trials, and their usage."""

    ended: list[EndedTrial]
    pacing: Pacing
    began: float
    """On the clock of `time.perf_counter`."""


class Runs:
    """Starts runs and reports on them."""

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        jobs: Jobs,
        drafts: RunDrafts,
        scoring: Scoring,
        judging: Judging,
        naming: Naming,
        means: Means,
    ) -> None:
        self._archive = archive
        self._trials = trials
        self._jobs = jobs
        self._drafts = drafts
        self._scoring = scoring
        self._judging = judging
        self._naming = naming
        self._means = means
        self._making = threading.Lock()
        self._attempts = Attempts(archive)
        self._going: dict[str, _Going] = {}
        self._walls: dict[str, float] = {}
        """Seconds that a run's trials took before it was stopped, until they are stored."""
        jobs.handle("run", self._perform, self._stopped, self._check_means)

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

        `trials` 0: the scenario's number, else the environment's. `continue_run`: this becomes the next round of that
        run's series, on its simulations unless `select` says otherwise.
        """
        check_wait(wait_s)
        check_range(trials, "trials", 0, MOST_TRIALS)
        check_plain(list(select), "select")
        if not select and not continue_run and not (options or {}).get("resume"):
            raise InvalidArgument("`select` is empty: nothing would run.", where="select", allowed=ALLOWED)
        check_plain(dict(models or {}), "models")
        opted = run_options(options)
        check_plain(list(metrics), "metrics")
        choose_metrics(metrics)
        if opted.resume:
            return await self._resume(environment, opted, wait_s, on_progress)
        spec: dict[str, Any] = {
            "environment": environment,
            "select": list(select),
            "instructions": instructions,
            "trials": trials,
            "models": dict(models or {}),
            "metrics": list(metrics),
            "options": opted.model_dump(mode="json", exclude_unset=True),
            "continue_run": continue_run,
        }
        draft: Draft | None = None
        if not self._jobs.known("run", idempotency_key):
            draft = await anyio.to_thread.run_sync(self._drafts.draft, spec)
            run = draft[0]
            await self._drafts.restorable(spec)
            agent, cassette = AgentSpec.model_validate(run.agent), run.options.get("cassette")
            await self._drafts.reachable(agent, run.models, trials_wanted(run), cassette)
        job, new = self._jobs.create("run", spec, idempotency_key, environment=environment)
        if new:
            await self._begin(job, draft)
        else:
            await self._jobs.adopt(job)
            await self._begun(job)
        return await self._settled(job, wait_s, on_progress)

    def report_of(self, job: Job) -> RunReport:
        """The run of a job as stored."""
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
        if job.state == "failed" and job.error:
            warnings.insert(0, f"{job.id} failed: {job.error.get('what', '')}")
        warnings[:0] = standstill(job)
        return self._report(run, None if job.ended else job, warnings)

    async def stored(self, run: str) -> RunReport:
        """A run by its id, as stored; while it runs, with the totals so far and a warning if nobody works on it."""
        found = self._archive.runs.get(run)
        warnings = list(found.warnings)
        if found.state == "running":
            found = found.model_copy(update={"totals": await self._so_far(run)})
            if any(job.id == found.job for job in self._archive.store.jobs.orphans()):
                warnings.insert(0, f"{found.job} of this run was left by the process that worked on it.")
        return self._report(found, None, warnings)

    def _report(self, run: RunRecord, job: Job | None, warnings: list[str]) -> RunReport:
        used = self.so_far(run.id) or Spent.of(run.models_used.values())
        usd = None if used.unpriced else used.usd
        return RunReport(run, job, warnings, used.calls, used.tokens, usd)

    def so_far(self, run: str) -> Spent | None:
        """What a run in progress here has used; None if it is not."""
        going = self._going.get(run)
        return going.pacing.meter.now if going else None

    async def _settled(self, job: Job, wait_s: float, on_progress: Progress | None) -> RunReport:
        """The run of a job after at most `wait_s` seconds; while it goes on, with the totals so far."""
        report = self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))
        if report.job is not None and report.job.active:
            so_far = await self._so_far(report.run.id)
            report.run = report.run.model_copy(update={"totals": so_far})
        return report

    async def _so_far(self, run: str) -> Totals:
        going = self._going.get(run)
        return totals(going.ended if going else await anyio.to_thread.run_sync(self._scoring.ended, run))

    async def _begin(self, job: Job, draft: Draft | None) -> None:
        """Store the run and launch its job, both or, on failure, neither, whether or not the caller waits."""
        with anyio.CancelScope(shield=True):
            try:
                run = await anyio.to_thread.run_sync(self._ensure_run, job, draft)
                if job.attempt:
                    await anyio.to_thread.run_sync(self._try_errors_again, job, run)
            except Exception as error:
                self._jobs.give_up(job, error)
                for half in self._archive.runs.where(job=job.id):
                    self._set_state(half.id, "failed")
                raise
            self._jobs.launch(job)

    async def _begun(self, job: Job) -> None:
        """Wait until the run of a job made by the same call at the same moment exists."""
        with anyio.move_on_after(_BEGIN_S):
            while self._jobs.get(job.id).active and not self._archive.runs.count(job=job.id):
                await anyio.sleep(0.01)

    def _ensure_run(self, job: Job, draft: Draft | None = None) -> RunRecord:
        """The run of a job, stored with a copy of its cases; a half-made one keeps its id and round."""
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
            if "branched" in run.options:
                self._drafts.lay_out(run, job.spec)
            else:
                self._trials.cases(run).copy(self._archive, simulations)
                run.reruns = self._drafts.reruns.weighed(run)
            run.options["copied"] = True
            self._archive.runs.put(run.id, run)
            self._archive.runs.audit("create", run.id)
            return run

    async def _resume(
        self, environment: str, opted: RunOptions, wait_s: float, on_progress: Progress | None
    ) -> RunReport:
        id = opted.resume
        run = self._archive.run(id, "options.resume")
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
        if not job.active and (job.state != "done" or run.totals.error):
            nothing_rests_on(self._archive, run, "trials", "options.resume")
            agent = AgentSpec.model_validate(run.agent)
            await self._drafts.reachable(agent, run.models, 0, run.options.get("cassette"))
            changed = opted.model_dump(mode="json", include={*RESUMED_WITH} & opted.model_fields_set)
            run = self._archive.runs.change(
                id, lambda stored: stored.model_copy(update={"options": {**stored.options, **changed}})
            )
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._try_errors_again, job, run)
                job = self._jobs.again(job.id, reopen=True)
        else:
            await self._jobs.adopt(job)
        over = job.state == "done"
        report = await self._settled(job, wait_s, on_progress)
        if over:
            report.warnings.insert(
                0, f"{id} is done and none of its trials ended in error: nothing was left to do."
            )
        return report

    def _try_errors_again(self, job: Job, run: RunRecord) -> None:
        """Prepare trials that ended in error to run again: their failed attempts are kept beside the run's trials."""
        aside = self._attempts.set_aside(run.id)
        units = [unit_id({"simulation": simulation, "trial": trial}) for simulation, trial in aside]
        self._archive.store.jobs.work.redo(job.id, units)

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """The work of a run's job: every missing trial, the judge's opinions, then the scores.

        Paused if more trials would end the same way.
        """
        run = await anyio.to_thread.run_sync(self._ensure_run, job)
        await self._stand_running(job, run)
        claimed = await anyio.to_thread.run_sync(self._claimed, job, run)
        going = await self._about_to_go(job, run)
        self._going[run.id] = going
        try:
            left = await self._run_trials(job, run, claimed, going)
            if going.pacing.reason(left) is None and run.options.get("score", True):
                cases = self._trials.cases(run, lambda: self._jobs.check_ours(job))
                left = await self._judging.judge_run(cases, going.pacing)
        finally:
            del self._going[run.id]
            self._walls[run.id] = time.perf_counter() - going.began
        why = going.pacing.reason(left)
        if why is not None:
            cut = sum(one.verdict == "error" for one in going.ended)
            why.next = _going_on(run, why, going.pacing.meter.enough(left + cut))
            raise Paused(why)
        await anyio.to_thread.run_sync(self._scoring.score, run.id, "done", self._walls.pop(run.id))
        await self._naming.name(run.id, going.pacing.meter)
        return {"run": run.id}

    async def _check_means(self, job: Job) -> None:
        """What the trials of a job's run need; nothing if it has none yet."""
        found = self._archive.runs.where(job=job.id)
        if found and found[-1].options.get("copied"):
            await self._means.of_trials(found[-1])

    async def _stand_running(self, job: Job, run: RunRecord) -> None:
        """Record that the run is in progress; a resumed one is counted anew."""
        if job.attempt > 1:
            await anyio.to_thread.run_sync(self._scoring.score, run.id, "running")
        else:
            self._set_state(run.id, "running")

    async def _about_to_go(self, job: Job, run: RunRecord) -> _Going:
        options = run.options
        begun = job.attempt > 1
        pacing = Pacing(
            options.get("concurrency") or DEFAULT_CONCURRENCY,
            options.get("pause_after", PAUSE_AFTER),
            Budget.model_validate(options.get("budget") or {}),
            Spent.of(await anyio.to_thread.run_sync(self._scoring.used, run) if begun else (), run.wall_s),
        )
        ended = await anyio.to_thread.run_sync(self._scoring.ended, run.id) if begun else []
        return _Going(ended, pacing, time.perf_counter())

    async def _run_trials(
        self, job: Job, run: RunRecord, claimed: dict[tuple[str, int], Unit], going: _Going
    ) -> int:
        """Run what was claimed; how many trials were not begun. One that breaks by our fault is raised at the end."""
        spec, cassette = AgentSpec.model_validate(run.agent), run.options.get("cassette")
        cast = self._trials.cast(spec, run.models, cassette)
        cases = self._trials.cases(run, lambda: self._jobs.check_ours(job))
        work = self._archive.store.jobs.work
        broken: list[Exception] = []

        async def one(simulation: str, trial: int) -> None:
            unit = claimed.pop((simulation, trial))
            try:
                record = await self._trials.execute(cases, cast, simulation, trial, meter=going.pacing.meter)
            except Exception as error:
                broken.append(error)
                if isinstance(error, CasehardenError) or len(broken) >= MOST_BROKEN:
                    raise
                _log.error("%s/%s/%d broke", run.id, simulation, trial)
                work.fail(unit, raised_row(error))
            else:
                going.ended.append(EndedTrial(record.simulation, record.scenario, record.verdict))
                going.pacing.ended(record)
                work.complete(unit)

        left = await going.pacing.run(_in_fair_order(claimed, run.seed), one)
        if broken:
            raise broken[0]
        return left

    async def _stopped(self, job: Job, state: str) -> None:
        """A stopped run is scored as far as it got; its state is recorded in any case."""
        kept: RunState = "cancelled" if state == "cancelled" else "paused" if state == "paused" else "failed"
        for run in self._archive.runs.where(job=job.id):
            wall_s = self._walls.pop(run.id, 0.0)
            try:
                await anyio.to_thread.run_sync(self._scoring.score, run.id, kept, wall_s)
            except Exception:
                self._set_state(run.id, kept)
                raise

    def _claimed(self, job: Job, run: RunRecord) -> dict[tuple[str, int], Unit]:
        """The rest of a run's work, held by us."""
        work = self._archive.store.jobs.work
        work.enqueue(
            job.id,
            ({"simulation": s, "trial": t} for s in run.simulations for t in range(1, trials_of(run, s) + 1)),
        )
        if job.attempt > 1:
            work.redo(job.id, self._without_trial(job, run))
        units: list[Unit] = []
        while batch := work.claim(job.id, limit=1000):
            units += batch
        return {(u.spec["simulation"], u.spec["trial"]): u for u in units}

    def _without_trial(self, job: Job, run: RunRecord) -> list[str]:
        """Units that are done although their trial is missing: a process was killed while it set errors aside."""
        there = {str(row.doc_id) for row in self._archive.trials(run.id).table.walk()}
        there |= set(run.options.get("deleted") or ())
        done = self._archive.store.jobs.work.units(job.id, "completed")
        return [u.id for u in done if f"{u.spec['simulation']}/{u.spec['trial']}" not in there]

    def _set_state(self, id: str, state: RunState) -> None:
        self._archive.runs.change(
            id, lambda run: run.model_copy(update={"state": state, "updated_at": utc_now()})
        )


def _in_fair_order(trials: Iterable[tuple[str, int]], seed: int) -> list[tuple[str, int]]:
    """Trials in the order to begin them: simulations are drawn, so that a part of a run favours none.

    The trials of one simulation follow each other, because its case is prepared once.
    """
    of: dict[str, list[tuple[str, int]]] = {}
    for simulation, trial in trials:
        of.setdefault(simulation, []).append((simulation, trial))
    return [one for simulation in shuffled(sorted(of), seed, "order") for one in of[simulation]]


def _going_on(run: RunRecord, why: CasehardenError, enough: Mapping[str, float]) -> tuple[NextCall, ...]:
    """The calls that resume a paused run; `enough`: the budget that the rest will probably take."""
    options: dict[str, Any] = {"resume": run.id}
    args = {"environment": run.environment, "options": options}
    if isinstance(why, BudgetSpent):
        options["budget"] = dict(enough)
        return (NextCall("run_simulations", args, "with more"),)
    where = {"run": run.id, "verdict": "error"}
    return (
        NextCall("run_simulations", args, "once it is fixed"),
        NextCall("list_items", {"kind": "conversation", "where": where}, "what ended in error"),
    )
