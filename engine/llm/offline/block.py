"""The JSON data block of a judge's or a writer's request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, cast

from ..client import Message

_MOST: Final = 200
"""Most objects that are looked at."""


def data_block(messages: Sequence[Message], key: str) -> dict[str, Any]:
    """The first JSON object with that key in the last user message, whatever surrounds it; else {}.

    Objects side by side are looked at before nested ones.
    """
    text = next((message.content for message in reversed(messages) if message.role == "user"), "")
    return _found(text, key, inside=False) or _found(text, key, inside=True)


def _found(text: str, key: str, *, inside: bool) -> dict[str, Any]:
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(_MOST):
        if at < 0:
            break
        end = at + 1
        try:
            value, after = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            value = None
        else:
            end = end if inside else after
        if isinstance(value, dict) and key in value:
            return cast("dict[str, Any]", value)
        at = text.find("{", end)
    return {}
