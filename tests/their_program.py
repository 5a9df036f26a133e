"""A program of somebody else, written to a file and talked to."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from caseharden.engine.processes import (
    AllowedCode,
    Limits,
    Processes,
    Talk,
)

ECHO = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"id": asked["id"], "said": asked["say"]}), flush=True)
"""


def written(folder: Path, program: str) -> str:
    """The name of a file with the program, whose lines may be indented alike."""
    lines = program.strip("\n").splitlines()
    indent = len(lines[0]) - len(lines[0].lstrip())
    (folder / "theirs.py").write_text("\n".join(line[indent:] for line in lines) + "\n", encoding="utf-8")
    return "theirs.py"


@asynccontextmanager
async def talking(folder: Path, program: str, limits: Limits | None = None) -> AsyncGenerator[Talk]:
    """A talk with a running program."""
    command = AllowedCode([folder]).command(["python", written(folder, program)], "argv", limits)
    with anyio.fail_after(60):
        async with Processes() as processes:
            yield await processes.start(command)


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
