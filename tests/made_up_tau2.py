"""A small domain in the layout of tau2-bench, and a world folder of Sigma, both made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from caseharden.tests import made_up_tau

NEVER = made_up_tau.NEVER
TOOLKIT = """
class ToolType:
    READ, WRITE, THINK, GENERIC = "read", "write", "think", "generic"


def is_tool(kind=ToolType.READ, mutates_state=None):
    return lambda function: function


class ToolKitBase:
    def __init__(self, db=None):
        self.db = db
"""
DATA_MODEL = """
from typing import Dict, List, Literal, Optional

from loguru import logger
from pydantic import BaseModel, Field

Status = Literal["open", "closed"]


class Ticket(BaseModel):
    status: Status
    note: Optional[str] = None
    hours: float = 0


class Clerk(BaseModel):
    name: str


class DeskDB(BaseModel):
    tickets: Dict[str, Ticket]
    clerks: List[Clerk] = Field(default_factory=list)
    opened: int = 0
"""
TOOLS = '''
from missing_library import helper
from tau2.domains.desk.data_model import Clerk, DeskDB, Status, Ticket, logger
from tau2.environment.toolkit import ToolKitBase, ToolType, is_tool


class DeskTools(ToolKitBase):
    db: DeskDB

    @is_tool(ToolType.READ)
    def get_ticket(self, ticket_id: str) -> Ticket:
        """Look a ticket up.

        Args:
            ticket_id: The id, such as 't1'.
        """
        logger.info("looked")
        if ticket_id not in self.db.tickets:
            raise ValueError(f"Ticket {ticket_id} not found")
        return self.db.tickets[ticket_id]

    @is_tool(ToolType.WRITE)
    def set_status(self, ticket_id: str, status: Status = "closed", hours: float = 0) -> Ticket:
        """Set the status of a ticket."""
        ticket = self.db.tickets[ticket_id]
        ticket.status, ticket.hours = status, hours
        self.db.opened += 1
        self.db.clerks.append(Clerk(name="new"))
        return ticket

    @is_tool(ToolType.GENERIC)
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand over."""
        return "Transfer successful"

    def assert_status(self, ticket_id: str, expected: str) -> bool:
        return self.db.tickets[ticket_id].status == expected

    def open_ticket(self, ticket_id: str) -> None:
        self.db.tickets[ticket_id] = Ticket(status="open")

    def broken(self) -> None:
        helper()
'''
USER_TOOLS = """
from typing import Optional

from pydantic import BaseModel

from tau2.environment.toolkit import ToolKitBase, ToolType, is_tool


class Phone(BaseModel):
    on: bool = True
    banner: Optional[str] = None


class PhoneDB(BaseModel):
    phone: Phone = Phone()


class PhoneTools(ToolKitBase):
    db: PhoneDB

    @is_tool(ToolType.READ)
    def look_at_phone(self) -> str:
        return f"banner: {self.db.phone.banner}"

    @is_tool(ToolType.WRITE)
    def switch(self, on: bool) -> str:
        self.db.phone.on = on
        return "done"
"""
ENVIRONMENT = """
class DeskEnvironment:
    def sync_tools(self):
        closed = self.tools.db.tickets["t1"].status == "closed"
        self.user_tools.db.phone.banner = "all done" if closed else None
"""
DB = {
    "tickets": {"t1": {"status": "open"}, "t2": {"status": "open", "note": "loud"}},
    "clerks": [{"name": "Ann"}],
}


def task(id: str, actions: list[dict[str, Any]] | None, basis: list[str], **criteria: Any) -> dict[str, Any]:
    """A task with what it is judged by."""
    return {
        "id": id,
        "description": {"purpose": "a test"},
        "user_scenario": {
            "persona": "Terse.",
            "instructions": {
                "domain": "desk",
                "reason_for_call": "Close t1.",
                "known_info": "You are Dana.\nYour ticket is t1.",
                "unknown_info": "Your email",
                "task_instructions": "Be polite.",
            },
        },
        "evaluation_criteria": {"actions": actions, "reward_basis": basis, **criteria},
    }


CLOSE = {"action_id": "a1", "name": "set_status", "arguments": {"ticket_id": "t1", "hours": 2.0}}
SWITCH = {"action_id": "a1", "requestor": "user", "name": "switch", "arguments": {"on": False}}
LOOK = {"name": "get_ticket", "arguments": {"ticket_id": "t1", "why": "x"}, "compare_args": ["ticket_id"]}
HOLDS = {
    "env_type": "assistant",
    "func_name": "assert_status",
    "arguments": {"ticket_id": "t9", "expected": "open"},
}


def tasks() -> list[dict[str, Any]]:
    begun = task("[Odd] id!", [], ["ENV_ASSERTION"], env_assertions=[HOLDS, {**HOLDS, "assert_value": True}])
    made = {"env_type": "assistant", "func_name": "open_ticket", "arguments": {"ticket_id": "t9"}}
    begun["initial_state"] = {
        "initialization_data": {"agent_data": {"tickets": {"t8": {"status": "closed"}}}, "user_data": None},
        "initialization_actions": [made],
        "message_history": [
            {"role": "user", "content": "hello"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "x", "name": "get_ticket", "arguments": {"ticket_id": "t1"}}],
            },
            {"role": "tool", "id": "x", "content": "{}"},
            {"role": "assistant", "content": "I looked."},
        ],
    }
    return [
        task("close", [CLOSE], ["DB", "COMMUNICATE"], communicate_info=["12"]),
        task("both", [CLOSE, SWITCH, LOOK], ["DB", "ACTION"]),
        begun,
        task("nothing", [], ["DB", "NL_ASSERTION"], nl_assertions=[]),
        {"id": "empty", "user_scenario": {"instructions": "Just talk."}, "evaluation_criteria": None},
        {"id": "silent"},
    ]


def domain(place: Path) -> Path:
    """The checkout; returns the domain's folder."""
    files = {
        "src/tau2/__init__.py": NEVER,
        "src/tau2/environment/__init__.py": "",
        "src/tau2/environment/toolkit.py": TOOLKIT,
        "src/tau2/domains/__init__.py": NEVER,
        "src/tau2/domains/desk/__init__.py": NEVER,
        "src/tau2/domains/desk/data_model.py": DATA_MODEL,
        "src/tau2/domains/desk/tools.py": TOOLS,
        "src/tau2/domains/desk/user_tools.py": USER_TOOLS,
        "src/tau2/domains/desk/environment.py": ENVIRONMENT,
        "data/tau2/domains/desk/db.json": json.dumps(DB),
        "data/tau2/domains/desk/user_db.toml": "[phone]\non = true\n",
        "data/tau2/domains/desk/policy.md": "# Desk\nBe kind.\n",
        "data/tau2/domains/desk/tasks.json": json.dumps(tasks()),
        "data/tau2/domains/desk/split_tasks.json": json.dumps(
            {"train": ["close"], "test": ["both", "nothing"]}
        ),
        "data/tau2/domains/desk/documents/one.json": "{}",
    }
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    return place / "data" / "tau2" / "domains" / "desk"


def world_folder(place: Path) -> Path:
    """A world folder of Sigma: tools like those of tau-bench, tasks of both forms."""
    old = {
        "user_id": "u1",
        "instruction": "Cancel #W1.",
        "outputs": ["1250"],
        "actions": [{"name": "cancel_order", "arguments": {"order_id": "#W1"}}],
    }
    new = task(
        "cancel-two",
        [{"name": "cancel_order", "arguments": {"order_id": "#W2"}}],
        ["DB"],
        communicate_info=["2"],
    )
    tools = "import json\n\n" + "\n".join(made_up_tau.TOOLS.values()).replace(
        "from tau_bench.envs.tool import Tool", "class Tool:\n    pass\n"
    )
    files = {
        "db.json": json.dumps({"orders": made_up_tau.ORDERS, "users": {"u1": {"credit": 0}}}),
        "tasks.json": json.dumps([old, new, {"id": 3}]),
        "policy.md": "# Shop\n",
        "user_guidelines.md": "Answer in one sentence.",
        "tools.py": tools,
    }
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8")
    return place
