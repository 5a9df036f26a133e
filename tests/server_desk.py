"""A client at the server, for tests: every reply that passes over it is held to what all replies promise."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

from mcp import Client
from mcp.server import MCPServer
from mcp.types import CallToolResult, TextContent

from caseharden.mcp_server.app import build_server, build_tools
from caseharden.mcp_server.strict import refusal
from caseharden.resources.workbench import Workbench
from caseharden.tools import CATALOG
from caseharden.tools.fit import CAP, UNSEEN

Mode = Literal["auto", "legacy"]
MODES: tuple[Mode, ...] = ("auto", "legacy")
CODES = {
    *(
        "unknown_tool",
        "unknown_argument",
        "invalid_argument",
        "not_found",
        "conflict",
        "not_allowed",
        "held_out",
    ),
    *("needs_confirm", "missing_key", "rate_limited", "budget", "unavailable", "storage", "internal"),
}
STAND_IN = re.compile(r"\.+|\u2026|<[^<>]*>|\{\{?[^{}]*\}\}?|[A-Z]{3,}([/@][A-Z]+)*")
"""What a proposed call may not say."""
KNOWN = build_tools(Workbench(Path("nowhere")))
"""The tools, only to look at their arguments."""


class Desk:
    """Calls tools as a client does and looks at every reply."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.calls = 0

    async def ok(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured reply of a call that works."""
        self.calls += 1
        result = await self.client.call_tool(tool, arguments)
        reply = structured(result)
        assert not result.is_error, reply
        CATALOG[tool].reply.model_validate(reply)
        check_reply(reply, text_of(result))
        return reply

    async def error(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured error of a call that is refused."""
        self.calls += 1
        result = await self.client.call_tool(tool, arguments)
        reply = structured(result)
        assert result.is_error, reply
        error: dict[str, Any] = reply["error"]
        check_error(error, text_of(result))
        return error

    async def follow(self, reply: dict[str, Any], index: int = 0) -> dict[str, Any]:
        """Make a call that a reply proposed."""
        call = reply["next"][index]
        return await self.ok(call["tool"], **call["args"])


@asynccontextmanager
async def desk(home: Path, mode: Mode = "auto", *, roots: tuple[Path, ...] = ()) -> AsyncGenerator[Desk]:
    """A server over that data folder, and a client at it in memory."""
    server: MCPServer[Any] = build_server(Workbench(home, roots=roots))
    async with Client(server, mode=mode) as client:
        yield Desk(client)


def structured(result: CallToolResult) -> dict[str, Any]:
    """What a program reads."""
    assert result.structured_content is not None
    return result.structured_content


def text_of(result: CallToolResult) -> str:
    """What a person reads."""
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text


def check_reply(reply: dict[str, Any], text: str) -> None:
    """What every reply promises: short, safe, complete, the same in both forms."""
    compact = json.dumps(reply, ensure_ascii=False, separators=(",", ":"))
    assert len(compact) <= CAP
    assert not UNSEEN.search(json.loads(json.dumps(compact)))
    assert text.startswith(reply["summary"])
    assert not re.search(r"\bsignificant|success rate|accuracy\b", reply["summary"])
    assert len(reply.get("next", [])) <= 3
    assert text.count("\nNext: ") >= len(reply.get("next", []))
    for call in reply.get("next", []):
        check_call(call)


def check_error(error: dict[str, Any], text: str) -> None:
    """What every error promises."""
    assert error["code"] in CODES
    assert error["what"]
    assert text.startswith(error["what"])
    assert "Traceback" not in text
    assert "pydantic" not in text
    for call in error.get("next", []):
        check_call(call)


def check_call(call: dict[str, Any]) -> None:
    """A proposed call is one that the server would take, and means what it says: no text stands for another."""
    problem = refusal(KNOWN, call["tool"], cast("dict[str, Any]", call["args"]), call.get("why", ""))
    assert problem is None, f"{call}: {problem}"
    assert not stand_ins(call["args"]), call


def stand_ins(value: Any) -> list[str]:
    """The texts in it that stand for others: `...`, `<your text>`, `{{text}}`, `RUN/SIM/TRIAL`."""
    if isinstance(value, dict):
        return [found for one in cast("dict[str, Any]", value).values() for found in stand_ins(one)]
    if isinstance(value, list):
        return [found for one in cast("list[Any]", value) for found in stand_ins(one)]
    return [value] if isinstance(value, str) and STAND_IN.fullmatch(value.strip()) else []


TINY: dict[str, Any] = {
    "format": "world/1",
    "name": "desk",
    "policy": "Close a ticket only when its owner asks for it.",
    "db": {"tickets": {"T1": {"status": "open", "owner": "ann"}, "T2": {"status": "open", "owner": "bob"}}},
    "tools": [
        {
            "name": "close_ticket",
            "description": "Close a ticket.",
            "parameters": {
                "type": "object",
                "required": ["ticket_id"],
                "properties": {"ticket_id": {"type": "string", "description": "T and digits"}},
            },
            "steps": [
                {"let": {"t": "db.tickets.get(ticket_id)"}},
                {"require": "t", "error": "there is no ticket {ticket_id}"},
                {"set": {"t.status": "'closed'"}},
                {"return": "{'ticket_id': ticket_id, 'status': t.status}"},
            ],
        }
    ],
}
"""A world of one tool."""


def closing(id: str, ticket: str) -> dict[str, Any]:
    """A scenario of it."""
    return {
        "id": id,
        "goal": f"Get ticket {ticket} closed.",
        "knowledge": [{"fact": "ticket id", "value": ticket}],
        "expected": [{"tool": "close_ticket", "args": {"ticket_id": ticket}}],
        "success": [{"id": "world", "world": "expected"}],
    }


async def tiny(at: Desk, name: str = "support") -> dict[str, Any]:
    """An environment on that world, with two personas and two scenarios."""
    made = await at.ok("create_environment", id=name, instructions="Close the ticket.", world_data=TINY)
    people = [{"id": "dana", "style": "terse"}, {"id": "omar", "profile": "Polite."}]
    await at.ok("create_personas", environment=name, personas=people)
    await at.ok(
        "create_scenarios",
        environment=name,
        scenarios=[closing("close-one", "T1"), closing("close-two", "T2")],
    )
    return made
