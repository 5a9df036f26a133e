"""Who is calling, as the audit names them, and how deep inside another Caseharden they say they are."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context

from ..engine.depth import HEADER


def actor(context: Context[Any, Any]) -> str:
    """`http:NAME`, the name of the request's token; "" if none was required.

    Then the actor is whoever opened the workbench, which was given that name when it was made.
    """
    request = context.request_context.request
    token = getattr(request.scope.get("user"), "access_token", None) if request is not None else None
    return f"http:{token.subject}" if token is not None else ""


def depth_header(context: Context[Any, Any]) -> str:
    """The depth header of an HTTP request; "" over other transports."""
    request = context.request_context.request
    return str(request.headers.get(HEADER, "")) if request is not None else ""
