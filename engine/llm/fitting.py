"""Replies that must be JSON by a schema: read, and repaired once."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, cast

from ..errors import Unavailable
from ..net import Secrets
from ..world.mistakes import Mistakes
from ..world.parameters import Check, compile_parameters
from .client import Message, ModelReply, ModelRequest, Usage

SHOWN: Final = 3
_REPAIR: Final = "That does not fit: {problem}. Answer again with the JSON alone, by this schema: {schema}"


async def fitting(
    ask: Callable[[ModelRequest], Awaitable[ModelReply]],
    request: ModelRequest,
    name: str,
    where: str,
    secrets: Secrets,
) -> ModelReply:
    """The reply to a request; if it names a schema, with JSON that fits it, after one repair if necessary.

    Unavailable if the second reply does not fit either. A caller that repairs by itself gets the reply unchanged.
    `name` and `where`: the model and its place in `models`.
    """
    reply = await ask(request)
    if request.schema is None or reply.tool_calls or not request.repair:
        return reply
    text, problem = fitted(reply.text, request.schema)
    if not problem:
        return replace(reply, text=text)
    again = await ask(_repair(request, reply.text, problem))
    text, problem = fitted(again.text, request.schema)
    if not problem:
        return _both(reply, replace(again, text=text))
    raise Unavailable(
        f"Model {name} gave no JSON that fits the schema, twice: {problem}.",
        where=where,
        allowed="a model that follows response_format",
        quoted=secrets.hide(again.text[:500]),
    )


def fitted(text: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    """The JSON in a text, without the fence around it, and what is wrong with it or ""."""
    inner = _unfenced(text)
    try:
        value = json.loads(inner)
    except (ValueError, RecursionError):
        return inner, "it is no JSON"
    return inner, "; ".join(misfits(value, schema))


def _unfenced(text: str) -> str:
    """The text between a line ``` or ```json and a closing ```, or the whole text."""
    first, _, rest = text.strip().partition("\n")
    fenced = first.rstrip() in ("```", "```json") and rest.endswith("```")
    return rest[:-3].strip() if fenced else text


def misfits(value: Any, schema: Mapping[str, Any], at: str = "") -> list[str]:
    """The first few places where a JSON value does not fit the schema. `at`: the value's own place."""
    problems: list[str] = []
    _check(json.dumps(schema, sort_keys=True))(value, at, problems)
    return problems[:SHOWN]


@lru_cache(maxsize=256)
def _check(schema: str) -> Check:
    """Checks the supported part of JSON Schema; unknown keywords are left to the reader."""
    return compile_parameters(_opened(json.loads(schema)), "schema", Mistakes())


def _opened(schema: Any) -> Any:
    """The schema with JSON Schema's implicit default: objects may have further properties."""
    if isinstance(schema, list):
        return [_opened(part) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _opened(part) for key, part in cast("dict[str, Any]", schema).items()}
    is_object = "properties" in inner and isinstance(inner["properties"], dict)
    return {"additionalProperties": True, **inner} if is_object else inner


def _repair(request: ModelRequest, text: str, problem: str) -> ModelRequest:
    asked = _REPAIR.format(problem=problem, schema=json.dumps(request.schema))
    return replace(request, messages=(*request.messages, Message("assistant", text), Message("user", asked)))


def _both(first: ModelReply, second: ModelReply) -> ModelReply:
    """The second reply, at the price of both."""
    one, two = first.usage, second.usage
    known = first.cost_usd is not None and second.cost_usd is not None
    return replace(
        second,
        usage=Usage(one.input_tokens + two.input_tokens, one.output_tokens + two.output_tokens),
        cost_usd=(first.cost_usd or 0.0) + (second.cost_usd or 0.0) if known else None,
    )
