"""Scenarios of an environment: linted, checked by playing their own solution, split, stored."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as numbers
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from ..canonical import equal
from ..errors import InvalidArgument, NextCall, UserError
from ..evaluate import near_copies, near_copies_warning
from ..exchange import Roots
from ..generate.generated import Generated
from ..generate.scenarios import ALL_SCENARIO_KINDS, SEALED, generate_scenarios
from ..harden import assign_split
from ..ids import check_slug
from ..llm import RELAY, REPLAY
from ..records.authored import load
from ..records.environment import EnvironmentRecord, short_name
from ..records.persona import Persona, Source
from ..records.scenario import Scenario, ScenarioRecord, SolutionReport, Split
from ..simulate import Case, check_solution, prepare
from .archive import Archive, utc_now
from .authoring import MOST as MOST_OF_FILES, Authoring, read_items
from .generating import Generating
from .jobs import Jobs
from .looks import LookLedger
from .means import Means
from .personas import Personas
from .plain import check_plain
from .results import Creation
from .role_models import RoleModels
from .worlds import Worlds

MOST = 1000
"""Most scenarios per call: each is played."""


@dataclass(frozen=True, slots=True)
class Examined:
    """Scenarios that were checked and played, but not stored."""

    refused: list[dict[str, str]]
    """at, what, allowed"""
    solutions: dict[str, SolutionReport]
    """By the slug of the scenario."""

    @property
    def proven(self) -> int:
        return sum(solution.status == "proven" for solution in self.solutions.values())


class Scenarios:
    """Stores scenarios. With `check` a scenario whose own solution fails is refused."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        roots: Roots,
        models: RoleModels,
        jobs: Jobs,
        personas: Personas,
        means: Means,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._models = models
        self._personas = personas
        self.generating = Generating[Scenario](
            "scenario",
            ALL_SCENARIO_KINDS,
            archive.store,
            jobs,
            self._write,
            self._keep,
            means.of_writer,
        )

    async def create(
        self,
        environment: str,
        scenarios: Sequence[Any] = (),
        file: str = "",
        check: bool = True,
        *,
        source: Source = "written",
        replace: bool = False,
        solved: Mapping[str, SolutionReport] | None = None,
        sealed: bool = False,
    ) -> Creation:
        """Store them with lint, solution and baselines; an invalid one is refused with its path, the others are stored.

        `solved`: reports by scenario slug, if `examine` has played them already. `sealed`: held out, and nobody reads
        them before they have served a proof.
        """
        owner = self._archive.environments.get(environment, "environment")
        most = MOST if source == "written" else MOST_OF_FILES
        items = await anyio.to_thread.run_sync(
            read_items, scenarios, file, "scenarios", self._roots, "scenario-format", most
        )
        going = Authoring("scenario", environment, self._archive.scenarios, replace)
        records: list[ScenarioRecord] = []
        for k, item in enumerate(items):
            await anyio.lowlevel.checkpoint()
            where = f"scenarios[{k}]"
            with going.refusing(where):
                scenario = self.checked(item, where, owner)
                id = f"{environment}/{scenario.id}"
                before = self._archive.scenarios.find(id)
                if not going.take(
                    id, _content(scenario), _content(before.scenario) if before else None, where
                ):
                    continue
                report = (solved or {}).get(scenario.id) or await self.solution(owner, scenario)
                self.refuse_unsolvable(scenario, report, where, check)
                records.append(
                    ScenarioRecord(
                        id=id,
                        environment=environment,
                        scenario=scenario,
                        solution=report,
                        source=source,
                        sealed=sealed,
                        created_at=utc_now(),
                    )
                )
        self._number_and_split(owner, records)
        creation = await anyio.to_thread.run_sync(going.finish, self._archive.scenarios, records)
        _tell_solutions(creation, records)
        if source == "written" and records:
            creation.warnings += await anyio.to_thread.run_sync(self._copies_warning, environment, records)
        return creation

    async def generate(
        self,
        environment: str,
        *,
        brief: str = "",
        count: int = 5,
        kinds: Sequence[str] = (),
        wait_s: float = 20,
        idempotency_key: str = "",
    ) -> Creation:
        """Have the writer model write up to `count` (1..50) scenarios, each solved before it is stored.

        `kinds` empty: of every kind. After `wait_s` seconds the creation so far, with its job.
        """
        owner = self._archive.environments.get(environment, "environment")
        writer = short_name(self._models.of(owner)["writer"])
        if SEALED in kinds and writer.startswith((RELAY, REPLAY)):
            raise InvalidArgument(
                "What your client writes cannot be sealed from it.",
                where=f"kinds[{list(kinds).index(SEALED)}]",
                allowed="sealed with another writer model: offline, or one with a key",
            )
        return await self.generating.start(environment, brief, count, kinds, wait_s, idempotency_key)

    async def examine(
        self,
        scenarios: Sequence[Any],
        environment: EnvironmentRecord,
        personas: Sequence[Any] = (),
        *,
        check: bool = True,
    ) -> Examined:
        """What would be refused, and the solutions, without storing anything; `personas` come with them.

        What was proven before from the same parts is not played again. `check`: refuse those whose own solution fails.
        """
        brought = {p.id: p for p in (load(Persona, item, "personas") for item in personas)}
        going = Authoring("scenario", environment.id, self._archive.scenarios, True)
        solutions: dict[str, SolutionReport] = {}
        for k, item in enumerate(scenarios):
            await anyio.lowlevel.checkpoint()
            where = f"scenarios[{k}]"
            with going.refusing(where):
                scenario = self.checked(item, where, environment, brought)
                if not going.take(f"{environment.id}/{scenario.id}", _content(scenario), None, where):
                    continue
                report = self._known_solution(environment, scenario, brought)
                report = report or await self.solution(environment, scenario, brought)
                self.refuse_unsolvable(scenario, report, where, check)
                solutions[scenario.id] = report
        return Examined(going.refused, solutions)

    async def solution(
        self,
        environment: EnvironmentRecord,
        scenario: Scenario,
        brought: Mapping[str, Persona] | None = None,
    ) -> SolutionReport:
        """Play the scenario's own solution and the baselines; no model is called."""
        case = self._case(environment, scenario, brought or {})
        return await check_solution(case, environment.settings.seed + scenario.seed)

    async def prove_again(
        self,
        environment: EnvironmentRecord,
        persona: str = "",
        solved: Mapping[str, SolutionReport] | None = None,
    ) -> list[str]:
        """Play the solutions anew, only those with the given default persona if any; warn of lost proofs.

        `solved`: reports by slug that need not be played again.
        """
        warnings: list[str] = []
        for record in self._archive.scenarios.where(environment=environment.id):
            if persona and record.scenario.persona != persona:
                continue
            try:
                report = (solved or {}).get(record.scenario.id)
                report = report or await self.solution(environment, record.scenario)
            except UserError as error:
                report = SolutionReport(status="failed", why=str(error))
            if report.status == "failed":
                report.status = "unproven"
            if report.status == "unproven" and record.solution.status == "proven":
                warnings.append(f"{record.id} is no longer proven: {report.why}")
            self._archive.scenarios.change(
                record.id, lambda r, solution=report: r.model_copy(update={"solution": solution})
            )
        return warnings

    def checked(
        self,
        item: Any,
        where: str,
        environment: EnvironmentRecord,
        brought: Mapping[str, Persona] | None = None,
    ) -> Scenario:
        """The authored scenario, if it can be played in this environment; an error with its path.

        `brought`: personas that come with it, by id, beside those that are stored.
        """
        check_plain(item, where)
        scenario = load(Scenario, item, where)
        check_slug(scenario.id, f"{where}.id")
        partner = scenario.persona
        if isinstance(partner, Persona):
            self._personas.checked(
                partner.model_dump(mode="json", exclude_unset=True), f"{where}.persona", environment
            )
        elif partner is not None:
            known = (brought or {}).get(partner)
            partner = (
                known or self._archive.personas.get(f"{environment.id}/{partner}", f"{where}.persona").persona
            )
        try:
            prepare(
                self._worlds.get(environment.world), scenario.model_copy(update={"persona": partner}), partner
            )
        except InvalidArgument as error:
            raise error.at(where) from None
        return scenario

    def refuse_unsolvable(self, scenario: Scenario, report: SolutionReport, where: str, check: bool) -> None:
        """Refuse a scenario whose own solution fails, unless it may be kept as unproven."""
        if report.status != "failed":
            return
        if not check:
            report.status = "unproven"
            return
        step = report.failed_step
        place = f"{where}.expected" + (f"[{step}]" if step is not None else "")
        at_step = f" at step {step + 1}" if step is not None else ""
        raise InvalidArgument(
            f"{scenario.id}: own solution fails{at_step}: {report.why.rstrip('.')}.",
            where=place,
            allowed="expected whose calls all succeed and that passes success, from this init; or check=false in "
            "create_scenarios, to keep it as unproven",
            next=[NextCall("get_item", {"kind": "guide", "id": "scenario-format"})],
        )

    def _copies_warning(self, environment: str, records: Sequence[ScenarioRecord]) -> list[str]:
        """The warning about near-copies, if one of these is part of it; sealed scenarios are not spoken of."""
        stored = self._archive.scenarios.where(environment=environment)
        known = [record.scenario for record in stored if not record.sealed]
        copies, new = near_copies(known), {record.scenario.id for record in records}
        return near_copies_warning(known, "scenario") if new & {*copies, *copies.values()} else []

    def _case(
        self, environment: EnvironmentRecord, scenario: Scenario, brought: Mapping[str, Persona]
    ) -> Case:
        """The scenario with its default partner, ready to be tried."""
        persona: Persona | None = None
        if isinstance(scenario.persona, str):
            found = self._archive.personas.find(f"{environment.id}/{scenario.persona}")
            persona = brought.get(scenario.persona) or (found.persona if found else None)
        return prepare(self._worlds.get(environment.world), scenario, persona)

    def _known_solution(
        self, environment: EnvironmentRecord, scenario: Scenario, brought: Mapping[str, Persona]
    ) -> SolutionReport | None:
        """The stored report of a proven scenario, if world, seed, scenario and partner are unchanged."""
        id = f"{environment.id}/{scenario.id}"
        before, owner = self._archive.scenarios.find(id), self._archive.environments.find(environment.id)
        if before is None or owner is None or before.solution.status != "proven":
            return None
        partner = scenario.persona if isinstance(scenario.persona, str) else ""
        stored = self._archive.personas.find(f"{environment.id}/{partner}") if partner in brought else None
        same = (
            owner.world == environment.world
            and owner.settings.seed == environment.settings.seed
            and equal(_content(before.scenario), _content(scenario))
            and (partner not in brought or (stored is not None and stored.persona == brought[partner]))
        )
        return before.solution if same else None

    def _number_and_split(self, environment: EnvironmentRecord, records: Sequence[ScenarioRecord]) -> None:
        """Number new scenarios and draw their split; one that replaces another keeps both.

        One under the id of a spent one is spent, whether or not that one still exists.
        """
        looks = LookLedger(self._archive)
        known = self._archive.scenarios.where(environment=environment.id)
        stored = {record.id: record for record in known}
        last = max((r.number for r in known), default=0)
        fixed: list[tuple[Split, Sequence[str]]] = [(r.split, r.scenario.tags) for r in known]
        new = [record for record in records if record.id not in stored]
        fixed.extend((r.scenario.split, r.scenario.tags) for r in new if r.scenario.split)
        for record in records:
            before = stored.get(record.id)
            if before is not None:
                record.number, record.split, record.spent = before.number, before.split, before.spent
                continue
            record.spent = looks.is_spent(record.id)
            last += 1
            record.number = last
            if record.scenario.split:
                record.split = record.scenario.split
                continue
            tags = record.scenario.tags
            record.split = assign_split(record.scenario.id, tags, fixed, environment.settings.seed)
            fixed.append((record.split, tags))

    async def _write(self, spec: Mapping[str, Any]) -> Generated[Scenario]:
        owner = self._archive.environments.get(spec["environment"], "environment")
        records = self._archive.scenarios.where(environment=owner.id)
        known = [record.scenario for record in records]
        train = [record.scenario for record in records if record.split == "train"]
        lent = short_name(self._models.of(owner)["writer"]) == RELAY

        async def check(scenario: Scenario) -> SolutionReport:
            await anyio.lowlevel.checkpoint()
            return await self.solution(owner, scenario)

        sealed = SEALED in spec["kinds"]
        made = await generate_scenarios(
            self._models.writer(owner),
            self._worlds.get(owner.world),
            existing=known,
            brief=spec["brief"],
            count=spec["count"],
            kinds=spec["kinds"],
            seed=secrets.randbits(48) if sealed else owner.settings.seed,
            check=check,
            environment=owner.id,
            shown=train if lent else None,
        )
        if sealed:
            made.items = _unnamed(made.items, {scenario.id for scenario in known})
        return made

    async def _keep(self, environment: str, items: list[dict[str, Any]], kinds: Sequence[str]) -> Creation:
        sealed = SEALED in kinds
        creation = await self.create(environment, items, source="generated", sealed=sealed)
        ids = [*creation.unchanged, *creation.made]
        creation.warnings = []
        _tell_solutions(creation, [self._archive.scenarios.get(id) for id in ids])
        if sealed:
            creation.warnings = []
        return creation


def solution_warnings(id: str, solution: SolutionReport) -> list[str]:
    """What the author of a scenario should know about its solution and its checks."""
    warnings = [f"{id} {text}" for text in solution.lets_through]
    if solution.no_effect:
        steps = ", ".join(str(k + 1) for k in solution.no_effect)
        warnings.append(f"{id}: step {steps} of its solution changes nothing.")
    if solution.status == "unproven":
        warnings.append(f"{id} is unproven: {solution.why.rstrip('.')}.")
    return warnings


def _unnamed(scenarios: Sequence[Scenario], taken: Collection[str]) -> list[Scenario]:
    """The scenarios held out, under ids and tags that reveal nothing."""
    free = (name for n in numbers(1) if (name := f"{SEALED}-{n}") not in taken)
    row = {"split": "held_out", "tags": [SEALED]}
    return [scenario.model_copy(update={"id": next(free), **row}) for scenario in scenarios]


def _content(scenario: Scenario) -> dict[str, Any]:
    return scenario.model_dump(mode="json", by_alias=True)


def _tell_solutions(creation: Creation, records: Sequence[ScenarioRecord]) -> None:
    creation.checked = {
        "proven": sum(r.solution.status == "proven" for r in records),
        "unproven": [r.id for r in records if r.solution.status != "proven"],
        "do_nothing_passes": [r.id for r in records if r.solution.do_nothing_passes],
        "transfer_passes": [r.id for r in records if r.solution.transfer_passes],
    }
    for record in records:
        creation.warnings += solution_warnings(record.id, record.solution)
