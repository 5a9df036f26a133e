"""Scores a stored run again: other metrics, another judge, thresholds, human labels. Nothing is simulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import anyio.to_thread

from ..code import MetricCode
from ..errors import Conflict, InvalidArgument, NextCall
from ..evaluate import check_thresholds, choose_metrics, named_metrics
from ..exchange import Roots
from ..llm import RELAY
from ..plural import plural
from ..records.authored import load
from ..records.environment import DEFAULT_CONCURRENCY, ModelAt, ModelChoice, ModelName, knowledge_hash
from ..records.job import Job
from ..records.run import RunRecord, ScoreSet, Threshold
from ..records.verdict import GRADING
from .archive import Archive, utc_now
from .budget import Spent
from .hardening_locks import nothing_rests_on
from .job_errors import standstill
from .jobs import Jobs, Paused, Progress, check_wait
from .judging import Judging, judge_failed, metrics_of
from .labelling import Labelling, ToLabel, label_rows
from .labels import Labels
from .means import Means
from .pacing import PAUSE_AFTER, Pacing
from .plain import check_plain
from .results import RunReport
from .role_models import RoleModels
from .run_drafts import check_knowledge
from .scoring import Scoring
from .sight import refuse_sealed
from .trials import TrialRunner
from .verdict_changes import VerdictChanges, gradings, outdated, put_aside, verdict_changes

_DONE_BY = "scored_by"
"""The option of a run that names the job of its present scores."""


class Rescoring:
    """Scores runs again; the earlier scores are kept."""

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        jobs: Jobs,
        models: RoleModels,
        scoring: Scoring,
        judging: Judging,
        labelling: Labelling,
        roots: Roots,
        code: MetricCode,
        means: Means,
    ) -> None:
        self._archive = archive
        self._trials = trials
        self._jobs = jobs
        self._models = models
        self._scoring = scoring
        self._judging = judging
        self._labels = Labels(archive)
        self._labelling = labelling
        self._roots = roots
        self._code = code
        self._means = means
        jobs.handle("score", self._perform, self._stopped, self._check_means)

    async def score(
        self,
        run: str,
        *,
        metrics: Sequence[Any] = (),
        judge: ModelName | Mapping[str, Any] = "",
        thresholds: Mapping[str, Threshold] | None = None,
        labels: Sequence[Any] = (),
        wait_s: float = 20,
        idempotency_key: str = "",
        on_progress: Progress | None = None,
    ) -> RunReport:
        """New scores beside the old ones, or the run so far with the job after `wait_s` seconds.

        `metrics`: instead of the run's. `judge`: a model; default: the run's. With neither, no model is called, unless
        nothing else is given and a judge could not be asked before: then it is asked again. Metrics that `thresholds`
        name are measured if they need no model, and verdicts of another grading version are graded anew. Conflict while
        the run goes on, or a hardening depends on it.
        """
        check_wait(wait_s)
        record = self._archive.runs.get(run, "run")
        self._at_rest(record, again=self._jobs.known("score", idempotency_key))
        check_plain({"metrics": list(metrics), "thresholds": dict(thresholds or {})}, "score_run")
        chosen = choose_metrics(metrics or record.options.get("metrics") or [])
        metrics = await anyio.to_thread.run_sync(self._code.pinned, metrics, "metrics")
        check_knowledge(chosen, self._knowledge(record))
        check_thresholds(thresholds or {}, "thresholds", chosen)
        if judge:
            judge = load(ModelChoice, {"judge": judge}, "").judge
            self._models.open(judge, "judge")
            if judge == RELAY:
                rows = self._archive.trials(run).table.walk()
                refuse_sealed(self._archive, {f"{record.environment}/{row['scenario']}" for row in rows})
        warnings = await anyio.to_thread.run_sync(self._kept, record, labels) if labels else []
        asks = bool(metrics or judge) or not record.options.get("score", True)
        if not asks and not labels and thresholds is None:
            asks = await anyio.to_thread.run_sync(self._waits, record)
        anew = outdated(await anyio.to_thread.run_sync(gradings, self._archive, run))
        measures = bool(named_metrics(list(thresholds or {})).keys() - metrics_of(record).keys())
        anew = anew or measures
        if not asks and not anew and thresholds is None:
            return await self._scored(run, None, warnings)
        spec: dict[str, Any] = {"run": run, "metrics": list(metrics), "thresholds": thresholds, "asks": asks}
        spec["measures"] = measures and not asks
        spec["judge"] = (
            judge.model_dump(mode="json", exclude_unset=True) if isinstance(judge, ModelAt) else judge
        )
        if not asks and not anew:
            await anyio.to_thread.run_sync(self._begin, record, spec, "")
            return await self._scored(run, None, warnings)
        with self._archive.store.jobs.table.transaction():
            # Again, where no other call comes between: two at the same moment would score the run twice.
            record = self._archive.runs.get(run, "run")
            self._at_rest(record, again=self._jobs.known("score", idempotency_key))
            fields = {"environment": record.environment, "run": run}
            job, new = self._jobs.create("score", spec, idempotency_key, total=record.totals.trials, **fields)
        if new:
            self._jobs.launch(job)
        else:
            await self._jobs.adopt(job)
        job = await self._jobs.settled(job.id, wait_s, on_progress)
        report = self.report_of(job)
        report.warnings = [*warnings, *report.warnings]
        return report

    async def to_label(self, run: str, limit: int = 20) -> list[ToLabel]:
        """Conversations of a run to label, drawn from train, without the judge's answers."""
        record = self._archive.runs.get(run, "run")
        return await anyio.to_thread.run_sync(self._labelling.of_run, record, limit)

    def _waits(self, run: RunRecord) -> bool:
        """Whether there are trials whose judge could not be asked. Run in a worker thread."""
        return any(judge_failed(row) for row in self._archive.trials(run.id).table.walk())

    def _kept(self, run: RunRecord, labels: Sequence[Any]) -> list[str]:
        return self._labels.keep(run, label_rows(labels, self._roots))

    def report_of(self, job: Job) -> RunReport:
        """The run of a job as stored, with what became of its verdicts."""
        self._jobs.raise_failure(job)
        report = self._report(self._archive.runs.get(str(job.spec["run"]), "run"), job)
        made = job.result or {}
        if made.get("changes"):
            report.changes = VerdictChanges(**made["changes"])
        if made.get("left"):
            why = "the case does not fit the world any more"
            report.warnings.append(
                f"{plural(made['left'], 'trial keeps', 'trials keep')} the verdict of an older grading: {why}."
            )
        report.warnings[:0] = standstill(job)
        return report

    def _report(self, run: RunRecord, job: Job | None) -> RunReport:
        used = Spent.of(run.models_used.values())
        usd = None if used.unpriced else used.usd
        going_on = None if job is None or job.ended else job
        return RunReport(run, going_on, list(run.warnings), used.calls, used.tokens, usd, again=True)

    async def _scored(self, run: str, job: Job | None, warnings: Sequence[str]) -> RunReport:
        state = self._archive.runs.get(run, "run").state
        record = await anyio.to_thread.run_sync(self._scoring.score, run, state)
        report = self._report(record, job)
        report.warnings = [*warnings, *report.warnings]
        return report

    def _at_rest(self, run: RunRecord, *, again: bool) -> None:
        """Conflict if the scores of a run are in use. `again`: the same call may be what uses them."""
        if run.state == "running":
            calls = [NextCall("wait_job", {"job": run.job})] if run.job else []
            raise Conflict(f"{run.id} is still running.", where="run", next=calls)
        if run.purpose == "hardening":
            raise InvalidArgument(
                f"{run.id} belongs to {run.hardening}, whose evidence it is.",
                where="run",
                allowed="a run of its own",
            )
        going = [
            job
            for job in self._archive.store.jobs.active()
            if job.kind == "score" and self._jobs.get(job.id).spec["run"] == run.id
        ]
        if going and not again:
            call = NextCall("wait_job", {"job": going[0].id})
            raise Conflict(f"{run.id} is being scored by {going[0].id}.", where="run", next=[call])
        nothing_rests_on(self._archive, run, "verdicts", "run")

    def _knowledge(self, run: RunRecord) -> str:
        """The knowledge base of the environment as it is now, else the one that the run had."""
        found = self._archive.environments.find(run.environment)
        now = knowledge_hash(found.settings.knowledge_base) if found else ""
        return now or str(run.options.get("knowledge") or "")

    def _begin(self, run: RunRecord, spec: Mapping[str, Any], job: str) -> RunRecord:
        """The run prepared for scoring; its present scores, if any, are put aside, once per job. Run in a worker
        thread.
        """
        versions = gradings(self._archive, run.id)

        def change(stored: RunRecord) -> RunRecord:
            if job and stored.options.get(_DONE_BY) == job:
                return stored
            scored = bool(stored.options.get("score", True))
            sets = [*stored.score_sets]
            if scored:
                put_aside(self._archive, stored)
                sets.append(_set_of(stored, versions))
            options = {**stored.options, "score": True, _DONE_BY: job}
            if spec["metrics"]:
                options["metrics"] = [] if spec["metrics"] == ["none"] else spec["metrics"]
            if self._knowledge(stored):
                options["knowledge"] = self._knowledge(stored)
            if spec["thresholds"] is not None:
                options["thresholds"] = spec["thresholds"]
            models = {**stored.models, "judge": spec["judge"]} if spec["judge"] else stored.models
            changed = stored.model_copy(update={"score_sets": sets})
            return RunRecord.model_validate(
                {**changed.model_dump(mode="json"), "options": options, "models": models}
            )

        found = self._archive.runs.change(run.id, change)
        self._archive.runs.audit("score", run.id)
        return found

    async def _check_means(self, job: Job) -> None:
        """The code of the metrics, and the judge if it is asked."""
        run, spec = self._archive.runs.find(str(job.spec["run"])), job.spec
        if run is None or not spec.get("asks", True):
            return
        await self._means.of_metrics(spec["metrics"] or run.options.get("metrics") or [])
        judge = load(ModelChoice, {"judge": spec["judge"] or run.models.get("judge") or "offline"}, "").judge
        await self._means.of_model("judge", judge or "offline", run.options.get("cassette"))

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        stored = self._archive.runs.get(str(job.spec["run"]), "run")
        run = await anyio.to_thread.run_sync(self._begin, stored, job.spec, job.id)
        concurrency = run.options.get("concurrency") or DEFAULT_CONCURRENCY
        pacing = Pacing(concurrency, run.options.get("pause_after", PAUSE_AFTER))
        cases = self._trials.cases(run, lambda: self._still_there(job))

        def tell(done: int, total: int) -> None:
            self._archive.store.jobs.progress(job.id, completed=done, total=total)

        left = await self._judging.judge_run(cases, pacing, tell) if job.spec.get("asks", True) else 0
        why = pacing.reason(left)
        if why is not None:
            ours = ("asks", "measures")
            given = {name: value for name, value in job.spec.items() if value and name not in ours}
            why.next = (NextCall("score_run", given, "once it is fixed: what was judged is kept"),)
            raise Paused(why)
        unread = await self._judging.grade_anew(cases, tell, whole=bool(job.spec.get("measures")))
        await self._scored(run.id, None, ())
        found = await anyio.to_thread.run_sync(verdict_changes, self._archive, run)
        return {"run": run.id, "left": unread, "changes": asdict(found) if found else None}

    async def _stopped(self, job: Job, state: str) -> None:
        """Score the run with what was judged so far."""
        if self._archive.runs.find(str(job.spec["run"])) is not None:
            await self._scored(str(job.spec["run"]), None, ())

    def _still_there(self, job: Job) -> None:
        self._jobs.check_ours(job)
        self._archive.runs.get(str(job.spec["run"]), "run")


def _set_of(run: RunRecord, versions: Sequence[int]) -> ScoreSet:
    judge = run.models_used.get("judge")
    return ScoreSet(
        grading=min(versions, default=GRADING),
        judge=judge.name if judge else "",
        options={name: run.options.get(name) for name in ("metrics", "thresholds")},
        totals=run.totals,
        metrics=run.metrics,
        thresholds=run.thresholds,
        agreement=run.agreement,
        at=run.updated_at or utc_now(),
    )
