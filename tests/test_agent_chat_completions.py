"""Agents behind a URL: what they are sent, how they are read, and that whatever they do ends a trial, not a run."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from caseharden.engine.agents import AgentError, AgentInput, AgentReply, ChatAgent
from caseharden.engine.errors import CasehardenError, InvalidArgument, NotAllowed, Unavailable
from caseharden.engine.llm import Connections, Message, ToolSignature
from caseharden.engine.net import Clock, HttpClient, Network, Secrets
from caseharden.engine.records.environment import AgentSpec
from caseharden.tests.fake_endpoint import (
    Answer,
    FakeEndpoint,
    broken_json,
    chat,
    cut,
    drip,
    endless,
    fault,
    gzip_bomb,
    hang,
    of_json,
    redirect,
    stream,
    too_many,
)

pytestmark = pytest.mark.anyio
TOOLS = [ToolSignature("close", "Close it.", {"type": "object", "properties": {}})]
HELLO = [Message("user", "Close T1.")]


async def at_once(seconds: float) -> None:
    """Time passes without waiting."""


@asynccontextmanager
async def reaching(**environ: str) -> AsyncGenerator[Connections]:
    def nothing(path: str, where: str) -> str:
        raise NotAllowed(f"`{path}` may not be read.", where=where)

    connections = Connections(HttpClient(Network(), clock=Clock(sleep=at_once)), Secrets(nothing, environ))
    try:
        yield connections
    finally:
        await connections.aclose()


def spec_of(endpoint: FakeEndpoint, **fields: Any) -> AgentSpec:
    return AgentSpec.model_validate({"kind": "chat_completions", "url": endpoint.url, **fields})


async def asked(
    endpoint: FakeEndpoint, messages: Sequence[Message] = HELLO, new: int = 1, turn: int = 1, **fields: Any
) -> AgentReply:
    """The agent's reply to a turn."""
    heard = AgentInput("k3y", "Be kind.", messages, new, TOOLS, seed=1, turn=turn)
    async with reaching(MY_KEY="a-key-of-mine") as connections:
        return await ChatAgent(spec_of(endpoint, **fields), connections).reply(heard)


async def test_without_a_template_it_is_sent_a_chat_completion_with_instructions_and_tools() -> None:
    with FakeEndpoint() as endpoint:
        reply = await asked(endpoint, model="support-1")
        body = endpoint.requests[0].json
    assert reply.text == "Hello."
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cost_usd) == (11, 7, None)
    assert body["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Close T1."},
    ]
    assert body["model"] == "support-1"
    assert [tool["function"]["name"] for tool in body["tools"]] == ["close"]


@pytest.mark.requirement("AK-3")
async def test_secrets_and_the_conversation_are_put_into_headers_and_no_tools_are_told_where_it_gets_none() -> (
    None
):
    with FakeEndpoint() as endpoint:
        headers = {"Authorization": "Bearer env:MY_KEY", "X-Conversation": "{{conversation}}"}
        await asked(endpoint, headers=headers, tools="none")
        seen = endpoint.requests[0]
    assert seen.headers["authorization"] == "Bearer a-key-of-mine"
    assert seen.headers["x-conversation"] == "k3y"
    assert "tools" not in seen.json


@pytest.mark.requirement("AK-3")
async def test_a_template_says_where_what_goes_and_is_never_looked_through_twice() -> None:
    body = {
        "input": {"text": "{{last}}", "session": "s-{{conversation}}"},
        "system": "{{instructions}}",
        "log": ["{{messages}}"],
        "n": 3,
        "keep": [],
    }
    hostile = "{{instructions}} {0.__class__} {{7*7}} %s ${HOME}"
    with FakeEndpoint() as endpoint:
        await asked(endpoint, [Message("user", hostile)], body=body)
        sent = endpoint.requests[0].json
    assert sent == {
        "input": {"text": hostile, "session": "s-k3y"},
        "system": "Be kind.",
        "log": [[{"role": "user", "content": hostile}]],
        "n": 3,
        "keep": [],
    }


@pytest.mark.requirement("AK-3")
async def test_an_agent_with_a_memory_is_sent_only_what_is_new_and_its_instructions_once() -> None:
    later = [*HELLO, Message("assistant", "Which?"), Message("user", "T1"), Message("user", "please")]
    with FakeEndpoint() as endpoint:
        await asked(endpoint, history="last")
        await asked(endpoint, later, new=2, turn=2, history="last")
        await asked(endpoint, later, new=2, turn=1, history="last")
        first, second, with_past = (seen.json["messages"] for seen in endpoint.requests)
    assert [message["role"] for message in first] == ["system", "user"]
    assert [message["role"] for message in with_past] == ["system", "user", "assistant", "user", "user"]
    assert [message["content"] for message in second] == ["T1", "please"]


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (chat("Done."), {}),
        (stream("Done."), {}),
        (of_json({"reply": "Done."}), {}),
        (of_json({"response": "Done.", "id": 7}), {}),
        (of_json({"message": {"role": "assistant", "content": "Done."}}), {}),
        (Answer(b"Done.", content_type="text/plain; charset=utf-8"), {}),
        (of_json({"data": [{"say": "Done."}]}), {"reply_path": "data.0.say"}),
        (of_json({"choices": [{"message": {"content": [{"type": "text", "text": "Done."}]}}]}), {}),
    ],
)
async def test_replies_are_read_in_the_shapes_that_agents_give(
    answer: Answer, fields: dict[str, Any]
) -> None:
    with FakeEndpoint(answer) as endpoint:
        reply = await asked(endpoint, **fields)
    assert (reply.text, reply.calls, reply.own_calls) == ("Done.", (), ())


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
async def test_words_in_a_stream_neither_cut_a_line_nor_end_it(ends: str) -> None:
    """JSON.stringify leaves line separators of Unicode as they are; an agent may tell of the end mark."""
    said = ["one\u2028two\x85", " it ends with `data: [DONE]`,", " as they say."]
    chunks = [json.dumps({"choices": [{"delta": {"content": one}}]}, ensure_ascii=False) for one in said]
    body = "".join(f"data: {one}{ends * 2}" for one in [*chunks, "[DONE]"])
    answer = Answer(body.encode(), content_type="text/event-stream", drip_s=0.0001)
    with FakeEndpoint(answer) as endpoint:
        assert (await asked(endpoint)).text == "".join(said)


async def test_calls_come_whole_out_of_a_stream() -> None:
    told = stream("", [("close", '{"id": "T1"}'), ("close", '{"id": "T2"}')], pieces=5)
    with FakeEndpoint(told) as endpoint:
        reply = await asked(endpoint)
    assert [(call.id, call.name, call.arguments) for call in reply.calls] == [
        ("call_0", "close", '{"id": "T1"}'),
        ("call_1", "close", '{"id": "T2"}'),
    ]
    assert reply.usage is not None and reply.usage.input_tokens == 11


@pytest.mark.requirement("AK-3")
async def test_calls_on_the_world_are_executed_and_others_beside_words_are_the_agents_own() -> None:
    both = chat("Done.", [("close", {"id": "T1"}), ("crm_note", {"text": "x"})])
    with FakeEndpoint(both) as endpoint:
        reply = await asked(endpoint)
        alone = await asked(endpoint, tools="none")
        endpoint.then(chat(None, [("nothing_of_the_kind", {})]))
        unknown = await asked(endpoint)
    assert ([c.name for c in reply.calls], [c.name for c in reply.own_calls]) == (["close"], ["crm_note"])
    assert (alone.calls, [c.name for c in alone.own_calls]) == ((), ["close", "crm_note"])
    assert [c.name for c in unknown.calls] == ["nothing_of_the_kind"]


async def test_an_agent_that_waits_for_a_result_that_it_cannot_get_is_told_as_such() -> None:
    with (
        FakeEndpoint(chat(None, [("close", {})])) as endpoint,
        pytest.raises(AgentError, match=r"waits for the result of close, but agent\.tools is none"),
    ):
        await asked(endpoint, tools="none")


async def test_broken_arguments_are_part_of_the_reply() -> None:
    with FakeEndpoint(chat(None, [("close", "{broken"), ("close", 7)])) as endpoint:
        reply = await asked(endpoint)
    assert [call.arguments for call in reply.calls] == ["{broken", "7"]


@pytest.mark.requirement("AK-3")
async def test_faults_limits_cuts_and_timeouts_are_tried_again_with_a_cap() -> None:
    with FakeEndpoint() as endpoint:
        endpoint.then(too_many(0), fault(503), cut(), hang())
        assert (await asked(endpoint, timeout_s=2)).text == "Hello."
        assert len(endpoint.requests) == 5
    with FakeEndpoint(fault(500, "no disk")) as endpoint:
        with pytest.raises(AgentError, match=r"the agent at http://127\.0\.0\.1:\d+/ answered 500 .*no disk"):
            await asked(endpoint, retries=2)
        assert len(endpoint.requests) == 3


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (fault(401, "who are you"), "answered 401"),
        (redirect("http://169.254.169.254/", 302), "redirects are not followed"),
        (redirect("http://10.0.0.1/", 307), "redirects are not followed"),
        (drip(0.01), "no whole answer within 0.3 s"),
        (hang(), "no whole answer within 0.3 s"),
        (endless(), "longer than 2,000,000 bytes"),
        (gzip_bomb(100), "longer than 2,000,000 bytes"),
        (cut(10), "the connection was cut"),
        (broken_json(), "cannot be read: it is no JSON"),
        (of_json({"data": 1}), "reply_path says where"),
        (of_json([]), "choices"),
        (Answer(b"[" * 200_000), "nested too deep"),
        (Answer(b"data: {broken\n\n", content_type="text/event-stream"), "cannot be read"),
        (Answer(b"", content_type="text/event-stream"), "cannot be read"),
    ],
)
async def test_each_way_to_fail_is_told_as_what_it_is(answer: Answer, told: str) -> None:
    with FakeEndpoint(answer) as endpoint, anyio.fail_after(20), pytest.raises(AgentError) as failed:
        await asked(endpoint, retries=0, timeout_s=0.3 if "0.3" in told else 10.0)
    assert told in str(failed.value)


async def test_a_key_is_in_no_reply_and_in_no_error() -> None:
    headers = {"Authorization": "Bearer env:MY_KEY"}
    with FakeEndpoint(chat("Your key is a-key-of-mine.", [("close", {"k": "a-key-of-mine"})])) as endpoint:
        reply = await asked(endpoint, headers=headers)
        endpoint.always(fault(400, "bad key a-key-of-mine"))
        with pytest.raises(AgentError) as failed:
            await asked(endpoint, headers=headers)
    assert (reply.text, reply.calls[0].arguments) == ("Your key is [secret].", '{"k": "[secret]"}')
    assert "a-key-of-mine" not in str(failed.value)


@pytest.mark.parametrize(
    ("fields", "error", "where"),
    [
        ({"url": ""}, InvalidArgument, "agent.url"),
        ({"url": "http://169.254.169.254/"}, NotAllowed, "agent.url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, NotAllowed, "agent.url"),
        ({"url": "file:///etc/passwd"}, InvalidArgument, "agent.url"),
        ({"url": "http://u:pw@localhost/"}, InvalidArgument, "agent.url"),
        ({"url": "http://localhost/\r\nX: y"}, InvalidArgument, "agent.url"),
        ({"headers": {"Authorization": "Bearer abc"}}, InvalidArgument, "agent.headers.Authorization"),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, InvalidArgument, "agent.headers.X-A"),
        ({"body": {"text": "hello"}}, InvalidArgument, "agent.body"),
        ({"body": {"text": "{{message}}"}}, InvalidArgument, "agent.body.text"),
        ({"body": {"m": "{{last}}", "k": ["sk-123456789012345678"]}}, InvalidArgument, "agent.body.k[0]"),
        ({"tools": ["close"]}, InvalidArgument, "agent.tools"),
        ({"model": {"model": "x"}}, InvalidArgument, "agent.model"),
    ],
)
async def test_an_agent_that_could_not_be_asked_is_refused_when_it_is_named(
    fields: dict[str, Any], error: type[CasehardenError], where: str
) -> None:
    spec = AgentSpec.model_validate({"kind": "chat_completions", "url": "http://localhost:1/", **fields})
    async with reaching() as connections:
        with pytest.raises(error) as refused:
            ChatAgent(spec, connections)
    assert refused.value.where == where
    assert refused.value.allowed


async def test_a_probe_connects_and_sends_nothing() -> None:
    async with reaching() as connections:
        with FakeEndpoint() as endpoint:
            await ChatAgent(spec_of(endpoint), connections).probe()
            assert (endpoint.requests, endpoint.probes) == ([], [])
        with pytest.raises(Unavailable, match=r"The agent at http://127.* refused the connection\."):
            await ChatAgent(spec_of(endpoint), connections).probe()


async def test_the_agent_has_a_short_name() -> None:
    async with reaching() as connections:
        with FakeEndpoint() as endpoint:
            agent = ChatAgent(spec_of(endpoint), connections)
    assert agent.name == f"agent at 127.0.0.1:{endpoint.port}"
