"""Standard output belongs to the protocol, whatever is printed before, meanwhile and after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from caseharden.tests.server_desk import MODES, Desk, Mode, text_of
from caseharden.tests.wire_plan import long_run
from caseharden.tests.wires import COMMAND, reached

pytestmark = pytest.mark.anyio
NOISY = """
import atexit, os, subprocess, sys
from pathlib import Path
from mcp.server.mcpserver.tools import Tool
from caseharden.mcp_server import app, stdio
from caseharden.resources.workbench import Workbench

def shout(when):
    print("NOISE", when)
    sys.stdout.write("NOISE written " + when + "\\n")
    sys.stdout.flush()
    os.write(1, b"NOISE on the descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('NOISE of a child')"], check=True)

class Loud(Workbench):
    async def __aenter__(self):
        shout("while it starts")
        return await super().__aenter__()

    async def __aexit__(self, *error):
        shout("while it ends")
        await super().__aexit__(*error)

async def loud() -> str:
    "Makes noise."
    shout("in a tool")
    return "done"

build = app.build_server
stdio.build_server = lambda bench, **options: build(bench, extra=[Tool.from_function(loud)], **options)
atexit.register(shout, "at exit")
stdio.serve_stdio(Loud(Path(sys.argv[1])))
shout("after it ended")
"""


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_printed_in_tools_and_while_starting_does_not_break_the_stream(
    tmp_path: Path, mode: Mode
) -> None:
    server = StdioServerParameters(command=sys.executable, args=["-c", NOISY, str(tmp_path / "data")])
    broken: list[Exception] = []

    async def heard(message: Any) -> None:
        if isinstance(message, Exception):
            broken.append(message)

    async with Client(server, mode=mode, message_handler=heard) as client:
        for _ in range(3):
            assert text_of(await client.call_tool("loud", {})) == "done"
            await Desk(client).ok("list_items")
    assert broken == []


def test_nothing_but_protocol_is_ever_on_standard_output_not_even_after_the_end(tmp_path: Path) -> None:
    call: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "loud", "arguments": {}},
    }
    hello: dict[str, Any] = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    lines: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        call,
    ]
    with subprocess.Popen(
        [sys.executable, "-c", NOISY, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        process.stdin.flush()
        told = [json.loads(process.stdout.readline()) for _ in range(2)]
        rest, noise = process.communicate(timeout=60)
    assert [one["id"] for one in told] == [1, 2]
    assert rest == ""
    assert process.returncode == 0
    for when in ("while it starts", "in a tool", "while it ends", "after it ended", "at exit"):
        assert f"NOISE {when}" in noise


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_that_goes_away_leaves_a_run_that_the_next_server_ends_or_cancels(
    tmp_path: Path, mode: Mode
) -> None:
    home = tmp_path / "data"
    async with reached("stdio", mode, home) as client:
        job = await long_run(Desk(client))
    async with reached("stdio", mode, home) as client:
        at = Desk(client)
        state = (await at.ok("get_item", kind="job", id=job))["item"]
        assert state["state"] in ("queued", "running")
        with anyio.fail_after(20):
            stopped = await at.ok("cancel_job", job=job)
        assert stopped["job"]["state"] == "cancelled"


def test_a_server_whose_input_ends_at_once_ends_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--home", str(tmp_path / "data")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
