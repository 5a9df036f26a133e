"""What has happened so far in a chat: texts, calls, and the fields of tool results."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, cast

from ...canonical import equal
from ...shapes import as_object
from ..client import Message
from .words import MAX_TEXT, clipped, label, label_tokens

MAX_FIELDS: Final = 400
_MAX_DEPTH: Final = 5
_FAILURE: Final = re.compile(
    r"\b(?:error|fail(?:s|ed|ure)?|not|no|cannot|can't|invalid|unknown|missing|must|only|denied|refused|forbidden|"
    r"timed? ?out|timeout|out of|unavailable|expired|exceeds?|already|too|never|[45]\d\d)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a result. `tokens`: of its own key; `path`: also of all keys above it; `depth` 0 = top level."""

    key: str
    label: str
    tokens: frozenset[str]
    path: frozenset[str]
    value: Any
    depth: int


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's reply. A text is a failure if it reads like one; an object if it has an `error`."""

    ok: bool
    error: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was made; `at`: the number of its message."""

    at: int
    tool: str
    args: dict[str, Any]
    result: Result

    def disagrees(self, known: dict[str, Any]) -> bool:
        """Whether it was about something else: an argument or a top-level field has another value."""
        for name, value in known.items():
            if name in self.args and not equal(self.args[name], value):
                return True
            if name not in self.args and any(
                item.depth == 0 and item.key == name and not equal(item.value, value)
                for item in self.result.fields
            ):
                return True
        return False


@dataclass(slots=True)
class History:
    """A parsed chat. Texts carry the number of their message."""

    system: str = ""
    users: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    said: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    calls: list[Call] = field(default_factory=list[Call])

    def replied_to(self, at: int) -> str:
        """What the agent had said just before message `at`, or ""."""
        before = [text for n, text in self.said if n < at]
        return before[-1] if before else ""

    def answer_to(self, at: int) -> str | None:
        """The first user's text after message `at`."""
        return next((text for n, text in self.users if n > at), None)


def read_history(messages: Sequence[Message]) -> History:
    history = History()
    waiting: dict[str, tuple[str, dict[str, Any]]] = {}
    system: list[str] = []
    for at, message in enumerate(messages):
        if message.role == "system":
            system.append(message.content)
        elif message.role == "user":
            history.users.append((at, clipped(message.content)))
        elif message.role == "tool":
            name, args = waiting.pop(message.tool_call_id, ("", {}))
            history.calls.append(Call(at, name, args, read_result(message.content)))
        else:
            for call in message.tool_calls:
                waiting[call.id] = (call.name, read_arguments(call.arguments))
            if message.content and not message.tool_calls:
                history.said.append((at, clipped(message.content)))
    history.system = "\n".join(system)
    return history


def read_result(text: str) -> Result:
    """Parse a tool's text; never raises."""
    return _result_cached(text) if len(text) <= MAX_TEXT else _result(text)


@lru_cache(maxsize=4096)
def _result_cached(text: str) -> Result:
    return _result(text)


def _result(text: str) -> Result:
    stripped = text.strip()
    if not stripped:
        return Result(False, "there was no answer", ())
    try:
        value: Any = json.loads(stripped)
    except (ValueError, RecursionError):
        if stripped[0] in "{[":
            return Result(False, "the answer was cut off", ())
        if _FAILURE.search(stripped):
            return Result(False, stripped, ())
        value = stripped
    error: Any = as_object(value).get("error")
    if error:
        return Result(False, error if isinstance(error, str) else json.dumps(error), ())
    found: list[Field] = []
    _flatten(value, "", frozenset(), 0, found)
    return Result(True, "", tuple(found))


def read_arguments(text: str) -> dict[str, Any]:
    """A call's arguments; empty if they are broken."""
    try:
        return as_object(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _flatten(value: Any, key: str, above: frozenset[str], depth: int, found: list[Field]) -> None:
    if len(found) >= MAX_FIELDS or depth > _MAX_DEPTH:
        return
    path = above | label_tokens(key)
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            _flatten(inner, name, path, depth + (key != ""), found)
        return
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if any(isinstance(item, dict | list) for item in items):
            for item in items:
                _flatten(item, key, path, depth + 1, found)
            return
    found.append(Field(key, label(key), label_tokens(key), path, value, depth))
