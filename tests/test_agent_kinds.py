"""Agents behind MCP and A2A: what is sent, what is read, and what their servers and cards may not do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.agents import AgentError, Reach, open_outside
from caseharden.engine.errors import CasehardenError, InvalidArgument, NotAllowed, Unavailable
from caseharden.engine.records.environment import AgentSpec
from caseharden.tests.agents_told import RESULT, Talk, conversing, program, reaching, served_over_http
from caseharden.tests.agents_wired import MCP, a2a, answered, mcp_over_http
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, of_json

pytestmark = pytest.mark.anyio


async def said(reach: Reach, text: str, **fields: Any) -> Talk:
    """A conversation in which this was said."""
    async with conversing(open_outside(AgentSpec.model_validate(fields), reach)) as talk:
        await talk.say(text)
        return talk


@pytest.mark.requirement("CH-11")
async def test_a_server_of_the_official_sdk_is_an_agent_over_http_and_over_its_streams(
    tmp_path: Path,
) -> None:
    file = program(tmp_path / "desk_mcp", MCP)
    with served_over_http(file) as port:
        over_http: dict[str, Any] = {"kind": "mcp", "url": f"http://127.0.0.1:{port}/mcp", "tool": "chat"}
        async with reaching(tmp_path) as reach:
            for fields in (over_http, {"kind": "mcp", "command": ["desk_mcp"], "tool": "chat"}):
                talk = await said(reach, "call", **fields)
                assert talk.last is not None and talk.last.text == f"told: {RESULT}"
                with pytest.raises(AgentError, match="Error executing tool chat"):
                    await said(reach, "raise", **fields)


async def test_the_tool_is_the_one_that_is_named_or_the_only_one(tmp_path: Path) -> None:
    program(tmp_path / "desk_mcp", MCP)
    async with reaching(tmp_path) as reach:
        command = {"kind": "mcp", "command": ["desk_mcp"]}
        for tool, told in (("", "has 2 tools, and agent.tool names none"), ("chatt", "Did you mean `chat`")):
            agent = open_outside(AgentSpec.model_validate({**command, "tool": tool}), reach)
            with pytest.raises(InvalidArgument, match=told):
                await agent.probe()
        with FakeEndpoint(mcp_over_http()) as endpoint:
            await open_outside(AgentSpec(kind="mcp", url=endpoint.url), reach).probe()
            assert all(seen.json["method"] != "tools/call" for seen in endpoint.requests)


async def test_a_tool_is_given_what_its_arguments_are_named_for_or_what_the_body_says(tmp_path: Path) -> None:
    async with reaching(tmp_path) as reach:
        with FakeEndpoint(mcp_over_http()) as endpoint:
            await said(reach, "say hi", kind="mcp", url=endpoint.url)
            given = endpoint.requests[-1].json["params"]["arguments"]
            assert set(given) == {"text", "messages", "conversation"}
            assert (given["text"], given["conversation"]) == ("say hi", "k3y")
            body = {"text": "{{last}}", "messages": "{{messages}}", "style": "terse"}
            await said(reach, "say hi", kind="mcp", url=endpoint.url, body=body)
            assert endpoint.requests[-1].json["params"]["arguments"]["style"] == "terse"
            assert endpoint.requests[-1].headers["mcp-protocol-version"] == "2025-06-18"


@pytest.mark.parametrize(
    ("fields", "error", "told"),
    [
        ({"kind": "mcp"}, InvalidArgument, "needs the url of its server"),
        ({"kind": "mcp", "url": "http://127.0.0.1:1/", "command": ["x"]}, InvalidArgument, "or its command"),
        ({"kind": "mcp", "url": "http://169.254.169.254/mcp"}, NotAllowed, "169.254"),
        ({"kind": "mcp", "command": ["sh", "-c", "id"]}, NotAllowed, "--allow-code DIR"),
        (
            {"kind": "mcp", "url": "http://127.0.0.1:1/", "headers": {"X-Key": "sk-1"}},
            InvalidArgument,
            "literal",
        ),
        ({"kind": "a2a"}, InvalidArgument, "needs the URL of its card"),
        ({"kind": "a2a", "card_url": "http://169.254.169.254"}, NotAllowed, "169.254"),
        ({"kind": "a2a", "card_url": "file:///etc/passwd"}, CasehardenError, "http"),
    ],
)
async def test_what_cannot_be_is_refused_when_the_agent_is_made(
    tmp_path: Path, fields: dict[str, Any], error: type[Exception], told: str
) -> None:
    async with reaching(tmp_path) as reach:
        with pytest.raises(error, match=told):
            open_outside(AgentSpec.model_validate(fields), reach)


@pytest.mark.parametrize("kind", ["mcp", "a2a"])
async def test_nobody_there_is_told_before_any_turn(tmp_path: Path, kind: str) -> None:
    with FakeEndpoint() as endpoint:
        gone = endpoint.url
    async with reaching(tmp_path) as reach:
        field = "url" if kind == "mcp" else "card_url"
        agent = open_outside(AgentSpec.model_validate({"kind": kind, field: gone}), reach)
        with pytest.raises(Unavailable, match="refused the connection"):
            await agent.probe()


@pytest.mark.requirement("AK-4")
async def test_a_task_that_goes_on_is_looked_after_until_it_ends(tmp_path: Path) -> None:
    seen: list[str] = []

    def slowly(request: Seen) -> Answer:
        asked = request.json
        seen.append(asked["method"])
        state = "TASK_STATE_WORKING" if len(seen) < 3 else "TASK_STATE_COMPLETED"
        task: dict[str, Any] = {"id": "t7", "contextId": "c7", "status": {"state": state}}
        if len(seen) == 3:
            own = [{"id": "x", "name": "crm_search", "arguments": {"q": 1}, "result": {"hits": 2}}]
            parts = [{"text": "It is on its way."}]
            task["artifacts"] = [{"artifactId": "a", "parts": parts, "metadata": {"tool_calls": own}}]
            task["status"]["message"] = {"parts": [{"text": "It is on its way."}]}
        return answered(asked, {"task": task} if asked["method"] == "SendMessage" else task)

    with FakeEndpoint() as endpoint:
        a2a(endpoint, True)
        endpoint.always(slowly)
        async with reaching(tmp_path) as reach:
            talk = await said(reach, "where is it?", kind="a2a", card_url=endpoint.url)
    assert seen == ["SendMessage", "GetTask", "GetTask"]
    assert talk.last is not None and talk.last.text == "It is on its way."
    assert [(call.name, call.arguments) for call in talk.last.own_calls] == [("crm_search", '{"q": 1}')]
    assert talk.last.own_results == {"x": {"hits": 2}}


@pytest.mark.parametrize(
    ("state", "told"), [("TASK_STATE_FAILED", "as failed: out of order"), ("auth-required", "auth-required")]
)
async def test_a_task_that_fails_is_an_error_with_its_words(tmp_path: Path, state: str, told: str) -> None:
    def failing(request: Seen) -> Answer:
        status = {"state": state, "message": {"parts": [{"text": "out of order"}]}}
        return answered(request.json, {"task": {"id": "t", "contextId": "c", "status": status}})

    with FakeEndpoint() as endpoint:
        a2a(endpoint, True)
        endpoint.always(failing)
        async with reaching(tmp_path) as reach:
            with pytest.raises(AgentError, match=told):
                await said(reach, "hi", kind="a2a", card_url=endpoint.url)


@pytest.mark.parametrize(
    ("card", "fields", "told"),
    [
        ({"url": "http://127.0.0.1:9/", "preferredTransport": "GRPC"}, {}, "offers no JSON-RPC"),
        ([], {}, "offers no JSON-RPC"),
        ({"url": "http://169.254.169.254/"}, {}, "169.254"),
        ({"url": "http://localhost:9/"}, {"headers": {"X-Team": "a"}}, "to another host"),
    ],
)
async def test_a_card_that_leads_elsewhere_is_not_followed(
    tmp_path: Path, card: Any, fields: dict[str, Any], told: str
) -> None:
    with FakeEndpoint() as endpoint:
        endpoint.probed(of_json(card))
        async with reaching(tmp_path) as reach:
            spec = AgentSpec.model_validate({"kind": "a2a", "card_url": endpoint.url, **fields})
            with pytest.raises(CasehardenError, match=told):
                await open_outside(spec, reach).probe()
        assert endpoint.requests == [] and len(endpoint.probes) == 1


async def test_an_error_of_json_rpc_is_told_with_its_code(tmp_path: Path) -> None:
    def failing(request: Seen) -> Answer:
        error = {"code": -32603, "message": "no model today"}
        return of_json({"jsonrpc": "2.0", "id": request.json["id"], "error": error})

    with FakeEndpoint(failing) as endpoint:
        a2a(endpoint, True)
        async with reaching(tmp_path) as reach:
            for fields in ({"kind": "a2a", "card_url": endpoint.url}, {"kind": "mcp", "url": endpoint.url}):
                with pytest.raises(AgentError, match="error -32603: no model today"):
                    await said(reach, "hi", **fields)
    assert json.loads(endpoint.requests[0].body)["jsonrpc"] == "2.0"
