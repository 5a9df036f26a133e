"""Judging: the phase of a run in which a judge is asked what code cannot decide, and metrics are taken.

It follows the trials and can be repeated: answers are stored with the verdict, so that nothing is asked twice. A
failing judge does not fail the agent: the trial ends in `error` if its verdict needs the judge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import anyio.to_thread

from ..code import MetricCode
from ..errors import BudgetSpent, CasehardenError, InvalidArgument, error_class
from ..evaluate import (
    COUNTED,
    ERROR_ENDS,
    INVALID_ENDS,
    Judge,
    KnowledgeBase,
    MarkedCase,
    Metric,
    Question,
    ask,
    choose_metrics,
    entries_of,
    judge_chars,
    mark,
    named_metrics,
    see_turn,
)
from ..llm import ModelClient, trial_of
from ..llm.origin import preparing
from ..records.conversation import Conversation, ModelUse, SayEntry, TokenUsage
from ..records.opinion import CODE, Opinion
from ..records.persona import Persona
from ..records.run import RunRecord, TrialRecord
from ..records.verdict import GRADING, Verdict
from ..seeds import seed_of
from ..simulate import Meter
from .archive import Archive, TrialShelf
from .kept_calls import judged_part
from .meetings import means_harm
from .pacing import Pacing
from .role_models import RoleModels
from .run_cases import RunCases
from .trials import TrialRunner

Tell = Callable[[int, int], None]
POLICY_CHARS: Final = 12_000
_BROKEN_OFF: Final = (*ERROR_ENDS, *INVALID_ENDS)


@dataclass(frozen=True)
class Marking:
    """How the conversations of a run are marked."""

    metrics: Mapping[str, Metric]
    judge: ModelClient


class Judging:
    """Marks trials with the opinions of a judge and of code, and with metrics."""

    def __init__(self, archive: Archive, trials: TrialRunner, models: RoleModels, code: MetricCode) -> None:
        self._archive = archive
        self._trials = trials
        self._models = models
        self._code = code
        self._knowledge = lru_cache(maxsize=4)(self._read_knowledge)

    def marking(self, run: RunRecord) -> Marking:
        """How a run is marked: its metrics, those of its thresholds that need no model, its judge."""
        name, cassette = run.models.get("judge") or "offline", run.options.get("cassette")
        judge = self._models.open(name, "models.judge", cassette)
        return Marking(metrics_of(run), judge)

    async def judge_run(self, cases: RunCases, pacing: Pacing, tell: Tell | None = None) -> int:
        """Mark every trial of a run that may need it; the number left unmarked because there is a reason to pause.

        `tell`: called with how many are done, and how many there are.
        """
        marking = self.marking(cases.run)
        shelf = self._archive.trials(cases.run.id)
        work = await anyio.to_thread.run_sync(self._work, cases.run, marking)
        done = 0
        if tell is not None:
            tell(done, len(work))

        async def one(simulation: str, trial: int) -> None:
            nonlocal done
            with preparing():
                record = await anyio.to_thread.run_sync(shelf.find, f"{simulation}/{trial}")
            if record is not None:
                pacing.judged(await self.judged(cases, marking, record, pacing.meter))
            done += 1
            if tell is not None:
                tell(done, len(work))

        return await pacing.run(work, one)

    async def judged(
        self, cases: RunCases, marking: Marking, record: TrialRecord, meter: Meter, table: str = "trials"
    ) -> TrialRecord:
        """The trial with verdict and metrics according to the opinions, stored; asks for missing ones.

        Code that gave no answer is asked again. Between what leads to a call and the call nothing is awaited, or a job
        would be said to wait with only a part of its calls.
        """
        with preparing():
            read = await self._read(cases, marking.metrics, record)
            if read is None:
                return record
            conversation, marked = read
            opinions = [said for said in record.graded.opinions if said.judge != CODE or not said.unscored]
            verdict, questions = mark(conversation, marked, opinions, marking.judge.name)
            coded = [question for question in questions if question.code]
            if coded:
                opinions += await self._code.answers(coded, conversation)
                verdict, questions = mark(conversation, marked, opinions, marking.judge.name)
        use, failure = ModelUse(name=marking.judge.name, cost_usd=0.0), None
        if questions:
            try:
                said = await self._asked(cases, marking, record, conversation, questions, use, meter)
            except Exception as error:
                failure = error
            else:
                verdict, _ = mark(conversation, marked, [*opinions, *said], marking.judge.name)
        if failure is not None:
            verdict = _unjudged(verdict, failure)
        found = _with_verdict(record, verdict, use, failure)
        if found != record:
            shelf = self._archive.trials(cases.run.id, table)
            with shelf.table.transaction():
                cases.check()
                shelf.put(record.id, found)
        return found

    async def grade_anew(self, cases: RunCases, tell: Tell | None = None, *, whole: bool = False) -> int:
        """Grade every trial last graded by another grading version; the number left because their case does not fit.
        Asks nobody. `whole`: every trial, because other metrics are to be measured.
        """
        shelf = self._archive.trials(cases.run.id)
        work = await anyio.to_thread.run_sync(self._to_grade, shelf, whole)
        left = 0
        for done, id in enumerate(work):
            record = await anyio.to_thread.run_sync(shelf.find, id)
            if record is None:
                continue
            found = await self._graded_anew(cases, record)
            left += found is None
            if found is not None:
                await anyio.to_thread.run_sync(self._keep, cases, shelf, found)
            if tell is not None:
                tell(done + 1, len(work))
        return left

    async def _graded_anew(self, cases: RunCases, record: TrialRecord) -> TrialRecord | None:
        """A trial under our grading; one that could not be judged, or has no case, stays as it is."""
        read, said = await self._read(cases, metrics_of(cases.run), record), record.graded
        if read is None:
            known = record.verdict not in COUNTED
            return _with_grading(record, said.model_copy(update={"grading": GRADING})) if known else None
        verdict, _ = await anyio.to_thread.run_sync(mark, *read, said.opinions, said.judge)
        if unjudged(record) and verdict.verdict == "inconclusive":
            verdict = _not_judged(verdict, said.why)
        return _with_grading(record, verdict)

    def _keep(self, cases: RunCases, shelf: TrialShelf, record: TrialRecord) -> None:
        with shelf.table.transaction():
            cases.check()
            shelf.put(record.id, record)

    def _to_grade(self, shelf: TrialShelf, whole: bool) -> list[str]:
        """The trials whose verdicts another grading version decided, or all. Run in a worker thread."""
        return [
            str(row.doc_id)
            for row in shelf.table.walk(oldest_first=True)
            if whole or shelf.whole(row)["graded"]["grading"] != GRADING
        ]

    async def regraded(self, cases: RunCases, record: TrialRecord) -> Verdict | None:
        """The verdict that grading reaches with the stored opinions; None if the case does not fit."""
        read = await self._read(cases, metrics_of(cases.run), record)
        if read is None or unjudged(record):
            return None
        conversation, marked = read
        said = record.graded
        return (await anyio.to_thread.run_sync(mark, conversation, marked, said.opinions, said.judge))[0]

    async def _read(
        self, cases: RunCases, metrics: Mapping[str, Metric], record: TrialRecord
    ) -> tuple[Conversation, MarkedCase] | None:
        """What a trial is marked from; None if its case does not fit the world, or is unsolvable."""
        try:
            case = cases.case(record.simulation)
        except InvalidArgument:
            return None
        point = cases.point(record.simulation)
        seed, drawn = (point.seed, point.drawn) if point else (cases.seed(case), record.trial)
        expected = await self._trials.expected.of(case, seed, drawn)
        if expected is not None and expected.error and case.plan.rests_on_expected_world:
            return None
        talk = await anyio.to_thread.run_sync(self._archive.store.segments.read, str(record.pointer["at"]))
        conversation = Conversation.model_validate(talk)
        about: dict[str, Mapping[str, str]] = {
            "goal": {"goal": case.scenario.goal},
            "policy": {"policy": case.world.world.policy[:POLICY_CHARS]},
        }
        if any("knowledge" in metric.about for metric in metrics.values()):
            about["knowledge"] = await anyio.to_thread.run_sync(self._passages, cases.run, conversation)
        return conversation, MarkedCase(case.plan, case.world.base, expected, metrics, about)

    def _passages(self, run: RunRecord, conversation: Conversation) -> dict[str, str]:
        """The passages of the run's knowledge base about what the agent said. Run in a worker thread."""
        base = self._knowledge(str(run.options.get("knowledge") or ""))
        said = [
            entry.say for entry in conversation.log if isinstance(entry, SayEntry) and entry.by == "agent"
        ]
        return base.about(said)

    def _read_knowledge(self, hash: str) -> KnowledgeBase:
        return KnowledgeBase(self._archive.knowledge.read(hash) if hash else ())

    async def _asked(
        self,
        cases: RunCases,
        marking: Marking,
        record: TrialRecord,
        conversation: Conversation,
        questions: Sequence[Question],
        use: ModelUse,
        meter: Meter,
    ) -> list[Opinion]:
        spent = meter.spent()
        if spent:
            raise BudgetSpent(f"{spent.capitalize()}.")

        def used(usage: TokenUsage) -> None:
            meter.used(usage)
            use.calls += 1
            use.input_tokens += usage.input_tokens
            use.output_tokens += usage.output_tokens
            known = use.cost_usd is not None and usage.cost_usd is not None
            use.cost_usd = (use.cost_usd or 0.0) + (usage.cost_usd or 0.0) if known else None

        judge = Judge(marking.judge, used, judge_chars(marking.judge))
        seed = seed_of(conversation.seed, record.simulation, record.trial, "judge", 0)
        belongs = trial_of(
            cases.run.id,
            judged_part(record.id),
            f"{cases.run.environment}/{record.scenario}",
            held_out=record.split == "held_out",
            instructions="",
        )
        with belongs:
            return await ask(
                judge, questions, entries_of(conversation.log), conversation.transcript_hash, seed
            )

    def _work(self, run: RunRecord, marking: Marking) -> list[tuple[str, int]]:
        """The trials that may need a judge or a metric. Run in a worker thread."""
        rows = self._archive.store.run_table(run.id, "scenarios").walk()
        asking = {str(row.doc_id) for row in rows if _asks_judge(row["scenario"])}
        harmful = self._harmful(run)
        trials = self._archive.trials(run.id).table.walk(oldest_first=True)
        return [
            (row["simulation"], row["trial"])
            for row in trials
            if (marking.metrics or row["scenario"] in asking or row["simulation"] in harmful)
            and _can_be_marked(row)
        ]

    def _harmful(self, run: RunRecord) -> set[str]:
        """Simulations whose user, a stored persona, means harm: a judge may have to say whether the agent resisted."""
        table = self._archive.store.run_table
        personas = {
            str(row.doc_id)
            for row in table(run.id, "personas").walk()
            if means_harm(Persona.model_validate(row["persona"]))
        }
        if not personas:
            return set()
        return {str(row.doc_id) for row in table(run.id, "simulations").walk() if row["persona"] in personas}


def metrics_of(run: RunRecord) -> dict[str, Metric]:
    """What a run measures: what was requested, and what its thresholds name that needs no judge."""
    named = named_metrics(list(run.options.get("thresholds") or {}))
    return {**named, **choose_metrics(run.options.get("metrics") or [])}


def is_marked(record: TrialRecord) -> bool:
    """Whether no part of a trial's verdict waits for a judge."""
    waits = any(check.judged and check.verdict == "inconclusive" for check in record.graded.checks)
    return record.end in _BROKEN_OFF or not waits


def judge_failed(row: Mapping[str, Any]) -> bool:
    """Whether a judge could not be asked about a trial, by its row: its verdict or metrics still need one."""
    return bool(row.get("error")) and row["end"] not in _BROKEN_OFF


def unjudged(record: TrialRecord) -> bool:
    """Whether a trial is an error only because its judge failed."""
    return record.verdict == "error" and record.end not in ERROR_ENDS


def _can_be_marked(row: Mapping[str, Any]) -> bool:
    return row["end"] not in _BROKEN_OFF and row["verdict"] in (*COUNTED, "error")


def _asks_judge(scenario: Mapping[str, Any]) -> bool:
    """Whether checks or script of a scenario may ask a judge or for a metric."""
    success: list[Any] = scenario.get("success") or []
    return not success or _names([success, scenario.get("script") or []])


def _names(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "judge" in value or "metric" in value or any(map(_names, value.values()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return isinstance(value, list) and any(map(_names, value))  # pyright: ignore[reportUnknownArgumentType]


def _unjudged(verdict: Verdict, failure: Exception) -> Verdict:
    """A verdict whose judge could not be asked: an error if it needs the judge, else only metrics are unscored."""
    why = f"judge: {failure}" if isinstance(failure, CasehardenError) else f"judge: {type(failure).__name__}"
    by_code = {said.asked for said in verdict.opinions if said.judge == CODE}
    metrics = [
        value
        if value.measured or not value.unscored or value.metric in by_code
        else value.model_copy(update={"unscored": why})
        for value in verdict.metrics
    ]
    verdict = verdict.model_copy(update={"metrics": metrics})
    return _not_judged(verdict, why) if verdict.verdict == "inconclusive" else verdict


def _not_judged(verdict: Verdict, why: str) -> Verdict:
    """An error: the verdict needs a judge that could not be asked."""
    return verdict.model_copy(update={"verdict": "error", "why": why, "reward": None, "score": None})


def _with_grading(record: TrialRecord, verdict: Verdict) -> TrialRecord:
    """The trial with a verdict reached without asking anybody."""
    return record.model_copy(
        update={
            "verdict": verdict.verdict,
            "failed_checks": verdict.failed(),
            "see_turn": see_turn(verdict),
            "graded": verdict,
            "error": record.error if verdict.verdict == "error" else "",
        }
    )


def _with_verdict(
    record: TrialRecord, verdict: Verdict, use: ModelUse, failure: Exception | None
) -> TrialRecord:
    models = dict(record.models)
    if use.calls:
        models["judge"] = added(models.get("judge"), use)
    broke = record.end in ERROR_ENDS
    error = record.error if broke else error_class(failure) if failure else ""
    return _with_grading(record, verdict).model_copy(update={"error": error, "models": models})


def added(before: ModelUse | None, use: ModelUse) -> ModelUse:
    """The use of a model, plus what else it was used for."""
    if before is None:
        return use
    known = before.cost_usd is not None and use.cost_usd is not None
    return ModelUse(
        name=use.name,
        calls=before.calls + use.calls,
        input_tokens=before.input_tokens + use.input_tokens,
        output_tokens=before.output_tokens + use.output_tokens,
        cost_usd=(before.cost_usd or 0.0) + (use.cost_usd or 0.0) if known else None,
    )
