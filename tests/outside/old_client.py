"""A client of the SDK's first line (mcp 1.x), in an environment of its own, drives the loop. Exit 0: it went round.

`old_client.py stdio COMMAND WORD...` starts a server; `old_client.py http URL` takes the token from TOKEN. Knows
nothing of our package and follows only the calls that replies propose.
"""

# pyright: reportAttributeAccessIssue=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportArgumentType=false
# (the installed SDK is the second line)

from __future__ import annotations

import importlib.metadata
import os
import sys
from contextlib import AsyncExitStack
from typing import Any

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client


class Loop:
    """Calls tools and waits for jobs."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session
        self.calls = 0
        self.notices = 0

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The structured reply; once its job is over, what it came to."""
        reply = await self.once(tool, arguments)
        while reply.get("job", {}).get("state") in ("queued", "running"):
            waited = await self.once("wait_job", {"job": reply["job"]["id"], "wait_s": 30})
            reply = {**waited.get("result", {}), "job": waited["job"], "next": waited.get("next", [])}
        return reply

    async def once(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """One call."""
        self.calls += 1
        result = await self.session.call_tool(tool, arguments, progress_callback=self.heard)
        if result.isError:
            raise SystemExit(f"{tool} failed: {result.content[0].text}")
        return result.structuredContent

    async def heard(self, progress: float, total: float | None, message: str | None) -> None:
        """A notice of progress."""
        self.notices += 1


async def go_round(session: ClientSession) -> str:
    """Create, run, harden, promote, run again; a line about it."""
    hello = await session.initialize()
    loop = Loop(session)
    await loop.call("create_environment", {"id": "shop", "world": "shop"})
    base = await loop.call("run_simulations", {"environment": "shop", "wait_s": 0})
    asked = {"environment": "shop", "run": base["run"], "wait_s": 0}
    found = await loop.call("harden_agent", asked)
    if found["outcome"] != "improved":
        raise SystemExit(f"not improved: {found['summary']}")
    candidate = found["candidate"]["id"]
    await loop.call("decide_candidate", {"candidate": candidate, "decision": "promote"})
    after = await loop.call(
        "run_simulations", {"environment": "shop", "continue_run": base["run"], "wait_s": 0}
    )
    passed = [run["totals"]["passed"] for run in (base, after)]
    if passed[0] >= passed[1]:
        raise SystemExit(f"no better after promotion: {passed}")
    refused = await session.call_tool("get_item", {"kind": "run", "id": "run-99"})
    if not refused.isError or refused.structuredContent["error"]["code"] != "not_found":
        raise SystemExit(f"a wrong id was not refused: {refused}")
    version = importlib.metadata.version("mcp")
    return (
        f"mcp {version}, protocol {hello.protocolVersion}: {passed[0]} of {base['totals']['trials']} passed, "
        f"{candidate} promoted, {passed[1]} passed; {loop.calls} calls, {loop.notices} notices of progress"
    )


async def main(how: str, *words: str) -> None:
    async with AsyncExitStack() as stack:
        if how == "http":
            headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
            streams = await stack.enter_async_context(streamablehttp_client(words[0], headers=headers))
        else:
            server = StdioServerParameters(command=words[0], args=list(words[1:]))
            streams = await stack.enter_async_context(stdio_client(server))
        session = await stack.enter_async_context(ClientSession(streams[0], streams[1]))
        print(f"ok    {how}  {await go_round(session)}", flush=True)


if __name__ == "__main__":
    anyio.run(main, *sys.argv[1:])
