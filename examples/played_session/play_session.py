"""Be the agent of one case: play it wrong, read why, go back to the turn that lost the reward, and play it right.

    python play_session.py [--home DIR]

Everything goes through the MCP server over stdio, as with an assistant. No model and no key are needed.
Exit code: 0 if the second try got the reward, 1 if not.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from mcp import StdioServerParameters
from mcp.client import Client

CASE = "refund-broken-lamp"
ORDER = re.compile(r"W\d{5}")
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
ZIP = re.compile(r"\b\d{5}\b")


class Session:
    """A live conversation in which this program is the agent."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._id = ""
        self.heard = ""
        """All that the user has said."""

    async def start(self, environment: str, case: str) -> None:
        reply = await self.tool("start_session", environment=environment, start=case)
        self._id = reply["session"]
        print(reply["summary"])
        self._hear(reply)

    async def step(self, action: str, **arguments: Any) -> Mapping[str, Any]:
        """Take a step and print what happened."""
        print(f"  {action}: {arguments.get('text') or arguments.get('tool') or arguments.get('turn', '')}")
        reply = await self.tool("step_session", session=self._id, action=action, **arguments)
        self._hear(reply)
        if "result" in reply:
            print(f"  result: {reply['result']['result']}")
        return reply

    async def tool(self, name: str, /, **arguments: Any) -> Mapping[str, Any]:
        result = await self._client.call_tool(name, arguments)
        reply: dict[str, Any] = result.structured_content or {}
        if result.is_error:
            raise SystemExit(f"error: {reply['error']['what']}")
        return reply

    def _hear(self, reply: Mapping[str, Any]) -> None:
        for message in reply.get("messages", ()):
            print(f"  {message['from']}: {message['text']}")
            self.heard += f"\n{message['text']}"


async def play(client: Client) -> float:
    """The reward of the second try."""
    session = Session(client)
    await session.tool("create_environment", id="shop", world="shop")
    await session.start("shop", CASE)
    order = found(ORDER, session.heard)

    await session.step("call", tool="refund_order", arguments={"order_id": order})
    ended = await session.step("end")
    explain(ended)

    await session.step("undo", turn=1)
    await session.step("reply", text="May I have your email and your zip?")
    known = {"email": found(EMAIL, session.heard), "zip": found(ZIP, session.heard)}
    await session.step("call", tool="verify_customer", arguments={"order_id": order, **known})
    refund = await session.step("call", tool="refund_order", arguments={"order_id": order})
    amount = refund["result"]["result"]["amount"]
    ended = await session.step("reply", text=f"I have refunded {amount:.2f} dollars to your card.")
    if not ended.get("done"):
        ended = await session.step("end")
    explain(ended)
    return float(ended["reward"]["value"] or 0)


def found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise SystemExit(f"error: the user never said anything like {pattern.pattern}")
    return match[0]


def explain(ended: Mapping[str, Any]) -> None:
    """Print the reward with each of its components."""
    print(ended["summary"])
    for part in ended["reward"]["components"]:
        print(f"  {part['verdict']:<5} {part['check']}: {part['why']}")


async def main(home: str) -> int:
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "caseharden", "serve"], env={"CASEHARDEN_HOME": home}
    )
    async with Client(server) as client:
        return 0 if await play(client) == 1 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Play one case of the shop as its agent.")
    parser.add_argument("--home", default="", help="data folder; default: one that is thrown away")
    wanted = parser.parse_args().home
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(anyio.run(main, str(Path(wanted or folder).absolute())))
