"""The text of a reply: compact Markdown with the same facts as its structured content.

Summary first, then one line a field, then warnings, links, and one `Next:` line a call. What stands under a
path of `untrusted` is data that others wrote: each of its lines starts with `> `.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..engine.shapes import is_list, is_object
from .fit import CAP

ENVELOPE = ("summary", "next", "warnings", "links", "untrusted")
INLINE = 200
"""Characters that an object may take to stand in one line."""


def render(payload: Mapping[str, Any]) -> str:
    """The text block of a payload that was cleaned and fitted."""
    quoted = frozenset(payload.get("untrusted", ()))
    lines = [str(payload["summary"])]
    for name, value in payload.items():
        if name not in ENVELOPE:
            lines += _field(name, value, name, quoted, 0)
    lines += [f"Warning: {one}" for one in payload.get("warnings", ())]
    lines += [f"Link: {one['uri']} ({one['what']})" for one in payload.get("links", ())]
    lines += [next_line(one) for one in payload.get("next", ())]
    text = "\n".join(lines)
    return text if len(text) <= CAP else f"{text[:CAP]}\n… ({len(text) - CAP} characters left out)"


def next_line(call: Mapping[str, Any]) -> str:
    """`Next: get_item({"kind":"run","id":"run-1"}) - why`."""
    why = f" - {call['why']}" if call.get("why") else ""
    return f"Next: {call['tool']}({compact(call.get('args', {}))}){why}"


def one_line(text: str) -> str:
    """The text without line ends: what is quoted in it cannot begin a line of its own."""
    return " ".join(text.split())


def compact(value: Any) -> str:
    """One line of JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _field(name: str, value: Any, path: str, quoted: frozenset[str], depth: int) -> list[str]:
    pad = "  " * depth
    if path in quoted:
        return [f"{pad}{name}:", *_quote(value)]
    if isinstance(value, str) and "\n" in value:
        return [f"{pad}{name}:", *(f"{pad}  {line}" for line in value.splitlines())]
    if _inline(value, path, quoted):
        return [f"{pad}{name}: {_flat(value)}"]
    if is_object(value):
        lines = [f"{pad}{name}:"]
        for key, one in _telling_fields(value):
            lines += _field(str(key), one, f"{path}.{key}", quoted, depth + 1)
        return lines
    return [f"{pad}{name}:", *_rows(value, f"{path}[]", quoted, depth + 1)]


def _rows(values: Sequence[Any], path: str, quoted: frozenset[str], depth: int) -> list[str]:
    pad = "  " * depth
    lines: list[str] = []
    for one in values:
        if path in quoted:
            lines += _quote(one)
        elif _inline(one, path, quoted):
            lines.append(f"{pad}- {_flat(one)}")
        elif is_object(one):
            inner: list[str] = []
            for key, part in _telling_fields(one):
                inner += _field(str(key), part, f"{path}.{key}", quoted, depth + 1)
            lines += _bulleted(inner, pad)
        else:
            lines += _field("-", one, path, quoted, depth)
    return lines


def _bulleted(inner: list[str], pad: str) -> list[str]:
    first = inner[0] if inner else ""
    return [f"{pad}- {first.strip()}", *inner[1:]]


def _quote(value: Any) -> list[str]:
    text = value if isinstance(value, str) else compact(value)
    return [f"> {line}" for line in text.splitlines()] or ["> "]


def _inline(value: Any, path: str, quoted: frozenset[str]) -> bool:
    if not (is_object(value) or is_list(value)):
        return not (isinstance(value, str) and "\n" in value)
    if any(one.startswith(path) for one in quoted) or _has_objects(value):
        return False
    text = compact(value)
    return len(text) <= INLINE and "\\n" not in text


def _telling_fields(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields that say something; what was and what is now stand even when they are empty."""
    return [
        (key, one) for key, one in value.items() if one not in ("", [], {}, None) or key in ("old", "new")
    ]


def _has_objects(value: Any) -> bool:
    return is_list(value) and any(is_object(one) for one in value)


def _flat(value: Any, nested: bool = False) -> str:
    if is_object(value):
        prose = any(isinstance(one, str) and " " in one for one in value.values())
        between, after = ("; ", ": ") if prose else (", ", " ")
        text = between.join(f"{key}{after}{_flat(one, True)}" for key, one in _telling_fields(value))
        return f"({text})" if nested else text
    if is_list(value):
        text = ", ".join(_flat(one, True) for one in value)
        return f"[{text}]" if nested else text
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else str(round(value, 4))
    return re.sub(r"\s*\n\s*", " ", str(value))
