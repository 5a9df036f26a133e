"""The cases of a run: what its simulations are made of, copied when it began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..records.authored import load
from ..records.persona import Persona
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import Limits, Scenario, Split
from ..records.session import BranchPoint
from ..records.simulation import SimulationRecord
from ..simulate import Case, prepare
from .archive import Archive
from .attempts import Attempts, is_spoiled
from .worlds import Worlds

KEPT_CASES = 256
"""Prepared cases of a run kept in memory: trials of one simulation follow each other."""


@dataclass(frozen=True, slots=True)
class CaseParts:
    """A simulation of a run with its records, as they were when the run began."""

    row: SimulationRecord
    scenario: Scenario
    persona: Persona | None
    """The stored one; it may be in the scenario instead."""
    split: Split

    @property
    def user(self) -> Persona | None:
        """The persona, wherever it is defined."""
        inline = self.scenario.persona if isinstance(self.scenario.persona, Persona) else None
        return self.persona or inline


class RunCases:
    """The cases of a run, from the records copied when it began.

    `check`: called before a trial is stored; raises if this process may no longer write for the run.
    """

    def __init__(
        self, archive: Archive, worlds: Worlds, run: RunRecord, check: Callable[[], None] | None = None
    ) -> None:
        self.run = run
        self.check = check or _anybody
        self._archive, self._worlds = archive, worlds
        self._world = worlds.get(run.world)
        self._attempts = Attempts(archive)
        self._failed = lru_cache(maxsize=None)(self._read_failed)
        store = archive.store
        self._scenarios = store.run_table(run.id, "scenarios")
        self._personas = store.run_table(run.id, "personas")
        self._simulations = store.run_table(run.id, "simulations")
        self._points = store.run_table(run.id, "points")
        self._prepared = lru_cache(maxsize=KEPT_CASES)(self._prepare)
        self._parts = lru_cache(maxsize=KEPT_CASES)(self._read)

    def copy(self, archive: Archive, simulations: Iterable[SimulationRecord]) -> None:
        """Copy what the simulations are made of, so that later changes do not touch this run."""
        chosen = list(simulations)
        environment = self.run.environment
        scenarios = {s.scenario: archive.scenarios.get(f"{environment}/{s.scenario}") for s in chosen}
        personas = {
            s.persona: archive.personas.get(f"{environment}/{s.persona}") for s in chosen if s.persona
        }
        for record in scenarios.values():
            partner = record.scenario.persona
            if isinstance(partner, str) and partner not in personas:
                found = archive.personas.find(f"{environment}/{partner}")
                if found is not None:
                    personas[partner] = found
        dump: Callable[[Any], dict[str, Any]] = lambda r: r.model_dump(mode="json", by_alias=True)  # noqa: E731
        self._scenarios.put_many({k: dump(r) for k, r in scenarios.items()})
        if personas:
            self._personas.put_many({k: dump(r) for k, r in personas.items()})
        self._simulations.put_many({s.slug: dump(s) for s in chosen})

    def copy_from(self, source: RunRecord, simulations: Iterable[str]) -> None:
        """Copy the cases of simulations from another run."""
        store = self._archive.store
        old = RunCases(self._archive, self._worlds, source)
        for slug in simulations:
            parts = old.parts(slug)
            personas = {parts.row.persona}
            if isinstance(parts.scenario.persona, str):
                personas.add(parts.scenario.persona)
            for table, ids in (
                ("simulations", {slug}),
                ("scenarios", {parts.row.scenario}),
                ("personas", personas),
            ):
                found = {id: store.run_table(source.id, table).find(id) for id in ids if id}
                rows = {id: row for id, row in found.items() if row is not None}
                if rows:
                    store.run_table(self.run.id, table).put_many(rows)

    def put_point(self, simulation: str, point: BranchPoint) -> None:
        """Make every trial of the simulation continue from that point."""
        self._points.put(simulation, point.model_dump(mode="json"))

    def point(self, simulation: str) -> BranchPoint | None:
        """Where the trials of a simulation continue from; None: they begin at the beginning."""
        found = self._points.find(simulation)
        return BranchPoint.model_validate(found) if found is not None else None

    def case(self, simulation: str) -> Case:
        """The prepared case of a simulation of this run; InvalidArgument if it does not fit the world."""
        return self._prepared(simulation)

    def parts(self, simulation: str) -> CaseParts:
        """What the case of a simulation is made of, whether or not it fits the world."""
        return self._parts(simulation)

    def attempt(self, simulation: str, trial: int, table: str) -> int:
        """The number of a trial's present attempt: one more than have failed."""
        return 1 + self._failed(table)[f"{simulation}/{trial}"]

    def fallen(self, simulation: str, trial: int, table: str) -> int:
        """How many of a trial's attempts its simulated user has spoiled."""
        kept = self._attempts.of_trial(self.run.id, f"{simulation}/{trial}", table)
        return sum(is_spoiled(record.end, record.error) for record in kept)

    def keep_beside(self, record: TrialRecord, table: str) -> None:
        """Keep an attempt that is being repeated, apart from the run's trials."""
        self._attempts.keep(self.run.id, record, table)
        self._failed(table)[record.id] += 1

    def seed(self, case: Case) -> int:
        """The seed of a case in this run, independent of the instructions."""
        return self.run.seed + case.scenario.seed

    def _read_failed(self, table: str) -> Counter[str]:
        """Failed attempts of each trial; only `keep_beside` adds to them while its trials go on."""
        return Counter(record.id for record in self._attempts.of_run(self.run.id, (table,)))

    def _read(self, simulation: str) -> CaseParts:
        row = SimulationRecord.model_validate(self._simulations.fetch(simulation, "simulation"))
        stored = self._scenarios.fetch(row.scenario, "scenario")
        scenario = Scenario.model_validate(stored["scenario"])
        name = row.persona or (scenario.persona if isinstance(scenario.persona, str) else "")
        known = self._personas.find(name) if name else None
        persona = Persona.model_validate(known["persona"]) if known else None
        return CaseParts(row, scenario, persona, stored["split"])

    def _prepare(self, simulation: str) -> Case:
        parts = self.parts(simulation)
        return prepare(
            self._world,
            parts.scenario,
            parts.persona,
            simulation=simulation,
            user_input=parts.row.user_input,
            expected_output=parts.row.expected_output,
            user_guidelines=str(self.run.options.get("user_guidelines", "")),
            limits=self._limits("limits"),
            limits_over=self._limits("limits_over"),
        )

    def _limits(self, name: str) -> Limits | None:
        limits: dict[str, Any] = self.run.options.get(name) or {}
        return load(Limits, limits, name) if limits else None


def _anybody() -> None:
    """Always allowed: no ownership check."""
