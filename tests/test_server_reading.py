"""Resources, the prompt and the guides: what the tools return, by address."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import TextContent, TextResourceContents

from caseharden.resources.library import guide, guide_names
from caseharden.tests.server_desk import MODES, TINY, Desk, Mode, desk, tiny

pytestmark = pytest.mark.anyio


async def read(at: Desk, address: str) -> str:
    (content,) = (await at.client.read_resource(f"caseharden://{address}")).contents
    assert isinstance(content, TextResourceContents)
    return content.text


@pytest.mark.parametrize("mode", MODES)
async def test_resources_mirror_what_tools_return(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path / "data", mode) as at:
        await tiny(at)
        run = (await at.ok("run_simulations", environment="support", wait_s=30))["run"]
        (first, *_) = (await at.ok("list_items", kind="conversation", where={"run": run}))["items"]
        assert json.loads(await read(at, "overview"))
        assert await read(at, "environment/support/policy") == TINY["policy"]
        assert await read(at, "environment/support/instructions/1") == "Close the ticket."
        assert json.loads(await read(at, "environment/support"))["id"] == "support"
        for address in (
            f"run/{run}",
            f"run/{run}/rounds",
            f"run/{run}/clusters",
            "world/shop",
            "schema/scenario",
        ):
            assert json.loads(await read(at, address)) is not None, address
        conversation = json.loads(await read(at, f"conversation/{first['id']}"))
        assert conversation
        assert json.loads(await read(at, f"conversation/{first['id']}/state")) is not None
        assert "summary" in json.loads(await read(at, "schema/run_simulations"))["properties"]
        assert len(await read(at, "world/shop")) < 40_000


@pytest.mark.parametrize("mode", MODES)
async def test_an_address_of_nothing_is_told_so(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path / "data", mode) as at:
        for address in ("environment/none", "guide/none", "run/run-9", "schema/none", "conversation/a/b/c"):
            with pytest.raises(MCPError) as caught:
                await read(at, address)
            assert "Traceback" not in str(caught.value)
            assert "Internal error" not in str(caught.value)


@pytest.mark.requirement("CH-17")
async def test_every_guide_is_short_and_starts_with_an_example(tmp_path: Path) -> None:
    wanted = {"environment", "agent-kinds", "run-options", "harden-options", "verdicts", "scenario-format"}
    assert wanted <= set(guide_names())
    async with desk(tmp_path / "data") as at:
        for name in guide_names():
            text = guide(name) or ""
            assert len(text) < 24_000
            got = await at.ok("get_item", kind="guide", id=name, view="text")
            assert got["item"]["text"] == text
            assert await read(at, f"guide/{name}") == text


async def test_the_examples_of_the_environment_guide_are_made(tmp_path: Path) -> None:
    blocks = re.findall(r"```json\n(.*?)```", guide("environment") or "", re.DOTALL)
    assert len(blocks) >= 2
    async with desk(tmp_path / "data") as at:
        for block in blocks:
            arguments = json.loads(block)
            made = await at.ok("create_environment", **arguments)
            assert made["environment"] == arguments["id"]


@pytest.mark.parametrize("mode", MODES)
async def test_the_prompt_fills_in_ids_and_the_state_it_found(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path / "data", mode) as at:
        await tiny(at)
        fresh = await prompt(at, environment="support", goal="Refunds go wrong.")
        assert "No runs yet" in fresh
        assert "Refunds go wrong." in fresh
        assert 'run_simulations({"environment": "support"})' in fresh
        run = (await at.ok("run_simulations", environment="support", wait_s=30))["run"]
        later = await prompt(at, environment="support")
        assert f'"run": "{run}"' in later
        assert f'"continue_run": "{run}"' in later
        with pytest.raises(MCPError, match="none"):
            await prompt(at, environment="none")


async def prompt(at: Desk, **arguments: str) -> str:
    (message,) = (await at.client.get_prompt("harden_my_agent", arguments)).messages
    assert isinstance(message.content, TextContent)
    return message.content.text
