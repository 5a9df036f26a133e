"""Views of authored things: environments, instructions, personas, scenarios, simulations."""

from __future__ import annotations

from typing import Any

import anyio.lowlevel
import anyio.to_thread

from ..errors import UserError
from ..harden import unified_diff
from ..plural import plural
from ..records.persona import Fact
from ..records.scenario import Scenario, ScenarioRecord, SolutionReport
from ..records.simulation import SimulationRecord
from .archive import Archive
from .environments import Environments
from .instructions import Instructions
from .parts import Body
from .results import Item
from .scenarios import Scenarios
from .sight import proving, refuse_while_proving, spend
from .worlds import Worlds

LAST = 5
"""How many results of a simulation are shown."""
LOOKED = 50
"""How many runs are searched for them, newest first."""
_HELD_OUT = ("id", "number", "split", "spent", "version", "solution", "simulations", "tags")
"""Fields of a held-out scenario that its summary shows."""


class AuthoredViews:
    """Shows one of them. Callers check views and limits; `skip` is the number of parts to skip."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        instructions: Instructions,
        environments: Environments,
        scenarios: Scenarios,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._instructions = instructions
        self._environments = environments
        self._scenarios = scenarios

    async def environment(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.environments.get(id)
        world = self._worlds.get(record.world)
        if view == "text":
            return Item(
                "environment",
                id,
                view,
                {"policy": world.world.policy},
                ["item.policy"],
                summary=f"The policy of {id}, {len(world.world.policy):,} characters.",
            )
        if view == "solution":
            return await self._all_solutions(id, limit, skip)
        report = self._environments.report(record)
        current = self._instructions.current(record)
        body: Body = {
            "id": id,
            "name": record.name,
            "version": record.version,
            "agent": record.agent.model_dump(mode="json", exclude_unset=True) or {"kind": "prompt"},
            "instructions": {"id": current.id, "chars": len(current.text)},
            "world": report.world,
            "counts": report.counts,
            "models": report.models,
            "settings": record.settings.model_dump(mode="json", exclude_unset=True),
        }
        untrusted: list[str] = []
        if view == "full":
            body["instructions"]["text"] = current.text
            body["tools"] = [
                {
                    "name": t.signature.name,
                    "for": t.tool.for_,
                    "kind": t.kind,
                    "description": t.signature.description,
                    "parameters": t.signature.parameters,
                }
                for t in world.tools.values()
            ]
            body["rules"] = [rule.model_dump(mode="json", exclude_unset=True) for rule in world.world.rules]
            untrusted = ["item.instructions.text", "item.tools[].description"]
        counts = report.counts
        summary = (
            f"{id}: {record.agent.kind} agent on {world.world.name or 'an empty world'}, "
            f"{plural(len(world.tools), 'tool')}, {plural(counts['scenarios'], 'scenario')} ({report.proven} proven), "
            f"{plural(counts['personas'], 'persona')}, instructions {current.id}."
        )
        return Item("environment", id, view, body, untrusted, summary=summary, warnings=report.warnings)

    async def instructions(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.instructions.get(id)
        body: Body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude={"text", "format"}).items()
            if v not in ("", [])
        }
        summary = f"{id}: {len(record.text):,} characters, {record.origin.replace('_', ' ')}" + (
            f" from {record.candidate} ({record.outcome})." if record.candidate else "."
        )
        if view == "diff":
            body["diff"] = self._diff_to(record.base, record.text, id)
        elif view != "summary":
            body["text"] = record.text
        return Item("instructions", id, view, body, ["item.text"] if "text" in body else [], summary=summary)

    def _diff_to(self, base: str, text: str, id: str) -> str:
        before = self._archive.instructions.find(base)
        return unified_diff(before.text if before else "", text, base or "nothing", id)

    async def persona(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.personas.get(id)
        body: Body = {
            "id": id,
            "version": record.version,
            "source": record.source,
            **_written(record.persona),
        }
        if view == "summary" and "data" in body:
            body["data"] = "view full shows it"
        return Item(
            "persona",
            id,
            view,
            body,
            ["item.profile", "item.style", "item.knowledge"],
            summary=f"Persona {id} ({record.source}), version {record.version}.",
        )

    async def scenario(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.scenarios.get(id)
        warnings: list[str] = []
        if record.split == "held_out" and view != "summary":
            refuse_while_proving(self._archive, record.environment)
            warnings = spend(self._archive, id)
        if view == "solution":
            owner = self._archive.environments.get(record.environment)
            report = await self._scenarios.solution(owner, record.scenario)
            steps = [step.model_dump(mode="json", exclude_unset=True) for step in record.scenario.expected]
            body: Body = {
                "steps": steps,
                **report.model_dump(mode="json", exclude_defaults=True),
                "status": report.status,
            }
            why = (
                f": {report.why.rstrip('.')}"
                if report.why
                else ", do nothing and transfer at once do not pass"
                if not report.lets_through
                else ""
            )
            return Item(
                "scenario",
                id,
                view,
                body,
                ["item.steps"],
                summary=f"{id} is {report.status}{why}.",
                warnings=[*report.lets_through, *warnings],
            )
        body = {
            "id": id,
            "number": record.number,
            "split": record.split,
            "spent": record.spent,
            "version": record.version,
            "solution": record.solution.status,
            "simulations": self._archive.simulations.count(
                environment=record.environment, scenario=record.scenario.id
            ),
            **_written(record.scenario),
        }
        if view == "summary":
            body["success"] = _check_ids(record.scenario)
            body["expected"] = len(record.scenario.expected)
            body["knowledge"] = [
                fact.fact if isinstance(fact, Fact) else fact for fact in record.scenario.knowledge
            ]
            if record.split == "held_out":
                body = {name: body[name] for name in _HELD_OUT if name in body}
        return Item(
            "scenario",
            id,
            view,
            body,
            ["item.goal", "item.knowledge"],
            summary=f"{id} ({record.split}, {record.solution.status}){_checked_by(record, view)}.",
            warnings=warnings,
        )

    async def simulation(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.simulations.get(id)
        results = await anyio.to_thread.run_sync(self._last_results, record)
        body: Body = {
            k: v for k, v in record.model_dump(mode="json", exclude={"format"}).items() if v not in ("", None)
        }
        body["last_results"] = results
        return Item(
            "simulation",
            id,
            view,
            body,
            ["item.user_input"],
            summary=f"{id}: {record.scenario} with {record.persona or 'no persona'}; {len(results)} last results.",
        )

    def _last_results(self, record: SimulationRecord) -> list[Body]:
        """Verdicts of the newest trials, newest first."""
        scenario = self._archive.scenarios.find(f"{record.environment}/{record.scenario}")
        held_out = scenario is not None and scenario.split == "held_out"
        if held_out and proving(self._archive, record.environment):
            return []
        results: list[Body] = []
        runs = self._archive.runs.page(
            {"environment": record.environment}, LOOKED, "", None, "", _tested
        ).items
        for run, instructions in runs:
            for row in self._archive.trials(run).table.walk({"simulation": record.slug}):
                results.append(
                    {
                        "conversation": f"{run}/{row['id']}",
                        "verdict": row["verdict"],
                        "instructions": instructions,
                    }
                )
            if len(results) >= LAST:
                break
        return results[:LAST]

    async def _all_solutions(self, id: str, limit: int, skip: int) -> Item:
        record = self._archive.environments.get(id)
        scenarios = sorted(self._archive.scenarios.where(environment=id), key=lambda s: s.number)
        rows: list[Body] = []
        for scenario in scenarios[skip : skip + limit]:
            await anyio.lowlevel.checkpoint()
            try:
                report = await self._scenarios.solution(record, scenario.scenario)
            except UserError as error:
                report = SolutionReport(status="failed", why=str(error))
            rows.append(
                {
                    "id": scenario.id,
                    **report.model_dump(mode="json", exclude_defaults=True),
                    "status": report.status,
                }
            )
        proven = sum(r["status"] == "proven" for r in rows)
        more = str(skip + limit) if skip + limit < len(scenarios) else ""
        return Item(
            "environment",
            id,
            "solution",
            {"scenarios": rows},
            [],
            more,
            f"{proven} of {len(rows)} checked scenarios are proven solvable.",
        )


def _checked_by(record: ScenarioRecord, view: str) -> str:
    """Its checks, if they may be shown."""
    ids = _check_ids(record.scenario)
    return f": {', '.join(ids)}" if ids and (record.split == "train" or view == "full") else ""


def _check_ids(scenario: Scenario) -> list[str]:
    return [str(check.get("id", f"c{k + 1}")) for k, check in enumerate(scenario.success)]


def _written(record: Any) -> Body:
    body: Body = record.model_dump(mode="json", by_alias=True, exclude_unset=True)
    body.pop("id", None)
    return body


def _tested(row: Any) -> tuple[str, str]:
    """(id, instructions) of a run."""
    return str(row["id"]), str(row["instructions"])
