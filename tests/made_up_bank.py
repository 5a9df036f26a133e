"""A small domain in the layout of tau2-bench whose user works on the agent's data, with tools that are unlocked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from caseharden.tests.made_up_tau2 import TOOLKIT, task

DATA_MODEL = """
from typing import Any, Dict

from pydantic import BaseModel, Field


class BankDB(BaseModel):
    accounts: Dict[str, Dict[str, Any]] = Field(default_factory=dict)
    given: Dict[str, Dict[str, Any]] = Field(default_factory=dict)
    called: Dict[str, Dict[str, Any]] = Field(default_factory=dict)
"""
TOOLS = '''
import json
from typing import Any, Dict

from tau2.domains.bank.data_model import BankDB
from tau2.environment.toolkit import ToolKitBase, ToolType, is_tool


def is_discoverable_tool(kind=ToolType.READ):
    return lambda function: function


class BankTools(ToolKitBase):
    db: BankDB

    def __init__(self, db: BankDB) -> None:
        super().__init__(db)
        self._unlocked: Dict[str, Any] = {}
        self._logged: set[str] = set()

    def set_read_log_allowlist(self, allowlist: Any) -> None:
        self._logged = set(allowlist or [])

    @is_tool(ToolType.GENERIC)
    def give_tool(self, name: str) -> str:
        """Give the customer a tool."""
        self.db.given[name] = {"status": "GIVEN"}
        return "given"

    @is_tool(ToolType.GENERIC)
    def unlock(self, agent_tool_name: str) -> str:
        """Unlock a tool."""
        self._unlocked[agent_tool_name] = True
        return "unlocked"

    @is_tool(ToolType.WRITE)
    def call_discoverable_agent_tool(self, agent_tool_name: str, arguments: str = "{}") -> str:
        """Call a tool that was unlocked."""
        if agent_tool_name not in self._unlocked:
            return f"Error: {agent_tool_name} has not been unlocked"
        result = getattr(self, agent_tool_name)(**json.loads(arguments))
        if agent_tool_name in self._logged:
            self.db.called[agent_tool_name] = {"status": "CALLED"}
        return result

    @is_discoverable_tool(ToolType.READ)
    def read_balance_1(self, account: str) -> str:
        """Read a balance."""
        return str(self.db.accounts[account]["balance"])


class BankUserTools(ToolKitBase):
    db: BankDB

    @is_tool(ToolType.WRITE)
    def call_discoverable_user_tool(self, name: str, account: str) -> str:
        """Use a tool that was given."""
        if name not in self.db.given:
            return "Error: not given"
        self.db.accounts[account]["disputed"] = True
        return "disputed"
'''
READ = {"agent_tool_name": "read_balance_1", "arguments": '{"account": "a1"}'}
SOLUTION: list[dict[str, Any]] = [
    {"name": "unlock", "arguments": {"agent_tool_name": "read_balance_1"}},
    {"name": "call_discoverable_agent_tool", "arguments": READ},
    {"name": "give_tool", "arguments": {"name": "dispute"}},
    {
        "name": "call_discoverable_user_tool",
        "requestor": "user",
        "arguments": {"name": "dispute", "account": "a1"},
    },
]


def bank(place: Path) -> Path:
    """The checkout; returns the domain's folder."""
    tasks = [task("dispute", SOLUTION, ["DB"]), task("look", SOLUTION[:1], ["DB"]), task("idle", [], ["DB"])]
    files = {
        "src/tau2/environment/toolkit.py": TOOLKIT,
        "src/tau2/domains/bank/data_model.py": DATA_MODEL,
        "src/tau2/domains/bank/tools.py": TOOLS,
        "data/tau2/domains/bank/db.json": json.dumps({"accounts": {"a1": {"balance": 7}}}),
        "data/tau2/domains/bank/policy.md": "# Bank\n",
        "data/tau2/domains/bank/tasks.json": json.dumps(tasks),
        **{f"src/tau2/{part}__init__.py": "" for part in ("", "environment/", "domains/", "domains/bank/")},
    }
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    return place / "data" / "tau2" / "domains" / "bank"
