"""Where a hardening's trials run: every text it tries has a run of its own, whose trials are kept and given again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from ..harden import Purpose, TrialOutcome
from ..records.environment import AgentSpec
from ..records.hardening import Hardening
from ..records.run import RunRecord, TrialRecord
from ..records.simulation import SimulationRecord
from .archive import Archive, utc_now
from .trials import DEFAULT_CONCURRENCY, RunCases, TrialRunner, in_parallel

Counted = Callable[[int], Awaitable[None]]
"""Told how many trials were asked for and are there."""


class Arena:
    """Implements the seam that a hardening runs its trials through.

    `base` is a finished run whose trials serve for the base text, where seed, world and models are the same.
    """

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        hardening: Hardening,
        pattern: RunRecord,
        simulations: Sequence[SimulationRecord],
        spec: AgentSpec,
        base: RunRecord | None,
        tell: Counted,
    ) -> None:
        self._archive = archive
        self._trials = trials
        self._hardening = hardening
        self._pattern = pattern
        self._simulations = list(simulations)
        self._cast = trials.cast(spec, pattern.models)
        self._deterministic = _always_the_same(pattern.models, spec)
        self._base = base
        self._tell = tell
        self._runs: dict[str, RunCases] = {}

    async def run(
        self, instructions: str, simulations: Sequence[str], trials: range, purpose: Purpose
    ) -> Sequence[TrialOutcome]:
        """One outcome for each (simulation, trial); see `engine.harden.Trials`."""
        outcomes: list[TrialOutcome] = []
        cases = self._cases(instructions)
        wanted = [(simulation, trial) for simulation in simulations for trial in trials]
        table: Literal["trials", "again"] = "again" if purpose == "again" else "trials"

        async def one(simulation: str, trial: int) -> None:
            stored = self._of_base(instructions, simulation, trial) if table == "trials" else None
            record = (
                stored[1]
                if stored
                else await self._trials.execute(cases, self._cast, simulation, trial, table)
            )
            outcomes.append(self._outcome(record, stored[0] if stored else cases.run.id))
            await self._tell(1)

        await in_parallel(wanted, DEFAULT_CONCURRENCY, one)
        return outcomes

    def records(self, outcomes: Sequence[TrialOutcome]) -> list[TrialRecord]:
        """The stored trials behind outcomes."""
        found: list[TrialRecord] = []
        for outcome in outcomes:
            run = outcome.conversation.partition("/")[0]
            id = f"{outcome.simulation}/{outcome.trial}"
            again = self._archive.trials(run, "again").find(id)
            record = again or self._archive.trials(run).find(id)
            if record is not None:
                found.append(record)
        return found

    def runs(self) -> Mapping[str, RunCases]:
        """The runs used so far, by text."""
        return self._runs

    def _cases(self, text: str) -> RunCases:
        """The run of a text under this hardening, made when first asked for."""
        found = self._runs.get(text)
        if found is None:
            runs = self._archive.runs.where(hardening=self._hardening.id)
            stored = next(
                (run for run in runs if run.instructions_text == text and run.options.get("copied")), None
            )
            found = self._trials.cases(stored) if stored else self._new_run(text)
            self._runs[text] = found
        return found

    def _new_run(self, text: str) -> RunCases:
        run = self._pattern.model_copy(deep=True)
        run.id = self._archive.store.next_id("run")
        run.series, run.purpose, run.hardening = run.id, "hardening", self._hardening.id
        run.instructions = self._name_of(text)
        run.instructions_text = text
        run.created_at = utc_now()
        self._archive.runs.put(run.id, run)
        cases = self._trials.cases(run)
        cases.copy(self._archive, self._simulations)
        run.options["copied"] = True
        self._archive.runs.put(run.id, run)
        return cases

    def _name_of(self, text: str) -> str:
        if text == self._hardening.base_text:
            return self._hardening.base
        stored = self._archive.hardenings.get(self._hardening.id)
        candidates = [*self._hardening.candidates, *stored.candidates]
        return next((c.id for c in candidates if c.text == text), self._hardening.id)

    def _of_base(self, text: str, simulation: str, trial: int) -> tuple[str, TrialRecord] | None:
        if self._base is None or text != self._hardening.base_text:
            return None
        record = self._archive.trials(self._base.id).find(f"{simulation}/{trial}")
        return (self._base.id, record) if record else None

    def _outcome(self, record: TrialRecord, run: str) -> TrialOutcome:
        return TrialOutcome(
            simulation=record.simulation,
            scenario=record.scenario,
            trial=record.trial,
            verdict=record.verdict,
            checks={check.id: check.verdict for check in record.graded.checks if check.counts},
            conversation=f"{run}/{record.simulation}/{record.trial}",
            deterministic=self._deterministic,
        )


def can_serve_as_base(base: RunRecord, pattern: RunRecord, hardening: Hardening) -> bool:
    """Whether a run's trials are those that the hardening would run for its base text."""
    return (
        base.state == "done"
        and base.instructions_text == hardening.base_text
        and base.world == pattern.world
        and base.seed == pattern.seed
        and base.models == pattern.models
        and base.agent == pattern.agent
        and base.options.get("limits") == pattern.options.get("limits")
        and not base.options.get("limits_over")
    )


def _always_the_same(models: Mapping[str, str], spec: AgentSpec) -> bool:
    """Whether a trial gives the same again: offline without slips in every role that speaks."""
    speaking = (
        [models["user"]] if spec.kind == "recorded" else [models["user"], spec.model or models["agent"]]
    )
    return all(name == "offline" for name in speaking)
