"""The user's own tools in the offline model: it calls what the agent asks for, once, with what it knows.

`Could you show me your card, please?` names `show_card`; arguments come from its sheet.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from ...shapes import as_object
from ..client import Message, ModelRequest, ToolCall
from .params import Param, toolbox
from .sheet import Fact, Sheet
from .words import clipped, label, label_tokens, token_set

_LISTED: Final = 6
"""Fields of a result that it reports."""
_MAX_TOLD: Final = 300
_SENTENCE: Final = re.compile(r"(?<=[.!?\n])\s*")
_OF_ITSELF: Final = re.compile(r"\W*(?:i|we)\b|\W*(?:i|we)'", re.IGNORECASE)


def asked_call(request: ModelRequest, sheet: Sheet) -> ToolCall | None:
    """The call that the agent's last text asks for and that was not made since; None if there is none.

    All words of the tool's name are in a sentence that does not say what the agent does itself, and the sheet has
    every argument that the tool needs.
    """
    text, results = since_asked(request.messages)
    if not text or not request.tools:
        return None
    asked = [token_set(part) for part in _SENTENCE.split(text) if not _OF_ITSELF.match(part)]
    made = {call.name for call, _ in results}
    for tool in toolbox(request.tools).tools.values():
        if tool.name in made or not any(tool.name_tokens <= words for words in asked if tool.name_tokens):
            continue
        found = {param.name: _value(param, sheet) for param in tool.required}
        if all(value is not None for value in found.values()):
            arguments = json.dumps(found, ensure_ascii=False)
            return ToolCall(f"u{len(request.messages)}", tool.name, arguments)
    return None


def since_asked(messages: Sequence[Message]) -> tuple[str, list[tuple[ToolCall, str]]]:
    """The agent's last text, and the calls that the user made since, with their results."""
    at = next((k for k in range(len(messages) - 1, -1, -1) if messages[k].role == "user"), None)
    if at is None:
        return "", []
    behind = messages[at + 1 :]
    given = {message.tool_call_id: message.content for message in behind if message.role == "tool"}
    calls = [call for message in behind for call in message.tool_calls]
    return clipped(messages[at].content), [(call, given[call.id]) for call in calls if call.id in given]


def report_results(results: Sequence[tuple[ToolCall, str]]) -> str:
    """The results of the calls, in the user's words."""
    return " ".join(f"I did that ({label(call.name)}). {_result(text)}".strip() for call, text in results)


def _result(text: str) -> str:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    fields = as_object(value)
    if fields:
        said = [f"{label(key)} is {_plain(item)}" for key, item in list(fields.items())[:_LISTED]]
        return f"It says: {', '.join(said)}."[:_MAX_TOLD]
    return f"It says: {_plain(value)}."[:_MAX_TOLD] if value not in (None, "", [], {}) else ""


def _plain(value: Any) -> str:
    return value.rstrip(".") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(param: Param, sheet: Sheet) -> Any:
    """The sheet's value for a parameter, in its type; None if it has none."""
    wanted = label_tokens(param.label)
    fact = next((fact for fact in sheet.facts if _is_of(fact, wanted)), None)
    if fact is None:
        return None
    if param.enum:
        return next((one for one in param.enum if str(one).casefold() == fact.value.casefold()), None)
    if param.kind in ("number", "integer", "boolean"):
        return _scalar(fact.value)
    return None if param.kind in ("list", "object") else fact.value


def _is_of(fact: Fact, wanted: frozenset[str]) -> bool:
    return bool(fact.label and wanted) and fact.reveal != "never" and fact.tokens == wanted


def _scalar(text: str) -> Any:
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, bool | int | float) else None
