"""Who calls, as the audit names them, and how deep inside another Caseharden they say that they are."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context

from ..engine.depth import HEADER


def actor(context: Context[Any, Any]) -> str:
    """`http:NAME`, the name of the token that the request bore; "" where none was asked for.

    Then whoever opened the workbench is the one who acts: it was told so when it was made.
    """
    request = context.request_context.request
    token = getattr(request.scope.get("user"), "access_token", None) if request is not None else None
    return f"http:{token.subject}" if token is not None else ""


def told_depth(context: Context[Any, Any]) -> str:
    """What a request over HTTP says in its header; "" over other wires."""
    request = context.request_context.request
    return str(request.headers.get(HEADER, "")) if request is not None else ""
