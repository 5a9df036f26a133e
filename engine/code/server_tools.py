"""World tools served by an MCP server or an HTTP endpoint.

A trial has its own sessions and processes, and sends its own key with every request. If a server names a `reset`, all
trials share its state: they take turns, and each begins with the reset.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

import anyio

from ..agents import (
    PEER_FAILURES,
    McpServer,
    Peer,
    Reach,
    RpcError,
    StdioPeer,
    let_go,
    sent_headers,
    texts_of,
)
from ..errors import CasehardenError, InvalidArgument
from ..llm.chat_format import NoCompletion, parsed
from ..llm.origin import queued
from ..net import BadStatus, Broken, NetError, Response, Retries, check_headers
from ..records.checked_json import checked_json
from ..records.impl import HttpTool, ToolServer
from ..records.world import Tool, World
from ..shapes import as_object
from ..store import Turns
from ..world import CodeAnswer, ErrorKind, RemoteTrial
from .waited import waited

TRIAL_HEADER: Final = "Caseharden-Trial"
"""The key of the trial, the same in all its requests: a service that separates states by it needs no reset."""
ONCE: Final = Retries(tries=1)
"""A call may have had an effect, so it is not repeated."""
REFUSALS: Final = frozenset({400, 404, 409, 410, 412, 422})
"""Statuses by which an endpoint refuses a call; all others are mistakes of the endpoint or the set-up."""
INVALID_PARAMS: Final = -32602
SHOWN: Final = 2000
MOST_COMMANDS: Final = 16
"""Most servers that each trial may start."""
_ELSEWHERE: Final = "servers are asked in trials only"
_IN_QUERY: Final = ("GET", "DELETE")


class ServerTools:
    """`RemoteTools` by MCP and HTTP. Use it within the context of `reach`. `turns`: for servers with a reset."""

    def __init__(self, reach: Reach, turns: Turns) -> None:
        self._reach = reach
        self._turns = turns

    def check(self, world: World, where: str) -> None:
        """See `RemoteTools`."""
        if processes_of(world) > MOST_COMMANDS:
            raise InvalidArgument(
                f"{processes_of(world)} servers are started for each trial.",
                where=f"{where}.servers",
                allowed=f"at most {MOST_COMMANDS} with a command; others by their url",
            )
        for name, server in world.servers.items():
            _opened(server, self._reach, f"{where}.servers.{name}")
        guard = self._reach.connections.client.guard
        for i, tool in enumerate(world.tools):
            http = tool.impl.http if tool.impl is not None else None
            if http is None:
                continue
            at = f"{where}.tools[{i}]({tool.name}).impl.http"
            check_headers(http.headers, f"{at}.headers", self._reach.connections.secrets)
            for field, url in (("url", http.url), ("snapshot", http.snapshot), ("reset", http.reset)):
                if url is not None:
                    guard.target(url, f"{at}.{field}")

    @asynccontextmanager
    async def trial(self, world: World) -> AsyncGenerator[RemoteTrial]:
        """See `RemoteTools`."""
        async with AsyncExitStack() as stack:
            with queued():
                # Reserve places before waiting for a turn: nobody waits for places while others wait for its turn.
                await stack.enter_async_context(self._reach.processes.together(processes_of(world)))
                for key in sorted(_shared(world)):
                    await stack.enter_async_context(self._turns.turn(key))
            servers = _Servers(self._reach, world)
            try:
                yield servers
            finally:
                with anyio.CancelScope(shield=True):
                    await servers.aclose()


def processes_of(world: World) -> int:
    """How many processes a trial in this world starts for itself."""
    return sum(bool(server.command) for server in world.servers.values())


class _Servers:
    """`RemoteTrial`."""

    def __init__(self, reach: Reach, world: World) -> None:
        self._reach = reach
        self._world = world
        self._peers: dict[str, Peer] = {}
        self._mine = {TRIAL_HEADER: secrets.token_hex(8)}

    def begin(self) -> CodeAnswer:
        return waited(self._begin, elsewhere=_ELSEWHERE)

    def call(self, tool: Tool, args: Mapping[str, Any]) -> CodeAnswer:
        return waited(self._call, tool, args, elsewhere=_ELSEWHERE)

    def snapshot(self, tool: Tool) -> CodeAnswer:
        return waited(self._snapshot, tool, elsewhere=_ELSEWHERE)

    async def aclose(self) -> None:
        """Close every session and process."""
        for peer in self._peers.values():
            await let_go(peer)

    async def _begin(self) -> CodeAnswer:
        for name, server in self._world.servers.items():
            if server.reset is not None:
                told = await self._mcp(name, server.reset, {})
                if told.error is not None:
                    return CodeAnswer(f"the reset of server `{name}` failed: {told.result}", told.error)
        for http in _resets(self._world):
            told = await self._http(http, str(http.reset), "POST", {})
            if told.error is not None:
                return CodeAnswer(f"the reset {http.reset} failed: {told.result}", told.error)
        return CodeAnswer()

    async def _call(self, tool: Tool, args: Mapping[str, Any]) -> CodeAnswer:
        impl = tool.impl
        assert impl is not None
        if impl.http is not None:
            return await self._http(impl.http, impl.http.url, impl.http.method, args)
        return await self._mcp(str(impl.mcp), impl.tool or tool.name, args)

    async def _snapshot(self, tool: Tool) -> CodeAnswer:
        impl = tool.impl
        assert impl is not None
        if impl.http is not None:
            return await self._http(impl.http, str(impl.http.snapshot), "GET", {})
        return await self._mcp(str(impl.mcp), str(impl.snapshot), {})

    async def _mcp(self, name: str, tool: str, args: Mapping[str, Any]) -> CodeAnswer:
        peer: Peer | None = None
        timeout_s = self._world.servers[name].timeout_s
        try:
            peer = await self._peer(name)
            result = await peer.ask("tools/call", {"name": tool, "arguments": dict(args)}, timeout_s)
        except RpcError as error:
            return self._failed(error, "arguments" if error.code == INVALID_PARAMS else "runtime")
        except PEER_FAILURES as error:
            if isinstance(peer, StdioPeer):
                # What hangs keeps hanging, and a late answer would be taken for another question's.
                await let_go(peer)
            return self._failed(error, "runtime")
        except CasehardenError as error:
            return self._failed(error, "runtime")
        if result.get("isError"):
            return self._given(texts_of(result) or "its server does not say why", "refused")
        return self._given(_value(result))

    async def _peer(self, name: str) -> Peer:
        found = self._peers.get(name)
        if found is None:
            server = _opened(self._world.servers[name], self._reach, f"world.servers.{name}")
            found = self._peers[name] = await server.greeted(self._mine)
        return found

    async def _http(self, http: HttpTool, url: str, method: str, args: Mapping[str, Any]) -> CodeAnswer:
        client = self._reach.connections.client
        try:
            target = client.guard.target(_with_query(url, args) if method in _IN_QUERY else url, "impl.http")
            headers = {**sent_headers(http.headers, self._reach, "impl.http"), **self._mine}
            headers |= {"Accept": "application/json, text/plain"}
            body = None
            if method not in _IN_QUERY:
                headers["Content-Type"] = "application/json"
                body = json.dumps(args, ensure_ascii=False).encode("utf-8", "replace")
            response = await client.repeated(
                target.origin,
                lambda: client.request(method, target, body, headers),
                http.timeout_s,
                ONCE,
            )
            return self._given(_body(response))
        except BadStatus as error:
            if error.status in REFUSALS:
                return self._given(_reason(error), "refused")
            return self._failed(error, "runtime")
        except (NetError, CasehardenError) as error:
            return self._failed(error, "runtime")
        except ValueError as error:
            return self._failed(error, "arguments")

    def _given(self, value: Any, error: ErrorKind | None = None) -> CodeAnswer:
        """A server's result, if it is JSON, without our secrets."""
        try:
            kept = checked_json(value)
        except ValueError as broken:
            return CodeAnswer(f"the answer of its server cannot be kept: {broken}", "runtime")
        return CodeAnswer(self._reach.connections.secrets.redactor.hide_all(kept), error)

    def _failed(self, error: Exception, kind: ErrorKind) -> CodeAnswer:
        body = f": {error.body[:200]}" if isinstance(error, BadStatus) and error.body else ""
        return CodeAnswer(self._reach.connections.secrets.hide(f"its server: {error}{body}"), kind)


def _opened(server: ToolServer, reach: Reach, where: str) -> McpServer:
    return McpServer(server.url, server.command, server.headers, server.timeout_s, reach, where)


def _resets(world: World) -> list[HttpTool]:
    """The endpoints with a reset; one for each reset URL."""
    found: dict[str, HttpTool] = {}
    for tool in world.tools:
        http = tool.impl.http if tool.impl is not None else None
        if http is not None and http.reset is not None:
            found.setdefault(http.reset, http)
    return list(found.values())


def _shared(world: World) -> set[str]:
    """What trials take turns at: servers and endpoints with a reset."""
    servers = {server.url or json.dumps(server.command) for server in world.servers.values() if server.reset}
    return servers | {str(http.reset) for http in _resets(world)}


def _value(result: Mapping[str, Any]) -> Any:
    """An MCP tool's result: structured, without the wrapper that servers put around non-objects; else text."""
    row = as_object(result.get("structuredContent"))
    if row:
        return row["result"] if list(row) == ["result"] else row
    return _read(texts_of(result))


def _read(text: str) -> Any:
    """Parse a text that is a JSON object or list; return any other text unchanged."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        return parsed(text)
    except NoCompletion:
        return text


def _body(response: Response) -> Any:
    """JSON if the endpoint says so; any other text as `_read` takes it."""
    text = response.body.decode("utf-8", "replace")
    if not text.strip():
        return None
    if response.kind != "application/json" and not response.kind.endswith("+json"):
        return _read(text)
    try:
        return parsed(text)
    except NoCompletion as error:
        raise Broken(f"its answer cannot be read: {error}") from None


def _reason(error: BadStatus) -> str:
    """Why an endpoint refuses, in its own words."""
    told = _read(error.body[:SHOWN])
    words = as_object(told)
    named = next((words[name] for name in ("error", "detail", "message") if words.get(name)), None)
    if isinstance(named, str):
        return named
    return error.body[:SHOWN].strip() or str(error)


def _with_query(url: str, args: Mapping[str, Any]) -> str:
    if not args:
        return url
    given = {name: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for name, v in args.items()}
    return f"{url}{'&' if '?' in url else '?'}{urlencode(given, errors='replace')}"
