"""Serves streamable HTTP: one workbench for all sessions, a bearer token always, Host and Origin checked."""

from __future__ import annotations

import errno
import ipaddress
import re
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import __version__
from ..engine.errors import InvalidArgument, NotAllowed, Unavailable
from ..engine.workbench import Workbench
from .app import LogLevel, build_server
from .gate import Gate, security
from .logs import hide_in_logs
from .offer import Offer
from .span_intake import TRACES, SpanIntake
from .tokens import Tokens, made, referred
from .world_tools import bearer

PORT = 8765
PATH = "/mcp"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SESSIONS = 200
"""Concurrent sessions of older clients; one more gets 503."""
IDLE_S = 30 * 60
"""Seconds without requests after which a session ends."""
CONNECTIONS = 1_000
GRACE_S = 2
"""Seconds for the ends of calls in flight to be sent, once the server is told to end."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, and to whom.

    `port`: None is 8765, or a free one if that is taken; 0 any free one. `hosts`: names under which clients reach the
    server, besides the loopback ones. `token`: `env:NAME` or `file:PATH`; "": the token of the data folder.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    hosts: tuple[str, ...] = ()
    token: str = ""


def serve_http(bench: Workbench, listen: Listen, offer: Offer, *, log_level: LogLevel = "WARNING") -> None:
    """Serve until SIGINT or SIGTERM; the workbench is entered and left here.

    Raises NotAllowed for an address beyond this machine without a given token and host names, Unavailable for one that
    cannot be listened on, StorageError if the data folder cannot be used.
    """
    with opened(listen) as listener:
        address = listener.getsockname()
        local = ipaddress.ip_address(address[0]).is_loopback
        if not local:
            check_public(listen)
        if listen.token:
            tokens, place = referred(listen.token), listen.token
        else:
            tokens, path = made(bench.home)
            place = f"file:{path}"
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        parts = [
            f"Serving MCP at http://{host}:{address[1]}{PATH} (streamable HTTP). Ctrl-C ends it.",
            f"Token: {place}, to be sent as `Authorization: Bearer TOKEN`",
        ]
        allowed = security([*LOOPBACK, *listen.hosts] if local else listen.hosts)
        anyio.run(_serve, bench, offer, tokens, allowed, listener, parts, log_level)


def http_app(server: MCPServer[Any], allowed: TransportSecuritySettings) -> Gate:
    """The ASGI application: `/mcp` behind the token of the server's verifier, `/health` without one."""

    @server.custom_route("/health", methods=["GET"])
    async def _(request: Request) -> Response:
        return JSONResponse({"status": "ok", "name": "caseharden", "version": __version__})

    inner = server.streamable_http_app(
        streamable_http_path=PATH,
        transport_security=allowed,
        max_sessions=SESSIONS,
        session_idle_timeout=IDLE_S,
    )
    return Gate(inner, allowed)


def add_traces(server: MCPServer[Any], bench: Workbench, tokens: Tokens) -> None:
    """Accept the spans of agents at `/v1/traces`, behind the same tokens as the server."""
    intake = SpanIntake()

    @server.custom_route(TRACES, methods=["POST"])
    async def _(request: Request) -> Response:
        if await tokens.verify_token(bearer(dict(request.headers.raw))) is None:
            row = {"code": 16, "message": "no token of this server"}
            return JSONResponse(row, 401, {"WWW-Authenticate": "Bearer"})
        status, row = await intake.taken(request.scope, request.receive, bench.take_spans)
        return JSONResponse(row, status)


def opened(listen: Listen) -> socket.socket:
    """A listening socket at that address."""
    wanted = PORT if listen.port is None else listen.port
    try:
        found = socket.getaddrinfo(listen.host, wanted, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise InvalidArgument(
            f"`{listen.host}` is no address of this machine: {error.strerror}.", where="--host"
        ) from None
    family, kind, proto, _, address = found[0]
    # Only if the protocol is named does the event loop switch off Nagle's algorithm: 40 ms a call.
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        if listen.port is None and error.errno == errno.EADDRINUSE:
            return opened(replace(listen, port=0))
        raise Unavailable(
            f"Nobody can listen at {listen.host} port {wanted}: {error.strerror}.",
            where="--port",
            allowed="a free port; 0 takes any",
        ) from None
    return listener


def check_public(listen: Listen) -> None:
    """Raise NotAllowed if others could reach the server and the operator has not set all that this requires."""
    missing = [
        flag for flag, given in (("--token", listen.token), ("--allow-host", listen.hosts)) if not given
    ]
    if missing:
        raise NotAllowed(
            f"{listen.host} can be reached from other machines; that takes {' and '.join(missing)}.",
            where="--host",
            allowed="127.0.0.1 without; else --token env:NAME and --allow-host NAME, the name that clients use, "
            "behind a proxy that speaks TLS",
        )


def check_host_name(name: str) -> str:
    """The name in the form of a `Host` header, without a port. Raises InvalidArgument."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]", name):
        raise InvalidArgument(
            f"`{name}` is no host name.", where="--allow-host", allowed="a name such as tests.example.com"
        )
    return name


async def _serve(
    bench: Workbench,
    offer: Offer,
    tokens: Tokens,
    allowed: TransportSecuritySettings,
    listener: socket.socket,
    told: Sequence[str],
    log_level: LogLevel,
) -> None:
    import uvicorn  # 30 ms, which a start over standard input and output need not spend

    # The web server raises the signal that ended it once more: keep the receiver open until it has.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with bench, anyio.create_task_group() as group:
            server = build_server(bench, owns=False, offer=offer, verifier=tokens, log_level=log_level)
            hide_in_logs(bench.redactor)
            add_traces(server, bench, tokens)
            app = http_app(server, allowed)
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_graceful_shutdown=GRACE_S,
            )

            async def see_out() -> None:
                async for _ in signals:
                    app.end()

            group.start_soon(see_out)
            print("\n".join(told), file=sys.stderr, flush=True)
            await uvicorn.Server(config).serve(sockets=[listener])
            group.cancel_scope.cancel()
