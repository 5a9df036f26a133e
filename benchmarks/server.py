"""Start to `tools/list`, and a read tool call, over stdio and HTTP: `python benchmarks/server.py [CALLS]`. Prints JSON.

HTTP is measured in both protocol eras. CPU is what the operating system charges to the server process until it has
ended; the time of a call is what the client sees. Nothing is asserted here.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from typing import Any

import anyio
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

TOKEN = "a-token-for-benchmarks"


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


async def read_calls(client: Client, calls: int) -> dict[str, float]:
    """Milliseconds of `list_items` and `get_item` on a data folder with the shop."""
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


async def over_http(home: str, calls: int) -> dict[str, Any]:
    """Seconds until the server listens, and its calls in both eras."""
    env = {**os.environ, "BENCHMARK_TOKEN": TOKEN}
    words = [
        "-m",
        "caseharden",
        "serve",
        "--home",
        home,
        "--http",
        "--port",
        "0",
        "--token",
        "env:BENCHMARK_TOKEN",
    ]
    began = time.perf_counter()
    server = await anyio.open_process([sys.executable, *words], env=env, stdout=None)
    assert server.stderr is not None
    try:
        url = (await server.stderr.receive()).decode().split()[3]
        found: dict[str, Any] = {"listens_s": round(time.perf_counter() - began, 3)}
        for era, mode in (("modern", "auto"), ("legacy", "legacy")):
            async with (
                httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                found[era] = await read_calls(client, calls)
    finally:
        server.terminate()
        await server.wait()
    return found


async def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as home:
        starts = [await start_once(home) for _ in range(5)]
        async with Client(server(home)) as client:
            reads = await read_calls(client, calls)
        http = await over_http(home, calls)
    best = {name: statistics.median(s[name] for s in starts) for name in ("wall_s", "cpu_s")}
    start = {**best, **{k: starts[0][k] for k in ("tools", "tokens")}}
    print(json.dumps({"start": start, "stdio": reads, "http": http}, indent=1))


if __name__ == "__main__":
    anyio.run(main)
