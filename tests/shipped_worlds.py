"""The shipped worlds' cases for tests, and a program that prints what their trials came to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.agents import PromptAgent
from caseharden.engine.evaluate import grade
from caseharden.engine.llm import open_model
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import Case, ExpectedWorlds, ModelUser, Tried, prepare, run_trial
from caseharden.engine.world import CompiledWorld, Scene, compile_world

WORLDS = Path(__file__).resolve().parent.parent / "resources" / "worlds"


class ShippedWorld:
    """One folder of resources/worlds, each file read once.

    `people`: the collection of its persons. `mending`: what the shipped instructions lack, in controlled English.
    """

    def __init__(self, name: str, people: str, mending: Sequence[str]) -> None:
        self.name = name
        self.people = people
        self.mending = mending
        self.folder = WORLDS / name

    def read(self, file: str) -> str:
        return (self.folder / file).read_text(encoding="utf-8")

    def rows(self, file: str) -> Any:
        return json.loads(self.read(file))

    @cached_property
    def instructions(self) -> str:
        return self.read("instructions.md")

    @cached_property
    def world(self) -> World:
        return load(World, self.rows("world.json"), "world.json")

    @cached_property
    def compiled(self) -> CompiledWorld:
        return compile_world(self.world)

    @cached_property
    def scenarios(self) -> list[Scenario]:
        return [load(Scenario, row, f"scenarios[{n}]") for n, row in enumerate(self.rows("scenarios.json"))]

    @cached_property
    def personas(self) -> list[Persona]:
        return [load(Persona, row, f"personas[{n}]") for n, row in enumerate(self.rows("personas.json"))]

    def cases(self) -> list[Case]:
        """Each scenario with one persona, turn about."""
        people = self.personas
        return [prepare(self.compiled, s, people[k % len(people)]) for k, s in enumerate(self.scenarios)]

    def scene(self, data: Mapping[str, Any] | None = None) -> Scene:
        """The world as it is at the start, to call tools in; `data` as a persona brings it."""
        scene = Scene(self.compiled, (0, "tools", 1))
        scene.prepare(data)
        return scene

    async def played(self, case: Case, seed: int = 7, trial: int = 1, instructions: str = "") -> Tried:
        """A trial with the offline model on both sides, under the shipped instructions unless others are given."""
        agent, user = PromptAgent(open_model("offline")), ModelUser(open_model("offline"), case)
        text = instructions or self.instructions
        return await run_trial(case, agent, user, seed=seed, trial=trial, instructions=text)

    async def outcomes(self, instructions: str, scenarios: Sequence[Scenario] | None = None) -> Outcomes:
        """One trial of every persona and scenario under one text, graded."""
        expected = ExpectedWorlds()
        failed: dict[tuple[str, str], list[str]] = {}
        for scenario in self.scenarios if scenarios is None else scenarios:
            for persona in self.personas:
                case = prepare(self.compiled, scenario, persona)
                tried = await self.played(case, instructions=instructions)
                world = await expected.of(case, 7, 1)
                verdict = grade(tried.conversation, case.plan, self.compiled.base, world)
                assert verdict.verdict in ("pass", "fail"), (case.simulation, verdict.why)
                failed[scenario.id, persona.id] = verdict.failed()
        return Outcomes(failed)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The failed checks, by scenario and persona; none when the simulation passed."""

    failed: dict[tuple[str, str], list[str]]

    def failing(self) -> set[str]:
        """The scenarios that fail with one persona at least."""
        return {scenario for (scenario, _), checks in self.failed.items() if checks}

    def passed(self, scenario: str) -> int:
        """With how many personas the scenario passes."""
        return sum(name == scenario and not checks for (name, _), checks in self.failed.items())

    def rules(self) -> set[str]:
        """The world's rules that were broken."""
        return {check for checks in self.failed.values() for check in checks if check.startswith("rule.")}


SHOP = ShippedWorld(
    "shop",
    "customers",
    (
        "Before calling refund_order, call verify_customer.",
        "Before calling cancel_order, ask the user to confirm.",
    ),
)
AIRLINE = ShippedWorld(
    "airline",
    "passengers",
    (
        "Before calling claim_compensation, call verify_passenger.",
        "Before calling change_flight, call verify_passenger.",
        "Before calling cancel_booking, ask the user to confirm.",
        "Before calling add_bags, ask the user to confirm.",
    ),
)
CLINIC = ShippedWorld(
    "clinic",
    "patients",
    (
        "Before calling book_appointment, call get_patient_file.",
        "Before calling release_records, call verify_patient.",
        "After calling move_appointment, call send_reminder.",
        "Before calling cancel_appointment, ask the user to confirm.",
    ),
)
SHIPPED = (SHOP, AIRLINE, CLINIC)


async def transcripts() -> dict[str, str]:
    """The transcript's hash of one trial of every case of every world."""
    return {
        f"{shipped.name}/{case.simulation}": (await shipped.played(case)).conversation.transcript_hash
        for shipped in SHIPPED
        for case in shipped.cases()
    }


async def main() -> None:
    print(json.dumps(await transcripts()))


if __name__ == "__main__":
    anyio.run(main)
