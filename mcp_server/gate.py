"""The gate before the HTTP application: who may come in at all, and how those inside are seen out."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

IN_ADDRESS = {"access_token", "token"}
"""Names under which a token may stand in an address."""


def security(hosts: Sequence[str]) -> TransportSecuritySettings:
    """What `Host` and `Origin` may say."""
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
    """Before anything else is looked at: Host, Origin, and no token in the address, where logs would keep it.

    And the last word: once told to end, calls in flight are ended and new ones get 503.
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
        """Let nobody in, and see out who is inside; what they started in the background is not theirs to end."""
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
    """What was sent of an answer, so that it can be ended in the middle."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = self._whole = False

    async def send(self, message: Message) -> None:
        self._begun = True
        self._whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        await self._send(message)

    async def end(self, scope: Scope, receive: Receive) -> None:
        """Close a stream that goes on; an answer that was not begun is 503."""
        if not self._begun:
            await ended()(scope, receive, self._send)
        elif not self._whole:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def ended() -> Response:
    """What a caller hears while the server goes down."""
    return JSONResponse({"error": "unavailable", "error_description": "The server is ending."}, 503)
