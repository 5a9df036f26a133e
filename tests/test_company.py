"""A company's server: its proxy, its authorities and its networks are used, and what clients may do is as it says."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import Unavailable
from caseharden.engine.llm import Connections, Message, ModelRequest, open_model
from caseharden.engine.net import HttpClient, Network, Secrets
from caseharden.engine.records.environment import ModelAt, ModelName
from caseharden.tests.fake_authority import FakeAuthority
from caseharden.tests.fake_endpoint import FakeEndpoint, chat
from caseharden.tests.fake_proxy import FakeProxy
from caseharden.tests.server_desk import Desk
from caseharden.tests.wires import TOKEN, http_client, http_server

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-22")]
AGENT = "https://agent.invalid/chat"
HELLO = ModelRequest("user", [Message("user", "Hello?")])
MODELS: tuple[ModelName, ...] = (
    ModelAt(model="m", base_url="https://gateway.invalid/v1"),
    "openai/gpt-4o-mini",
)
"""An endpoint, and a provider through litellm."""


@asynccontextmanager
async def served(home: Path, *words: str, tokens: str = TOKEN) -> AsyncGenerator[Desk]:
    """A client over HTTP at a server of these flags."""
    with http_server(home, *words, tokens=tokens) as server:
        async with http_client(server.url, "auto") as client:
            yield Desk(client)


async def told_of(at: Desk, url: str) -> dict[str, Any]:
    """The only trial of an agent at a URL."""
    await at.ok(
        "create_environment", id="support", agent={"kind": "chat_completions", "url": url, "retries": 0}
    )
    case = {
        "id": "x",
        "goal": "Get help.",
        "limits": {"max_turns": 1},
        "success": [{"id": "s", "said": "Here"}],
    }
    await at.ok("create_scenarios", environment="support", scenarios=[case])
    with anyio.fail_after(60):
        run = await at.ok("run_simulations", environment="support", wait_s=45)
    return run


async def test_an_agent_outside_is_reached_through_the_proxy_and_trusted_by_the_company_s_authority(
    tmp_path: Path,
) -> None:
    authority = FakeAuthority(tmp_path)
    tls = authority.server("agent.invalid")
    with FakeEndpoint(chat("Here you are."), tls=tls) as agent, FakeProxy(agent.port) as proxy:
        words = ("--proxy", proxy.url, "--ca-file", str(authority.file))
        async with served(tmp_path / "with", *words) as at:
            assert (await told_of(at, AGENT))["totals"]["passed"] == 1
        assert set(proxy.tunnels) == {"agent.invalid:443"}
        assert len(agent.requests) == 1
        async with served(tmp_path / "without", "--proxy", proxy.url) as at:
            run = await told_of(at, AGENT)
            assert run["totals"]["error"] == 1
            shown = await at.ok("get_item", kind="conversation", id=f"{run['run']}/x/1")
            assert "its certificate was not accepted" in json.dumps(shown)
        assert len(agent.requests) == 1


@pytest.mark.parametrize("model", MODELS, ids=["endpoint", "litellm"])
async def test_models_go_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ModelName
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.invalid/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up-for-this-test-0001")
    authority = FakeAuthority(tmp_path)
    with FakeEndpoint(tls=authority.server("gateway.invalid")) as gateway, FakeProxy(gateway.port) as proxy:
        for ca_file in (str(authority.file), ""):
            client = HttpClient(Network(proxy=proxy.url, ca_file=ca_file))
            connections = Connections(client, Secrets(lambda path, where: ""))
            asked = open_model(model, connections)
            if ca_file:
                assert (await asked.complete(HELLO)).text == "Hello."
            else:
                with (
                    anyio.fail_after(60),
                    pytest.raises(Unavailable, match="its certificate was not accepted"),
                ):
                    await asked.complete(HELLO)
            await connections.aclose()
        assert set(proxy.tunnels) == {"gateway.invalid:443"}
        assert len(gateway.requests) == 1


async def test_a_private_network_is_reached_where_the_operator_allows_it_and_nowhere_else(
    tmp_path: Path,
) -> None:
    spec: dict[str, Any] = {"kind": "chat_completions"}
    with FakeEndpoint(chat("Here you are.")) as agent:
        spec["url"] = f"{agent.url}/chat"
        async with served(tmp_path / "closed") as at:
            for url in (spec["url"], "http://10.1.2.3/chat"):
                error = await at.error("create_environment", id="support", agent={**spec, "url": url})
                assert error["code"] == "not_allowed"
                assert "--allow-net CIDR" in error["allowed"]
        async with served(tmp_path / "open", "--allow-net", "127.0.0.0/8") as at:
            assert (await told_of(at, spec["url"]))["totals"]["passed"] == 1
            other = {**spec, "url": "http://10.1.2.3/chat"}
            assert (await at.error("create_environment", id="other", agent=other))["code"] == "not_allowed"


async def test_the_audit_names_who_changed_what_and_what_is_old_is_deleted(tmp_path: Path) -> None:
    home = tmp_path / "data"
    async with served(home, tokens=f"{TOKEN} ci-robot") as at:
        await at.ok("create_environment", id="support", instructions="Help.")
        await at.ok("create_scenarios", environment="support", scenarios=[{"id": "x", "goal": "Get help."}])
        run = await at.ok("run_simulations", environment="support", wait_s=45)
    rows = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
    assert {(row["action"], row["kind"], row["id"], row["actor"]) for row in rows} >= {
        ("create", "environment", "support", "http:ci-robot"),
        ("create", "scenario", "support/x", "http:ci-robot"),
        ("create", "run", run["run"], "http:ci-robot"),
    }
    async with served(home, "--retention-days", "0.0000001") as at:
        with anyio.fail_after(30):
            while (await at.ok("list_items", kind="run"))["total"]:
                await anyio.sleep(0.02)
        assert (await at.ok("list_items", kind="environment"))["total"] == 1
    assert run["run"] in {
        json.loads(line).get("id") for line in (home / "audit.jsonl").read_text().splitlines()[len(rows) :]
    }


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (("--read-only",), ("create_environment", "run_simulations", "delete_items", "decide_candidate")),
        (
            ("--toolset", "read"),
            ("create_environment", "run_simulations", "delete_items", "decide_candidate"),
        ),
        (("--toolset", "run"), ("create_environment", "delete_items", "decide_candidate")),
        (("--toolset", "author"), ("delete_items", "decide_candidate")),
    ],
)
async def test_what_the_operator_withholds_no_token_can_call(
    tmp_path: Path, words: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    async with served(tmp_path / "data", *words) as at:
        for tool in refused:
            error = await at.error(tool)
            assert error["code"] == "not_allowed"
            assert words[0] in error["what"]
        assert (await at.ok("list_items", kind="environment"))["total"] == 0
