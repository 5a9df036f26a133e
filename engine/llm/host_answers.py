"""A client's answer in a model's place: read strictly, since a stored answer cannot be repaired."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ..errors import InvalidArgument, did_you_mean
from .client import ModelReply, ToolCall
from .fitting import fitted, misfits

FIELDS: Final = ("id", "text", "data", "tool_calls")
MOST_CHARS: Final = 100_000
"""Characters of one answer."""
MOST_CALLS: Final = 50


def read_answer(
    given: Mapping[str, Any],
    role: str,
    tools: Sequence[str],
    schema: Mapping[str, Any] | None,
) -> ModelReply:
    """The answer as a model's reply. `tools`: names of those that were offered.

    Raises InvalidArgument that says what is wrong with it and where, relative to the answer: `data.c2`,
    `tool_calls[0].name`.
    """
    strange = next((key for key in given if key not in FIELDS), None)
    if strange is not None:
        hint = did_you_mean(str(strange), FIELDS)
        raise InvalidArgument(f"Unknown field `{str(strange)[:60]}`.{hint}", allowed=FIELDS)
    if schema is not None:
        return ModelReply(_data(given, schema), cost_usd=None)
    if given.get("data") is not None:
        raise InvalidArgument("This call has no schema.", where="data", allowed=_wanted(tools))
    text = given.get("text", "")
    if not isinstance(text, str) or len(text) > MOST_CHARS:
        raise InvalidArgument(
            "`text` is too long, or no text.", where="text", allowed=f"{MOST_CHARS:,} characters"
        )
    calls = _calls(given.get("tool_calls") or [], tools)
    if not text.strip() and not calls:
        stop = "; ###STOP### to leave" if role == "user" else ""
        raise InvalidArgument("The answer is empty.", where="text", allowed=f"{_wanted(tools)}{stop}")
    return ModelReply(text, calls, cost_usd=None)


def _wanted(tools: Sequence[str]) -> str:
    return "text or tool_calls" if tools else "text"


def _data(given: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The JSON, from `data` or from a text that contains it."""
    if given.get("tool_calls"):
        raise InvalidArgument("This call wants data.", where="tool_calls", allowed="data as its schema says")
    data = given.get("data")
    if data is None:
        text = given.get("text")
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgument("`data` is missing.", where="data", allowed="data as its schema says")
        written, problem = fitted(text[:MOST_CHARS], schema)
        if problem:
            raise InvalidArgument(f"text: {problem}.", where="text", allowed="data as its schema says")
        return written
    problems = misfits(data, schema, "data")
    if problems:
        raise InvalidArgument(f"{'; '.join(problems)}.", where="data", allowed="data as its schema says")
    written = json.dumps(data, ensure_ascii=False)
    if len(written) > MOST_CHARS:
        raise InvalidArgument(
            f"`data` has {len(written):,} characters.", where="data", allowed=f"{MOST_CHARS:,}"
        )
    return written


def _calls(given: Any, tools: Sequence[str]) -> tuple[ToolCall, ...]:
    if not isinstance(given, list) or len(cast("list[Any]", given)) > MOST_CALLS:
        raise InvalidArgument(
            "`tool_calls` is a list.",
            where="tool_calls",
            allowed=f"up to {MOST_CALLS} of {{name, arguments}}",
        )
    return tuple(_call(one, f"tool_calls[{k}]", k, tools) for k, one in enumerate(cast("list[Any]", given)))


def _call(given: Any, where: str, place: int, tools: Sequence[str]) -> ToolCall:
    """One call. The world judges its arguments, as it does for any agent."""
    call = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if not call or set(call) - {"name", "arguments", "id"}:
        raise InvalidArgument("A call is {name, arguments}.", where=where, allowed="name, arguments")
    name = call.get("name")
    if not isinstance(name, str) or name not in tools:
        hint = did_you_mean(str(name), tools)
        raise InvalidArgument(
            f"No tool `{str(name)[:80]}` was offered.{hint}",
            where=f"{where}.name",
            allowed=tools or "no tools: text",
        )
    arguments = call.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _object(arguments)
    if not isinstance(arguments, dict):
        raise InvalidArgument("`arguments` is an object.", where=f"{where}.arguments", allowed="an object")
    written = json.dumps(arguments, ensure_ascii=False)
    if len(written) > MOST_CHARS:
        raise InvalidArgument(
            "`arguments` are too long.", where=f"{where}.arguments", allowed=f"{MOST_CHARS:,}"
        )
    return ToolCall(f"call_{place}", name, written)


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
