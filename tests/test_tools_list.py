"""The tool list as a client sees it: names, texts, schemas and annotations are held by snapshots, and by a budget."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import Tool

from caseharden.engine.shapes import is_list, is_object
from caseharden.mcp_server.app import build_server, instructions
from caseharden.resources.workbench import Workbench

pytestmark = pytest.mark.anyio
SNAPSHOTS = Path(__file__).parent / "snapshots" / "tools"
UPDATE = os.environ.get("UPDATE_SNAPSHOTS") == "1"
TOOLS = 24


async def listed(tmp_path: Path, mode: str = "auto") -> list[Tool]:
    async with Client(build_server(Workbench(tmp_path / "data")), mode=mode) as client:
        return (await client.list_tools()).tools


def shown(tool: Tool) -> dict[str, Any]:
    whole = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: whole[key] for key in ("name", "title", "description", "inputSchema", "annotations")}


def tokens(tool: Tool) -> float:
    core = {"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema}
    return len(json.dumps(core, ensure_ascii=False, separators=(",", ":"))) / 4


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_every_tool_is_as_its_snapshot_says(tmp_path: Path, mode: str) -> None:
    tools = await listed(tmp_path, mode)
    if UPDATE:
        for tool in tools:
            text = json.dumps(shown(tool), ensure_ascii=False, indent=1) + "\n"
            (SNAPSHOTS / f"{tool.name}.json").write_text(text, encoding="utf-8")
    held = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in SNAPSHOTS.glob("*.json")}
    assert {tool.name: shown(tool) for tool in tools} == held


@pytest.mark.requirement("CH-17")
async def test_the_tool_list_keeps_its_budget(tmp_path: Path) -> None:
    tools = await listed(tmp_path)
    assert len(tools) == TOOLS
    assert len(tools) <= 24
    assert sum(map(tokens, tools)) <= 4_800
    assert max(map(tokens, tools)) <= 350
    assert max(len(tool.description or "") for tool in tools) <= 250


async def test_every_tool_states_all_four_annotations(tmp_path: Path) -> None:
    for tool in await listed(tmp_path):
        stated = tool.annotations
        assert stated is not None
        hints = (
            stated.read_only_hint,
            stated.destructive_hint,
            stated.idempotent_hint,
            stated.open_world_hint,
        )
        assert None not in hints, tool.name


async def test_schemas_are_closed_and_free_of_noise(tmp_path: Path) -> None:
    for tool in await listed(tmp_path):
        assert tool.input_schema["additionalProperties"] is False
        for key, value in walked(tool.input_schema):
            assert key not in ("title", "anyOf", "oneOf", "allOf", "$ref", "$defs"), (tool.name, key)
            assert not (key == "default" and value in ("", [], {}, None) and value is not False), tool.name


async def test_the_published_output_schema_is_the_envelope(tmp_path: Path) -> None:
    for tool in await listed(tmp_path):
        assert tool.output_schema is not None
        assert list(tool.output_schema["properties"]) == ["summary", "next", "warnings", "links", "error"]
        assert "required" not in tool.output_schema, "clients hold refusals to it too"


def test_the_server_instructions_fit_what_clients_keep() -> None:
    assert len(instructions()) < 2_048


def walked(schema: Any) -> Iterator[tuple[str, Any]]:
    if is_object(schema):
        for key, value in schema.items():
            if key == "properties":
                for one in value.values():
                    yield from walked(one)
                continue
            yield key, value
            yield from walked(value)
    elif is_list(schema):
        for one in schema:
            yield from walked(one)
