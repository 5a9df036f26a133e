"""The gate in front of the HTTP application: who may come in, and how callers inside are seen out."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

IN_ADDRESS = {"access_token", "token"}
"""Names under which a token may appear in an address."""


def security(hosts: Sequence[str]) -> TransportSecuritySettings:
    """What `Host` and `Origin` may be."""
    return TransportSecuritySettings(
        allowed_hosts=[form for name in hosts for form in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{form}"
            for name in hosts
            for scheme in ("http", "https")
            for form in (name, f"{name}:*")
        ],
    )


class Gate:
    """Checks first of all Host, Origin, and that no token is in the address, where logs would keep it.

    Once told to end, it ends calls in flight and answers new ones with 503.
    """

    def __init__(self, app: ASGIApp, allowed: TransportSecuritySettings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(allowed)
        self._inside: set[anyio.CancelScope] = set()
        self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = await self._refusal(Request(scope))
        if refused is not None:
            await refused(scope, receive, send)
            return
        answer = Answer(send)
        with anyio.CancelScope() as inside:
            self._inside.add(inside)
            try:
                await self._app(scope, receive, answer.send)
            finally:
                self._inside.discard(inside)
        if inside.cancelled_caught:
            await answer.end(scope, receive)

    def end(self) -> None:
        """Admit nobody, and see out who is inside; background work that they started goes on."""
        self._ending = True
        for inside in list(self._inside):
            inside.cancel()

    async def _refusal(self, request: Request) -> Response | None:
        refused = await self._security.validate_request(request)
        if refused is None and self._ending:
            return ended()
        if refused is None and not IN_ADDRESS.isdisjoint(request.query_params):
            what = "A token in the address is refused: send it as `Authorization: Bearer TOKEN`."
            return JSONResponse({"error": "invalid_request", "error_description": what}, 400)
        return refused


class Answer:
    """What was sent of an answer, so that it can be ended midway."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = self._whole = False

    async def send(self, message: Message) -> None:
        self._begun = True
        self._whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        """Close an open stream; an answer not yet begun becomes 503."""
        if not self._begun:
            await ended()(scope, receive, self._send)
        elif not self._whole:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def ended() -> Response:
    """The answer to a caller while the server shuts down."""
    return JSONResponse({"error": "unavailable", "error_description": "The server is ending."}, 503)
