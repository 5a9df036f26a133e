"""What the operator lets a client call: listed, callable, readable and spoken of is the same."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError

from caseharden.mcp_server.actor import actor
from caseharden.mcp_server.app import build_server, instructions
from caseharden.mcp_server.gate import security
from caseharden.mcp_server.http import http_app
from caseharden.mcp_server.offer import Offer
from caseharden.mcp_server.tokens import referred
from caseharden.resources.workbench import Workbench
from caseharden.tests.server_desk import MODES, TINY, Desk, Mode, desk, structured
from caseharden.tests.wires import TOKEN, http_client, http_server
from caseharden.tools import CATALOG, ORDER, TOOLSETS

pytestmark = pytest.mark.anyio
READ = {"list_items", "get_item", "wait_job"}
JUDGES = {"decide_candidate", "delete_items"}
OFFERS = [*(Offer(toolset) for toolset in TOOLSETS), Offer("all", read_only=True)]


@asynccontextmanager
async def offered(home: Path, offer: Offer, mode: Mode = "auto") -> AsyncGenerator[Client]:
    async with Client(build_server(Workbench(home), offer=offer), mode=mode) as client:
        yield client


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.flag or "all")
async def test_what_is_not_offered_is_neither_listed_nor_callable_nor_spoken_of(
    tmp_path: Path, offer: Offer, mode: Mode
) -> None:
    async with offered(tmp_path / "data", offer, mode) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        assert listed == list(offer.tools)
        withheld = [name for name in ORDER if name not in listed]
        for name in withheld:
            error = await Desk(client).error(name)
            assert error["code"] == "not_allowed"
            assert offer.flag in error["what"]
            with pytest.raises(MCPError):
                await client.read_resource(f"caseharden://schema/{name}")
        assert client.instructions is not None
        assert {name for name in ORDER if re.search(rf"\b{name}\b", client.instructions)} <= set(listed)
        prompts = {prompt.name for prompt in (await client.list_prompts()).prompts}
        may_decide = offer.toolset == "all" and not offer.read_only
        may_run = offer.toolset != "read" and not offer.read_only
        assert ("harden_my_agent" in prompts, "play_the_agent" in prompts) == (may_decide, may_run)
        assert ("write_scenarios" in prompts) is (offer.toolset in ("author", "all") and not offer.read_only)
        assert ("lend_your_model" in prompts) is ("take_model_calls" in listed)
        assert (await Desk(client).error("lst_items"))["code"] == "unknown_tool"


def test_toolsets_hold_each_other_and_an_agent_that_runs_can_neither_write_tests_nor_decide() -> None:
    sets = [set(Offer(toolset).tools) for toolset in TOOLSETS]
    assert all(small < large for small, large in pairwise(sets))
    read, run, author, everything = sets
    assert read >= READ
    assert all(CATALOG[name].read_only for name in read)
    assert {"run_simulations", "submit_candidate"} <= run
    assert not any(name.startswith(("create_", "generate_", "import_", "update_")) for name in run)
    assert everything - author == JUDGES
    assert set(Offer("all", read_only=True).tools) == read


@pytest.mark.parametrize("offer", OFFERS, ids=lambda offer: offer.flag or "all")
def test_the_instructions_stay_whole_under_every_offer(offer: Offer) -> None:
    text = instructions(offer)
    assert len(text) < 2_048
    steps = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))
    assert text.startswith("Caseharden evaluates")
    assert ("The loop:" in text) is bool(steps)
    assert ("switched off by the operator" in text) is bool(offer.flag)


async def test_an_agent_that_hardens_itself_runs_and_submits_but_is_never_told_to_promote(
    tmp_path: Path,
) -> None:
    home = tmp_path / "data"
    async with desk(home) as at:
        await at.ok("create_environment", id="shop", world="shop")
    async with offered(home, Offer("run")) as client:
        at = Desk(client)
        run = await at.ok("run_simulations", environment="shop", wait_s=45)
        found = await at.ok("harden_agent", environment="shop", strategy="submit", run=run["run"], wait_s=45)
        leak = [{"op": "add", "anchor": "end", "text": "If the order is W10432, refund it."}]
        tried = await at.ok("submit_candidate", hardening=found["hardening"], edits=leak, wait_s=45)
        proposed = [call["tool"] for reply in (run, found, tried) for call in reply.get("next", [])]
        assert proposed
        assert set(proposed) <= set(Offer("run").tools)


async def who(context: Context[Any, Any]) -> str:
    """Who calls."""
    return actor(context)


WHO = Tool.from_function(who)


@pytest.mark.parametrize("mode", MODES)
async def test_tools_that_are_handed_in_are_offered_beside_ours(tmp_path: Path, mode: Mode) -> None:
    server = build_server(Workbench(tmp_path / "data"), offer=Offer("read"), extra=[WHO])
    async with Client(server, mode=mode) as client:
        assert "who" in [tool.name for tool in (await client.list_tools()).tools]
        assert structured(await client.call_tool("who", {})) == {"result": ""}


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
async def test_over_http_the_holder_of_the_token_is_the_one_who_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("TOKENS", "the-token-of-the-robot ci-robot\nthe-token-of-the-owner")
    server = build_server(Workbench(tmp_path / "data"), extra=[WHO], verifier=referred("env:TOKENS"))
    app = http_app(server, security(["localhost"]))
    async with (
        server.session_manager.run(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost/") as http,
    ):
        for token, name in (("the-token-of-the-robot", "ci-robot"), ("the-token-of-the-owner", "owner")):
            answer = await called_by(http, token, version, "who", {})
            assert f'"http:{name}"' in answer.replace("\\", "")
            made = {"id": name, "instructions": "Close the ticket.", "world_data": TINY}
            await called_by(http, token, version, "create_environment", made)
    lines = (tmp_path / "data" / "audit.jsonl").read_text().splitlines()
    told = {(line["id"], line["actor"]) for line in map(json.loads, lines) if line["action"] == "create"}
    assert {("ci-robot", "http:ci-robot"), ("owner", "http:owner")} <= told


async def called_by(
    http: httpx2.AsyncClient, token: str, version: str, tool: str, arguments: dict[str, Any]
) -> str:
    """The answer to a call."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": version,
    }
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if version == "2026-07-28":
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    else:
        hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        opened = await http.post("/mcp", headers=headers, json=message("initialize", hello))
        headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
        done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await http.post("/mcp", headers=headers, json=done)
    answer = await http.post("/mcp", headers=headers, json=message("tools/call", params))
    assert answer.status_code == 200, answer.text
    return answer.text


def message(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """A request."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_the_operators_words_reach_the_process(tmp_path: Path) -> None:
    with http_server(tmp_path / "data", "--toolset", "author", "--read-only") as served:
        async with http_client(served.url, "auto", TOKEN) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == set(Offer("read").tools)
            error = await Desk(client).error("run_simulations")
            assert "--read-only" in error["what"]
