"""Tool signatures of other systems as ours: parts of a JSON Schema without a place here are removed and reported."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from ..shapes import as_list
from ..world.parameters import KEYWORDS
from .importer import Losses, as_object

_NAME: Final = re.compile(r"[A-Za-z]\w{0,63}\Z")
_TOOL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_TAKEN: Final = ("db", "user_db", "true", "false", "null")
DESCRIPTION: Final = 20_000
DEPTH: Final = 15


def tool_of(info: Any, losses: Losses, at: str) -> dict[str, Any] | None:
    """A tool from an OpenAI function signature (`{"type", "function": {…}}` or its inside); None if it is not one."""
    outer = as_object(info) or {}
    row = as_object(outer.get("function")) or outer
    name = row.get("name")
    if not isinstance(name, str) or not _TOOL.match(name):
        losses.add("tool", "it has no name that a tool can have", at)
        return None
    description = row.get("description")
    tool: dict[str, Any] = {
        "name": name,
        "description": description[:DESCRIPTION] if isinstance(description, str) else "",
        "parameters": parameters_of(row.get("parameters"), losses, f"{at}, {name}"),
        "x_source": {k: v for k, v in outer.items() if k != "function"} | {"function": row},
    }
    return tool


def parameters_of(schema: Any, losses: Losses, at: str) -> dict[str, Any]:
    """The parameters of a tool, as an object schema that can be compiled."""
    found = _plain(schema, losses, at, 0)
    properties = as_object(found.get("properties")) or {}
    usable = {n: s for n, s in properties.items() if _NAME.match(n) and n not in _TAKEN}
    for name in properties.keys() - usable.keys():
        losses.add("parameter", "its name cannot be a name in expressions", f"{at}.{name[:60]}")
    listed = as_list(found.get("required"))
    made = {**found, "type": "object", "properties": usable}
    made["required"] = [name for name in listed if isinstance(name, str) and name in usable]
    return made


def _plain(schema: Any, losses: Losses, at: str, depth: int) -> dict[str, Any]:
    given = as_object(schema)
    if given is None or depth > DEPTH:
        return {}
    given = _without_null(given)
    dropped = sorted(str(key) for key in given if key not in KEYWORDS)
    if dropped:
        losses.add("keyword of a schema", f"{', '.join(dropped)[:100]} cannot be checked here", at)
    made = {key: value for key, value in given.items() if key in KEYWORDS}
    if "properties" in made:
        inner = as_object(made["properties"]) or {}
        made["properties"] = {k: _plain(v, losses, f"{at}.{k}", depth + 1) for k, v in inner.items()}
    if "items" in made:
        made["items"] = _plain(made["items"], losses, f"{at}[]", depth + 1)
    if not isinstance(made.get("additionalProperties", True), bool):
        del made["additionalProperties"]
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` of one type and null, converted to that type."""
    choices = schema.get("anyOf")
    if not isinstance(choices, list):
        return schema
    found = [c for c in map(as_object, cast("list[Any]", choices)) if c is not None]
    real = [c for c in found if c.get("type") != "null"]
    if len(real) != 1 or len(found) != len(cast("list[Any]", choices)):
        return schema
    inner = dict(real[0])
    kind = inner.get("type")
    if isinstance(kind, str) and len(found) > 1:
        inner["type"] = [kind, "null"]
    return {**inner, **{k: v for k, v in schema.items() if k != "anyOf"}}
