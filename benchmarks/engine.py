"""CPU time of the engine per turn, without model calls, over all offline trials of the shop; prints JSON.

python benchmarks/engine.py [rounds]

A round is each of 24 scenarios with each of 6 personas, under instructions with both rules. `engine` is the trial loop
with the world and the record, `grading` the verdict; `models` is what the models of both sides took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.agents import AgentInput, AgentReply, PromptAgent
from caseharden.engine.evaluate import grade
from caseharden.engine.llm import Message, ToolSignature, open_model
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import Case, ExpectedWorlds, ModelUser, UserReply, prepare, run_trial
from caseharden.engine.world import compile_world

SHOP = Path(__file__).resolve().parent.parent / "resources" / "worlds" / "shop"
RULES = "Before calling refund_order, call verify_customer.\nBefore calling cancel_order, ask the user to confirm."


class Timed:
    """Both sides' model, with the CPU seconds it took."""

    name = "offline"

    def __init__(self) -> None:
        self.spent = 0.0
        self.agent = PromptAgent(open_model("offline"))

    async def reply(self, turn: AgentInput) -> AgentReply:
        began = time.process_time()
        try:
            return await self.agent.reply(turn)
        finally:
            self.spent += time.process_time() - began

    def user(self, case: Case) -> TimedUser:
        return TimedUser(self, ModelUser(open_model("offline"), case))


class TimedUser:
    name = "offline"

    def __init__(self, timed: Timed, user: ModelUser) -> None:
        self._timed = timed
        self._user = user

    def spoken_for(self) -> UserReply:
        return self._user.spoken_for()

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        began = time.process_time()
        try:
            return await self._user.speak(heard, tools, seed)
        finally:
            self._timed.spent += time.process_time() - began


def shop_cases() -> tuple[list[Case], str]:
    """Every scenario with every persona, and the instructions with both rules."""

    def read(name: str) -> Any:
        return json.loads((SHOP / name).read_text(encoding="utf-8"))

    world = compile_world(World.model_validate(read("world.json")))
    personas = [Persona.model_validate(row) for row in read("personas.json")]
    scenarios = [Scenario.model_validate(row) for row in read("scenarios.json")]
    text = (SHOP / "instructions.md").read_text(encoding="utf-8").strip()
    return [prepare(world, s, p) for s in scenarios for p in personas], f"{text}\n\n{RULES}"


async def main(rounds: int) -> None:
    cases, text = shop_cases()
    timed, expected = Timed(), ExpectedWorlds()
    for case in cases:
        await expected.of(case, 7, 1)
    turns = calls = 0
    running = grading = 0.0
    for trial in range(1, rounds + 1):
        for case in cases:
            began = time.process_time()
            tried = await run_trial(case, timed, timed.user(case), seed=7, trial=trial, instructions=text)
            ran = time.process_time()
            grade(tried.conversation, case.plan, case.world.base, await expected.of(case, 7, trial))
            grading += time.process_time() - ran
            running += ran - began
            turns += tried.conversation.end.turn
            calls += sum(hasattr(entry, "tool") for entry in tried.conversation.log)
    a_turn = 1000 / turns
    figures = {
        "trials": rounds * len(cases),
        "turns": turns,
        "calls": calls,
        "engine_ms_a_turn": round((running - timed.spent) * a_turn, 4),
        "grading_ms_a_turn": round(grading * a_turn, 4),
        "models_ms_a_turn": round(timed.spent * a_turn, 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 5)
