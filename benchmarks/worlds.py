"""What worlds and their records cost, in CPU seconds on one core; prints JSON.

python benchmarks/worlds.py [trials] [conversations]

`large`: a trial with one write on a world of 5 MB, and the same on a small one, each with its record and verdict.
`disturbed`: offline trials of the shop per second, with events, faults and noise in every scenario.
`grading`: stored conversations read from JSON and graded.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.agents import AgentReply, PlayedAgent, PlayedTurn, PromptAgent
from caseharden.engine.evaluate import grade
from caseharden.engine.llm import ToolCall, open_model
from caseharden.engine.records.conversation import Conversation
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import (
    Case,
    ExpectedWorlds,
    ModelUser,
    PlayedUser,
    Tried,
    prepare,
    run_trial,
)
from caseharden.engine.world import CompiledWorld, compile_world

SHOP = Path(__file__).resolve().parent.parent / "resources" / "worlds" / "shop"
TOLD = {"notify": "Returns take {db.settings.return_days} days"}
DISTURBANCE: dict[str, Any] = {
    "events": [
        {"id": "late", "delay_s": 20, "do": {"set": {"db.settings.return_days": "31"}}},
        {"id": "told", "after": ["late"], "delay_turns": 1, "do": TOLD},
        {"id": "looked", "when": {"tool": "look_up_order"}, "timeout_s": 600, "on_timeout": "skip"},
    ],
    "faults": [{"tool": "*", "p": 0.1, "max": 2}],
    "noise": {
        "per_minute": 4,
        "pool": [{"do": {"notify": "Rain"}}, {"do": {"set": {"db.settings.rain": "rand()"}}}],
    },
}


def boxes(count: int) -> CompiledWorld:
    """A world with that many records of about 350 bytes, and a tool that changes one."""
    number = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
    rows = {f"b{n}": {"open": True, "owner": f"o{n}", "notes": ["x" * 90] * 3} for n in range(count)}
    tool = {"name": "shut", "parameters": number, "steps": [{"set": {"db.boxes[id].open": "false"}}]}
    return compile_world(
        World.model_validate({"format": "world/1", "name": "boxes", "db": {"boxes": rows}, "tools": [tool]})
    )


async def large(trials: int) -> dict[str, Any]:
    """Milliseconds of a trial on both worlds, with the solution known."""
    figures: dict[str, Any] = {}
    for name, count in (("small", 10), ("large", 15_000)):
        world = boxes(count)
        scenario = {
            "id": "s",
            "goal": "Shut b1",
            "expected": [{"tool": "shut", "args": {"id": "b1"}}],
            "success": [{"world": "expected"}, {"state": "db.boxes.b2", "unchanged": True}],
        }
        case = prepare(world, Scenario.model_validate(scenario))
        expected = ExpectedWorlds()
        turns = [
            PlayedTurn(user_says="go", replies=[AgentReply("", (ToolCall("c", "shut", '{"id": "b1"}'),))])
        ]
        await expected.of(case, 7, 1)
        began = time.process_time()
        for trial in range(1, trials + 1):
            tried = await run_trial(case, PlayedAgent(turns), PlayedUser(turns), seed=7, trial=trial)
            verdict = grade(tried.conversation, case.plan, world.base, await expected.of(case, 7, trial))
            assert verdict.verdict == "pass", verdict
        spent = time.process_time() - began
        megabytes = len(json.dumps(world.base)) / 1e6
        figures[name] = {"megabytes": round(megabytes, 2), "ms_a_trial": round(1000 * spent / trials, 3)}
    return figures


def cases(**changes: Any) -> list[Case]:
    """Every scenario of the shop with every persona."""
    world = compile_world(World.model_validate_json((SHOP / "world.json").read_text(encoding="utf-8")))
    people = [
        Persona.model_validate(row)
        for row in json.loads((SHOP / "personas.json").read_text(encoding="utf-8"))
    ]
    rows = json.loads((SHOP / "scenarios.json").read_text(encoding="utf-8"))
    scenarios = [Scenario.model_validate({**row, **changes}) for row in rows]
    return [prepare(world, scenario, person) for scenario in scenarios for person in people]


async def played(case: Case, trial: int) -> Tried:
    """An offline trial under the shipped instructions."""
    text = (SHOP / "instructions.md").read_text(encoding="utf-8")
    agent, user = PromptAgent(open_model("offline")), ModelUser(open_model("offline"), case)
    return await run_trial(case, agent, user, seed=7, trial=trial, instructions=text)


async def disturbed(trials: int) -> dict[str, Any]:
    """Trials a second with everything that can disturb them, graded."""
    all_cases, expected = cases(**DISTURBANCE), ExpectedWorlds()
    for case in all_cases:
        await expected.of(case, 7, 1)
    entries: Counter[str] = Counter()
    began = time.process_time()
    for n in range(trials):
        case, trial = all_cases[n % len(all_cases)], 1 + n // len(all_cases)
        tried = await played(case, trial)
        grade(tried.conversation, case.plan, case.world.base, await expected.of(case, 7, trial))
        for entry in tried.document["log"]:
            entries["fault" if entry.get("injected") else str(entry.get("event", "other"))] += 1
    spent = time.process_time() - began
    return {"trials_per_cpu_s": round(trials / spent, 1), "entries": dict(entries)}


async def grading(conversations: int) -> dict[str, Any]:
    """Seconds to grade that many stored conversations, each read from its JSON."""
    stored: list[tuple[Case, str, Any]] = []
    expected = ExpectedWorlds()
    for case in cases():
        tried = await played(case, 1)
        stored.append((case, json.dumps(tried.document), await expected.of(case, 7, 1)))
    began = time.process_time()
    for n in range(conversations):
        case, text, world = stored[n % len(stored)]
        conversation = Conversation.model_validate(json.loads(text))
        grade(conversation, case.plan, case.world.base, world)
    spent = time.process_time() - began
    return {
        "conversations": conversations,
        "cpu_s": round(spent, 2),
        "ms_each": round(1000 * spent / conversations, 3),
    }


async def main(trials: int, conversations: int) -> None:
    figures = {
        "large": await large(trials),
        "disturbed": await disturbed(trials),
        "grading": await grading(conversations),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:]]
    anyio.run(main, given[0] if given else 432, given[1] if len(given) > 1 else 10_000)
