"""References in what callers write: which of the server's secrets they may name, over which wire."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from caseharden.engine.net import Lending
from caseharden.engine.records.environment import ModelAt, ModelChoice
from caseharden.mcp_server.app import build_server
from caseharden.mcp_server.cli import main
from caseharden.resources.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.server_desk import Desk
from caseharden.tests.wires import http_client, http_server, reached

pytestmark = pytest.mark.anyio
SECRET = "the-value-that-must-not-leave-0001"
HTTP = Lending((), keys_folder=False)
"""What clients over HTTP are lent where the operator says nothing."""


@asynccontextmanager
async def lent(home: Path, lending: Lending | None = None, **options: Any) -> AsyncGenerator[Desk]:
    """A client at a server of that lending."""
    async with Client(build_server(Workbench(home, lending=lending, **options))) as client:
        yield Desk(client)


def agent(reference: str, url: str = "http://127.0.0.1:9/chat") -> dict[str, Any]:
    return {"kind": "chat_completions", "url": url, "headers": {"Authorization": f"Bearer {reference}"}}


def model(reference: str, url: str = "http://127.0.0.1:9/v1") -> dict[str, Any]:
    return {"model": "m", "base_url": url, "key": reference}


async def played(at: Desk, id: str = "support") -> dict[str, Any]:
    """A run of one trial in an environment."""
    await at.ok(
        "create_scenarios",
        environment=id,
        scenarios=[{"id": "x", "goal": "get help", "limits": {"max_turns": 1}}],
    )
    return await at.ok("run_simulations", environment=id, wait_s=45)


@pytest.mark.parametrize(
    "name",
    ["MY_AGENT_KEY", "my_api_key", "TOKEN", "OPENAI_APIKEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "X_AUTH"],
)
async def test_over_stdio_a_variable_that_looks_like_a_key_may_be_named(tmp_path: Path, name: str) -> None:
    async with lent(tmp_path) as at:
        made = await at.ok("create_environment", id="support", agent=agent(f"env:{name}"))
        assert f"{name} is not set" in made["agent"]["probed"]
        await at.ok("create_environment", id="other", models={"user": model(f"env:{name}")})


@pytest.mark.requirement("CH-22")
@pytest.mark.parametrize("name", ["HOME", "PATH", "DATABASE_URL", "KEYBOARD", "CASEHARDEN_HTTP_TOKEN"])
async def test_no_other_variable_may_be_named_by_any_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SECRET)
    async with lent(tmp_path) as at:
        for part in ({"agent": agent(f"env:{name}")}, {"models": {"judge": model(f"env:{name}")}}):
            error = await at.error("create_environment", id="support", **part)
            assert error["code"] == "not_allowed"
            assert SECRET not in str(error)
        ours = name.startswith("CASEHARDEN_")
        assert ("--allow-env" in error["allowed"]) is not ours
        assert error["where"] == "create_environment.models.judge.key"


async def test_a_variable_that_is_named_later_is_refused_like_one_at_creation(tmp_path: Path) -> None:
    async with lent(tmp_path) as at:
        await at.ok("create_environment", id="support", instructions="Help.")
        changed = {"agent": agent("env:HOME")}
        error = await at.error("update_item", kind="environment", id="support", changes=changed)
        assert error["code"] == "not_allowed"
        error = await at.error("run_simulations", environment="support", models={"user": model("env:HOME")})
        assert error["code"] == "not_allowed"


async def test_where_the_operator_lists_variables_no_other_may_be_named(tmp_path: Path) -> None:
    async with lent(tmp_path, Lending(("ODD_NAME",))) as at:
        await at.ok("create_environment", id="support", agent=agent("env:ODD_NAME"))
        error = await at.error("create_environment", id="other", agent=agent("env:MY_AGENT_KEY"))
        assert error["allowed"] == "env:ODD_NAME; the operator adds one with --allow-env NAME"


@pytest.mark.requirement("CH-22")
async def test_over_http_only_what_the_operator_allowed_is_sent_and_never_the_server_s_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_AGENT_KEY", SECRET)
    monkeypatch.setenv("OTHER_KEY", SECRET)
    with FakeEndpoint() as endpoint:
        words = ("--allow-loopback", "--allow-env", "MY_AGENT_KEY,NEXT_KEY")
        with http_server(tmp_path / "data", *words) as served:
            async with http_client(served.url, "auto") as client:
                at = Desk(client)
                for name in ("OTHER_KEY", "TEST_TOKEN", "HOME"):
                    error = await at.error("create_environment", id="support", agent=agent(f"env:{name}"))
                    assert error["code"] == "not_allowed"
                    assert error["where"] == "create_environment.agent.headers.Authorization"
                    assert ("--allow-env" in error["allowed"]) is (name != "TEST_TOKEN")
                spec = agent("env:MY_AGENT_KEY", endpoint.url)
                made = await at.ok("create_environment", id="support", agent=spec)
                assert made["agent"]["probed"] == "ok"
                await played(at)
        sent = {seen.headers["authorization"] for seen in endpoint.requests}
    assert sent == {f"Bearer {SECRET}"}


async def test_over_http_nothing_may_be_named_where_the_operator_says_nothing(tmp_path: Path) -> None:
    async with lent(tmp_path, HTTP) as at:
        error = await at.error("create_environment", id="support", agent=agent("env:MY_AGENT_KEY"))
    assert error["allowed"] == "no variable; the operator adds one with --allow-env NAME"


def test_a_server_whose_token_would_be_lent_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEAM_TOKENS", "a-token-of-the-team-0001")
    words = ["serve", "--home", str(tmp_path), "--http", "--token", "env:TEAM_TOKENS"]
    assert main([*words, "--allow-env", "MY_KEY,TEAM_TOKENS"]) == 2
    assert "--allow-env: TEAM_TOKENS holds the tokens of this server" in capsys.readouterr().err
    assert main([*words, "--allow-env", "CASEHARDEN_KEY"]) == 2
    assert "--allow-env: `CASEHARDEN_KEY` is no variable that can be lent." in capsys.readouterr().err


async def test_what_the_operator_s_settings_name_is_used_there_and_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_KEY", SECRET)
    (tmp_path / "secrets").mkdir(parents=True)
    (tmp_path / "secrets" / "judge").write_text("the-key-of-the-judge\n")
    with FakeEndpoint() as endpoint, FakeEndpoint() as elsewhere:
        ours = {
            "user": ModelAt(model="m", base_url=endpoint.base_url, key="env:GATEWAY_KEY"),
            "agent": ModelAt(model="a", base_url=endpoint.base_url, key="file:judge"),
        }
        async with lent(tmp_path, HTTP, models=ModelChoice(**ours)) as at:
            await at.ok("create_environment", id="support", instructions="Help.")
            await played(at)
            for reference in ("env:GATEWAY_KEY", "file:judge"):
                theirs = {"user": model(reference, elsewhere.base_url)}
                error = await at.error("run_simulations", environment="support", models=theirs)
                assert error["code"] == "not_allowed"
        assert elsewhere.requests == []
        sent = {seen.json["model"]: seen.headers["authorization"] for seen in endpoint.requests}
    assert sent == {"m": f"Bearer {SECRET}", "a": "Bearer the-key-of-the-judge"}


async def test_a_file_below_a_root_may_be_named_and_none_of_the_data_folder_but_its_keys(
    tmp_path: Path,
) -> None:
    data = tmp_path / "root" / "data"
    (data / "secrets").mkdir(parents=True)
    (data / "http-token").write_text(SECRET)
    (data / "secrets" / "mine").write_text("a-key-of-mine\n")
    (tmp_path / "root" / "key.txt").write_text("another-key\n")
    (tmp_path / "root" / "link.txt").symlink_to(data / "http-token")
    (tmp_path / "outside.txt").write_text(SECRET)
    with FakeEndpoint() as endpoint:
        async with lent(data, roots=[tmp_path / "root"]) as at:
            for number, name in enumerate(("key.txt", "mine")):
                spec = agent(f"file:{name}", endpoint.url)
                made = await at.ok("create_environment", id=f"e{number}", agent=spec)
                assert made["agent"]["probed"] == "ok"
            bad = ("data/http-token", str(data / "http-token"), "link.txt", "../outside.txt", "/etc/hostname")
            for number, name in enumerate(bad):
                made = await at.ok(
                    "create_environment", id=f"bad{number}", agent=agent(f"file:{name}", endpoint.url)
                )
                told = made["agent"]["probed"]
                assert "sent to nobody" in told or "outside the allowed roots" in told, name
                assert SECRET not in str(made)
        assert endpoint.requests == []


async def test_a_file_of_the_server_s_tokens_is_sent_to_nobody_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text(SECRET)
    own = Lending(own=(f"file:{tmp_path / 'tokens.txt'}",))
    async with lent(tmp_path / "data", own, roots=[tmp_path]) as at:
        made = await at.ok("create_environment", id="support", agent=agent("file:tokens.txt"))
    assert "Caseharden's own" in made["agent"]["probed"]


async def test_the_list_stands_in_the_settings_file_too(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("allow_env = []\n")
    async with reached("stdio", "auto", tmp_path) as client:
        error = await Desk(client).error("create_environment", id="support", agent=agent("env:MY_AGENT_KEY"))
    assert error["allowed"].startswith("no variable;")
