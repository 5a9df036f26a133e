"""Real servers over standard input and output, with their process ids, so that tests can kill, stop and limit them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from caseharden.tests.warm import warm
from caseharden.tests.workbench_cases import bench_at, desk

SERVE = ("-m", "caseharden", "serve", "--home")
SHORT_LEASE = """
import sys
from caseharden.mcp_server.stdio import serve_stdio
from caseharden.resources.workbench import Workbench
serve_stdio(Workbench(sys.argv[1], lease_s=1.5))
"""
"""A server whose work is taken over when it gives no sign of life for a second and a half."""
WITHOUT_ROOTS_RIGHTS = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for right in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: root may write where nobody may
    if os.geteuid() == 0 and libc.prctl(24, right, 0, 0, 0):
        sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python with these arguments; permissions count for it whoever the tests are run by."""


class Served:
    """A server's process and a client at it."""

    def __init__(self, client: Client, pid: int) -> None:
        self.client = client
        self.pid = pid

    async def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured reply of a call that works."""
        failed, reply = await self._call(tool, arguments)
        assert not failed, reply
        return reply

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured error of a call that is refused."""
        failed, reply = await self._call(tool, arguments)
        assert failed, reply
        return reply["error"]

    async def attempt(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The reply or {"error": ...}."""
        return (await self._call(tool, arguments))[1]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    async def _call(self, tool: str, arguments: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        result = await self.client.call_tool(tool, arguments)
        assert isinstance(result.content[0], TextContent) and "Traceback" not in result.content[0].text
        assert result.structured_content is not None
        return bool(result.is_error), result.structured_content


@asynccontextmanager
async def served(home: Path, *python: str) -> AsyncGenerator[Served]:
    """A server over a data folder; `python`: what Python is to run, with the folder behind it."""
    name = home.parent / f"pid-{os.urandom(4).hex()}"
    command, *words = [*warm(name), *(python or SERVE), str(home)]
    async with Client(StdioServerParameters(command=command, args=words)) as client:
        pid = int(name.read_text())
        try:
            yield Served(client, pid)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def desk_at(home: Path, count: int = 24) -> Path:
    """A data folder with the environment `desk` and its simulations."""
    async with bench_at(home) as bench:
        await desk(bench, count)
        await bench.simulations.create("desk", wait_s=45)
    return home


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    with anyio.fail_after(40):
        while not happened():
            await anyio.sleep(0.005)


def finished(home: Path, run: str) -> dict[str, str]:
    """The trials of a run that are kept, each with where its conversation lies."""
    file = home / "runs" / run / "trials.jsonl"
    rows = file.read_bytes().split(b"\n")[:-1] if file.is_file() else []
    kept: dict[str, str] = {}
    for row in rows[1:]:
        for id, trial in json.loads(row)[1].items():
            assert id not in kept, "a trial is written once"
            kept[id] = trial["pointer"]["at"]
    return kept


def conversations(home: Path, run: str) -> Counter[str]:
    """How often each trial of a run was played to its end, by whatever process."""
    played: Counter[str] = Counter()
    for segment in (home / "runs" / run / "segments").glob("*.jsonl"):
        for line in segment.read_bytes().split(b"\n")[:-1]:
            told = json.loads(line)
            if told["format"] == "conversation/1":
                played[f"{told['simulation']}/{told['trial']}"] += 1
    return played


async def stopped_between_writes(pid: int, home: Path) -> None:
    """Stop a process (SIGSTOP) at a moment when it holds no lock; it gets no further than it must until then."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: _is_stopped(pid))
        if not any(map(_is_held, home.rglob("*.lock"))):
            return
        os.kill(pid, signal.SIGCONT)
        await anyio.sleep(0)


def _is_stopped(pid: int) -> bool:
    """Whether it stands still: one that waits for the disk does so only once that has answered."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _is_held(lock: Path) -> bool:
    with open(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
