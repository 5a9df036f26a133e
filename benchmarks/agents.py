"""Turns per second of agents that are other people's code; prints a line of JSON for each kind.

python benchmarks/agents.py [--conversations 200] [--turns 10] [--concurrency 8]

Each turn is one reply, asked for through the adapter as in a trial, with the whole conversation. One conversation
warms up; `warm_turns_a_second` then covers whole conversations, their beginnings included. `first_reply_s` is the
start of the process and its first answer.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.agents import AgentInput, Outside, Reach, closing, open_outside
from caseharden.engine.llm import Connections, Message, ToolSignature
from caseharden.engine.net import HttpClient, Network, Secrets
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.records.environment import AgentSpec

PARAMETERS = {"type": "object", "properties": {"order_id": {"type": "string"}}}
TOOLS = [
    ToolSignature(f"tool_{k}", "Does one of the things that a desk does.", PARAMETERS) for k in range(12)
]
ASYNC = "async def agent(turn):\n    return 'Your order ' + turn.text + ' is on its way.'\n"
SYNC = ASYNC.removeprefix("async ")
COMMAND = """
import json, sys
for line in sys.stdin:
    told = json.loads(line)
    print(json.dumps({"id": told["id"], "text": "Your order " + told["text"] + " is on its way."}), flush=True)
"""
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "python, coroutine": (ASYNC, {"kind": "python", "file": "desk.py"}),
    "python, function": (SYNC, {"kind": "python", "file": "desk.py"}),
    "command": (COMMAND, {"kind": "command", "argv": ["python", "desk.py"]}),
}


async def converse(agent: Outside, turns: int) -> None:
    talking = agent.conversation()
    messages: list[Message] = []
    async with closing(talking):
        for turn in range(1, turns + 1):
            messages.append(Message("user", f"W{turn}, please tell me where it is"))
            reply = await talking.reply(AgentInput("k", "Be kind." * 50, messages, 1, TOOLS, 7, turn))
            messages.append(Message("assistant", reply.text or ""))


async def measure(kind: str, conversations: int, turns: int, concurrency: int) -> dict[str, Any]:
    program, spec = KINDS[kind]
    connections = Connections(HttpClient(Network()), Secrets(lambda path, where: "", {}))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "desk.py").write_text(program, encoding="utf-8")
        async with Processes() as processes:
            reach = Reach(connections, AllowedCode([folder]), processes)
            agent = open_outside(AgentSpec.model_validate(spec), reach)
            began = time.perf_counter()
            await converse(agent, 1)
            first_s = time.perf_counter() - began
            limiter = anyio.CapacityLimiter(concurrency)

            async def one() -> None:
                async with limiter:
                    await converse(agent, turns)

            began = time.perf_counter()
            async with anyio.create_task_group() as tasks:
                for _ in range(conversations):
                    tasks.start_soon(one)
            wall_s = time.perf_counter() - began
    return {
        "kind": kind,
        "conversations": conversations,
        "turns": conversations * turns,
        "concurrency": concurrency,
        "first_reply_s": round(first_s, 3),
        "warm_turns_a_second": round(conversations * turns / wall_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=8)
    args = parser.parse_args()
    for kind in KINDS:
        print(
            json.dumps(anyio.run(measure, kind, args.conversations, args.turns, args.concurrency)), flush=True
        )


if __name__ == "__main__":
    main()
