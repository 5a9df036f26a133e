"""Start to `tools/list`, and a read tool call, over stdio: `python benchmarks/server.py [CALLS]`. Prints JSON.

CPU is what the operating system charges the server process, its end included; the time of a call is what the client
sees. Nothing is asserted here.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

import anyio
from mcp import Client, StdioServerParameters


def children_cpu_s() -> float:
    """CPU seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def server(home: str) -> StdioServerParameters:
    """Our server as a subprocess over a data folder."""
    return StdioServerParameters(command=sys.executable, args=["-m", "caseharden", "serve", "--home", home])


async def start_once(home: str) -> dict[str, Any]:
    """One start, one list of tools, one end."""
    before, began = children_cpu_s(), time.perf_counter()
    async with Client(server(home)) as client:
        tools = (await client.list_tools()).tools
        wall_s = time.perf_counter() - began
    chars = sum(
        len(
            json.dumps(
                {"name": t.name, "description": t.description, "inputSchema": t.input_schema},
                separators=(",", ":"),
            )
        )
        for t in tools
    )
    cpu_s = children_cpu_s() - before
    return {"wall_s": round(wall_s, 3), "cpu_s": round(cpu_s, 3), "tools": len(tools), "tokens": chars // 4}


async def read_calls(home: str, calls: int) -> dict[str, float]:
    """Milliseconds of `list_items` and `get_item` on a data folder with the shop."""
    async with Client(server(home)) as client:
        await client.call_tool("create_environment", {"id": "shop", "world": "shop"})
        taken: dict[str, list[float]] = {"list_items": [], "get_item": []}
        asked = {
            "list_items": {"kind": "scenario", "environment": "shop"},
            "get_item": {"kind": "environment", "id": "shop"},
        }
        for _ in range(calls):
            for name, arguments in asked.items():
                began = time.perf_counter()
                await client.call_tool(name, arguments)
                taken[name].append((time.perf_counter() - began) * 1000)
    return {f"{name}_median_ms": round(statistics.median(times), 2) for name, times in taken.items()}


async def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as home:
        starts = [await start_once(home) for _ in range(5)]
        reads = await read_calls(home, calls)
    best = {name: statistics.median(s[name] for s in starts) for name in ("wall_s", "cpu_s")}
    print(
        json.dumps(
            {"start": {**best, **{k: starts[0][k] for k in ("tools", "tokens")}}, "calls": reads}, indent=1
        )
    )


if __name__ == "__main__":
    anyio.run(main)
