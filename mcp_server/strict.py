"""Strict arguments: unknown names are refused, wrong values reported in our words, before a tool runs.

The published schema is the one enforced: no titles, no empty defaults, no unions with null, no additional properties.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from pydantic import ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from ..engine.errors import (
    CasehardenError,
    InvalidArgument,
    NextCall,
    UnknownArgument,
    UnknownTool,
    did_you_mean,
)
from ..engine.workbench import Workbench
from .failures import error_result
from .offer import EVERYTHING, Offer

MAX_CHARACTERS = 4 * 2**20
"""Characters of all texts of one call; longer input must come in a file."""
MAX_DEPTH = 100
ANSWERS = "answer_model_calls"
EMPTY: tuple[Any, ...] = ("", [], {}, None)


class Arguments(ArgModelBase):
    """The base of every tool's arguments."""

    model_config = ConfigDict(extra="forbid")


class StrictArguments:
    """Middleware of `tools/call`: answers calls that the tool would not accept, passes on everything else."""

    def __init__(self, tools: Mapping[str, Tool], bench: Workbench, offer: Offer = EVERYTHING) -> None:
        self.tools = tools
        self.bench = bench
        self.offer = offer

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        params = ctx.params or {}
        name, arguments = params.get("name"), params.get("arguments")
        if ctx.method != "tools/call" or ctx.request_id is None or not isinstance(name, str):
            return await call_next(ctx)
        if not isinstance(arguments, dict | None):
            return await call_next(ctx)
        error = self.offer.refusal(name)
        error = error or refusal(self.tools, name, cast("dict[str, Any]", arguments or {}))
        if error is None:
            return await call_next(ctx)
        if name == ANSWERS and name in self.tools:  # what the client holds would be out until its lease ends
            error.next = tuple(await self.bench.model_calls.hand_again(arguments)) or error.next
        known = self.tools.get(name)
        return error_result(error, name, list(known.parameters["properties"]) if known else (), self.tools)


def refusal(
    tools: Mapping[str, Tool], name: str, arguments: dict[str, Any], why: str = ""
) -> CasehardenError | None:
    """What is wrong with the call, or None if the tool accepts these arguments.

    `why`: of a proposed call; an argument that it names in backticks is left to the caller and may be missing.
    """
    tool = tools.get(name)
    if tool is None:
        hint = did_you_mean(name, tools)
        return UnknownTool(f"Unknown tool `{name[:80]}`.{hint}", allowed=tools)
    try:
        check_size(tool.fn_metadata.pre_parse_json(arguments))
        tool.fn_metadata.validate_arguments(arguments)
    except CasehardenError as error:
        return error
    except ValidationError as error:
        wrong = [
            one
            for one in error.errors(include_url=False)
            if one["type"] != "missing" or f"`{one['loc'][0]}`" not in why
        ]
        return _explained(tool, wrong[0]) if wrong else None
    except RecursionError:
        return _too_deep("")
    return None


def strict_model(name: str, parameters: Iterable[inspect.Parameter]) -> type[ArgModelBase]:
    """The arguments of a tool as a model that forbids unknown ones."""
    fields: dict[str, Any] = {
        one.name: (one.annotation, ... if one.default is inspect.Parameter.empty else one.default)
        for one in parameters
    }
    return create_model(f"{name}Arguments", __base__=Arguments, **fields)


def tidy(schema: Any) -> Any:
    """A JSON Schema without titles, empty defaults, open `additionalProperties`, open items and minimum 0."""
    if isinstance(schema, list):
        return [tidy(one) for one in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key == "properties":
            kept[key] = {name: tidy(one) for name, one in value.items()}
        elif not _noise(key, value):
            kept[key] = tidy(value)
    return kept


def check_size(arguments: dict[str, Any]) -> None:
    """Raise InvalidArgument for texts that are too long, nesting that is too deep, NaN, and broken Unicode."""
    left = MAX_CHARACTERS
    queue: list[tuple[Any, str, int]] = [(value, name, 1) for name, value in arguments.items()]
    while queue:
        value, where, depth = queue.pop()
        if depth > MAX_DEPTH:
            raise _too_deep(where)
        if isinstance(value, str):
            left -= len(value)
            _check_text(value, where, left)
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidArgument(
                f"`{value}` is not a JSON number.", where=where, allowed="finite numbers, null"
            )
        elif isinstance(value, dict):
            items = cast("dict[str, Any]", value)
            queue += [(one, where, depth + 1) for one in items.values()]
            left -= sum(map(len, items))
        elif isinstance(value, list):
            queue += [(one, where, depth + 1) for one in cast("list[Any]", value)]


def _check_text(text: str, where: str, left: int) -> None:
    if left < 0:
        raise InvalidArgument(
            f"The call is too large: its texts are over {MAX_CHARACTERS:,} characters.",
            where=where,
            allowed=f"at most {MAX_CHARACTERS:,} characters a call; larger things come in a file under an allowed root",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument("The text is not valid Unicode (a lone surrogate).", where=where) from None


def _too_deep(where: str) -> InvalidArgument:
    return InvalidArgument(
        "The value is nested too deep.", where=where, allowed=f"at most {MAX_DEPTH} levels"
    )


def _noise(key: str, value: Any) -> bool:
    if key == "title":
        return True
    if key == "default":
        return value in EMPTY and value is not False and value != 0
    if key in ("additionalProperties", "items"):
        return value is True or value == {}
    return key == "minimum" and value == 0


def _explained(tool: Tool, mistake: ErrorDetails) -> CasehardenError:
    properties: dict[str, Any] = tool.parameters["properties"]
    place = [str(part) if isinstance(part, str) else part for part in mistake["loc"]]
    name = str(place[0]) if place else ""
    where = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[1:])
    if mistake["type"] == "extra_forbidden":
        hint = did_you_mean(name, properties)
        where = f"{tool.name}.{name[:80]}"
        return UnknownArgument(f"Unknown argument `{name[:80]}`.{hint}", where=where, allowed=properties)
    schema: dict[str, Any] = properties.get(name, {})
    about = schema.get("description", "")
    if mistake["type"] == "missing":
        needed = f"`{name}` is needed{f': {about}' if about else ''}.".replace("..", ".")
        return InvalidArgument(needed, where=where, allowed=_allowed(schema), next=_help(tool, name))
    given = mistake.get("input")
    hint = did_you_mean(given, schema["enum"]) if isinstance(given, str) and "enum" in schema else ""
    what = f"`{where}` is {_shown(given)}.{hint}"
    return InvalidArgument(
        what, where=where, allowed=_allowed(schema, len(place) > 1), next=_help(tool, name)
    )


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return str(value)[:40]
    if isinstance(value, str):
        return f"`{value[:60]}{'…' if len(value) > 60 else ''}`"
    return "an object" if isinstance(value, Mapping) else "a list"


def _allowed(schema: dict[str, Any], inner: bool = False) -> str:
    if inner and isinstance(schema.get("items"), dict):
        schema = {**schema["items"], "description": schema.get("description", "")}
    if "enum" in schema:
        return ", ".join(schema["enum"])
    kind = {
        "integer": "a whole number",
        "string": "a text",
        "boolean": "true or false",
        "array": "a list",
    }.get(schema.get("type", ""), "an object")
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        kind = "a list of objects" if schema["items"].get("type") == "object" else "a list of texts"
    if "maximum" in schema:
        return f"{schema.get('minimum', 0)} to {schema['maximum']}"
    if schema.get("type") == "integer":
        kind += f" from {schema.get('minimum', 0)}"
    about = schema.get("description", "")
    return f"{kind}: {about}" if about and schema.get("type") in ("object", "array") else kind


def _help(tool: Tool, name: str) -> list[NextCall]:
    about: str = tool.parameters["properties"].get(name, {}).get("description", "")
    _, guide, word = about.rpartition("Guide: ")
    return [NextCall("get_item", {"kind": "guide", "id": word.strip()})] if guide else []
