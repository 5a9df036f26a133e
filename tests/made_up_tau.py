"""A small checkout in the layout of tau-bench, all of it made up: what may not be run says so when it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NEVER = 'raise RuntimeError("this file must not be run")\n'
TOOL_BASE = "class Tool:\n    pass\n"
TOOLS = {
    "get_order": """
import json
from tau_bench.envs.tool import Tool


class GetOrder(Tool):
    @staticmethod
    def invoke(data, order_id):
        found = []
        found.append(order_id)
        if order_id not in data["orders"]:
            return "Error: order not found"
        return json.dumps(data["orders"][order_id])

    @staticmethod
    def get_info():
        return {"type": "function", "function": {"name": "get_order", "description": "Look it up.",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}},
                           "required": ["order_id"]}}}
""",
    "cancel_order": """
import json
from tau_bench.envs.tool import Tool


class CancelOrder(Tool):
    @staticmethod
    def invoke(data, order_id, reason="none"):
        order = data["orders"][order_id]
        order["status"] = "cancelled"
        if reason == "fail":
            raise ValueError("the printer is on fire")
        order["history"].append({"refund": order["total"] * 1.0})
        data["users"][order["user_id"]]["credit"] += order["total"]
        return json.dumps(order)

    @staticmethod
    def get_info():
        return {"type": "function", "function": {"name": "cancel_order", "description": "Cancel it.",
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"},
                "reason": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "required": ["order_id"]}}}
""",
    "transfer_to_human_agents": """
from tau_bench.envs.tool import Tool


class Transfer(Tool):
    @staticmethod
    def invoke(data, summary):
        return "Transfer successful"

    @staticmethod
    def get_info():
        return {"type": "function", "function": {"name": "transfer_to_human_agents", "description": "",
            "parameters": {"type": "object", "properties": {"summary": {"type": "string"}}}}}
""",
}
TASKS = """
from tau_bench.types import Action, Task

TASKS_TEST = [
    Task(annotator="a", user_id="u1", instruction="Cancel #W1 and hear the refund.",
         actions=[Action(name="get_order", kwargs={"order_id": "#W1"}),
                  Action(name="cancel_order", kwargs={"order_id": "#W1", "reason": "no longer needed"})],
         outputs=["1250"]),
    Task(annotator="b", user_id="u1", instruction="Ask for what is not allowed.", actions=[], outputs=[]),
    Task(annotator="c", user_id="u1", instruction="Cancel #W2; the first try fails half way.",
         actions=[Action(name="cancel_order", kwargs={"order_id": "#W2", "reason": "fail"})], outputs=[]),
    Task(user_id=len("u"), instruction="Not a literal.", actions=[], outputs=[]),
]
"""
ORDERS: dict[str, Any] = {
    "#W1": {"user_id": "u1", "status": "pending", "total": 1250, "history": []},
    "#W2": {"user_id": "u1", "status": "pending", "total": 2.5, "history": []},
}


def checkout(place: Path, **tools: str) -> Path:
    """The checkout; further tools by name of their file. Returns the environment's folder."""
    files = {
        "tau_bench/__init__.py": NEVER,
        "tau_bench/types.py": NEVER,
        "tau_bench/envs/__init__.py": NEVER,
        "tau_bench/envs/base.py": NEVER,
        "tau_bench/envs/tool.py": TOOL_BASE,
        "tau_bench/envs/desk/__init__.py": NEVER,
        "tau_bench/envs/desk/env.py": "class E:\n    def __init__(self):\n"
        '        self.terminate_tools = ["transfer_to_human_agents"]\n',
        "tau_bench/envs/desk/rules.py": 'RULES = ["Ask first."]\n',
        "tau_bench/envs/desk/wiki.md": "# Desk\nThe current time is 2024-05-15 15:00:00 EST.\n",
        "tau_bench/envs/desk/tasks_test.py": TASKS,
        "tau_bench/envs/desk/tasks_train.py": "TASKS_TRAIN = []\n" + NEVER,
        "tau_bench/envs/desk/data/orders.json": json.dumps(ORDERS),
        "tau_bench/envs/desk/data/users.json": json.dumps({"u1": {"name": "Dana", "credit": 0}}),
        "tau_bench/envs/desk/tools/__init__.py": NEVER + "ALL_TOOLS = [CancelOrder, GetOrder, Transfer]\n",
    }
    files |= {f"tau_bench/envs/desk/tools/{name}.py": text for name, text in {**TOOLS, **tools}.items()}
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    return place / "tau_bench" / "envs" / "desk"


def call(name: str, result: str, **args: Any) -> list[dict[str, Any]]:
    """The messages of one call."""
    made = {"id": "c1", "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [made]},
        {"role": "tool", "tool_call_id": "c1", "name": name, "content": result},
    ]


def row(task: int, trial: int, reward: float, *messages: dict[str, Any]) -> dict[str, Any]:
    """One row of a result file."""
    traj = [{"role": "system", "content": "# Desk"}, {"role": "user", "content": "hi"}, *messages]
    return {"task_id": task, "reward": reward, "info": {"source": "user"}, "traj": traj, "trial": trial}


def says(text: str, by: str = "assistant") -> dict[str, Any]:
    return {"role": by, "content": text}


CANCELLED = '{"user_id": "u1", "status": "cancelled", "total": 1250, "history": [{"refund": 1250.0}]}'
STOP = says("###STOP###", "user")


def results() -> list[dict[str, Any]]:
    """Two trials of three tasks, with the rewards that the rules of tau-bench give them."""
    cancel = call("cancel_order", CANCELLED, order_id="#W1", reason="no longer needed")
    return [
        row(0, 0, 1.0, *cancel, says("You get $1,250 back."), STOP),
        row(1, 0, 1.0, says("That is not possible."), STOP),
        row(2, 0, 0.0, says("I leave it as it is."), STOP),
        row(0, 1, 0.0, *cancel, says("It is cancelled."), STOP),
        row(1, 1, 0.0, *cancel, says("Done."), STOP),
        row(
            2,
            1,
            1.0,
            *call("cancel_order", "Error: the printer is on fire", order_id="#W2", reason="fail"),
            says("It broke."),
            STOP,
        ),
    ]
