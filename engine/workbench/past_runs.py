"""Runs recorded by another system, as past runs of an environment: replayed if their tools may run, graded by us, with
the recorded reward beside the one that the profile gives.

If the code of its tools may not run, the recorded results stand in for it; what the calls wrote is then unknown, and
checks of the state stay undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import anyio.to_thread

from ..agents import Recording
from ..canonical import digest
from ..errors import InvalidArgument, NextCall, NotFound
from ..evaluate import grade
from ..evaluate.statistics import pass_hat_k
from ..exchange import Imported, PastEntry, PastRun, PastTalk
from ..ids import SLUG
from ..plural import plural
from ..records.conversation import ModelUse, Origin, ToolEntry
from ..records.environment import EnvironmentRecord
from ..records.job import Job
from ..records.run import RunRecord, TrialRecord
from ..records.simulation import SimulationRecord
from ..records.verdict import Verdict
from ..shapes import as_object
from ..simulate import play_recording
from ..world import CodeAnswer, CodeCall, CompiledWorld, as_text
from .archive import Archive, utc_now
from .environments import Environments
from .exporting import IMPORTED
from .instructions import Instructions
from .results import EnvironmentReport
from .run_cases import RunCases
from .scoring import Scoring
from .sight import shown_by_file, spend
from .trials import TrialRunner

SHOWN: Final = 5
RECORDED: Final = "recorded"
SAME: Final = 1e-6
"""Rewards closer than this are equal."""


@dataclass(slots=True)
class Compared:
    """The recorded rewards and ours, trial by trial."""

    rows: list[tuple[str, str, float | None, Verdict]] = field(
        default_factory=list[tuple[str, str, float | None, Verdict]]
    )
    """(place, scenario, recorded reward, our verdict)"""
    calls: int = 0
    other_results: int = 0
    unknown: int = 0
    """Conversations whose final state is unknown."""

    def summary(self) -> dict[str, Any]:
        """The comparison as shown in a report."""
        original = [(v.original_reward, r) for _, _, r, v in self.rows if v.original_reward is not None]
        same = sum(r is not None and abs(r - o) <= SAME for o, r in original)
        return {
            "recorded": _shares([(s, r) for _, s, r, _ in self.rows]),
            "original_reward": {
                **_shares([(s, v.original_reward) for _, s, _, v in self.rows]),
                "as_recorded": same,
                "other": [p for p, _, r, v in self.rows if _differ(r, v.original_reward)][:SHOWN],
                "unknown": len(self.rows) - len(original),
            },
            "ours": {
                "passed": sum(v.verdict == "pass" for *_, v in self.rows),
                "other_than_recorded": [p for p, _, r, v in self.rows if _other_verdict(r, v)][:SHOWN],
                "changed": sum(_other_verdict(r, v) for _, _, r, v in self.rows),
            },
            "calls": {"made": self.calls, "other_result": self.other_results},
        }


class RecordedResults:
    """`CodeTools` that answers each call with its recorded result, in order; writes nothing."""

    def __init__(self, entries: Sequence[PastEntry], code: frozenset[str]) -> None:
        self._left = iter([entry for entry in entries if entry.tool in code])

    def call(self, asked: CodeCall) -> CodeAnswer:
        """The next recorded result."""
        entry = next(self._left, None)
        if entry is None:
            return CodeAnswer("no result was recorded", "runtime")
        return CodeAnswer(entry.result, None if entry.ok else "refused")


class PastRuns:
    """Imports them."""

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        scoring: Scoring,
        instructions: Instructions,
        environments: Environments,
        why_not: Callable[[str], str],
    ) -> None:
        """`why_not`: why the code of a tool may not run, "" if it may."""
        self._archive = archive
        self._trials = trials
        self._scoring = scoring
        self._instructions = instructions
        self._environments = environments
        self._why_not = why_not

    def check(self, read: Imported, id: str) -> EnvironmentRecord:
        """The environment that the runs are for; an error if it does not exist, or has none of their scenarios."""
        why = "with `path` and `id`: the tasks first, then their results under the same id"
        first = NextCall("import_environment", {"id": id} if id else {}, why)
        found = self._archive.environments.find(id) if id else None
        if found is None:
            raise NotFound(
                f"There is no environment `{id}` for these results."
                if id
                else "Results belong to an environment.",
                where="id",
                allowed="the id of an environment that their tasks were imported as",
                next=[first],
            )
        slugs = {talk.scenario for run in read.runs for talk in run.talks}
        if not any(self._archive.scenarios.find(f"{id}/{slug}") for slug in slugs if SLUG.match(slug)):
            raise InvalidArgument(
                f"{id} has none of the scenarios of these results ({', '.join(sorted(slugs)[:SHOWN]) or 'none'}).",
                where="id",
                allowed="the environment that their tasks were imported as",
                next=[first],
            )
        return found

    async def take(self, read: Imported, id: str, job: Job, *, dry_run: bool = False) -> EnvironmentReport:
        """Store the runs of an import; the same file again changes nothing."""
        owner = self.check(read, id)
        report = self._environments.report(owner)
        report.lost = [dict(row) for row in read.lost]
        report.stored = not dry_run
        for past in read.runs:
            await self._take(past, read, owner, job, report)
        report.counts["runs"] = self._archive.runs.count(environment=id, purpose="run")
        return report

    async def _take(
        self, past: PastRun, read: Imported, owner: EnvironmentRecord, job: Job, report: EnvironmentReport
    ) -> None:
        talks, lost = self._known_talks(past, owner.id)
        report.lost += lost
        run, known = self._draft(past, talks, owner)
        report.taken = {**read.taken, "format": read.format, "run": run.id, "from": past.name}
        report.taken |= {"unchanged": bool(known), "conversations": len(talks), "passed": 0, "failed": 0}
        if known or not report.stored:
            report.taken["run"] = known or "run"
            return
        run = run.model_copy(update={"id": self._claim(job)})
        # Before any of it can be read here, even if we are killed in between.
        shown = await anyio.to_thread.run_sync(self._spent, owner.id, talks)
        compared = await self._store(run, talks, past, read.format, owner)
        stored = await anyio.to_thread.run_sync(self._finish, run)
        report.taken |= {"run": run.id, "passed": stored.totals.passed, "failed": stored.totals.failed}
        report.taken["compared"] = compared.summary()
        report.warnings += _warnings(compared, shown)
        blocked = self._blocked(owner, talks)
        if blocked:
            use = "checks of what was said and called are graded; those of the state are undecided"
            report.lost.append(
                {"what": "state after the calls", "count": compared.unknown, "why": blocked, "use": use}
            )

    def _known_talks(self, past: PastRun, environment: str) -> tuple[list[PastTalk], list[dict[str, Any]]]:
        kept: dict[tuple[str, int], PastTalk] = {}
        unknown: list[str] = []
        slugs = self._slugs_of(past, environment)
        for talk in past.talks:
            slug, trial = slugs.get(talk.named, talk.scenario), talk.trial
            if not (SLUG.match(slug) and self._archive.scenarios.find(f"{environment}/{slug}")):
                unknown.append(slug)
                continue
            while (slug, trial) in kept:
                trial += 1
            kept[slug, trial] = replace(talk, scenario=slug, trial=trial)
        why = "the environment has no such scenario"
        at = sorted(set(unknown))[:SHOWN]
        lost = [{"what": "conversation", "count": len(unknown), "why": why, "at": at}] if unknown else []
        return list(kept.values()), lost

    def _slugs_of(self, past: PastRun, environment: str) -> dict[str, str]:
        """The scenarios that were imported under the names of these conversations."""
        if not any(talk.named for talk in past.talks):
            return {}
        rows = self._archive.scenarios.where(environment=environment)
        named = ((as_object(row.scenario.x_source).get("id"), row.scenario.id) for row in rows)
        return {str(name): slug for name, slug in named if name}

    def _draft(
        self, past: PastRun, talks: Sequence[PastTalk], owner: EnvironmentRecord
    ) -> tuple[RunRecord, str]:
        """The run, and the id under which it is already here, or ""."""
        trials: dict[str, int] = {}
        for talk in talks:
            trials[talk.scenario] = max(trials.get(talk.scenario, 0), talk.trial)
        most = max(trials.values(), default=1)
        identity = digest([[t.scenario, t.trial, t.reward, [_line(e) for e in t.entries]] for t in talks])
        current = self._instructions.current(owner)
        run = RunRecord(
            id="",
            environment=owner.id,
            name=f"recorded: {past.name}"[:200],
            instructions=f"{current.id} (imported)",
            instructions_text=current.text,
            world=owner.world,
            models=dict(past.models),
            agent={"kind": RECORDED},
            simulations=sorted(trials),
            trials=most,
            seed=owner.settings.seed,
            created_at=utc_now(),
            options={IMPORTED: {"file": past.name, "sha256": identity}},
        )
        run.options["trials_of"] = {slug: n for slug, n in trials.items() if n != most}
        for row in self._archive.runs.table.walk({"environment": owner.id}):
            source: dict[str, Any] = row["options"].get(IMPORTED) or {}
            if source.get("sha256") == identity:
                return run, str(row["id"])
        return run, ""

    def _claim(self, job: Job) -> str:
        """The id of the run: the same one when the job is resumed."""
        row = self._archive.store.jobs.table.find(job.id)
        if row is not None and row.get("run"):
            return str(row["run"])
        id = self._archive.store.next_id("run")
        self._archive.store.jobs.table.update({"run": id}, doc_ids=[job.id])
        return id

    async def _store(
        self, run: RunRecord, talks: Sequence[PastTalk], past: PastRun, format: str, owner: EnvironmentRecord
    ) -> Compared:
        await anyio.to_thread.run_sync(self._archive.forget_run, run.id)
        cases = self._trials.cases(run)
        name = owner.id
        rows = [
            SimulationRecord(id=f"{name}/{s}", environment=name, slug=s, scenario=s) for s in run.simulations
        ]
        await anyio.to_thread.run_sync(cases.copy, self._archive, rows)
        compared = Compared()
        for talk in talks:
            record, verdict = await self._played(cases, talk, past, format, compared)
            compared.rows.append((f"{run.id}/{record.id}", talk.scenario, talk.reward, verdict))
        return compared

    async def _played(
        self, cases: RunCases, talk: PastTalk, past: PastRun, format: str, compared: Compared
    ) -> tuple[TrialRecord, Verdict]:
        case, run = cases.case(talk.scenario), cases.run
        seed = cases.seed(case)
        expected = await self._trials.expected.of(case, seed, talk.trial)
        code = _code_called(talk, case.world)
        blocked = any(self._why_not(_python(case.world, name)) for name in code)
        played = case
        if blocked:
            results = RecordedResults(talk.entries, case.world.code_tools)
            played = replace(case, world=case.world.with_code(results))
        id = f"{run.id}/{talk.scenario}/{talk.trial}"
        belongs = {"id": id, "environment": run.environment, "run": run.id, "instructions": run.instructions}
        tried = await play_recording(played, _recording(talk), seed=seed, trial=talk.trial, belongs=belongs)
        wrote = any(case.world.tools[name].kind == "write" for name in code)
        calls = [
            e for e in tried.conversation.log if isinstance(e, ToolEntry) and e.by != "world" and e.turn > 0
        ]
        others = _other_results(calls, talk)
        compared.calls += len(calls)
        compared.other_results += len(others)
        compared.unknown += blocked and wrote
        conversation = tried.conversation.model_copy(
            update={
                "state_known": not (blocked and wrote),
                "origin": Origin(
                    format=format,
                    file=past.name,
                    reward=talk.reward,
                    other_results=others,
                    x_source=talk.x_source,
                ),
                "models": {role: ModelUse(name=name) for role, name in past.models.items()},
            }
        )
        verdict = await anyio.to_thread.run_sync(grade, conversation, case.plan, case.world.base, expected)
        keep = self._trials.keep
        return await anyio.to_thread.run_sync(keep, cases, conversation, verdict), verdict

    def _finish(self, run: RunRecord) -> RunRecord:
        self._archive.runs.put(run.id, run.model_copy(update={"series": run.id}))
        self._archive.runs.audit("import", run.id)
        return self._scoring.score(run.id)

    def _spent(self, environment: str, talks: Sequence[PastTalk]) -> int:
        """Whoever has the file has its held-out conversations; how many held-out scenarios it shows."""
        hidden = 0
        for slug in {talk.scenario for talk in talks}:
            record = self._archive.scenarios.find(f"{environment}/{slug}")
            if record is not None and record.split == "held_out":
                hidden += 1
                spend(self._archive, record.id)
        return hidden

    def _blocked(self, owner: EnvironmentRecord, talks: Sequence[PastTalk]) -> str:
        """Why the code of the called tools may not run, for the first that may not."""
        world = self._trials.world(owner.world)
        for talk in talks:
            for name in _code_called(talk, world):
                why = self._why_not(_python(world, name))
                if why:
                    return why
        return ""


def _code_called(talk: PastTalk, world: CompiledWorld) -> list[str]:
    return list(
        dict.fromkeys(e.tool for e in talk.entries if e.tool is not None and e.tool in world.code_tools)
    )


def _python(world: CompiledWorld, tool: str) -> str:
    impl = world.tools[tool].tool.impl
    return (impl.python or "") if impl is not None else ""


def _recording(talk: PastTalk) -> Recording:
    lines: list[dict[str, Any]] = []
    message = 0
    for entry in talk.entries:
        message += entry.first_of_reply
        lines.append({**_line(entry), "message": message if entry.tool else 0})
    end = {"reason": talk.end, "detail": talk.detail}
    return Recording.model_validate(
        {"scenario": talk.scenario, "trial": talk.trial, "log": lines, "end": end}
    )


def _line(entry: PastEntry) -> dict[str, Any]:
    if entry.tool is None:
        return {"by": entry.by, "say": entry.say or ""}
    own = {"kind": "own", "result": entry.result} if entry.own else {}
    return {"by": entry.by, "tool": entry.tool, "args": entry.args, **own}


def _other_results(calls: Sequence[ToolEntry], talk: PastTalk) -> list[int]:
    """`n` of the calls whose result text differs from the recorded one."""
    recorded = [entry for entry in talk.entries if entry.tool is not None]
    return [
        call.n
        for call, entry in zip(calls, recorded, strict=False)
        if entry.result is not None and as_text(call.result) != as_text(entry.result)
    ]


def _shares(rewards: Sequence[tuple[str, float | None]]) -> dict[str, Any]:
    """How many had the full reward, and pass^k over the scenarios, as long as each has k trials."""
    by_scenario: dict[str, list[bool]] = {}
    for scenario, reward in rewards:
        if reward is not None:
            by_scenario.setdefault(scenario, []).append(reward >= 1 - SAME)
    fields: dict[str, Any] = {"trials": sum(map(len, by_scenario.values()))}
    fields["rewarded"] = sum(sum(row) for row in by_scenario.values())
    for k in range(1, min(map(len, by_scenario.values()), default=0) + 1):
        fields[f"pass^{k}"] = round(sum(_hat(by_scenario.values(), k)) / len(by_scenario), 6)
    return fields


def _hat(rows: Any, k: int) -> Iterator[float]:
    for row in rows:
        yield pass_hat_k(len(row), sum(row), k) or 0.0


def _differ(recorded: float | None, ours: float | None) -> bool:
    return recorded is not None and ours is not None and abs(recorded - ours) > SAME


def _other_verdict(recorded: float | None, verdict: Verdict) -> bool:
    """Whether what was rewarded does not pass here, or the other way round; undecided verdicts count as neither."""
    if recorded is None or verdict.verdict not in ("pass", "fail"):
        return False
    return (recorded >= 1 - SAME) != (verdict.verdict == "pass")


def _warnings(compared: Compared, hidden: int) -> list[str]:
    told = compared.summary()
    warnings: list[str] = []
    other = told["original_reward"]["other"]
    if other:
        warnings.append(f"The original rule gives another reward than was recorded for {', '.join(other)}.")
    if told["ours"]["changed"]:
        seen = ", ".join(told["ours"]["other_than_recorded"])
        warnings.append(
            f"Our verdict is another than the recorded reward in {plural(told['ours']['changed'], 'trial')}: {seen}."
        )
    if compared.other_results:
        warnings.append(
            f"{compared.other_results} of {plural(compared.calls, 'call')} gave another result than was recorded: the "
            "tools or their data have changed since."
        )
    if hidden:
        warnings.append(shown_by_file(hidden))
    return warnings
