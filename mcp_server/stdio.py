"""Serves standard input and output. Standard output carries nothing but the protocol.

The SDK skips a line that it cannot read, and its caller would wait forever. Here such a line is answered.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, ErrorData, JSONRPCError
from pydantic import ValidationError

from ..engine.workbench import Workbench
from .app import LogLevel, build_server
from .logs import hide_in_logs
from .offer import EVERYTHING, Offer

ID = re.compile(r'"id"\s*:\s*(\d{1,15}|"[^"\\]{1,100}")')
REASONS = {
    "recursion limit": "it is nested too deep",
    "hex escape": "it is not valid Unicode (a lone surrogate)",
}


def serve_stdio(bench: Workbench, offer: Offer = EVERYTHING, *, log_level: LogLevel = "WARNING") -> None:
    """Serve until standard input ends, or SIGTERM comes; the workbench is entered and left here.

    Raises StorageError if the data folder cannot be used.
    """
    server = build_server(bench, owns=False, offer=offer, log_level=log_level)
    hide_in_logs(bench.redactor)
    gc.freeze()
    anyio.run(_serve, bench, server, own_output())


def own_output() -> anyio.AsyncFile[str]:
    """Reserve standard output for the protocol.

    Until the process ends, everything else printed goes to standard error.
    """
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return anyio.wrap_file(wire)


async def _serve(bench: Workbench, server: MCPServer[Any], output: anyio.AsyncFile[str]) -> None:
    """Serve in the workbench, and leave it in order: its jobs are free for others at once."""
    outcome: list[Exception | None] = []
    over = anyio.Event()

    async def work() -> None:
        try:
            await serve(server, output)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)
        over.set()

    async def hear(signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            over.set()

    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with anyio.create_task_group() as group:
            async with bench:
                group.start_soon(work)
                group.start_soon(hear, signals)
                await over.wait()
            if not outcome:
                sys.stderr.flush()
                os._exit(0)  # a thread waits for standard input, and only the end of input would wake it
            group.cancel_scope.cancel()
    if outcome[0] is not None:
        raise outcome[0]


async def serve(server: MCPServer[Any], output: anyio.AsyncFile[str]) -> None:
    """Serve over standard input and `output` until the input ends."""
    inner = server._lowlevel_server  # pyright: ignore[reportPrivateUsage] # no public way to see unreadable lines
    async with stdio_server(stdout=output) as (incoming, outgoing):
        send, receive = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def forward() -> None:
            async with send:
                async for item in incoming:
                    if isinstance(item, Exception):
                        await outgoing.send(SessionMessage(unreadable(item)))
                    else:
                        await send.send(item)

        async with anyio.create_task_group() as group:
            group.start_soon(forward)
            await inner.run(receive, outgoing, inner.create_initialization_options())


def unreadable(error: Exception) -> JSONRPCError:
    """The answer to a line that is not a message, using the caller's id if it can be found."""
    mistake: dict[str, Any] = (
        dict(error.errors(include_url=False)[0]) if isinstance(error, ValidationError) else {}
    )
    line, told = str(mistake.get("input", "")), str(mistake.get("msg", ""))
    found = ID.search(line[:300]) or ID.search(line[-300:])
    why = next((reason for mark, reason in REASONS.items() if mark in told), "it is no JSON-RPC message")
    what = f"The message cannot be read: {why}. Allowed: JSON, UTF-8, at most 100 levels deep."
    number = found[1] if found else ""
    id = int(number) if number.isdigit() else number.strip('"') or None
    return JSONRPCError(jsonrpc="2.0", id=id, error=ErrorData(code=PARSE_ERROR, message=what))
