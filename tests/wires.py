"""The server behind each of its wires: in memory, a process over standard input and output, a process over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from caseharden.mcp_server.app import build_server
from caseharden.resources.workbench import Workbench
from caseharden.tests.server_desk import MODES, Mode
from caseharden.tests.warm import warm

Wire = Literal["memory", "stdio", "http"]
WIRES: tuple[Wire, ...] = ("memory", "stdio", "http")
ROADS: tuple[tuple[Wire, Mode], ...] = tuple((wire, mode) for wire in WIRES for mode in MODES)
"""Every wire in both protocol eras."""
TOKEN = "a-token-for-tests-only"
COMMAND = [sys.executable, "-m", "caseharden", "serve"]


@dataclass(frozen=True, slots=True)
class Served:
    """A server process that listens on the loopback interface."""

    process: subprocess.Popen[str]
    url: str

    @property
    def base(self) -> str:
        return self.url.removesuffix("/mcp")


@contextmanager
def http_server(home: Path, *words: str, tokens: str = TOKEN, clean: bool = True) -> Generator[Served]:
    """`caseharden serve --http` at a free port. `clean`: it ends by SIGTERM with code 0 and has told nothing else."""
    env = {**os.environ, "CASEHARDEN_HOME": str(home), "TEST_TOKEN": tokens}
    command = [*warm(), *COMMAND[1:], "--http", "--port", "0", "--token", "env:TEST_TOKEN", *words]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("Serving MCP at http://127.0.0.1:"), first + process.stderr.read()
        assert TOKEN not in first + process.stderr.readline()
        try:
            yield Served(process, first.split()[3])
        finally:
            process.terminate()
            rest = process.stderr.read()
            code = process.wait(20)
        if clean:
            assert (code, rest) == (0, "")


@asynccontextmanager
async def http_client(
    url: str, mode: Mode, token: str = TOKEN, headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncGenerator[Client]:
    """A client of the SDK at that address; `headers` go with every request."""
    told = {"Authorization": f"Bearer {token}", **(headers or {})}
    async with (
        httpx2.AsyncClient(headers=told, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
    ):
        yield client


@asynccontextmanager
async def reached(
    wire: Wire, mode: Mode, home: Path, *, roots: Sequence[Path] = (), url: str = "", **options: Any
) -> AsyncGenerator[Client]:
    """A client at a server of its own over that data folder; over HTTP at `url` where one is given.

    `options` are the client's.
    """
    words = [word for root in roots for word in ("--root", str(root))]
    if wire == "memory":
        async with Client(build_server(Workbench(home, roots=roots)), mode=mode, **options) as client:
            yield client
    elif wire == "stdio":
        python, *start = warm()
        server = StdioServerParameters(
            command=python, args=[*start, *COMMAND[1:], *words], env={"CASEHARDEN_HOME": str(home)}
        )
        async with Client(server, mode=mode, **options) as client:
            yield client
    elif url:
        async with http_client(url, mode, **options) as client:
            yield client
    else:
        with http_server(home, *words) as served:
            async with http_client(served.url, mode, **options) as client:
                yield client
