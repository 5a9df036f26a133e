"""A desk whose tools are somebody else's: an MCP server or an HTTP service with one state for everybody."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, of_json
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

COUNT = 4
RULED = f"{INSTRUCTIONS} Before calling close_ticket, call look_up_ticket."
DESK = f"""
import sys, time
from typing import Any
from mcp.server import MCPServer

server = MCPServer("desk")
tickets: dict[str, Any] = {{}}

def opened():
    tickets.clear()
    tickets.update({{f"T{{n}}": {{"status": "open", "owner": "ann"}} for n in range(1, {COUNT} + 1)}})

opened()

@server.tool()
def look(ticket_id: str) -> dict[str, Any]:
    if ticket_id not in tickets:
        raise ValueError("no ticket " + ticket_id)
    print("noise on stdout", flush=True)
    return {{"ticket_id": ticket_id, **tickets[ticket_id]}}

@server.tool()
def close(ticket_id: str) -> str:
    if ticket_id == "slow":
        time.sleep(600)
    tickets[ticket_id]["status"] = "closed"
    return "closed " + ticket_id

@server.tool()
def dump() -> dict[str, Any]:
    return {{"tickets": tickets}}

@server.tool()
def reset() -> str:
    opened()
    return "done"

if __name__ == "__main__":
    if len(sys.argv) > 1:
        import socket, uvicorn
        app = server.streamable_http_app()
        listener = socket.socket(fileno=int(sys.argv[1]))
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
    else:
        server.run()
"""


def behind(world: dict[str, Any], look_up: dict[str, Any], close: dict[str, Any]) -> dict[str, Any]:
    """The tickets with tools that are somebody else's; our own state is empty until it is seen."""
    first, second = world["tools"]
    for tool, kind, impl in ((first, "read", look_up), (second, "write", close)):
        del tool["steps"]
        tool |= {"kind": kind, "impl": impl}
    return {**world, "db": {"tickets": {}}}


def by_mcp(**server: Any) -> dict[str, Any]:
    world = behind(
        tickets(COUNT),
        {"mcp": "desk", "tool": "look"},
        {"mcp": "desk", "tool": "close", "snapshot": "dump"},
    )
    return {**world, "servers": {"desk": server}}


class Service:
    """A ticket service over HTTP with one state for everybody, as most have."""

    def __init__(self, **faults: Answer) -> None:
        self.faults = faults
        """By the last part of a path: what is answered instead."""
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.tickets = {f"T{n}": {"status": "open", "owner": "ann"} for n in range(1, COUNT + 1)}

    def __call__(self, seen: Seen) -> Answer:
        path, _, query = seen.path.partition("?")
        if path[1:] in self.faults:
            return self.faults[path[1:]]
        with self.lock:
            if path == "/reset":
                self.reset()
                return Answer(b"", 204)
            if path == "/dump":
                return of_json({"tickets": self.tickets})
            id = query.partition("=")[2] if path == "/look" else seen.json["ticket_id"]
            if id not in self.tickets:
                return of_json({"detail": f"no ticket {id}"}, 404)
            if path == "/close":
                self.tickets[id]["status"] = "closed"
            return of_json({"ticket_id": id, **self.tickets[id]})


class Endpoint(FakeEndpoint):
    """Answers every request by what it is for, GETs too."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service

    def take(self, seen: Seen) -> Answer:
        with self.service.lock:
            self.requests.append(seen)
        return self.service(seen)


def by_http(url: str, **more: Any) -> dict[str, Any]:
    common = {"reset": f"{url}/reset", **more}
    return behind(
        tickets(COUNT),
        {"http": {"url": f"{url}/look", "method": "GET", **common}},
        {"http": {"url": f"{url}/close", "snapshot": f"{url}/dump", **common}},
    )


@asynccontextmanager
async def bench(home: Path, **options: Any) -> AsyncGenerator[Workbench]:
    async with Workbench(home / "data", worlds=WORLDS, **options) as made:
        yield made


async def played(desk: Workbench, world: dict[str, Any], count: int = COUNT, **scenario: Any) -> Any:
    """A run over so many scenarios."""
    await desk.environments.create("desk", instructions=RULED, world_data=world)
    cases = [closing(n, **scenario) for n in range(1, count + 1)]
    made = await desk.scenarios.create("desk", cases, check=not scenario)
    with anyio.fail_after(120):
        return made, (await desk.runs.start("desk", wait_s=45)).run


async def log_of(desk: Workbench, run: Any, simulation: str = "close-1") -> dict[str, Any]:
    """The record of a trial."""
    item = await desk.items.get("conversation", f"{run.id}/{simulation}/1", view="full")
    return item.item["conversation"]


def calls_in(talk: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in talk["log"] if "tool" in entry and entry["turn"] > 0]
