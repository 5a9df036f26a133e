"""Runs: trials of chosen simulations under one instructions version, scored; rounds of a series."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from ..errors import Conflict, InvalidArgument, NeedsConfirm, NextCall, NotFound
from ..evaluate import check_thresholds, clusters, thresholds, totals
from ..records.authored import Authored, load
from ..records.conversation import ModelUse
from ..records.environment import EnvironmentRecord, InstructionsRecord, ModelChoice
from ..records.job import Job
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import Limits, Scenario
from ..records.simulation import SimulationRecord
from .archive import Archive, utc_now
from .environments import Environments
from .jobs import Jobs, Progress
from .results import RunReport
from .select import Selector
from .simulations import Simulations
from .trials import DEFAULT_CONCURRENCY, TrialRunner, in_parallel
from .worlds import Worlds

CONFIRM_ABOVE = 20_000
"""Trials above which a run must be confirmed."""
_LATER = ("budget", "cassette", "hints", "score")


class RunOptions(Authored):
    """`options` of a run."""

    name: str = Field(default="", max_length=200)
    seed: int | None = Field(default=None, ge=-(2**53), le=2**53)
    """Default: the environment's."""
    thresholds: dict[str, float] | None = None
    """pass_rate 0..1, max_errors; default: the environment's."""
    concurrency: int = Field(default=DEFAULT_CONCURRENCY, ge=1, le=1000)
    limits: Limits | None = None
    confirm: bool = False
    resume: str = ""
    """A run: execute only what is missing in it."""


class Runs:
    """Starts runs and says how they stand."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        trials: TrialRunner,
        jobs: Jobs,
        environments: Environments,
        simulations: Simulations,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._trials = trials
        self._jobs = jobs
        self._environments = environments
        self._simulations = simulations
        jobs.handle("run", self._perform)

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

        `trials` 0: the environment's number. `continue_run`: this becomes the next round of that run's series, on its
        simulations unless `select` says otherwise.
        """
        opted = run_options(options)
        if metrics:
            raise InvalidArgument(
                "Metrics are not in this version; checks score every run.", where="metrics", allowed="[]"
            )
        if opted.resume:
            return await self._resume(opted.resume, wait_s, on_progress)
        spec: dict[str, Any] = {
            "environment": environment,
            "select": list(select),
            "instructions": instructions,
            "trials": trials,
            "models": dict(models or {}),
            "options": opted.model_dump(mode="json", exclude_unset=True),
            "continue_run": continue_run,
        }
        draft = self._draft(spec)
        job, new = self._jobs.create("run", spec, idempotency_key, environment=environment)
        if new:
            self._ensure_run(job, draft)
            self._jobs.launch(job)
        job = await self._jobs.settled(job.id, wait_s, on_progress)
        return self.report_of(job)

    def report_of(self, job: Job) -> RunReport:
        """The run of a job, as it stands."""
        found = self._archive.runs.where(job=job.id)
        if not found:
            raise NotFound(f"{job.id} has no run.", where="job")
        return self.report(found[-1], job)

    def report(self, run: RunRecord, job: Job | None = None) -> RunReport:
        """A run with what it cost; while its job goes on, the totals so far."""
        going = job is not None and not job.ended
        if going and run.state == "running":
            run = run.model_copy(update={"totals": totals(self.trial_records(run))})
        used = run.models_used.values()
        usd = None if any(use.cost_usd is None for use in used) else sum(use.cost_usd or 0.0 for use in used)
        return RunReport(run, job if going else None, list(run.warnings), sum(u.calls for u in used), usd)

    def trial_records(self, run: RunRecord) -> list[TrialRecord]:
        """All trials of a run, oldest first."""
        return self._archive.trials(run.id).where()

    def chosen_text(self, environment: EnvironmentRecord, instructions: str, where: str) -> tuple[str, str]:
        """(id, text) of a version (`2`, `support@2`), a candidate (`hard-1/c2`) or, when empty, the current one."""
        if not instructions:
            record = self._environments.current(environment)
            return record.id, record.text
        if "/" in instructions:
            return instructions, self._candidate_text(instructions, where)
        return _id_text(self._environments.version(environment, instructions, where))

    def _candidate_text(self, id: str, where: str) -> str:
        hardening = self._archive.hardenings.get(id.partition("/")[0], where)
        candidate = hardening.find(id)
        if candidate is None:
            known = ", ".join(c.id for c in hardening.candidates) or "none yet"
            raise NotFound(f"No candidate `{id[:80]}`.", where=where, allowed=known)
        return candidate.text

    def _draft(self, spec: Mapping[str, Any]) -> tuple[RunRecord, list[SimulationRecord]]:
        """The run that a call asks for, checked but not stored."""
        environment = self._archive.environments.get(spec["environment"], "environment")
        opted = run_options(spec["options"])
        before = (
            self._archive.runs.get(spec["continue_run"], "continue_run") if spec["continue_run"] else None
        )
        if before is not None and before.environment != environment.id:
            raise InvalidArgument(
                f"{before.id} is a run of {before.environment}.",
                where="continue_run",
                allowed="a run of this environment",
            )
        simulations = self._choose(environment, spec["select"], before)
        id, text = self.chosen_text(environment, spec["instructions"], "instructions")
        trials = spec["trials"] or (before.trials if before else environment.settings.trials)
        wanted = len(simulations) * trials
        if wanted > CONFIRM_ABOVE and not opted.confirm:
            again = {"environment": environment.id, "options": {"confirm": True}}
            raise NeedsConfirm(
                f"{wanted:,} trials are above the limit of {CONFIRM_ABOVE:,} without confirmation.",
                where="trials",
                next=[NextCall("run_simulations", again)],
            )
        models = self._environments.models(environment, load(ModelChoice, spec["models"], "models"))
        self._trials.cast(environment.agent, models)
        limits = {
            **environment.settings.limits,
            **(opted.limits.model_dump(exclude_unset=True) if opted.limits else {}),
        }
        wanted_rates = environment.settings.thresholds if opted.thresholds is None else opted.thresholds
        run = RunRecord(
            id="",
            environment=environment.id,
            name=opted.name,
            series=before.series if before else "",
            round=self._next_round(before) if before else 1,
            previous=before.id if before else "",
            instructions=id,
            instructions_text=text,
            world=environment.world,
            models=models,
            agent=environment.agent.model_dump(mode="json", exclude_unset=True),
            simulations=[s.slug for s in simulations],
            trials=trials,
            seed=opted.seed
            if opted.seed is not None
            else (before.seed if before else environment.settings.seed),
            options={
                "limits": limits,
                "thresholds": wanted_rates,
                "concurrency": opted.concurrency,
                "user_guidelines": environment.settings.user_guidelines,
            },
        )
        return run, simulations

    def _next_round(self, before: RunRecord) -> int:
        return 1 + max(r.round for r in self._archive.runs.where(series=before.series))

    def _choose(
        self, environment: EnvironmentRecord, select: Sequence[str], before: RunRecord | None
    ) -> list[SimulationRecord]:
        if before is not None and list(select) in ([], ["all"]):
            known = {s.slug: s for s in self._archive.simulations.where(environment=environment.id)}
            kept = [known[slug] for slug in before.simulations if slug in known]
            if kept:
                return kept
        if not self._archive.simulations.count(environment=environment.id):
            self._simulations.cover(environment)
        found = Selector(self._archive, environment.id).resolve(list(select) or ["all"])
        if not found:
            call = NextCall("create_simulations", {"environment": environment.id})
            raise Conflict(
                "There is nothing to run.", where="select", allowed="at least one simulation", next=[call]
            )
        return found

    def _ensure_run(
        self, job: Job, draft: tuple[RunRecord, list[SimulationRecord]] | None = None
    ) -> RunRecord:
        """The run of a job, stored with a copy of its cases."""
        found = self._archive.runs.where(job=job.id)
        if found and found[-1].options.get("copied"):
            return found[-1]
        run, simulations = draft or self._draft(job.spec)
        run.id = found[-1].id if found else self._archive.store.next_id("run")
        run.series = run.series or run.id
        run.job, run.created_at = job.id, utc_now()
        self._archive.runs.put(run.id, run)
        self._trials.cases(run).copy(self._archive, simulations)
        run.options["copied"] = True
        self._archive.runs.put(run.id, run)
        self._archive.store.audit("create", "run", run.id)
        return run

    async def _resume(self, id: str, wait_s: float, on_progress: Progress | None) -> RunReport:
        run = self._archive.runs.get(id, "options.resume")
        job = self._jobs.get(run.job)
        if job.state == "done":
            return self.report(run, job)
        if not job.active:
            job = self._jobs.again(job.id)
        job = await self._jobs.settled(job.id, wait_s, on_progress)
        return self.report_of(job)

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        """The work of a run's job: every missing trial, then the scores."""
        run = self._ensure_run(job)
        began = time.perf_counter()
        self._set_state(run.id, "running")
        environment = self._archive.environments.get(run.environment)
        cast = self._trials.cast(environment.agent, run.models)
        cases = self._trials.cases(run)
        store = self._archive.store
        wanted = [(s, t) for s in run.simulations for t in range(1, run.trials + 1)]
        store.jobs.work.enqueue(job.id, ({"simulation": s, "trial": t} for s, t in wanted))
        left = self._claimed(job.id)

        async def one(simulation: str, trial: int) -> None:
            await self._trials.execute(cases, cast, simulation, trial)
            store.jobs.work.complete(claimed.pop((simulation, trial)))

        claimed = {(u.spec["simulation"], u.spec["trial"]): u for u in left}
        try:
            await in_parallel(list(claimed), run.options.get("concurrency", DEFAULT_CONCURRENCY), one)
        except BaseException:
            self._set_state(run.id, "cancelled")
            raise
        self.score(run.id, time.perf_counter() - began)
        return {"run": run.id}

    def _claimed(self, job: str) -> list[Any]:
        work = self._archive.store.jobs.work
        units: list[Any] = []
        while batch := work.claim(job, limit=1000):
            units += batch
        return units

    def _set_state(self, id: str, state: str) -> None:
        self._archive.runs.change(
            id, lambda run: run.model_copy(update={"state": state, "updated_at": utc_now()})
        )

    def score(self, id: str, wall_s: float) -> RunRecord:
        """Totals, clusters and thresholds of a run whose trials are there; a pure function of what is stored."""
        run = self._archive.runs.get(id)
        records = self.trial_records(run)
        rows = self._archive.store.run_table(id, "scenarios").walk()
        scenarios = {str(row.doc_id): Scenario.model_validate(row["scenario"]) for row in rows}
        counted = totals(records)
        found = clusters(records, self._worlds.get(run.world), scenarios, id)
        update: dict[str, Any] = {
            "state": "done",
            "totals": counted,
            "clusters": found,
            "thresholds": thresholds(counted, run.options.get("thresholds") or {}),
            "models_used": _summed(records),
            "warnings": _warnings(run, records),
            "wall_s": round(run.wall_s + wall_s, 3),
            "updated_at": utc_now(),
        }
        return self._archive.runs.change(id, lambda stored: stored.model_copy(update=update))


def run_options(options: Mapping[str, Any] | None) -> RunOptions:
    """`options`, or an error that says what of it is not in this version."""
    given = dict(options or {})
    later = next((name for name in _LATER if name in given), None)
    if later is not None:
        allowed = ", ".join(RunOptions.model_fields)
        raise InvalidArgument(f"`{later}` is not in this version.", where=f"options.{later}", allowed=allowed)
    opted = load(RunOptions, given, "options")
    check_thresholds(opted.thresholds or {}, "options.thresholds")
    return opted


def _id_text(record: InstructionsRecord) -> tuple[str, str]:
    return record.id, record.text


def _summed(records: Sequence[TrialRecord]) -> dict[str, ModelUse]:
    summed: dict[str, ModelUse] = {}
    for record in records:
        for role, use in record.models.items():
            total = summed.setdefault(role, ModelUse(name=use.name, cost_usd=0.0))
            total.calls += use.calls
            total.input_tokens += use.input_tokens
            total.output_tokens += use.output_tokens
            unknown = total.cost_usd is None or use.cost_usd is None
            total.cost_usd = None if unknown else (total.cost_usd or 0.0) + (use.cost_usd or 0.0)
    return summed


def _warnings(run: RunRecord, records: Sequence[TrialRecord]) -> list[str]:
    found: list[str] = []
    for verdict, words in (
        ("error", "ended in error (infrastructure)"),
        ("invalid", "are invalid (a bad test case)"),
    ):
        hit = [r for r in records if r.verdict == verdict]
        if hit:
            found.append(
                f"{len(hit)} of {len(records)} trials {words} and are in no rate; the first: {run.id}/{hit[0].id}: {hit[0].graded.why}"
            )
    return found
