"""OpenAI's chat completions, the format of most endpoints: requests written, answers and streams read."""

# Foreign answers are inspected with isinstance: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from ..net import event_data
from .client import Message, ModelReply, ModelRequest, ToolCall, ToolSignature, Usage

MOST_CALLS: Final = 200
"""Calls that one answer may ask for."""
MOST_NAME: Final = 200
STREAM_END: Final = re.compile(rb"(?m:^)data: ?\[DONE\]")
"""Ends a stream of chunks: some endpoints send it and leave the connection open."""


class NoCompletion(ValueError):
    """An answer that is not a completion; the text says what is wrong with it."""


def body_of(request: ModelRequest, model: str, temperature: float | None) -> dict[str, Any]:
    """The request in the endpoint's format."""
    body: dict[str, Any] = {"model": model, "messages": messages_of(request.messages), "seed": request.seed}
    asked = temperature if request.temperature is None else request.temperature
    if asked is not None:
        body["temperature"] = asked
    if request.tools:
        body["tools"] = tools_of(request.tools)
    if request.schema is not None:
        named = {"name": "reply", "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def messages_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages of a request or of a history."""
    return [_message(message) for message in messages]


def tools_of(tools: Sequence[ToolSignature]) -> list[dict[str, Any]]:
    """The tools that a model may call."""
    return [
        {
            "type": "function",
            "function": {"name": t.name, "description": t.description, "parameters": t.parameters},
        }
        for t in tools
    ]


def parsed(body: bytes | str) -> Any:
    """The JSON of an answer; NoCompletion if it is not JSON."""
    try:
        return json.loads(body)
    except RecursionError:
        raise NoCompletion("it is nested too deep") from None
    except ValueError:
        raise NoCompletion("it is no JSON") from None


def read_completion(answer: Any) -> ModelReply:
    """Text, calls and tokens of an answer; NoCompletion if it contains no message."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict):
        raise NoCompletion("it holds no choices[0].message")
    text = _text(message.get("content")) or _text(message.get("refusal"))
    return ModelReply(text, _calls(message.get("tool_calls")), _usage(answer.get("usage")))


def read_stream(body: bytes) -> ModelReply:
    """The same for server-sent events: the chunks of text and calls put together."""
    texts: list[str] = []
    calls: dict[int, dict[str, str]] = {}
    usage: Any = None
    found = False
    for chunk in _events(body):
        usage = chunk.get("usage") or usage
        choices = chunk.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        delta = first.get("delta", first.get("message")) if isinstance(first, dict) else None
        if not isinstance(delta, dict):
            continue
        found = True
        texts.append(_text(delta.get("content")))
        _gather(calls, delta.get("tool_calls"))
    if not found:
        raise NoCompletion("its events hold no choices[0].delta")
    made = [{"id": c["id"], "function": c} for _, c in sorted(calls.items())]
    return ModelReply("".join(texts), _calls(made), _usage(usage))


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if not message.tool_calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": _readable(call.arguments)},
        }
        for call in message.tool_calls
    ]
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}


@lru_cache(maxsize=4096)
def _readable(arguments: str) -> str:
    """Arguments to send back: many endpoints fail on a history in which they are not a JSON object."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except (ValueError, RecursionError):
        return "{}"


def _text(content: Any) -> str:
    """The words in a content, which may be a text or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return ""


def _calls(listed: Any) -> tuple[ToolCall, ...]:
    if not isinstance(listed, list):
        return ()
    made: list[ToolCall] = []
    for k, call in enumerate(listed[:MOST_CALLS]):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            continue
        arguments = function.get("arguments")
        written = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        id = call.get("id")
        name = str(function.get("name") or "")[:MOST_NAME]
        made.append(ToolCall(str(id)[:MOST_NAME] if id else f"call_{k}", name, written))
    return tuple(made)


def _usage(told: Any) -> Usage:
    counted: Mapping[str, Any] = told if isinstance(told, dict) else {}
    return Usage(_tokens(counted.get("prompt_tokens")), _tokens(counted.get("completion_tokens")))


def _tokens(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a stream, to its end; some endpoints put no blank line between two of them."""
    for line in (line for data in event_data(body) for line in data.split(b"\n")):
        if line.strip() == b"[DONE]":
            return
        value = parsed(line) if line.strip() else None
        if isinstance(value, dict):
            yield value


def _gather(calls: dict[int, dict[str, str]], pieces: Any) -> None:
    """Append chunks of calls to what came before."""
    for piece in pieces if isinstance(pieces, list) else ():
        index = piece.get("index", 0) if isinstance(piece, dict) else None
        function = piece.get("function") if isinstance(piece, dict) else None
        if not isinstance(index, int) or not 0 <= index < MOST_CALLS:
            continue
        call = calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        call["id"] = str(piece.get("id") or call["id"])
        if isinstance(function, dict):
            call["name"] += _text(function.get("name"))
            call["arguments"] += _text(function.get("arguments"))
