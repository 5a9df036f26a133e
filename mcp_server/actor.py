"""Who calls, as the audit names them."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context

LOCAL = "stdio"
"""Whoever started this process: no token was asked for."""


def actor(context: Context[Any, Any]) -> str:
    """`http:NAME`, the name of the token that the request bore; else `stdio`."""
    request = context.request_context.request
    token = getattr(request.scope.get("user"), "access_token", None) if request is not None else None
    return f"http:{token.subject}" if token is not None else LOCAL
