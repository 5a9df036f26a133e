"""Simulations: test cases that combine personas and scenarios, paired or by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from ..errors import InvalidArgument, NotFound, did_you_mean
from ..exchange import CaseFolder
from ..ids import check_slug, simulation_slug, split_nested
from ..records.authored import load
from ..records.environment import EnvironmentRecord
from ..records.job import Job
from ..records.persona import Persona
from ..records.simulation import SimulationRecord, SimulationSpec
from .archive import Archive, utc_now
from .authoring import MOST, Authoring
from .jobs import Jobs, check_wait
from .meetings import Meetings, at_odds_warnings, means_harm
from .pairs import Pair, Pairs, partner
from .plain import check_plain
from .results import Creation
from .worlds import Worlds

SHOWN = 20
"""Ids of new simulations that a reply lists."""
_AT_ONCE = 500
"""Simulations stored in one step; other work may run in between."""


class Simulations:
    """Creates simulations: a covering sample, the whole product, or single ones by hand."""

    def __init__(self, archive: Archive, worlds: Worlds, jobs: Jobs) -> None:
        self._archive = archive
        self._worlds = worlds
        self._jobs = jobs
        self._pairs = Pairs(archive, worlds)
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
        """Create simulations; pairs as a job with counts, those by hand at once.

        `cover`: each persona and scenario at least once, in `count` pairs (0: the fewest). `all`: the product.
        """
        check_wait(wait_s)
        owner = self._archive.environments.get(environment, "environment")
        if simulations:
            if personas or scenarios:
                raise InvalidArgument(
                    "Give `simulations`, or what to pair.",
                    where="simulations",
                    allowed="simulations alone, or personas and scenarios",
                )
            return await self._by_hand(owner, simulations)
        spec = {
            "environment": environment,
            "pairing": pairing,
            "count": count,
            "personas": list(personas),
            "scenarios": list(scenarios),
        }
        total = len((await anyio.to_thread.run_sync(self._pairs.of, spec)).pairs)
        job, _ = self._jobs.create("simulations", spec, total=total, environment=environment)
        self._jobs.launch(job)
        return self.report(await self._jobs.settled(job.id, wait_s))

    def report(self, job: Job) -> Creation:
        """What a job made: its first ids and the total. Its error if it failed."""
        self._jobs.raise_failure(job)
        environment: str = job.spec["environment"]
        result = job.result or {}
        made: list[str] = result.get("made", [])
        warnings: list[str] = [*result.get("told", [])]
        same = result.get("same", 0)
        if same > len(result.get("unchanged", [])):
            warnings.append(f"{same:,} were there already; unchanged lists {SHOWN} of them.")
        return Creation(
            environment=environment,
            kind="simulation",
            made=made,
            unchanged=result.get("unchanged", []),
            checked={"shown": len(made), "of": result.get("of", 0)} if result else {},
            counts={"simulations": self._archive.simulations.count(environment=environment)},
            warnings=warnings,
            job=job,
        )

    def cover(self, environment: str) -> list[str]:
        """Create the fewest simulations that include every persona and scenario; warnings about those left out."""
        paired = self._pairs.of({"environment": environment})
        self._store(environment, paired.pairs)
        return paired.told

    def lint(
        self, environment: str, specs: Sequence[Any], scenarios: Collection[str], personas: Collection[str]
    ) -> list[dict[str, str]]:
        """What would be refused given these scenarios and personas (slugs), without storing anything."""
        going = Authoring("simulation", environment, self._archive.simulations, True)
        for k, item in enumerate(specs):
            where = f"simulations[{k}]"
            with going.refusing(where):
                check_plain(item, where)
                spec = load(SimulationSpec, item, where)
                named = (("scenario", spec.scenario, scenarios), ("persona", spec.persona, personas))
                for kind, id, known in named:
                    slug = split_nested(id, environment)[1] if id else ""
                    if slug and slug not in known:
                        near = did_you_mean(slug, known)
                        raise NotFound(
                            f"No {kind} `{slug[:80]}`.{near}",
                            where=f"{where}.{kind}",
                            allowed=sorted(known)[:SHOWN] or f"no {kind} is there",
                        )
        return going.refused

    async def of_folder(self, environment: EnvironmentRecord, folder: CaseFolder) -> list[str]:
        """Create what a folder says, replacing what it created before; warnings."""
        if folder.simulations:
            made = await self._by_hand(environment, list(folder.simulations), replace=True)
            if made.refused:
                first = made.refused[0]
                raise InvalidArgument(first["what"], where=first["at"], allowed=first.get("allowed", ""))
            return made.warnings
        if folder.pairing == "none" or not self._archive.scenarios.count(environment=environment.id):
            return []
        spec = {"environment": environment.id, "pairing": folder.pairing}
        paired = await anyio.to_thread.run_sync(self._pairs.of, spec)
        await anyio.to_thread.run_sync(self._store, environment.id, paired.pairs)
        return paired.told

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        paired = await anyio.to_thread.run_sync(self._pairs.of, job.spec)
        pairs, environment = paired.pairs, str(job.spec["environment"])
        made: list[str] = []
        unchanged: list[str] = []
        for k in range(0, len(pairs), _AT_ONCE):
            new, old = self._store(environment, pairs[k : k + _AT_ONCE])
            made += new
            unchanged += old
            done = len(made) + len(unchanged)
            self._archive.store.jobs.progress(job.id, completed=done, total=len(pairs))
            await anyio.lowlevel.checkpoint()
        return {
            "made": made[:SHOWN],
            "unchanged": unchanged[:SHOWN],
            "of": len(made),
            "same": len(unchanged),
            "told": paired.told,
        }

    def _store(self, environment: str, pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
        """(made, unchanged) ids."""
        records: dict[str, SimulationRecord] = {}
        unchanged: list[str] = []
        for pair in pairs:
            slug = simulation_slug(pair.scenario, pair.name)
            id = f"{environment}/{slug}"
            if self._archive.simulations.find(id) is not None:
                unchanged.append(id)
                continue
            records[id] = SimulationRecord(
                id=id,
                environment=environment,
                slug=slug,
                scenario=pair.scenario,
                persona=pair.persona,
                source="generated",
                created_at=utc_now(),
            )
        self._archive.simulations.put_many(records)
        if records:
            self._archive.store.audit("create", "simulation", environment, count=len(records))
        return list(records), unchanged

    async def _by_hand(
        self, environment: EnvironmentRecord, specs: Sequence[Any], replace: bool = False
    ) -> Creation:
        going = Authoring("simulation", environment.id, self._archive.simulations, replace)
        records: list[SimulationRecord] = []
        if len(specs) > MOST:
            raise InvalidArgument(
                f"{len(specs):,} simulations are too many.",
                where="simulations",
                allowed=f"up to {MOST:,} a call",
            )
        for k, item in enumerate(specs):
            await anyio.lowlevel.checkpoint()
            where = f"simulations[{k}]"
            with going.refusing(where):
                check_plain(item, where)
                record = self._of_spec(environment, load(SimulationSpec, item, where), where)
                before = self._archive.simulations.find(record.id)
                if going.take(record.id, _content(record), _content(before) if before else None, where):
                    records.append(record)
        made = await anyio.to_thread.run_sync(going.finish, self._archive.simulations, records)
        made.warnings += await anyio.to_thread.run_sync(self._at_odds, environment.id, records)
        return made

    def _at_odds(self, environment: str, records: Sequence[SimulationRecord]) -> list[str]:
        """Warnings about simulations by hand in which a user that means harm would have to be obeyed."""
        meetings: Meetings | None = None
        found: list[str] = []
        for record in records:
            scenario = self._archive.scenarios.get(f"{environment}/{record.scenario}").scenario
            known = self._archive.personas.find(f"{environment}/{record.persona}") if record.persona else None
            inline = scenario.persona if isinstance(scenario.persona, Persona) else None
            persona = known.persona if known else inline
            if means_harm(persona):
                meetings = meetings or Meetings(self._archive, self._worlds, environment)
                found += [record.slug] if meetings.must_succeed(scenario, persona) else []
        return at_odds_warnings(found)

    def _of_spec(self, environment: EnvironmentRecord, spec: SimulationSpec, where: str) -> SimulationRecord:
        owner, scenario = split_nested(spec.scenario, environment.id)
        found = self._archive.scenarios.get(f"{owner}/{scenario}", f"{where}.scenario")
        if owner != environment.id:
            raise InvalidArgument(
                f"`{spec.scenario}` is of {owner}.",
                where=f"{where}.scenario",
                allowed=f"scenarios of {environment.id}",
            )
        persona = split_nested(spec.persona, environment.id)[1] if spec.persona else partner(found)
        inline = isinstance(found.scenario.persona, Persona) and persona == found.scenario.persona.id
        if persona and not inline:
            self._archive.personas.get(f"{environment.id}/{persona}", f"{where}.persona")
        slug = check_slug(spec.id or simulation_slug(scenario, persona), f"{where}.id")
        return SimulationRecord(
            id=f"{environment.id}/{slug}",
            environment=environment.id,
            slug=slug,
            scenario=scenario,
            persona="" if inline else persona,
            user_input=spec.user_input,
            expected_output=spec.expected_output,
            ground_truth=spec.ground_truth,
            created_at=utc_now(),
        )


def _content(record: SimulationRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude={"version", "source", "created_at", "updated_at"})
