"""The work of a hardening: a Hardener built from its snapshot, and the search or proof that it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio.to_thread

from ..evaluate import clusters, must_succeed
from ..harden import (
    Case,
    Hardener,
    InstructionWriter,
    ReflectWriter,
    RulesWriter,
    TrialOutcome,
    hidden_texts,
    known_of,
    lint_cases,
)
from ..llm import RELAY
from ..records.environment import AgentSpec, short_name
from ..records.hardening import Candidate, Hardening
from ..records.run import Cluster
from .archive import Archive, utc_now
from .arena import Arena, Counted, is_whole
from .budget import Budget, Spent
from .judging import Judging
from .looks import LookLedger
from .means import Means
from .meetings import at_odds_warnings, means_harm
from .pacing import Pacing
from .policies import unread_policy
from .role_models import RoleModels, judges_itself, lent_roles
from .scoring import Scoring
from .snapshots import Snapshots, with_stored_split
from .trials import TrialRunner
from .worlds import Worlds
from .writing import PacedWriter, TrainRecords

Check = Callable[[], None]
"""Called before each write; raises if this process may no longer write for the hardening."""


class Proving:
    """Runs hardenings; every step is saved, so that a second call resumes where the first was stopped."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        trials: TrialRunner,
        scoring: Scoring,
        snapshots: Snapshots,
        looks: LookLedger,
        judging: Judging,
        models: RoleModels,
        means: Means,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._trials = trials
        self._scoring = scoring
        self._snapshots = snapshots
        self._looks = looks
        self._judging = judging
        self._models = models
        self._means = means

    async def check_means(self, record: Hardening) -> None:
        """Raise what this process lacks for the trials and the writer of a hardening that has its snapshot."""
        await self._means.of_trials(self._snapshots.pattern(record))
        if record.strategy == "reflect":
            await self._means.of_model("writer", record.models["writer"], record.limits.cassette or None)

    async def search(self, record: Hardening, tell: Counted, check: Check) -> Hardening:
        """Search and prove, or with strategy submit run the base and leave a brief. Raises what `check` raises."""
        hardener = await anyio.to_thread.run_sync(self._hardener, record, tell, check, record.job)
        if record.outcome is None:
            held_out = {case.scenario for case in hardener.cases if case.split == "held_out"}
            record.looks = self._looks.count(record.environment, held_out, but=record.id)
        return await self._scored(await hardener.run(record), check)

    async def prove(self, record: Hardening, candidate: str, tell: Counted, check: Check) -> Hardening:
        """Run a submitted candidate on train and, if it holds, on held-out. Raises what `check` raises."""
        found = record.find(candidate)
        if found is None or found.outcome is not None:
            return await self._scored(record, check)
        hardener = await anyio.to_thread.run_sync(self._hardener, record, tell, check, found.job)
        return await self._scored(await hardener.prove(record, candidate), check)

    def alike(self, one: Hardening, other: Hardening) -> bool:
        """Whether a proof of a text in one would equal that in the other. Run in a worker thread."""
        return self._snapshots.alike(one, other)

    def guarded(self, record: Hardening) -> Hardener:
        """A hardener that only runs the guards."""
        return self._hardener(record, _silent, _anybody)

    def score_runs(self, hardening: str) -> None:
        """Score the runs of a hardening as far as they got. Run in a worker thread."""
        for run in self._archive.runs.where(hardening=hardening):
            if is_whole(run):
                self._scoring.score(run.id)

    async def _scored(self, record: Hardening, check: Check) -> Hardening:
        check()
        await anyio.to_thread.run_sync(self.score_runs, record.id)
        if record.outcome is None or record.ended_at:
            return record

        def end(stored: Hardening) -> Hardening:
            stored.ended_at = stored.ended_at or utc_now()
            return stored

        return self._archive.hardenings.change(record.id, end)

    def _spent(self, hardening: Hardening) -> Spent:
        runs = self._archive.runs.where(hardening=hardening.id)
        written = [written.use for written in hardening.written if written.use]
        return Spent.of([*(use for run in runs for use in self._scoring.used(run)), *written])

    def _hardener(self, record: Hardening, tell: Counted, check: Check, job: str = "") -> Hardener:
        """`job`: of a candidate; what only its own trials have shown the client does not count as seen."""
        taken = self._snapshots.taken(record)
        record.snapshot = taken.snapshot
        record.simulations, record.left_out = taken.simulations, taken.left_out
        pattern, cases = self._snapshots.pattern(record), self._snapshots.cases(record)
        limits = record.limits
        budget = Budget.model_validate(limits.budget)
        pacing = Pacing(limits.concurrency, limits.pause_after, budget, self._spent(record))
        arena = Arena(
            self._archive, self._trials, self._snapshots, record, tell, check, pacing, self._judging
        )
        world, agent = self._worlds.get(pattern.world), AgentSpec.model_validate(pattern.agent)
        parts = [cases.parts(slug) for slug in (*record.simulations, *record.left_out)]
        specs, left_out = {part.scenario.id: with_stored_split(part) for part in parts}, set(record.left_out)
        spent = {id for id in specs if self._looks.is_spent(f"{record.environment}/{id}", job)}

        writes = [name for name, tool in world.tools.items() if tool.kind == "write"]
        obeyed = [
            p.row.slug
            for p in parts
            if p.user is not None
            and means_harm(p.user)
            and must_succeed(p.scenario, world, p.user.data.sides())
        ]

        def found(outcomes: Sequence[TrialOutcome]) -> list[Cluster]:
            rows = [r for r in arena.records(outcomes) if r.split == "train"]
            run = outcomes[0].conversation.partition("/")[0] if outcomes else ""
            return clusters(rows, world, specs, run)

        async def save(hardening: Hardening) -> None:
            with self._archive.hardenings.table.transaction():
                check()
                self._archive.hardenings.put(hardening.id, hardening)

        async def look(hardening: Hardening, candidate: Candidate, scenarios: Sequence[str]) -> int:
            check()
            return self._looks.take(hardening, candidate, scenarios)

        return Hardener(
            trials=arena,
            cases=[
                Case(
                    p.row.slug,
                    p.scenario.id,
                    specs[p.scenario.id].split or "train",
                    p.scenario.id in spent,
                    p.row.slug in left_out,
                )
                for p in parts
            ],
            clusters=found,
            known=known_of(world.world, [specs[id] for id in sorted(specs)]),
            hidden=hidden_texts(
                [specs[id] for id in sorted(specs)], self._snapshots.personas(record), world.world
            ),
            writer=self._writer(record, pacing),
            save=save,
            look=look,
            lent=_lent(record, agent),
            judges_itself=judges_itself(pattern.models, agent),
            told=[
                *unread_policy(self._worlds, world, record.base_text, agent),
                *lint_cases(specs.values(), writes),
                *at_odds_warnings(obeyed),
            ],
        )

    def _writer(self, record: Hardening, pacing: Pacing) -> InstructionWriter | None:
        if record.strategy == "reflect":
            model = self._models.open(
                record.models["writer"], "models.writer", record.limits.cassette or None
            )
            paced = PacedWriter(model, pacing.meter, record)
            return ReflectWriter(paced, TrainRecords(self._archive).of, record.seed)
        return RulesWriter() if record.strategy == "rules" else None


def _lent(record: Hardening, agent: AgentSpec) -> list[str]:
    """The roles that a client plays itself, including the writer's."""
    writes = record.strategy == "reflect" and short_name(record.models["writer"]) == RELAY
    return [*lent_roles(record.models, agent), *(["writer"] if writes else [])]


async def _silent(trials: int) -> None:
    """Ignores progress."""


def _anybody() -> None:
    """Always allowed: no ownership check."""
