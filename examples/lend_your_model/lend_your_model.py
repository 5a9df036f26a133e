"""Lend a model to the server: a client that plays users, agent and writer by simple rules, and counts its round trips.

    python lend_your_model.py [--lend user|user,agent] [--simulations 16] [--turns 4] [--home DIR]

A real client would ask its language model in `answer`. Prints one line of JSON; exit code 0: every trial passed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client import Client

Object = dict[str, Any]
LOAN = re.compile(r"\bL\d+\b")
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


class Lent:
    """A client that answers model calls. `turns`: how often its users speak before they leave."""

    def __init__(self, client: Client, turns: int) -> None:
        self.client = client
        self.turns = turns
        self.trips = 0
        self.calls: Counter[str] = Counter()

    async def call(self, tool: str, **arguments: Any) -> Object:
        """A tool's reply; a refusal ends the program."""
        result = await self.client.call_tool(tool, arguments)
        reply: Object = result.structured_content or {}
        if result.is_error:
            sys.exit(f"{tool}: {reply.get('error')}")
        return reply

    async def play(self, job: str) -> Object:
        """Answer batch after batch until the job is done; its result."""
        reply = await self.call("take_model_calls", job=job, limit=64)
        self.trips += 1
        while reply.get("calls"):
            answers = [{"id": call["id"], **self.answer(call)} for call in reply["calls"]]
            reply = await self.call("answer_model_calls", answers=answers, limit=64)
            self.trips += 1
            for refused in reply.get("refused", []):
                print(f"refused: {refused}", file=sys.stderr)
        return reply["result"]

    def answer(self, call: Object) -> Object:
        """What the role says. It looks at this call alone, as everybody who plays a role should."""
        self.calls[call["role"]] += 1
        told = " ".join(str(entry.get("text", "")) for entry in call["history"])
        found = LOAN.search(f"{call.get('sheet', '')} {told}")
        loan = found[0] if found else "L0"
        if call["role"] == "writer":
            person = {"id": "reader", "kind": "polite", "profile": "Reads a lot.", "traits": ["polite"]}
            return {"data": {"personas": [{**person, "style": "short sentences"}]}}
        if call["role"] == "user":
            return {"text": self.user(loan, sum(entry["from"] == "you" for entry in call["history"]))}
        done = sum(entry["from"] == "tool" for entry in call["history"])
        if done < 2:
            return {
                "tool_calls": [{"name": ("get_loan", "renew_loan")[done], "arguments": {"loan_id": loan}}]
            }
        return {"text": f"Loan {loan} is renewed, I have looked it up."}

    def user(self, loan: str, spoken: int) -> str:
        """Asks, asks again, and stays for all its turns."""
        if spoken >= self.turns:
            return "###STOP###"
        return f"Please renew loan {loan}." if not spoken else "Thank you."


async def lend(args: argparse.Namespace, home: Path) -> Object:
    """Play one run to its end; what it took."""
    words = ["-m", "caseharden", "serve", "--home", str(home)]
    async with Client(StdioServerParameters(command=sys.executable, args=words)) as client:
        host = Lent(client, args.turns)
        await host.call(
            "create_environment",
            id="library",
            instructions="You renew loans. Before calling renew_loan, call get_loan.",
            world_data=world(args.simulations),
            models=dict.fromkeys((*args.lend.split(","), "writer"), "relay"),
            settings={"limits": {"max_turns": args.turns, "same_message": 100}},
        )
        written = await host.call("generate_personas", environment="library", count=1, kinds=["polite"])
        await host.play(written["job"]["id"])
        cases = [scenario(n) for n in range(1, args.simulations + 1)]
        await host.call("create_scenarios", environment="library", scenarios=cases)
        host.trips, began = 0, time.perf_counter()
        run = await host.call("run_simulations", environment="library")
        totals = (await host.play(run["job"]["id"]))["totals"]
        return {
            "lent": sorted(host.calls),
            "simulations": totals["simulations"],
            "turns": args.turns,
            "round_trips": host.trips,
            "calls": dict(host.calls),
            "passed": totals["passed"],
            "seconds": round(time.perf_counter() - began, 2),
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lend", default="user", help="roles that this client plays: user, or user,agent")
    parser.add_argument("--simulations", type=int, default=16)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--home", type=Path, help="a data folder to keep")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = anyio.run(lend, args, args.home or Path(folder))
    print(json.dumps(told))
    return 0 if told["passed"] == told["simulations"] else 1


if __name__ == "__main__":
    sys.exit(main())
