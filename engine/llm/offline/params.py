"""Tools and their parameters as the offline agent reads them from signatures: names, words, kinds of values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, cast

import re2  # pyright: ignore[reportMissingTypeStubs]

from ...shapes import as_object
from ..client import ToolSignature
from .words import label, label_tokens, token_set, tokens

ValueKind = Literal[
    "enum", "boolean", "number", "integer", "pattern", "email", "date", "list", "object", "id", "text"
]

_ID_WORDS: Final = frozenset({"id", "number", "no", "code", "reference", "ref"})
_READ_WORDS: Final = (
    "get look lookup find show check list read view search fetch track retrieve see query describe count "
    "calculate verify"
)
_READ: Final = frozenset(_READ_WORDS.split())
_HUMAN: Final = token_set(
    "human representative supervisor operator staff colleague manager person specialist"
)
_HAND_OVER: Final = token_set("transfer handoff escalate connect forward hand")
_END: Final = frozenset({"end", "finish", "close", "terminate", "stop"})
_TALK: Final = token_set("conversation chat session dialogue")
_EXAMPLE: Final = re.compile(
    r"(?:e\.g\.|such as|like|example:?|for example)[,:]?\s*[\"'`(]*([#A-Za-z0-9][\w#-]*\d[\w-]*)", re.I
)


@dataclass(frozen=True, slots=True, eq=False)
class Param:
    """One parameter. `rank`: its place among the tool's parameters that look the same (0 = first)."""

    name: str
    label: str
    tokens: frozenset[str]
    kind: ValueKind
    required: bool
    enum: tuple[Any, ...]
    pattern: Any
    rank: int
    head: str
    """For ids the noun before id, number or code (`order` in `order_id`), else ""."""
    described: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Tool:
    """One tool. `ends`: it hands over to a human or ends the conversation, and is never chosen by words alone."""

    name: str
    label: str
    name_tokens: frozenset[str]
    all_tokens: frozenset[str]
    reads: bool
    ends: bool
    params: tuple[Param, ...]

    @property
    def required(self) -> tuple[Param, ...]:
        return tuple(param for param in self.params if param.required)


@dataclass(frozen=True, slots=True, eq=False)
class Toolbox:
    """The tools of a request. `weights`: for each stem in names or descriptions, 1 over the number of tools with it."""

    tools: Mapping[str, Tool]
    name_weights: Mapping[str, float]
    weights: Mapping[str, float]

    def score(self, tool: Tool, words: Mapping[str, float]) -> float:
        """How strongly the words (stem: emphasis 0..1) point at the tool: its name counts 3, its description 1."""
        total = 0.0
        for word, emphasis in words.items():
            if word in tool.name_tokens:
                total += 3 * emphasis * self.name_weights[word]
            elif word in tool.all_tokens:
                total += emphasis * self.weights[word]
        return total


def toolbox(signatures: Sequence[ToolSignature]) -> Toolbox:
    """Parse the signatures; each tool and each set of tools only once."""
    return _toolbox(tuple(map(read_tool, signatures)))


def read_tool(signature: ToolSignature) -> Tool:
    """Parse a signature; a broken schema has no parameters rather than raising an error."""
    key = (signature.name, signature.description)
    kept = _tools.get(key)
    if kept is not None and (kept[0] is signature.parameters or kept[0] == signature.parameters):
        return kept[1]
    tool = _read(signature)
    if len(_tools) >= _MAX_TOOLS:
        _tools.clear()
    _tools[key] = (signature.parameters, tool)
    return tool


def compile_pattern(pattern: str) -> Any:
    """Compile an RE2 pattern without its anchors; None if it is not one."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern.removeprefix("^").removesuffix("$")[:500], options)  # pyright: ignore
    except re2.error:  # pyright: ignore[reportUnknownMemberType]
        return None


_MAX_TOOLS: Final = 2048
_tools: Final[dict[tuple[str, str], tuple[Mapping[str, Any], Tool]]] = {}


@lru_cache(maxsize=256)
def _toolbox(tools: tuple[Tool, ...]) -> Toolbox:
    named: dict[str, int] = {}
    anywhere: dict[str, int] = {}
    for tool in tools:
        for word in tool.name_tokens:
            named[word] = named.get(word, 0) + 1
        for word in tool.all_tokens:
            anywhere[word] = anywhere.get(word, 0) + 1
    return Toolbox(
        {tool.name: tool for tool in tools},
        {word: 1 / count for word, count in named.items()},
        {word: 1 / count for word, count in anywhere.items()},
    )


def _read(signature: ToolSignature) -> Tool:
    name_words = {word for word in label(signature.name).split()}
    name_tokens = token_set(signature.name)
    everything = name_tokens | token_set(signature.description)
    hands_over = bool(everything & _HUMAN) and bool(name_tokens & _HAND_OVER)
    ends = hands_over or (bool(name_words & _END) and bool(name_tokens & _TALK))
    first = label(signature.name).split()[:1]
    return Tool(
        signature.name,
        label(signature.name),
        name_tokens,
        everything,
        bool(first) and first[0] in _READ,
        ends,
        _params(signature.parameters),
    )


def _params(schema: Mapping[str, Any]) -> tuple[Param, ...]:
    properties = as_object(schema.get("properties"))
    required: Any = schema.get("required")
    needed: set[Any] = set(cast("list[Any]", required)) if isinstance(required, list) else set()
    ranks: dict[str, int] = {}
    found: list[Param] = []
    for name, raw in properties.items():
        detail = as_object(raw)
        kind, pattern = _kind(name, detail)
        look = f"{kind} {detail.get('pattern', '')}" if kind in ("date", "pattern", "email") else name
        rank = ranks[look] = ranks.get(look, -1) + 1
        words = label(name).split()
        head = " ".join(words[:-1]) if len(words) > 1 and words[-1] in _ID_WORDS else ""
        enum: Any = detail.get("enum")
        values: tuple[Any, ...] = tuple(cast("list[Any]", enum)) if isinstance(enum, list) else ()
        described = frozenset(tokens(str(detail.get("description", ""))))
        found.append(
            Param(
                name,
                label(name),
                label_tokens(name),
                kind,
                name in needed,
                values,
                pattern,
                rank,
                head,
                described,
            )
        )
    return tuple(found)


def _kind(name: str, schema: Mapping[str, Any]) -> tuple[ValueKind, Any]:
    pattern = schema.get("pattern")
    compiled = compile_pattern(pattern) if isinstance(pattern, str) and pattern else None
    if isinstance(schema.get("enum"), list):
        return "enum", None
    if schema.get("type") == "array":
        items = as_object(schema.get("items"))
        kind, inner = _kind(name, items) if items else ("text", None)
        return "list", inner if kind in ("pattern", "id") else None
    kind = _PLAIN_TYPES.get(str(schema.get("type")))
    if kind:
        return kind, None
    words = set(label(name).split())
    if compiled is not None:
        return "pattern", compiled
    if schema.get("format") == "email" or words & {"email", "mail"}:
        return "email", None
    if schema.get("format") == "date" or (words & {"date", "day"} and "time" not in words):
        return "date", None
    shape = _shape(str(schema.get("description", "")))
    if shape is not None:
        return "pattern", shape
    return ("id", None) if words & _ID_WORDS else ("text", None)


_PLAIN_TYPES: Final[dict[str, ValueKind]] = {
    "boolean": "boolean",
    "number": "number",
    "integer": "integer",
    "object": "object",
}


def _shape(description: str) -> Any:
    """A pattern derived from an example in a description: `such as #W123` gives `#W` and digits."""
    found = _EXAMPLE.search(description[:2000])
    if not found:
        return None
    parts = re.findall(r"\d+|\D+", found[1])
    return compile_pattern("".join(r"\d+" if part.isdigit() else re.escape(part) for part in parts))
