"""An MCP server with us as its client: a command, or behind a URL.

The handshake is that of protocol 2025-06-18, which servers of both eras speak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ..net import NetError, check_headers
from ..processes import ProcessError
from ..shapes import as_list, as_object
from .json_rpc import HttpPeer, Peer, RpcError, StdioPeer
from .outside import Reach

PROTOCOL: Final = "2025-06-18"
START_S: Final = 30.0
PEER_FAILURES: Final = (NetError, ProcessError, RpcError)
"""What a peer may raise."""


class McpServer:
    """Where it is and how it is reached. Raises on creation if URL, command or headers are wrong.

    Each peer has its own session, and its own process if the server is a command.
    """

    def __init__(
        self,
        url: str | None,
        command: Sequence[str],
        headers: Mapping[str, str],
        timeout_s: float,
        reach: Reach,
        where: str,
    ) -> None:
        check_headers(headers, f"{where}.headers", reach.connections.secrets)
        guard = reach.connections.client.guard
        self.target = guard.target(url, f"{where}.url") if url else None
        self.command = reach.code.command(command, f"{where}.command") if command else None
        self.timeout_s = timeout_s
        self._headers, self._reach, self._where = headers, reach, where

    async def greeted(self, more: Mapping[str, str] | None = None) -> Peer:
        """A peer after the handshake; raises PEER_FAILURES, and UserError for a reference without a value.

        `more`: further headers.
        """
        if self.command is not None:
            peer: Peer = StdioPeer(await self._reach.processes.start(self.command))
        else:
            assert self.target is not None
            sent = sent_headers(self._headers, self._reach, self._where)
            peer = HttpPeer(self._reach.connections.client, self.target, {**sent, **(more or {})})
        try:
            await _greet(peer, self.timeout_s)
        except BaseException:
            await let_go(peer)
            raise
        return peer


def sent_headers(headers: Mapping[str, str], reach: Reach, where: str) -> dict[str, str]:
    """Headers with their references resolved; UserError if one has no value."""
    value = reach.connections.secrets.value
    return {name: value(text, f"{where}.headers.{name}") for name, text in headers.items()}


async def let_go(peer: Peer | None) -> None:
    """End a conversation with a peer, ignoring its errors."""
    if peer is not None:
        with suppress(*PEER_FAILURES):
            await peer.aclose()


def texts_of(result: Mapping[str, Any]) -> str:
    """The texts in a tool's result."""
    return "\n".join(
        str(c.get("text", ""))
        for c in map(as_object, as_list(result.get("content")))
        if c.get("type") == "text"
    )


async def _greet(peer: Peer, timeout_s: float) -> None:
    row = {
        "protocolVersion": PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": "caseharden", "version": "1"},
    }
    await peer.ask("initialize", row, min(timeout_s, START_S))
    if isinstance(peer, HttpPeer):
        peer.headers["Mcp-Protocol-Version"] = PROTOCOL
    await peer.tell("notifications/initialized")
