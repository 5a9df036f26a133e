"""An agent that hardens its own instructions: it is a client that plays itself, writes a better text and has it proven.

    python hardens_itself.py [--scenarios 24] [--home DIR]

The agent's client has the toolset `run`: it can neither change its tests nor put a text in place. Its operator can.
A real agent would ask its language model in `reply` and `write`. Prints one line of JSON; exit code 0: the agent went
on with a text that was proven better.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client import Client

Object = dict[str, Any]
ENVIRONMENT = "library"
FIRST = "You renew loans. Do what the reader asks.\n"
LOAN = re.compile(r"\bL\d+\b")
BEFORE = re.compile(r"Before calling (\w+), call (\w+)\.")
FIND: Object = {"let": {"loan": "db.loans.get(loan_id)"}}
KNOWN: Object = {"require": "loan", "error": "no loan {loan_id}"}
LOAN_ID: Object = {
    "type": "object",
    "required": ["loan_id"],
    "properties": {"loan_id": {"type": "string", "description": "L and digits"}},
}


def world(count: int) -> Object:
    """A library whose policy is to look up a loan before renewing it."""
    return {
        "policy": "Look a loan up before you renew it.",
        "db": {"loans": {f"L{n}": {"title": f"Book {n}", "renewals": 0} for n in range(1, count + 1)}},
        "tools": [
            {
                "name": "get_loan",
                "description": "Look up a loan.",
                "parameters": LOAN_ID,
                "steps": [FIND, KNOWN, {"return": "loan"}],
            },
            {
                "name": "renew_loan",
                "description": "Renew a loan.",
                "parameters": LOAN_ID,
                "steps": [FIND, KNOWN, {"set": {"loan.renewals": "loan.renewals + 1"}}, {"return": "loan"}],
            },
        ],
        "rules": [{"id": "looked-up", "before": "renew_loan", "need": {"tool": "get_loan"}}],
    }


def scenario(n: int) -> Object:
    """A user who wants one loan renewed."""
    calls = [{"tool": name, "args": {"loan_id": f"L{n}"}} for name in ("get_loan", "renew_loan")]
    return {
        "id": f"renew-{n}",
        "goal": f"Renew loan L{n}.",
        "knowledge": [{"fact": "loan id", "value": f"L{n}"}],
        "expected": calls,
        "success": [{"id": "renewed", "world": "expected"}],
    }


def reply(instructions: str, history: list[Object]) -> Object:
    """What the agent does next under a text: what the text wants first, then it renews the loan that it was told."""
    told = " ".join(str(entry.get("text", "")) for entry in history if entry["from"] == "user")
    loan = LOAN.search(told)
    if loan is None:
        return {"text": "Which loan is it?"}
    plan = [*(first for then, first in BEFORE.findall(instructions) if then == "renew_loan"), "renew_loan"]
    done = sum(entry["from"] == "tool" for entry in history)
    if done < len(plan):
        return {"tool_calls": [{"name": plan[done], "arguments": {"loan_id": loan[0]}}]}
    return {"text": f"Loan {loan[0]} is renewed."}


def write(brief: Object) -> list[Object]:
    """The smallest general sentence for each cluster of the brief that names a rule."""
    edits: list[Object] = []
    for cluster in brief["clusters"]:
        rule = cluster.get("rule", {})
        need = rule.get("need", {}).get("tool")
        if rule.get("before") and need:
            sentence = f"Before calling {rule['before']}, call {need}."
            edits.append({"op": "add", "anchor": "end", "text": sentence})
    return edits


class Peer:
    """One client of the server."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.calls = 0

    async def call(self, tool: str, **arguments: Any) -> Object:
        """A tool's reply; a refusal ends the program."""
        result = await self.client.call_tool(tool, arguments)
        told: Object = result.structured_content or {}
        if result.is_error:
            sys.exit(f"{tool}: {told.get('error')}")
        return told

    async def refused(self, tool: str, **arguments: Any) -> str:
        """The code of the error with which a call is refused."""
        result = await self.client.call_tool(tool, arguments)
        told: Object = result.structured_content or {}
        return str(told.get("error", {}).get("code", "")) if result.is_error else ""

    async def play(self, started: Object) -> Object:
        """Be the agent in every conversation of a job, each under the text that the call names; its result."""
        if not started.get("job"):
            return started
        texts: dict[str, str] = {}
        told = await self.call("take_model_calls", job=started["job"]["id"], limit=64)
        while told.get("calls"):
            texts |= {name: str(text) for name, text in told.get("shared", {}).items()}
            answers: list[Object] = []
            for asked in told["calls"]:
                under = " ".join(texts[name] for name in asked.get("uses", []))
                answers.append({"id": asked["id"], **reply(under, asked["history"])})
                self.calls += 1
            told = await self.call("answer_model_calls", answers=answers, limit=64)
        return told["result"]


@asynccontextmanager
async def connected(home: Path, *words: str) -> AsyncGenerator[Peer]:
    """A client with a server of its own on the data folder."""
    serve = ["-m", "caseharden", "serve", "--home", str(home / "data"), "--root", str(home), *words]
    async with Client(StdioServerParameters(command=sys.executable, args=serve)) as client:
        yield Peer(client)


async def set_up(operator: Peer, file: Path, count: int) -> None:
    """What the operator prepares: the tests, and the file in which the agent's text lives."""
    file.write_text(FIRST, encoding="utf-8")
    await operator.call(
        "create_environment",
        id=ENVIRONMENT,
        instructions=FIRST,
        world_data=world(count),
        agent={"kind": "caller"},
        settings={"instructions_file": str(file)},
    )
    cases = [scenario(n) for n in range(1, count + 1)]
    await operator.call("create_scenarios", environment=ENVIRONMENT, scenarios=cases)


async def harden(agent: Peer) -> Object:
    """What the agent does about itself: read what it fails, write a better text, have it proven."""
    begun = await agent.play(
        await agent.call("harden_agent", environment=ENVIRONMENT, strategy="submit", wait_s=1)
    )
    edits = write(begun["brief"])
    return await agent.play(
        await agent.call(
            "submit_candidate", hardening=begun["hardening"], edits=edits, why="I act unseen.", wait_s=1
        )
    )


async def main_loop(home: Path, count: int) -> Object:
    """Fail, harden, go on with the proven text."""
    file = home / "instructions.md"
    async with connected(home) as operator, connected(home, "--toolset", "run") as agent:
        await set_up(operator, file, count)
        proven = await harden(agent)
        candidate = proven["candidate"]["id"]
        walls = {
            "change_tests": await agent.refused(
                "update_item", kind="scenario", id=f"{ENVIRONMENT}/renew-1", changes={"success": []}
            ),
            "promote": await agent.refused("decide_candidate", candidate=candidate, decision="promote"),
        }
        if proven["outcome"] == "improved":
            await operator.call("decide_candidate", candidate=candidate, decision="promote")
        run = await agent.play(await agent.call("run_simulations", environment=ENVIRONMENT, wait_s=1))
        return {
            "outcome": proven["outcome"],
            "held_out": {k: proven["evidence"]["held_out"][k] for k in ("better", "worse", "p")},
            "marks": proven.get("marks", []),
            "refused": walls,
            "went_on_with": file.read_text(encoding="utf-8").splitlines(),
            "passed": run["totals"]["passed"],
            "simulations": run["totals"]["simulations"],
            "calls_answered": agent.calls,
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", type=int, default=24)
    parser.add_argument("--home", type=Path, help="a folder to keep")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = anyio.run(main_loop, (args.home or Path(folder)).resolve(), args.scenarios)
    print(json.dumps(told))
    better = told["outcome"] == "improved" and told["passed"] == told["simulations"]
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
