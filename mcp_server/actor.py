"""Who calls, as the audit names them."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context


def actor(context: Context[Any, Any]) -> str:
    """`http:NAME`, the name of the token that the request bore; "" where none was asked for.

    Then whoever opened the workbench is the one who acts: it was told so when it was made.
    """
    request = context.request_context.request
    token = getattr(request.scope.get("user"), "access_token", None) if request is not None else None
    return f"http:{token.subject}" if token is not None else ""
