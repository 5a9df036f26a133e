"""Scenarios of an environment: linted, played for their own solution, split, stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..canonical import digest
from ..errors import InvalidArgument, NextCall
from ..exchange import Roots
from ..harden import assign_split
from ..ids import check_slug
from ..records.authored import load
from ..records.environment import EnvironmentRecord
from ..records.persona import Persona, Source
from ..records.scenario import Scenario, ScenarioRecord, SolutionReport, Split
from ..simulate import Case, check_solution, prepare
from .archive import Archive, utc_now
from .authoring import Authoring, read_items
from .personas import Personas
from .results import Creation
from .worlds import Worlds


class Scenarios:
    """Stores scenarios. With `check` a scenario whose own solution fails is refused."""

    def __init__(self, archive: Archive, worlds: Worlds, roots: Roots, personas: Personas) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._personas = personas

    async def create(
        self,
        environment: str,
        scenarios: Sequence[Any] = (),
        file: str = "",
        check: bool = True,
        *,
        source: Source = "written",
        replace: bool = False,
    ) -> Creation:
        """Store them with lint, solution and baselines; a wrong one is refused with its path, the others are kept."""
        owner = self._archive.environments.get(environment, "environment")
        items = read_items(scenarios, file, "scenarios", self._roots, "scenario-format")
        going = Authoring("scenario", environment, self._archive.scenarios, replace)
        records: list[ScenarioRecord] = []
        for k, item in enumerate(items):
            where = f"scenarios[{k}]"
            with going.refusing(where):
                scenario = self._checked(item, where, owner)
                id = f"{environment}/{scenario.id}"
                if not going.take(id, digest(_content(scenario)), self._existing(id), where):
                    continue
                report = await self.solution(owner, scenario)
                self.refuse_unsolvable(scenario, report, where, check)
                records.append(
                    ScenarioRecord(
                        id=id,
                        environment=environment,
                        scenario=scenario,
                        solution=report,
                        source=source,
                        created_at=utc_now(),
                    )
                )
        self._number_and_split(owner, records)
        creation = going.finish(self._archive.scenarios, records)
        _tell_solutions(creation, records)
        return creation

    def lint(self, scenarios: Sequence[Any], environment: EnvironmentRecord) -> list[dict[str, str]]:
        """What would be refused, without playing or storing anything."""
        going = Authoring("scenario", environment.id, self._archive.scenarios, True)
        for k, item in enumerate(scenarios):
            with going.refusing(f"scenarios[{k}]"):
                self._checked(item, f"scenarios[{k}]", environment)
        return going.refused

    async def solution(self, environment: EnvironmentRecord, scenario: Scenario) -> SolutionReport:
        """Play the scenario's own solution and the baselines; no model is called."""
        return await check_solution(
            self.case(environment, scenario), environment.settings.seed + scenario.seed
        )

    def case(self, environment: EnvironmentRecord, scenario: Scenario) -> Case:
        """The scenario with its default partner, ready to be tried."""
        persona: Persona | None = None
        if isinstance(scenario.persona, str):
            found = self._archive.personas.find(f"{environment.id}/{scenario.persona}")
            persona = found.persona if found else None
        return prepare(self._worlds.get(environment.world), scenario, persona)

    def _checked(self, item: Any, where: str, environment: EnvironmentRecord) -> Scenario:
        scenario = load(Scenario, item, where)
        check_slug(scenario.id, f"{where}.id")
        if isinstance(scenario.persona, Persona):
            check_slug(scenario.persona.id, f"{where}.persona.id")
            self._personas.check_data(scenario.persona, environment, f"{where}.persona")
        try:
            self.case(environment, scenario)
        except InvalidArgument as error:
            raise error.at(where) from None
        return scenario

    def refuse_unsolvable(self, scenario: Scenario, report: SolutionReport, where: str, check: bool) -> None:
        """Refuse a scenario whose own solution fails, unless it is to be kept as unproven."""
        if report.status != "failed":
            return
        if not check:
            report.status = "unproven"
            return
        step = report.failed_step
        place = f"{where}.expected" + (f"[{step}]" if step is not None else "")
        at_step = f" at step {step + 1}" if step is not None else ""
        raise InvalidArgument(
            f"{scenario.id}: own solution fails{at_step}: {report.why}.",
            where=place,
            allowed="fix expected, init or success, or check=false to keep it as unproven",
            next=[NextCall("get_item", {"kind": "guide", "id": "scenario-format"})],
        )

    def _number_and_split(self, environment: EnvironmentRecord, records: Sequence[ScenarioRecord]) -> None:
        """Number new scenarios and draw their split; one that replaces another keeps both."""
        known = self._archive.scenarios.where(environment=environment.id)
        last = max((r.number for r in known), default=0)
        fixed: list[tuple[Split, Sequence[str]]] = []
        fixed.extend((r.split, r.scenario.tags) for r in known)
        new = [record for record in records if self._archive.scenarios.find(record.id) is None]
        fixed.extend((r.scenario.split, r.scenario.tags) for r in new if r.scenario.split)
        for record in records:
            before = self._archive.scenarios.find(record.id)
            if before is not None:
                record.number, record.split, record.spent = before.number, before.split, before.spent
                continue
            last += 1
            record.number = last
            if record.scenario.split:
                record.split = record.scenario.split
                continue
            tags = record.scenario.tags
            record.split = assign_split(record.scenario.id, tags, fixed, environment.settings.seed)
            fixed.append((record.split, tags))

    def _existing(self, id: str) -> str | None:
        found = self._archive.scenarios.find(id)
        return digest(_content(found.scenario)) if found else None


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
        creation.warnings += [f"{record.id} {text}" for text in record.solution.lets_through]
        if record.solution.no_effect:
            steps = ", ".join(str(k + 1) for k in record.solution.no_effect)
            creation.warnings.append(f"{record.id}: step {steps} of its solution changes nothing.")
        if record.solution.status == "unproven":
            creation.warnings.append(f"{record.id} is unproven: {record.solution.why}.")
