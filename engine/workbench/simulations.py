"""Simulations: test cases made of personas and scenarios, paired or by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..canonical import digest
from ..errors import Conflict, InvalidArgument, NextCall
from ..exchange import CaseFolder
from ..ids import check_slug, simulation_slug, split_nested
from ..records.authored import load
from ..records.environment import EnvironmentRecord
from ..records.persona import Persona
from ..records.scenario import ScenarioRecord
from ..records.simulation import SimulationRecord, SimulationSpec
from .archive import Archive, utc_now
from .authoring import Authoring
from .jobs import Jobs
from .results import Creation

Pairing = Literal["cover", "all"]
MOST = 100_000
SHOWN = 20
"""Ids of made simulations that a reply lists."""


class Simulations:
    """Makes simulations: a covering sample, the whole product, or single ones by hand."""

    def __init__(self, archive: Archive, jobs: Jobs) -> None:
        self._archive = archive
        self._jobs = jobs
        jobs.handle("simulations", self._perform)

    async def create(
        self,
        environment: str,
        *,
        pairing: str = "cover",
        count: int = 0,
        personas: Sequence[str] = (),
        scenarios: Sequence[str] = (),
        simulations: Sequence[Any] = (),
        wait_s: float = 20,
    ) -> Creation:
        """Make them; as a job with counts for pairs, at once for those made by hand.

        `cover`: each persona and scenario at least once, in `count` pairs (0: the fewest). `all`: the product.
        """
        owner = self._archive.environments.get(environment, "environment")
        if simulations:
            return self._by_hand(owner, simulations)
        pairs = self._pairs(owner, pairing, count, personas, scenarios)
        job, _ = self._jobs.create(
            "simulations",
            {"environment": environment, "pairs": pairs},
            total=len(pairs),
            environment=environment,
        )
        self._jobs.launch(job)
        job = await self._jobs.settled(job.id, wait_s)
        creation = self.report(environment, job.result or {})
        creation.job = job
        return creation

    def report(self, environment: str, result: dict[str, Any]) -> Creation:
        """What a finished job made; its first ids and how many there are."""
        made: list[str] = result.get("made", [])
        return Creation(
            environment=environment,
            kind="simulation",
            made=made,
            unchanged=result.get("unchanged", []),
            checked={"shown": len(made), "of": result.get("of", 0)} if result else {},
            counts={"simulations": self._archive.simulations.count(environment=environment)},
        )

    def cover(self, environment: EnvironmentRecord) -> None:
        """The fewest simulations in which every persona and scenario stands."""
        self._store_pairs(environment.id, self._pairs(environment, "cover", 0, (), ()))

    def of_folder(self, environment: EnvironmentRecord, folder: CaseFolder) -> None:
        """Make what a folder says, in place of what it made before."""
        if folder.simulations:
            self._by_hand(environment, list(folder.simulations), replace=True)
        elif self._archive.scenarios.count(environment=environment.id):
            self._store_pairs(environment.id, self._pairs(environment, folder.pairing, 0, (), ()))

    async def _perform(self, job: Any) -> dict[str, Any]:
        made, unchanged = self._store_pairs(job.spec["environment"], job.spec["pairs"])
        self._archive.store.jobs.progress(
            job.id, completed=len(job.spec["pairs"]), total=len(job.spec["pairs"])
        )
        return {"made": made[:SHOWN], "unchanged": unchanged[:SHOWN], "of": len(made)}

    def _store_pairs(self, environment: str, pairs: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
        records: dict[str, SimulationRecord] = {}
        unchanged: list[str] = []
        for scenario, persona in pairs:
            slug = simulation_slug(scenario, persona)
            id = f"{environment}/{slug}"
            if self._archive.simulations.find(id) is not None:
                unchanged.append(id)
                continue
            records[id] = SimulationRecord(
                id=id,
                environment=environment,
                slug=slug,
                scenario=scenario,
                persona=persona,
                source="generated",
                created_at=utc_now(),
            )
        self._archive.simulations.put_many(records)
        if records:
            self._archive.store.audit("create", "simulation", environment, count=len(records))
        return list(records), unchanged

    def _pairs(
        self,
        environment: EnvironmentRecord,
        pairing: str,
        count: int,
        personas: Sequence[str],
        scenarios: Sequence[str],
    ) -> list[list[str]]:
        """(scenario, persona) of each simulation, in the order of the scenarios."""
        if pairing not in ("cover", "all"):
            raise InvalidArgument(f"`{pairing[:40]}` is no pairing.", where="pairing", allowed="cover, all")
        cases = self._chosen_scenarios(environment, scenarios)
        people = self._chosen_personas(environment, personas)
        if not cases:
            call = NextCall("generate_scenarios", {"environment": environment.id, "count": 5})
            raise Conflict(
                f"{environment.id} has no scenarios.",
                where="environment",
                allowed="at least one",
                next=[call],
            )
        fixed = [
            [case.scenario.id, _partner(case)]
            for case in cases
            if case.scenario.persona is not None and not personas
        ]
        free = [case for case in cases if case.scenario.persona is None or personas]
        if pairing == "all":
            pairs = [[c.scenario.id, p] for c in cases for p in (people or [_partner(c)])]
        else:
            pairs = fixed + _cover([c.scenario.id for c in free], people, count - len(fixed) if count else 0)
        if not pairs:
            raise Conflict("There is nothing to pair.", where="personas", allowed="scenarios and personas")
        if len(pairs) > MOST:
            raise InvalidArgument(
                f"{len(pairs):,} simulations are too many.", where="count", allowed=f"up to {MOST:,}"
            )
        return pairs

    def _chosen_scenarios(
        self, environment: EnvironmentRecord, chosen: Sequence[str]
    ) -> list[ScenarioRecord]:
        if not chosen:
            found = self._archive.scenarios.where(environment=environment.id)
            return sorted(found, key=lambda record: record.number)
        return [
            self._archive.scenarios.get("/".join(split_nested(name, environment.id)), f"scenarios[{k}]")
            for k, name in enumerate(chosen)
        ]

    def _chosen_personas(self, environment: EnvironmentRecord, chosen: Sequence[str]) -> list[str]:
        if not chosen:
            return [record.persona.id for record in self._archive.personas.where(environment=environment.id)]
        ids = ["/".join(split_nested(name, environment.id)) for name in chosen]
        return [self._archive.personas.get(id, f"personas[{k}]").persona.id for k, id in enumerate(ids)]

    def _by_hand(
        self, environment: EnvironmentRecord, specs: Sequence[Any], replace: bool = False
    ) -> Creation:
        going = Authoring("simulation", environment.id, self._archive.simulations, replace)
        records: list[SimulationRecord] = []
        for k, item in enumerate(specs):
            where = f"simulations[{k}]"
            with going.refusing(where):
                record = self._of_spec(environment, load(SimulationSpec, item, where), where)
                before = self._archive.simulations.find(record.id)
                if going.take(record.id, _content(record), _content(before) if before else None, where):
                    records.append(record)
        return going.finish(self._archive.simulations, records)

    def _of_spec(self, environment: EnvironmentRecord, spec: SimulationSpec, where: str) -> SimulationRecord:
        scenario = split_nested(spec.scenario, environment.id)
        found = self._archive.scenarios.get("/".join(scenario), f"{where}.scenario")
        persona = split_nested(spec.persona, environment.id)[1] if spec.persona else _partner(found)
        inline = isinstance(found.scenario.persona, Persona) and persona == found.scenario.persona.id
        if persona and not inline:
            self._archive.personas.get(f"{environment.id}/{persona}", f"{where}.persona")
        slug = check_slug(spec.id or simulation_slug(scenario[1], persona), f"{where}.id")
        return SimulationRecord(
            id=f"{environment.id}/{slug}",
            environment=environment.id,
            slug=slug,
            scenario=scenario[1],
            persona="" if inline else persona,
            user_input=spec.user_input,
            expected_output=spec.expected_output,
            ground_truth=spec.ground_truth,
            created_at=utc_now(),
        )


def _partner(record: ScenarioRecord) -> str:
    """The scenario's default partner as a slug, or ""."""
    partner = record.scenario.persona
    return partner.id if isinstance(partner, Persona) else partner or ""


def _cover(scenarios: Sequence[str], personas: Sequence[str], count: int) -> list[list[str]]:
    """Pairs in which each scenario and persona stands at least once; more than the fewest go on round robin."""
    if not scenarios:
        return []
    if not personas:
        return [[scenario, ""] for scenario in scenarios]
    fewest = max(len(scenarios), len(personas))
    wanted = min(max(count, fewest), len(scenarios) * len(personas))
    pairs: list[list[str]] = []
    seen: set[tuple[str, str]] = set()
    shift = 0
    while len(pairs) < wanted:
        for k in range(fewest):
            scenario = scenarios[k % len(scenarios)]
            persona = personas[(k + shift) % len(personas)]
            if (scenario, persona) not in seen and len(pairs) < wanted:
                seen.add((scenario, persona))
                pairs.append([scenario, persona])
        shift += 1
    return pairs


def _content(record: SimulationRecord) -> str:
    return digest(record.model_dump(mode="json", exclude={"version", "source", "created_at", "updated_at"}))
