"""World tools served by MCP: an agent that lives elsewhere changes our world, and its trial records it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from caseharden.engine.agents import AgentError, AgentInput, AgentReply, Reach, open_outside
from caseharden.engine.agents.served_tools import ServedAgent
from caseharden.engine.errors import Unavailable
from caseharden.engine.llm import Message
from caseharden.engine.processes import AllowedCode
from caseharden.engine.records.environment import AgentSpec
from caseharden.engine.workbench import Workbench
from caseharden.mcp_server.world_tools import world_tools
from caseharden.tests.agents_told import ORDER, RESULT, conversing, reaching
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = pytest.mark.anyio
OTHER = """
import re
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
import httpx2

async def agent(turn):
    found = re.search(r"T\\\\d+", turn.text)
    if not found:
        return "Which ticket?"
    assert turn.tools == []
    headers = {"Authorization": "Bearer " + turn.tools_token}
    async with httpx2.AsyncClient(headers=headers) as http:
        async with Client(streamable_http_client(turn.tools_url, http_client=http), mode="MODE") as world:
            names = [tool.name for tool in (await world.list_tools()).tools]
            for name in names:
                done = await world.call_tool(name, {"ticket_id": found[0]})
                assert not done.is_error and found[0] in done.content[0].text, done
    return f"Ticket {found[0]} is closed."
"""


@asynccontextmanager
async def serving(folder: Path) -> AsyncGenerator[Reach]:
    async with reaching(folder) as reach, world_tools() as doors:
        yield replace(reach, doors=doors)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.requirement("CH-11")
async def test_an_agent_elsewhere_changes_our_world_by_a_client_of_the_official_sdk(
    tmp_path: Path, mode: str
) -> None:
    (tmp_path / "desk.py").write_text(OTHER.replace("MODE", mode).replace("\\\\", "\\"), encoding="utf-8")
    code = AllowedCode([tmp_path])
    async with Workbench(tmp_path / "data", worlds=WORLDS, code=code, doors=world_tools) as bench:
        agent = {"kind": "python", "file": "desk.py", "tools": "served"}
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(3), agent=agent)
        await bench.scenarios.create("desk", [closing(n) for n in range(1, 4)])
        with anyio.fail_after(120):
            report = await bench.runs.start("desk", wait_s=45)
        item = await bench.items.get(
            "conversation", f"{report.run.id}/{report.run.simulations[0]}/1", view="turns"
        )
    assert report.run.totals.passed == 3, item.item
    calls = [call["tool"] for turn in item.item["turns"] for call in turn.get("calls", ())]
    assert calls == ["look_up_ticket", "close_ticket"]


async def test_url_and_token_reach_every_kind_of_agent_and_a_token_opens_its_own_trial_alone(
    tmp_path: Path,
) -> None:
    doors: list[tuple[str, str]] = []

    def calling(seen: Seen) -> Answer:
        told = seen.json
        doors.append((told["url"], told["token"]))
        answer = called(told["url"], told["token"], "get_order", {"id": "W42"})
        return chat(answer.json()["result"]["content"][0]["text"])

    body = {"text": "{{last}}", "url": "{{tools_url}}", "token": "{{tools_token}}"}
    with FakeEndpoint(calling) as endpoint:
        spec = AgentSpec(kind="chat_completions", url=endpoint.url, body=body, tools="served", retries=0)
        async with serving(tmp_path) as reach:
            agent = open_outside(spec, reach)
            async with conversing(agent) as one, conversing(agent) as other:
                assert await one.say("where is it?") == RESULT
                assert await other.say("where is it?") == RESULT
                assert await one.say("and now?") == RESULT
                made = [call.name for message in one.messages for call in message.tool_calls]
                assert made == ["get_order", "get_order"]
                late = await anyio.to_thread.run_sync(called, *doors[0], "get_order")
                assert "No answer of yours is awaited" in late.text and '"isError":true' in late.text
            assert doors[0] == doors[2] and doors[0][0] == doors[1][0] and doors[0][1] != doors[1][1]
            for token in (doors[0][1], "made-up", "-"):
                answer = await anyio.to_thread.run_sync(called, doors[0][0], token, "get_order")
                assert answer.status_code == 401
    with pytest.raises(httpx.ConnectError):
        await anyio.to_thread.run_sync(called, *doors[0], "get_order")


async def test_a_call_that_waits_when_the_trial_ends_is_told_so_and_nothing_goes_on(tmp_path: Path) -> None:
    told: list[str] = []

    def calling(seen: Seen) -> Answer:
        answer = called(seen.json["url"], seen.json["token"], "get_order", {"id": "W42"})
        told.append(answer.text)
        return chat("done")

    body = {"text": "{{last}}", "url": "{{tools_url}}", "token": "{{tools_token}}"}
    with FakeEndpoint(calling) as endpoint:
        spec = AgentSpec(kind="chat_completions", url=endpoint.url, body=body, tools="served", retries=0)
        async with serving(tmp_path) as reach, conversing(open_outside(spec, reach)) as talk:
            heard = AgentInput("k", "Be kind.", [Message("user", "hi")], 1, [ORDER], 7)
            reply = await talk.agent.reply(heard)
            assert [call.name for call in reply.calls] == ["get_order"]
    assert "The conversation is over." in told[0]


async def test_an_agent_need_not_wait_for_a_call_before_it_ends_its_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as reach, anyio.create_task_group() as tasks:

        class Hasty:
            name = "hasty"

            async def reply(self, turn: AgentInput) -> AgentReply:
                tasks.start_soon(agent.call, "get_order", {"id": "W42"})
                await checkpoint()
                return AgentReply("It is on its way.")

        assert reach.doors is not None
        agent = ServedAgent(Hasty(), reach.doors, reach.processes)
        async with aclosing(agent):
            asked = Message("user", "hi")
            with anyio.fail_after(30):
                for turn in range(2):
                    called = await agent.reply(AgentInput("k", "Be kind.", [asked], 1, [ORDER], turn))
                    assert [call.name for call in called.calls] == ["get_order"]
                    result = Message("tool", RESULT, tool_call_id=called.calls[0].id)
                    said = await agent.reply(AgentInput("k", "Be kind.", [asked, result], 1, [ORDER], turn))
                    assert (said.text, said.calls) == ("It is on its way.", ())


@pytest.mark.parametrize(
    ("broken", "message"), [(Answer(status=500), "answered 500"), (Answer(hang=True), "within")]
)
async def test_what_goes_wrong_behind_the_door_is_told_as_ever(
    tmp_path: Path, broken: Answer, message: str
) -> None:
    with FakeEndpoint(broken) as endpoint:
        fields: dict[str, Any] = {"url": endpoint.url, "retries": 0, "timeout_s": 0.5, "tools": "served"}
        spec = AgentSpec(kind="chat_completions", **fields)
        async with serving(tmp_path) as reach, conversing(open_outside(spec, reach)) as talk:
            with pytest.raises(AgentError, match=message):
                await talk.say("hi")


async def test_where_nothing_serves_tools_that_is_told(tmp_path: Path) -> None:
    async with reaching(tmp_path) as reach:
        spec = AgentSpec(kind="chat_completions", url="http://127.0.0.1:9/", tools="served")
        with pytest.raises(Unavailable, match="Tools cannot be served from here"):
            open_outside(spec, reach)


def called(url: str, token: str, tool: str, arguments: dict[str, Any] | None = None) -> httpx.Response:
    """The answer to one call, as a client makes it that keeps no session."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-06-18",
    }
    body = {**message, "params": {"name": tool, "arguments": arguments or {}}}
    answer = httpx.post(url, json=body, headers=headers, timeout=30)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        data = next(line[5:] for line in answer.text.splitlines() if line.startswith("data:") and "{" in line)
        return httpx.Response(answer.status_code, text=data.strip())
    return answer
