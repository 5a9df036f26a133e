"""The work of a hardening: a Hardener put together from what is stored, and the search or proof run by it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio.to_thread

from ..evaluate import clusters
from ..harden import Case, Hardener, RulesWriter, TrialOutcome, hidden_texts, known_of
from ..records.environment import EnvironmentRecord
from ..records.hardening import Hardening
from ..records.run import Cluster, RunRecord
from ..records.scenario import Scenario, ScenarioRecord
from ..records.simulation import SimulationRecord
from .archive import Archive, utc_now
from .arena import Arena, can_serve_as_base
from .run_drafts import agent_of
from .scoring import Scoring
from .trials import TrialRunner
from .worlds import Worlds

Counted = Callable[[int], Awaitable[None]]
"""Told how many trials were asked for and are there."""


class Proving:
    """Runs hardenings; every step is saved, so that a second call goes on where the first was stopped."""

    def __init__(self, archive: Archive, worlds: Worlds, trials: TrialRunner, scoring: Scoring) -> None:
        self._archive = archive
        self._worlds = worlds
        self._trials = trials
        self._scoring = scoring

    async def search(self, record: Hardening, tell: Counted) -> Hardening:
        """Search and prove, or with strategy submit run the base and leave a brief."""
        hardener, arena = await anyio.to_thread.run_sync(self._hardener, record, tell)
        return await self._scored(arena, await hardener.run(record))

    async def prove(self, record: Hardening, candidate: str, tell: Counted) -> Hardening:
        """Run a submitted candidate on train and, if it holds, on held-out."""
        found = record.find(candidate)
        if found is None or found.outcome is not None:
            return record
        hardener, arena = await anyio.to_thread.run_sync(self._hardener, record, tell)
        return await self._scored(arena, await hardener.prove(record, candidate))

    def guarded(self, record: Hardening) -> Hardener:
        """A hardener that only looks at texts."""
        return self._hardener(record, _silent)[0]

    def simulations(self, record: Hardening) -> list[SimulationRecord]:
        """The simulations that a hardening works on, as far as they are still there."""
        chosen = set(record.simulations)
        return [
            s for s in self._archive.simulations.where(environment=record.environment) if s.slug in chosen
        ]

    def score_runs(self, hardening: str) -> None:
        """Score the runs of a hardening as far as they came. For a worker thread."""
        for run in self._archive.runs.where(hardening=hardening):
            self._scoring.score(run.id)

    async def _scored(self, arena: Arena, record: Hardening) -> Hardening:
        for cases in arena.runs().values():
            await anyio.to_thread.run_sync(self._scoring.score, cases.run.id)
        if record.outcome is not None and not record.ended_at:
            record.ended_at = utc_now()
            self._archive.hardenings.put(record.id, record)
        return record

    def _hardener(self, record: Hardening, tell: Counted) -> tuple[Hardener, Arena]:
        owner = self._archive.environments.get(record.environment)
        simulations = self.simulations(record)
        scenarios = {r.scenario.id: r for r in self._archive.scenarios.where(environment=owner.id)}
        arena, hash = self._arena(record, owner, simulations, tell)
        world = self._worlds.get(hash)
        specs = {id: r.scenario for id, r in scenarios.items()}

        def found(outcomes: Sequence[TrialOutcome]) -> list[Cluster]:
            rows = [r for r in arena.records(outcomes) if r.split == "train"]
            run = outcomes[0].conversation.partition("/")[0] if outcomes else ""
            return clusters(rows, world, specs, run)

        async def save(hardening: Hardening) -> None:
            self._archive.hardenings.put(hardening.id, hardening)

        used = {s.scenario for s in simulations}
        personas = [r.persona for r in self._archive.personas.where(environment=owner.id)]
        hardener = Hardener(
            trials=arena,
            cases=[
                Case(s.slug, s.scenario, scenarios[s.scenario].split, scenarios[s.scenario].spent)
                for s in simulations
            ],
            clusters=found,
            known=known_of(world.world),
            hidden=hidden_texts([_told_split(scenarios[id]) for id in sorted(used)], personas, world.world),
            writer=RulesWriter() if record.strategy == "rules" else None,
            save=save,
        )
        return hardener, arena

    def _arena(
        self,
        record: Hardening,
        owner: EnvironmentRecord,
        simulations: Sequence[SimulationRecord],
        tell: Counted,
    ) -> tuple[Arena, str]:
        """The arena, and the hash of its world."""
        base = self._archive.runs.find(record.base_run) if record.base_run else None
        pattern = RunRecord(
            id="",
            environment=owner.id,
            world=base.world if base else owner.world,
            models=record.models,
            agent=agent_of(owner),
            simulations=[s.slug for s in simulations],
            seed=record.seed,
            options={"limits": owner.settings.limits, "user_guidelines": owner.settings.user_guidelines},
        )
        if base is not None and not can_serve_as_base(base, pattern, record):
            told = f"{base.id} was made under other settings; the base is run anew."
            if told not in record.warnings:
                record.warnings.append(told)
            pattern.world, base = owner.world, None
        arena = Arena(self._archive, self._trials, record, pattern, simulations, owner.agent, base, tell)
        return arena, pattern.world


async def _silent(trials: int) -> None:
    """Nobody is told."""


def _told_split(record: ScenarioRecord) -> Scenario:
    """The scenario with the split that it was stored under."""
    return record.scenario.model_copy(update={"split": record.split})
