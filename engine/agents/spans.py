"""OpenTelemetry spans of an agent, exported by OTLP/HTTP in JSON, read as tool calls and token usage.

Two vocabularies are known: OpenTelemetry's own for generative AI (`gen_ai.*`) and OpenInference
(`openinference.span.kind`, `tool.*`, `llm.*`). Everything in a span comes from the agent: it is cut and never trusted.
Anything that is not a span, or too much, is left out and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..llm.chat_format import NoCompletion, parsed
from ..records.checked_json import MAX_INTEGER, kept_json
from ..records.conversation import TokenUsage
from ..shapes import as_list, as_object

MOST_SPANS: Final = 2_000
"""In one request."""
MOST_ATTRIBUTES: Final = 200
MOST_TEXT: Final = 50_000
"""Characters of a value that are kept."""
MOST_NAME: Final = 200
MOST_DEPTH: Final = 20
_ID: Final = re.compile(r"[0-9a-fA-F]{1,32}")
_READ: Final = frozenset(
    {
        "gen_ai.conversation.id",
        "session.id",
        "langfuse.session.id",
        "thread.id",
        "gen_ai.operation.name",
        "gen_ai.tool.name",
        "gen_ai.tool.arguments",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.result",
        "gen_ai.tool.call.result",
        "gen_ai.tool.call.id",
        "openinference.span.kind",
        "tool.name",
        "tool.id",
        "tool.parameters",
        "tool_call.id",
        "tool_call.function.name",
        "tool_call.function.arguments",
        "input.value",
        "output.value",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.prompt",
        "llm.token_count.completion",
    }
)
"""The attributes that are kept."""
_CONVERSATION: Final = ("gen_ai.conversation.id", "session.id", "langfuse.session.id", "thread.id")


class NoSpans(Exception):
    """The body is not an export of spans; the text says why."""


@dataclass(frozen=True, slots=True)
class Span:
    """`start_ns`, `end_ns`: Unix nanoseconds, 0 if not stated. `parent`: "" for the first of a trace."""

    trace: str
    id: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Mapping[str, Any]
    size: int = 0
    """Characters of its attributes as JSON."""

    @property
    def conversations(self) -> set[str]:
        """The conversations that it says it belongs to."""
        return {str(self.attributes[key]) for key in _CONVERSATION if self.attributes.get(key)}

    @property
    def wall_s(self) -> float:
        return max(0, self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True)
class SpanCall:
    """A tool call as a span reports it. `id`: the model's id of the call, "" if not stated."""

    name: str
    arguments: str
    result: Any
    id: str
    span: Span


@dataclass(slots=True)
class SpanBatch:
    """The spans of one request; `left_out` are counted and not kept."""

    spans: list[Span] = field(default_factory=list[Span])
    left_out: int = 0


def read_export(body: bytes) -> SpanBatch:
    """The spans of an ExportTraceServiceRequest in JSON; NoSpans for anything else. For a worker thread."""
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise NoSpans("the body is no JSON: export with the protocol http/json") from None
    if not isinstance(told, dict) or not isinstance(cast("dict[str, Any]", told).get("resourceSpans"), list):
        raise NoSpans("the body has no list `resourceSpans`")
    found = SpanBatch()
    for raw in _raw_spans(cast("dict[str, Any]", told)):
        span = _span(raw) if len(found.spans) < MOST_SPANS else None
        if span is None:
            found.left_out += 1
        else:
            found.spans.append(span)
    return found


def call_of(span: Span) -> SpanCall | None:
    """The tool call that a span represents; None for any other span."""
    told = span.attributes
    if told.get("gen_ai.operation.name") == "execute_tool":
        name = told.get("gen_ai.tool.name") or span.name.removeprefix("execute_tool ")
        arguments = told.get("gen_ai.tool.call.arguments", told.get("gen_ai.tool.arguments"))
        result = told.get("gen_ai.tool.call.result", told.get("gen_ai.tool.result"))
        return _call(span, name, arguments, result, told.get("gen_ai.tool.call.id"))
    if str(told.get("openinference.span.kind")).upper() == "TOOL":
        name = told.get("tool.name") or told.get("tool_call.function.name") or span.name
        arguments = (
            told.get("tool_call.function.arguments") or told.get("input.value") or told.get("tool.parameters")
        )
        return _call(
            span, name, arguments, told.get("output.value"), told.get("tool_call.id") or told.get("tool.id")
        )
    return None


def usage_of(span: Span) -> TokenUsage | None:
    """The tokens of the model call that a span represents; None for any other span."""
    told = span.attributes
    model = told.get("gen_ai.operation.name") in ("chat", "text_completion", "generate_content")
    if not model and str(told.get("openinference.span.kind")).upper() != "LLM":
        return None
    read = _count(told, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
    made = _count(
        told, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"
    )
    return TokenUsage(input_tokens=read, output_tokens=made) if read or made else None


def _raw_spans(told: Mapping[str, Any]) -> Iterator[Any]:
    for resource in as_list(told.get("resourceSpans")):
        scopes = as_object(resource).get("scopeSpans") or as_object(resource).get(
            "instrumentationLibrarySpans"
        )
        for scope in as_list(scopes):
            yield from as_list(as_object(scope).get("spans"))


def _span(raw: Any) -> Span | None:
    row = as_object(raw)
    trace, id = str(row.get("traceId") or ""), str(row.get("spanId") or "")
    if not (_ID.fullmatch(trace) and _ID.fullmatch(id)):
        return None
    pairs = [as_object(pair) for pair in as_list(row.get("attributes"))[:MOST_ATTRIBUTES]]
    kept = {key: _value(pair.get("value")) for pair in pairs if (key := str(pair.get("key"))) in _READ}
    parent = str(row.get("parentSpanId") or "")
    return Span(
        trace=trace.lower(),
        id=id.lower(),
        parent=parent.lower() if _ID.fullmatch(parent) and parent.strip("0") else "",
        name=_text(row.get("name") or ""),
        start_ns=_nanoseconds(row.get("startTimeUnixNano")),
        end_ns=_nanoseconds(row.get("endTimeUnixNano")),
        failed=as_object(row.get("status")).get("code") in (2, "STATUS_CODE_ERROR"),
        attributes=kept,
        size=len(json.dumps(kept)),
    )


def _value(any_value: Any, depth: int = 0) -> Any:
    """An OTLP AnyValue as JSON; None if it is invalid or too deep."""
    row = as_object(any_value)
    if depth > MOST_DEPTH or not row:
        return None
    if "stringValue" in row:
        return _text(row["stringValue"], MOST_TEXT)
    if "intValue" in row:
        return max(-MAX_INTEGER, min(_nanoseconds(row["intValue"], signed=True), MAX_INTEGER))
    if "arrayValue" in row:
        values = as_list(as_object(row["arrayValue"]).get("values"))[:MOST_ATTRIBUTES]
        return [_value(value, depth + 1) for value in values]
    if "kvlistValue" in row:
        pairs = [
            as_object(pair) for pair in as_list(as_object(row["kvlistValue"]).get("values"))[:MOST_ATTRIBUTES]
        ]
        return {_text(pair.get("key")): _value(pair.get("value"), depth + 1) for pair in pairs}
    plain = row.get("boolValue", row.get("doubleValue"))
    fits = isinstance(plain, bool | float | int) and abs(plain) <= MAX_INTEGER
    return plain if fits else None


def _call(span: Span, name: Any, arguments: Any, result: Any, id: Any) -> SpanCall:
    return SpanCall(
        str(name)[:200] or "tool", _arguments(arguments), _result(span, result), str(id or "")[:200], span
    )


def _arguments(told: Any) -> str:
    """The arguments as the text of a JSON object; anything else is wrapped in one."""
    value = _json(told)
    if value is None:
        return "{}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps({"input": value}, ensure_ascii=False)


def _result(span: Span, told: Any) -> Any:
    value = _json(told)
    return {"error": value} if span.failed else value


def _json(told: Any) -> Any:
    """Parse a text that holds JSON which a record can keep; any other value is unchanged."""
    if not isinstance(told, str) or told[:1] not in ("{", "["):
        return told
    try:
        return kept_json({"error": parsed(told)})["error"]
    except (NoCompletion, ValueError):
        return told


def _text(told: Any, most: int = MOST_NAME) -> str:
    """Cut a text and replace lone surrogates."""
    return str(told)[:most].encode("utf-8", "replace").decode()


def _count(told: Mapping[str, Any], *names: str) -> int:
    found = next((told[name] for name in names if isinstance(told.get(name), int)), 0)
    return max(0, min(int(found), 10**9))


def _nanoseconds(told: Any, *, signed: bool = False) -> int:
    """Read a 64-bit integer, which OTLP writes as a text."""
    text = str(told)
    if not re.fullmatch(r"-?\d{1,19}", text):
        return 0
    return int(text) if signed else max(0, int(text))
