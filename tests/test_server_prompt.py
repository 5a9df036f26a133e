"""The workflow prompt, asked for without saying of which environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from mcp import MCPError
from mcp.types import TextContent

from caseharden.tests.server_desk import MODES, Mode, desk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mode", MODES)
async def test_the_prompt_takes_the_only_environment_and_asks_where_there_are_several(
    mode: Mode, tmp_path: Path
) -> None:
    async with desk(tmp_path / "data", mode) as at:
        with pytest.raises(MCPError, match="no environment yet"):
            await at.client.get_prompt("harden_my_agent", {})
        await at.ok("create_environment", id="one", instructions="Help.")
        (message,) = (await at.client.get_prompt("harden_my_agent", {})).messages
        assert isinstance(message.content, TextContent)
        assert '"environment": "one"' in message.content.text
        await at.ok("create_environment", id="two", instructions="Help.")
        with pytest.raises(MCPError, match=r"one, two|two, one"):
            await at.client.get_prompt("harden_my_agent", {})
