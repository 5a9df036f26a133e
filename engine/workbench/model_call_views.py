"""Model calls as shown to a client: shared parts appear once, and each call shows only its own role's side."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Final

from ..records.model_call import ModelCall
from ..simulate import BEGIN, read_sheet

BATCH_CHARS: Final = 20_000
"""Characters of JSON for the calls of one batch; the whole reply has a cap of its own."""
_CUT: Final = 1_000
"""Texts up to this length are not cut."""
_SIMPLE: Final = ("string", "number", "integer", "boolean", "null")
_TOLD: Final = frozenset(
    {"type", "description", "enum", "properties", "required", "items", "additionalProperties"}
)
_TOLD_TOO: Final = frozenset({"minimum", "maximum", "minLength", "maxLength", "title"})
_AGENT: Final = (
    "You are the agent: follow the text under `{name}` and nothing else. Answer the user in text, or call tools; their "
    "results come with your next call."
)


class Batch:
    """The calls handed out together. `full`: show every history whole; else only what is new since the last answer.

    `known`: ids of calls that the client still has, because its answer was just refused: of these only what is wanted.
    """

    def __init__(self, *, full: bool, known: Collection[str] = ()) -> None:
        self.shared: dict[str, Any] = {}
        self.calls: list[dict[str, Any]] = []
        self._full = full
        self._known = known
        self._size = 0

    def add(self, call: ModelCall, asks: Mapping[str, Any]) -> bool:
        """Put a call into the batch; False, and nothing is added, if it is full."""
        shared: dict[str, Any] = {}
        view = self._view(call, asks, shared)
        size = _size(view) + _size(shared)
        if self.calls and self._size + size > BATCH_CHARS:
            return False
        _shorten(view, BATCH_CHARS - _size(shared))
        self.shared |= shared
        self.calls.append(view)
        self._size += size
        return True

    def keep(self, ids: Iterable[str]) -> None:
        """Keep only these of its calls."""
        wanted = set(ids)
        self.calls = [view for view in self.calls if view["id"] in wanted]

    def _view(self, call: ModelCall, asks: Mapping[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = asks["messages"]
        view: dict[str, Any] = {"id": call.id, "role": call.role}
        if call.conversation:
            view["conversation"] = call.conversation
        seen = len(messages) if call.id in self._known else call.seen
        first = not seen or (self._full and call.id not in self._known)
        before = 0 if first else seen
        system = [str(m["content"]) for m in messages[:1] if m["role"] == "system" and not before]
        if system:
            view |= self._setting(call, system[0], shared)
        if asks["tools"] and first:
            name = self._named("tools", [signature(tool["function"]) for tool in asks["tools"]], shared)
            view["uses"] = [*view.get("uses", ()), name]
        told = messages[max(before, len(system)) :]
        view["history"] = [_entry(m, call.role) for m in told if m["content"] != BEGIN or call.role != "user"]
        if call.seen and self._full and first:
            view["new"] = len(messages) - call.seen
        if asks["schema"] is not None:
            view |= {"reply": "data", "schema": schema_example(asks["schema"])}
        else:
            view["reply"] = "text or tool_calls" if asks["tools"] else "text"
        return view

    def _setting(self, call: ModelCall, system: str, shared: dict[str, Any]) -> dict[str, Any]:
        """What a role is given before the conversation: names of shared texts, and the user's sheet."""
        if call.role == "user":
            found = read_sheet(system)
            if found is not None:
                rules, sheet = found
                return {"uses": [self._named("user-rules", rules, shared)], "sheet": _sheet(sheet)}
        name = {"agent": call.instructions or "instructions"}.get(call.role, f"{call.role}-rules")
        uses = [self._named(name, system, shared)]
        if call.role == "agent":
            uses.insert(0, self._named("agent-rules", _AGENT.format(name=uses[0]), shared))
        return {"uses": uses}

    def _named(self, name: str, text: Any, shared: dict[str, Any]) -> str:
        """The name of this text in `shared`, where it appears once."""
        known = {**self.shared, **shared}
        number = 1
        while (tried := f"{name}-{number}" if number > 1 else name) in known:
            if known[tried] == text:
                return tried
            number += 1
        shared[tried] = text
        return tried


def signature(tool: Mapping[str, Any]) -> str:
    """`get_order(order_id: string (W and digits), note?: string) Look up an order.`"""
    parameters: Mapping[str, Any] = tool["parameters"]
    properties: Mapping[str, Any] = parameters.get("properties") or {}
    needed = parameters.get("required") or ()
    told = (_parameter(name, schema, name in needed) for name, schema in properties.items())
    return f"{tool['name']}({', '.join(told)}) {tool['description']}".strip()


def schema_example(schema: Mapping[str, Any]) -> Any:
    """A JSON Schema as an example to fill in; one that says more than an example can is returned as it is."""
    plain = set(schema) <= _TOLD | _TOLD_TOO
    if not plain:
        return dict(schema)
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    if isinstance(schema.get("properties"), dict):
        needed = schema.get("required") or ()
        return {
            name if name in needed else f"{name}?": schema_example(part)
            for name, part in schema["properties"].items()
        }
    if isinstance(schema.get("items"), dict):
        return [schema_example(schema["items"])]
    kind = schema.get("type", "any")
    named = str(kind) if kind in _SIMPLE or isinstance(kind, str) else " or ".join(map(str, kind))
    bounds = [str(schema[key]) for key in ("minimum", "maximum") if key in schema]
    limit = f" {'..'.join(bounds)}" if bounds else ""
    said = f": {schema['description']}" if schema.get("description") else ""
    return f"{named}{limit}{said}"


def _parameter(name: str, schema: Mapping[str, Any], needed: bool) -> str:
    told = schema_example({k: v for k, v in schema.items() if k != "description"})
    kind = told if isinstance(told, str) else json.dumps(told, ensure_ascii=False)
    said = f" ({schema['description']})" if schema.get("description") else ""
    return f"{name}{'' if needed else '?'}: {kind}{said}"


def _sheet(sheet: Mapping[str, Any]) -> dict[str, Any]:
    """The sheet without empty or default values."""
    row = {key: value for key, value in sheet.items() if value not in ("", [], {}, None, True)}
    if "knowledge" in row:
        row["knowledge"] = [_fact(fact) for fact in row["knowledge"]]
    if sheet.get("confirms") is False:
        row["confirms"] = False
    return row


def _fact(fact: Mapping[str, Any]) -> Any:
    if set(fact) == {"text"}:
        return fact["text"]
    return f"{fact['fact']}: {fact['value']}" if set(fact) == {"fact", "value"} else dict(fact)


def _entry(message: Mapping[str, Any], role: str) -> dict[str, Any]:
    """One message from the role's point of view: its own are `you`."""
    spoken = {"user": {"user": "agent"}, "agent": {"user": "user"}}.get(role, {"user": "task"})
    spoken = {**spoken, "assistant": "you"}
    by = {"system": "world", "tool": "tool"}.get(message["role"]) or spoken[message["role"]]
    entry: dict[str, Any] = {"from": by}
    if message.get("content"):
        entry["text"] = message["content"]
    calls: Sequence[Mapping[str, Any]] = message.get("tool_calls") or ()
    if calls:
        entry["calls"] = [f"{c['function']['name']}({c['function']['arguments']})" for c in calls]
    return entry


def _shorten(view: dict[str, Any], room: int) -> None:
    """Cut the longest texts of a history that is too long for a batch on its own; what is left out is counted."""
    over = _size(view) - room
    texts = [(-len(entry.get("text", "")), k) for k, entry in enumerate(view["history"])]
    cuttable = [one for one in texts if -one[0] > _CUT]
    whole = {k: view["history"][k]["text"] for _, k in cuttable}
    heapify(cuttable)
    while cuttable and over > 0:
        length, k = heappop(cuttable)
        half = max(_CUT, -length // 2)
        entry, text = view["history"][k], whole[k]
        short = f"{text[:half]} … ({len(text) - half} characters left out)"
        over -= _size(entry["text"]) - _size(short)
        entry["text"] = short
        if half > _CUT:
            heappush(cuttable, (-half, k))


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
