"""The request to a writer model: what is wanted in prose, and the world as data it can build on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from ..llm import Message, ModelClient, ModelRequest
from ..seeds import seed_of
from ..world import CompiledWorld, as_text
from .probes import Probe
from .rows import Rows

_POLICY_CHARS: Final = 6_000
_EXISTING: Final = 60
_TRIES: Final = 3
"""Draws for each wanted sample record, since some come up twice."""
_RECORD_CHARS: Final = 700


async def ask(
    model: ModelClient,
    task: str,
    prose: str,
    data: Mapping[str, Any],
    schema: Mapping[str, Any],
    seed: int,
    batch: int,
) -> str:
    """The text of one writer call. SetupError if there is no reply."""
    block = json.dumps({"task": task, **data}, ensure_ascii=False)
    messages = (Message("system", prose), Message("user", f"The data:\n{block}"))
    request = ModelRequest("writer", messages, schema=schema, seed=seed_of(seed, "generate", task, batch))
    return (await model.complete(request)).text


def world_row(
    world: CompiledWorld, rows: Rows, probes: Sequence[Probe], samples: int, *key: str | int
) -> dict[str, Any]:
    """The world for a writer: policy, collections with fields and up to `samples` records, tools, rules, probes."""
    record = world.world
    tools = [
        {
            "name": tool.tool.name,
            "description": tool.tool.description,
            "parameters": tool.signature.parameters,
            "kind": tool.kind,
        }
        for tool in world.tools.values()
        if tool.tool.for_ == "agent" and not tool.tool.hidden
    ]
    return {
        "name": record.name,
        "now": record.clock.now,
        "policy": record.policy[:_POLICY_CHARS],
        "collections": {name: _collection_row(world, rows, name, samples, *key) for name in rows.collections},
        "tools": tools,
        "rules": [rule.model_dump(exclude_defaults=True, exclude={"x_source"}) for rule in record.rules],
        "probes": [probe.data() for probe in probes],
    }


def newest(existing: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The existing items that a request shows."""
    return list(existing[-_EXISTING:])


def _collection_row(
    world: CompiledWorld, rows: Rows, name: str, samples: int, *key: str | int
) -> dict[str, Any]:
    """fields: name to its type or choices; sample: some records by key; size."""
    schema = world.world.schema_.get(f"db.{name}")
    several = (rows.varied(name, n, *key, "sample", n) for n in range(samples * _TRIES))
    drawn = list(islice({row.key: row for row in several}.values(), samples))
    fields: dict[str, Any] = {}
    for row in drawn:
        for field, value in row.record.items():
            fields.setdefault(field, type_name(value))
    for field, told in (schema.fields if schema else {}).items():
        fields[field] = told.enum or (f"key of {told.ref}" if told.ref else fields.get(field, "any"))
    sample = {row.key: row.record for row in drawn if len(as_text(dict(row.record))) <= _RECORD_CHARS}
    return {"fields": fields, "size": rows.size(name), "sample": sample}


def type_name(value: Any) -> str:
    """The JSON type of a value."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "boolean"
    names: Mapping[str, str] = {
        "str": "string",
        "int": "integer",
        "float": "number",
        "list": "array",
        "dict": "object",
    }
    return names.get(type(value).__name__, "any")
