"""The JSON data block of a judge's or a writer's request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from ..client import Message


def data_block(messages: Sequence[Message], key: str) -> dict[str, Any]:
    """The first JSON object with that key in the last user's message, whatever stands around it; else {}."""
    text = next((message.content for message in reversed(messages) if message.role == "user"), "")
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(200):
        if at < 0:
            break
        try:
            value, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and key in value:
            return cast("dict[str, Any]", value)
        at = text.find("{", at + 1)
    return {}
