"""The workflow prompt, asked for without saying of which environment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mcp import MCPError
from mcp.types import TextContent

from caseharden.tests.server_desk import MODES, Mode, desk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "name", ["harden_my_agent", "triage_failures", "lend_your_model", "play_the_agent", "write_scenarios"]
)
async def test_every_prompt_works_in_an_empty_data_folder_and_begins_with_making_an_environment(
    name: str, tmp_path: Path
) -> None:
    async with desk(tmp_path / "data") as at:
        (message,) = (await at.client.get_prompt(name, {})).messages
        assert isinstance(message.content, TextContent)
        first = next(line for line in message.content.text.splitlines() if line.startswith("1. "))
        for tool, args in re.findall(
            r"(create_environment|run_simulations|start_session)\((\{.*?\})\)", first
        ):
            lent = json.loads(args)
            await at.ok(
                tool, **{**lent, "wait_s": 45} if tool == "run_simulations" and len(lent) == 1 else lent
            )
        assert (await at.ok("list_items", kind="environment"))["items"][0]["id"] == "shop"


async def test_a_prompt_names_the_environment_that_one_would_make(tmp_path: Path) -> None:
    async with desk(tmp_path / "data") as at:
        (message,) = (await at.client.get_prompt("harden_my_agent", {"environment": "mine"})).messages
        assert isinstance(message.content, TextContent)
        assert 'create_environment({"id": "mine", "world": "shop"})' in message.content.text
        with pytest.raises(MCPError, match="No environment"):
            await at.client.get_prompt("harden_my_agent", {"environment": "No such"})


@pytest.mark.parametrize("mode", MODES)
async def test_the_prompt_takes_the_only_environment_and_asks_where_there_are_several(
    mode: Mode, tmp_path: Path
) -> None:
    async with desk(tmp_path / "data", mode) as at:
        await at.ok("create_environment", id="one", instructions="Help.")
        (message,) = (await at.client.get_prompt("harden_my_agent", {})).messages
        assert isinstance(message.content, TextContent)
        assert '"environment": "one"' in message.content.text
        await at.ok("create_environment", id="two", instructions="Help.")
        with pytest.raises(MCPError, match=r"one, two|two, one"):
            await at.client.get_prompt("harden_my_agent", {})
