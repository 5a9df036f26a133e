"""CPU time of the offline model's agent and user over whole conversations; prints JSON.

python benchmarks/offline_model.py [trials]
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import anyio

from caseharden.engine.llm import Message, ModelRequest, ToolSignature, open_model

VERBS = ("get", "refund", "return", "cancel", "exchange", "track", "gift", "split")
RULES = """You are the agent of a shop. Be brief and kind. Unused items can be returned within 30 days.
- Before calling refund_order, call get_order.
- Before calling refund_order, call verify_customer.
- Before calling refund_order, ask the user to confirm.
- Never call refund_order if total exceeds 1000.
- Never reveal the zip."""


def tool(name: str, required: list[str]) -> ToolSignature:
    schema = {
        "type": "object",
        "required": required,
        "properties": {key: {"type": "string"} for key in required},
    }
    return ToolSignature(name, f"{name.replace('_', ' ').capitalize()} of the shop", schema)


TOOLS = (
    *(tool(f"{verb}_order", ["order_id"]) for verb in VERBS),
    tool("verify_customer", ["email", "zip"]),
    tool("update_address", ["customer_id", "address"]),
    tool("list_products", []),
    tool("transfer_to_human", ["summary"]),
)


async def trial(n: int, spent: dict[str, list[float]]) -> int:
    """One conversation of both sides; CPU seconds of model calls go into `spent`. Returns the number of tool calls."""
    model = open_model("offline")
    facts = {"email": f"user{n}@example.org", "zip": f"{10000 + n}"}
    sheet: dict[str, Any] = {
        "goal": f"Get order W{n + 1000} refunded because the lamp arrived broken. "
        "Then ask how long items can be returned.",
        "knowledge": [{"fact": fact, "value": value} for fact, value in facts.items()],
    }
    agent = [Message("system", RULES)]
    user = [Message("system", f"<sheet>{json.dumps(sheet)}</sheet>")]
    calls = 0
    for _ in range(10):
        start = time.process_time()
        text = (await model.complete(ModelRequest("user", tuple(user)))).text
        spent["user"].append(time.process_time() - start)
        if text == "###STOP###":
            break
        user.append(Message("assistant", text))
        agent.append(Message("user", text))
        while True:
            start = time.process_time()
            reply = await model.complete(ModelRequest("agent", tuple(agent), TOOLS))
            spent["agent"].append(time.process_time() - start)
            agent.append(Message("assistant", reply.text, reply.tool_calls))
            for call in reply.tool_calls:
                result = {
                    "status": "delivered",
                    "total": 59.9 + n,
                    "customer_id": f"c{n}",
                    **json.loads(call.arguments),
                }
                agent.append(Message("tool", json.dumps(result), tool_call_id=call.id))
                calls += 1
            if not reply.tool_calls:
                break
        user.append(Message("user", reply.text))
    return calls


async def main(trials: int) -> None:
    spent: dict[str, list[float]] = {"agent": [], "user": []}
    start = time.process_time()
    calls = sum([await trial(n, spent) for n in range(trials)])
    total = time.process_time() - start
    figures = {
        role: {"calls": len(seconds), "mean_ms": round(1000 * sum(seconds) / len(seconds), 4)}
        for role, seconds in spent.items()
    }
    print(
        json.dumps(
            {"trials": trials, "tool_calls": calls, "trials_per_cpu_s": round(trials / total, 1), **figures}
        )
    )


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 500)
