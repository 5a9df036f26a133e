"""The canonical hash of a request: what makes two requests the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from .client import Message, ModelRequest, ToolSignature

_KEPT: Final = 256
_write: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=dict).encode


class RequestKeys:
    """Hashes requests; hashes of tool lists are cached, since a run offers the same ones again and again."""

    def __init__(self) -> None:
        self._tools: dict[int, tuple[Sequence[ToolSignature], str]] = {}

    def of(self, request: ModelRequest) -> str:
        """SHA-256 as 64 hex digits of role, messages, tools, schema, temperature and seed.

        Ids of tool calls count by their order: providers draw them anew each time. It contains no time, no model name,
        and not who asks.
        """
        asked = [
            request.role,
            _messages(request.messages),
            self._of_tools(request.tools),
            request.schema,
            request.temperature,
            request.seed,
        ]
        return _hash(asked)

    def _of_tools(self, tools: Sequence[ToolSignature]) -> str:
        known = self._tools.get(id(tools))
        if known is not None and known[0] is tools:
            return known[1]
        found = _hash([[tool.name, tool.description, tool.parameters] for tool in tools])
        if isinstance(tools, tuple):  # a list may change
            if len(self._tools) >= _KEPT:
                self._tools.clear()
            self._tools[id(tools)] = (tools, found)
        return found


def _messages(messages: Sequence[Message]) -> list[Any]:
    ids: dict[str, int] = {}
    parts: list[Any] = []
    for message in messages:
        if message.tool_calls or message.tool_call_id:
            calls = [[ids.setdefault(c.id, len(ids)), c.name, c.arguments] for c in message.tool_calls]
            answers = ids.setdefault(message.tool_call_id, len(ids)) if message.tool_call_id else None
            parts.append([message.role, message.content, calls, answers])
        else:
            parts.append([message.role, message.content])
    return parts


def _hash(value: Any) -> str:
    return hashlib.sha256(_write(value).encode()).hexdigest()
