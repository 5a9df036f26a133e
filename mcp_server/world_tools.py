"""What outside agents reach on this machine, with a token per trial: the world's tools over MCP (streamable HTTP), and
an endpoint for their spans.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import anyio

from ..engine.agents import Door, NotCalled, Served, SpanBatch, Watched
from .span_intake import TRACES, SpanIntake

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from mcp import types
    from mcp.server import ServerRequestContext
    from starlette.types import ASGIApp, Receive, Scope, Send

PATH: Final = "/mcp"
END_S: Final = 3.0
"""Seconds for the web server to end before it is cut off."""


class WorldTools:
    """Listens from the first trial that asks for a door. Made by `world_tools`."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._lock = anyio.Lock()
        self._served: dict[bytes, Served] = {}
        self._spans = SpanIntake()
        self._url = ""
        self._server: Any = None

    def end(self) -> None:
        """Stop serving."""
        self._served.clear()
        if self._server is not None:
            self._server.should_exit = True

    async def open(self, tools: Served) -> Door:
        token = secrets.token_urlsafe(32)
        url = await self._origin()
        self._served[_key(token)] = tools
        return Door(url + PATH, token)

    def close(self, door: Door) -> None:
        self._served.pop(_key(door.token), None)

    async def watch(self, watched: Watched) -> Door:
        token = secrets.token_urlsafe(32)
        url = await self._origin()
        self._spans.watch(_key(token), watched)
        return Door(url + TRACES, token)

    def unwatch(self, door: Door) -> None:
        self._spans.unwatch(_key(door.token))

    def sort_out(self, batch: SpanBatch) -> int:
        return self._spans.sort_out(batch)

    async def _origin(self) -> str:
        async with self._lock:
            if not self._url:
                self._url = await self._listen()
        return self._url

    async def _listen(self) -> str:
        # Only if tools are served: these take half a second to import.
        app, serve = await anyio.to_thread.run_sync(self._app)
        # Only if the protocol is named does the event loop switch off Nagle's algorithm: 40 ms a call.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        self._tasks.start_soon(serve, self._behind_tokens(app), listener)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def _app(self) -> tuple[ASGIApp, Any]:
        """The application, and the function that serves it."""
        import uvicorn
        from mcp.server import Server
        from mcp.server.transport_security import TransportSecuritySettings

        class Beside(uvicorn.Server):
            """A web server that leaves signals to the program that it runs in."""

            @contextmanager
            def capture_signals(self) -> Generator[None]:
                yield

        async def serve(app: ASGIApp, listener: socket.socket) -> None:
            config = uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=1
            )
            self._server = Beside(config)
            with listener:
                await self._server.serve(sockets=[listener])

        server: Server[Any] = Server("world", on_list_tools=self._list, on_call_tool=self._call)
        allowed = TransportSecuritySettings(
            enable_dns_rebinding_protection=True,
            allowed_hosts=["127.0.0.1:*", "localhost:*"],
            allowed_origins=[],
        )
        return server.streamable_http_app(
            streamable_http_path=PATH, stateless_http=True, transport_security=allowed
        ), serve

    def _behind_tokens(self, app: ASGIApp) -> ASGIApp:
        async def gate(scope: Scope, receive: Receive, send: Send) -> None:
            token = bearer(dict(scope["headers"])) if scope["type"] == "http" else ""
            watched = self._spans.of(_key(token)) if token and scope["path"] == TRACES else None
            if watched is not None:
                await self._spans.answer(scope, receive, send, partial(self._spans.take_for, watched))
                return
            if scope["type"] == "http" and self._of(token) is None:
                parts = [(b"www-authenticate", b"Bearer"), (b"content-type", b"text/plain")]
                await send({"type": "http.response.start", "status": 401, "headers": parts})
                await send({"type": "http.response.body", "body": b"no token of a conversation that goes on"})
                return
            await app(scope, receive, send)

        return gate

    def _of(self, token: str) -> Served | None:
        return self._served.get(_key(token)) if token else None

    def _asking(self, context: ServerRequestContext[Any, Any]) -> Served | None:
        """The trial whose token a request carries."""
        return self._of(bearer(dict(context.request.headers.raw))) if context.request else None

    async def _list(
        self, context: ServerRequestContext[Any, Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        from mcp import types

        served = self._asking(context)
        offered = served.offered() if served else ()
        whole = {"type": "object"}
        return types.ListToolsResult(
            tools=[
                types.Tool(name=t.name, description=t.description, input_schema={**whole, **t.parameters})
                for t in offered
            ]
        )

    async def _call(
        self, context: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        from mcp import types

        served = self._asking(context)
        try:
            if served is None:
                raise NotCalled("The conversation is over.")
            text, failed = await served.call(params.name, params.arguments or {}), False
        except NotCalled as error:
            text, failed = str(error), True
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=failed)


@asynccontextmanager
async def world_tools() -> AsyncGenerator[WorldTools]:
    """Serve while the context is open."""
    async with anyio.create_task_group() as tasks:
        tools = WorldTools(tasks)
        try:
            yield tools
        finally:
            tools.end()
            tasks.cancel_scope.shield = True
            tasks.cancel_scope.deadline = anyio.current_time() + END_S


def bearer(headers: dict[bytes, bytes]) -> str:
    """The token that a request carries, or ""."""
    word, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if word.lower() == "bearer" else ""


def _key(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()
