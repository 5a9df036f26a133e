"""The shipped shop's cases for tests, and a program that prints what its trials came to."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.agents import PromptAgent
from caseharden.engine.llm import open_model
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import Case, ModelUser, Tried, prepare, run_trial
from caseharden.engine.world import CompiledWorld, compile_world

SHOP = Path(__file__).resolve().parent.parent / "resources" / "worlds" / "shop"
INSTRUCTIONS = (SHOP / "instructions.md").read_text(encoding="utf-8")


def read(name: str) -> Any:
    return json.loads((SHOP / name).read_text(encoding="utf-8"))


@lru_cache
def shop() -> CompiledWorld:
    return compile_world(load(World, read("world.json"), "world"))


def scenarios() -> list[Scenario]:
    return [load(Scenario, row, "scenario") for row in read("scenarios.json")]


def personas() -> list[Persona]:
    return [load(Persona, row, "persona") for row in read("personas.json")]


def cases() -> list[Case]:
    """Each scenario with one persona, turn about."""
    people = personas()
    return [prepare(shop(), s, people[k % len(people)]) for k, s in enumerate(scenarios())]


async def played(case: Case, seed: int = 7, trial: int = 1) -> Tried:
    """A trial with the offline model on both sides, under the shipped instructions."""
    agent, user = PromptAgent(open_model("offline")), ModelUser(open_model("offline"), case)
    return await run_trial(case, agent, user, seed=seed, trial=trial, instructions=INSTRUCTIONS)


async def main() -> None:
    hashes = {case.simulation: (await played(case)).conversation.transcript_hash for case in cases()}
    print(json.dumps(hashes))


if __name__ == "__main__":
    anyio.run(main)
