"""The offline model knows no environment: worlds, tools and fields with made-up names, drawn anew for each seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

import pytest

from caseharden.engine.llm import Message, ModelRequest, ToolSignature, open_model
from caseharden.engine.llm.offline.judge import judge
from caseharden.tests.offline_talk import Talk, play, tool

pytestmark = pytest.mark.anyio
SEEDS = range(40)


@dataclass(frozen=True)
class MadeUp:
    """A world of made-up words: things with a key, a state and a size; tools to see, change and check them."""

    thing: str
    state: str
    size: str
    proof: str
    verb: str
    tools: tuple[ToolSignature, ...]
    records: dict[str, dict[str, Any]]

    @property
    def change(self) -> str:
        return f"{self.verb}_{self.thing}"

    @property
    def see(self) -> str:
        return f"get_{self.thing}"

    @property
    def check(self) -> str:
        return f"admit_{self.proof}"

    def execute(self, name: str, args: dict[str, Any]) -> Any:
        if name == self.check:
            return {"admitted": True}
        record = self.records.get(args[f"{self.thing}_id"])
        if record is None:
            return f"there is no {self.thing} of that id"
        return {f"{self.thing}_id": args[f"{self.thing}_id"], **record}


def made_up(seed: int) -> MadeUp:
    rng = random.Random(seed)
    words: list[str] = []
    while len(words) < 7:
        word = "".join(rng.choice("bdfgklmnprtvz") + rng.choice("aeiou") for _ in range(3)) + rng.choice(
            "kmnpt"
        )
        if word not in words:
            words.append(word)
    thing, state, size, proof, verb, other, value = words
    prefix = "".join(rng.choice("BDFGKLM") for _ in range(2))
    key = {"type": "string", "description": f"such as {prefix}-123"}
    tools = [
        tool(f"get_{thing}", f"Read a {thing}", [f"{thing}_id"], **{f"{thing}_id": key}),
        tool(f"{verb}_{thing}", f"{verb} a {thing} for good", [f"{thing}_id"], **{f"{thing}_id": key}),
        tool(f"{other}_{thing}", f"{other} a {thing}", [f"{thing}_id"], **{f"{thing}_id": key}),
        tool(f"admit_{proof}", "Admit the caller", [f"{proof}_code"], **{f"{proof}_code": "string"}),
    ]
    rng.shuffle(tools)
    records = {f"{prefix}-{n}": {state: value if n % 2 else "zzz", size: n} for n in range(100, 140)}
    return MadeUp(thing, state, size, proof, verb, tuple(tools), records)


async def talk_in(world: MadeUp, rules: str, number: int, **sheet: Any) -> Talk:
    key = list(world.records)[number]
    data = {
        "goal": f"{world.verb.capitalize()} the {world.thing} {key} because it is old.",
        "knowledge": [{"fact": f"{world.proof} code", "value": f"QX{number}"}],
        **sheet,
    }
    return await play(f"You serve callers.\n{rules}", world.tools, world.execute, data)


@pytest.mark.parametrize("seed", SEEDS)
async def test_agent_breaks_an_unwritten_rule_and_obeys_it_once_written(seed: int) -> None:
    world = made_up(seed)
    bare = await talk_in(world, "", seed % 40)
    assert bare.called == [world.change] and bare.stopped, bare.shown()

    first = await talk_in(world, f"- Before calling {world.change}, call {world.check}.", seed % 40)
    assert first.called == [world.check, world.change] and first.stopped, first.shown()

    confirmed = await talk_in(world, f"Before calling {world.change}, ask the user to confirm.", 3)
    assert confirmed.called == [world.change] and "Do you confirm?" in confirmed.agent[0]

    declined = await talk_in(
        world, f"Before calling {world.change}, ask the user to confirm.", 3, confirms=False
    )
    assert declined.called == [] and declined.stopped


@pytest.mark.parametrize("seed", SEEDS)
async def test_agent_obeys_conditions_on_fields_that_it_never_saw(seed: int) -> None:
    world = made_up(seed)
    state = world.records[list(world.records)[1]][world.state]
    look = f"Before calling {world.change}, call {world.see}."
    rules = f"{look}\nNever call {world.change} if {world.state} is not {state}."
    assert (await talk_in(world, rules, 1)).called == [world.see, world.change]
    refused = await talk_in(world, rules, 2)
    assert refused.called == [world.see] and "I am sorry, I cannot" in refused.agent[-1] and refused.stopped

    limit = f"{look}\nNever call {world.change} if {world.size} exceeds 110."
    assert (await talk_in(world, limit, 5)).called == [world.see, world.change]
    assert (await talk_in(world, limit, 30)).called == [world.see]


@pytest.mark.parametrize("seed", SEEDS)
async def test_judge_and_writer_close_the_loop_in_a_made_up_world(seed: int) -> None:
    world = made_up(seed)
    criterion = f"The agent must call {world.check} before {world.change}."
    bare = await talk_in(world, "", 1)
    client = open_model("offline")
    entries = [
        {"turn": 1, "by": "agent", "tool": n, "args": a, "ok": True, "result": r} for n, a, r in bare.results
    ]
    data = json_text({"criteria": {"c1": criterion}, "conversation": entries})
    verdict = judge(ModelRequest("judge", (Message("user", data),)))
    assert '"verdict": "fail"' in verdict
    task = {"task": "instructions", "instructions": "", "failures": [{"check": "c1", "criterion": criterion}]}
    reply = await client.complete(ModelRequest("writer", (Message("user", f"Data:\n{json_text(task)}"),)))
    rule = f"Before calling {world.change}, call {world.check}."
    assert rule in reply.text
    assert (await talk_in(world, rule, 1)).called == [world.check, world.change]


def json_text(value: Any) -> str:
    return json.dumps(value)
