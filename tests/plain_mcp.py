"""MCP over standard streams with the standard library alone: programs of tests that are a server start in no time.

It stands in for the SDK's `MCPServer`; that a server of the SDK is understood too has tests of its own.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

KINDS = {str: "string", int: "integer"}
"""JSON Schema types by annotation; whatever else is an array."""
OF_THE_SDK = "from mcp.server import MCPServer\n"


def write_plain(file: Path, program: str) -> Path:
    """Write a program that imports the SDK's server so that it imports this one, and this file beside it."""
    assert OF_THE_SDK in program
    here = Path(__file__)
    (file.parent / here.name).write_text(here.read_text(encoding="utf-8"), encoding="utf-8")
    file.write_text(program.replace(OF_THE_SDK, f"from {here.stem} import MCPServer\n"), encoding="utf-8")
    return file


class MCPServer:
    """A server whose tools are functions that give a text or an object."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tools: dict[str, Callable[..., Any]] = {}

    def tool(self) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            self.tools[function.__name__] = function
            return function

        return keep

    def run(self) -> None:
        """Answer line by line until there is no more input."""
        for line in sys.stdin:
            asked = json.loads(line)
            if "id" in asked:
                told = {"jsonrpc": "2.0", "id": asked["id"], **self.answer(asked)}
                print(json.dumps(told), flush=True)

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["method"] == "initialize":
            version = asked["params"]["protocolVersion"]
            info = {"name": self.name, "version": "1"}
            return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
        if asked["method"] == "tools/list":
            return {"result": {"tools": [described(tool) for tool in self.tools.values()]}}
        if asked["method"] == "tools/call":
            return {"result": self.call(asked["params"]["name"], asked["params"]["arguments"])}
        return {"error": {"code": -32601, "message": "Method not found"}}

    def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            made = self.tools[name](**arguments)
        except Exception:
            return {"content": [{"type": "text", "text": f"Error executing tool {name}"}], "isError": True}
        if isinstance(made, str):
            return {"content": [{"type": "text", "text": made}]}
        return {"content": [{"type": "text", "text": json.dumps(made)}], "structuredContent": made}


def described(tool: Callable[..., Any]) -> dict[str, Any]:
    """A tool as it is listed; its arguments are read from its annotations."""
    named = inspect.signature(tool).parameters
    properties = {name: {"type": KINDS.get(one.annotation, "array")} for name, one in named.items()}
    return {
        "name": tool.__name__,
        "inputSchema": {"type": "object", "properties": properties, "required": list(named)},
    }
