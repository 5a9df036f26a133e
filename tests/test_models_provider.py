"""Models of providers, through litellm: tools and schemas go through, errors and keys are told as what they are."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import (
    InvalidArgument,
    MissingKey,
    NotAllowed,
    RateLimited,
    SetupError,
    Unavailable,
)
from caseharden.engine.llm import (
    Connections,
    Message,
    ModelClient,
    ModelRequest,
    Probed,
    ToolCall,
    ToolSignature,
    open_model,
)
from caseharden.engine.net import Clock, HttpClient, Network, Secrets
from caseharden.engine.records.environment import ModelAt, ModelName
from caseharden.tests.fake_endpoint import (
    Answer,
    FakeEndpoint,
    chat,
    endless,
    fault,
    gzip_bomb,
    hang,
    redirect,
    too_many,
)

pytestmark = pytest.mark.anyio
MODEL = "openai/gpt-4o-mini"
TOOL = ToolSignature(
    "close", "Close it.", {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
)
HELLO = ModelRequest("user", [Message("user", "Hello?")], seed=7)


async def at_once(seconds: float) -> None:
    """Time passes without waiting."""


@asynccontextmanager
async def reaching(proxy: str = "") -> AsyncGenerator[Connections]:
    def nothing(path: str, where: str) -> str:
        raise NotAllowed(f"`{path}` may not be read.", where=where)

    connections = Connections(HttpClient(Network(proxy=proxy), clock=Clock(sleep=at_once)), Secrets(nothing))
    try:
        yield connections
    finally:
        await connections.aclose()


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up-for-this-test-0001")
    return "sk-made-up-for-this-test-0001"


def at(endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's own variable says where it is: the operator's word, not a caller's."""
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)


async def test_a_call_with_tools_goes_through_and_comes_back(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    messages = [
        Message("system", "Be brief."),
        Message("user", "Close T1."),
        Message("assistant", "", (ToolCall("c1", "close", '{"id": "T1"}'),)),
        Message("tool", "closed", tool_call_id="c1"),
    ]
    with FakeEndpoint(chat(None, [("close", {"id": "T2"})], (1000, 100))) as endpoint:
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            reply = await open_model(MODEL, connections).complete(
                ModelRequest("agent", messages, [TOOL], seed=7)
            )
        body = endpoint.requests[0].json
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("close", '{"id": "T2"}')]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (1000, 100)
    assert reply.cost_usd is not None and 0 < reply.cost_usd < 0.01
    assert body["tools"][0]["function"]["name"] == "close"
    assert body["messages"][3]["tool_call_id"] == "c1"
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {key}"


async def test_the_price_of_a_model_that_is_not_listed_is_unknown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with FakeEndpoint() as endpoint:
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            assert (await open_model("openai/nobody-knows-me", connections).complete(HELLO)).cost_usd is None
            priced = ModelAt.model_validate(
                {"model": "openai/nobody-knows-me", "prices": {"input": 1, "output": 1}}
            )
            assert (await open_model(priced, connections).complete(HELLO)).cost_usd == pytest.approx(18e-6)


async def test_a_schema_goes_through_and_a_misfit_is_repaired(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    schema: dict[str, Any] = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
    with FakeEndpoint() as endpoint:
        at(endpoint, monkeypatch)
        endpoint.then(chat("yes"), chat('{"ok": true}'))
        async with reaching() as connections:
            asked = ModelRequest("judge", [Message("user", "Is it?")], schema=schema)
            assert (await open_model(MODEL, connections).complete(asked)).text == '{"ok": true}'
        assert endpoint.requests[0].json["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.requirement("AS-11")
@pytest.mark.parametrize(
    ("answer", "kind", "calls"),
    [
        (fault(401, "Incorrect API key provided"), MissingKey, 1),
        (too_many(0), RateLimited, 5),
        (too_many(3600), RateLimited, 1),
        (fault(404, "The model does not exist"), Unavailable, 1),
        (fault(400, "bad"), Unavailable, 1),
        (fault(500), Unavailable, 5),
    ],
)
async def test_each_way_to_fail_is_told_as_what_it_is(
    answer: Answer, kind: type[SetupError], calls: int, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with FakeEndpoint(answer) as endpoint:
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            with pytest.raises(kind) as failed:
                await open_model(MODEL, connections, where="models.user").complete(HELLO)
        assert len(endpoint.requests) == calls
    assert MODEL in failed.value.what
    assert key not in f"{failed.value} {failed.value.quoted}"


async def test_a_closed_port_and_a_hanging_provider_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with FakeEndpoint(hang()) as endpoint:
        at(endpoint, monkeypatch)
        spec = ModelAt.model_validate({"model": MODEL, "timeout_s": 0.3})
        async with reaching() as connections:
            with anyio.fail_after(60), pytest.raises(Unavailable, match=r"within 0\.3 s"):
                await open_model(spec, connections).complete(HELLO)
    async with reaching() as connections:
        with pytest.raises(Unavailable, match="refused the connection"):
            await open_model(MODEL, connections).complete(HELLO)


async def test_a_redirect_to_a_private_address_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with FakeEndpoint(redirect("http://169.254.169.254/latest", 307)) as endpoint:
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            with anyio.fail_after(20), pytest.raises(SetupError):
                await open_model(MODEL, connections).complete(HELLO)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_told_and_nobody_is_asked_where_it_leads(
    status: int, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with (
        FakeEndpoint() as other,
        FakeEndpoint(redirect(f"{other.base_url}/chat/completions", status)) as endpoint,
    ):
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            with anyio.fail_after(20), pytest.raises(Unavailable, match="redirects are not followed"):
                await open_model(MODEL, connections).complete(HELLO)
        assert len(endpoint.requests) == 1
        assert (other.requests, other.probes) == ([], [])


@pytest.mark.parametrize(
    "answer", [endless(), gzip_bomb(60), chat("x" * 2_000_001)], ids=["endless", "bomb", "long"]
)
async def test_an_answer_over_the_cap_is_cut_as_on_the_direct_path(
    answer: Answer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with FakeEndpoint(answer) as endpoint:
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            with anyio.fail_after(60), pytest.raises(Unavailable, match="longer than 2,000,000 bytes"):
                await open_model(MODEL, connections).complete(HELLO)
        assert len(endpoint.requests) == 1


async def test_a_packed_answer_within_the_cap_is_read(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    plain = chat("Packed.")
    packed = replace(plain, body=gzip.compress(plain.body), headers={"Content-Encoding": "gzip"})
    with FakeEndpoint(packed) as endpoint:
        at(endpoint, monkeypatch)
        async with reaching() as connections:
            assert (await open_model(MODEL, connections).complete(HELLO)).text == "Packed."
        assert endpoint.requests[0].headers["accept-encoding"] == "gzip, deflate"


async def test_a_model_on_this_machine_is_asked_past_every_proxy(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with FakeEndpoint() as endpoint, FakeEndpoint(chat("By proxy.")) as proxy:
        at(endpoint, monkeypatch)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for set_by_operator in ("", proxy.url):
            async with reaching(proxy=set_by_operator) as connections:
                assert (await open_model(MODEL, connections).complete(HELLO)).text == "Hello."
        assert (proxy.requests, proxy.probes) == ([], [])


async def test_a_model_elsewhere_is_asked_through_the_operator_s_proxy_alone(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://gateway.invalid/v1")
    with FakeEndpoint() as other, FakeEndpoint(chat("By proxy.")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        async with reaching(proxy=proxy.url.replace("//", "//me:a-password@")) as connections:
            assert (await open_model(MODEL, connections).complete(HELLO)).text == "By proxy."
        seen = proxy.requests[0]
        assert seen.path == "http://gateway.invalid/v1/chat/completions"
        assert seen.headers["proxy-authorization"].startswith("Basic ")
        assert (other.requests, other.probes) == ([], [])


async def test_a_missing_key_is_told_with_its_variable_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    async with reaching() as connections:
        model = open_model("anthropic/claude-sonnet-4-5", connections, where="models.writer")
        with pytest.raises(MissingKey) as missing:
            await probed(model).probe()
    told = "No key for writer model anthropic/claude-sonnet-4-5: ANTHROPIC_API_KEY is not set"
    assert missing.value.what.startswith(told)
    assert missing.value.allowed == "set it and restart, or another model, relay, or offline"


async def test_a_provider_that_does_not_exist_is_told() -> None:
    async with reaching() as connections:
        with pytest.raises(InvalidArgument, match="no provider `nobody`"):
            await probed(open_model("nobody/model-1", connections)).probe()


async def test_a_name_cannot_say_that_the_vendor_s_key_goes_to_a_url() -> None:
    async with reaching() as connections:
        with pytest.raises(InvalidArgument, match="names no model"):
            open_model("huggingface/https://collector.example/v1", connections)


@pytest.mark.parametrize(
    "name", ["api_base", "base_url", "api_key", "custom_llm_provider", "mock_response", "headers"]
)
async def test_nothing_that_says_where_a_request_goes_can_be_laid_over_it(name: str) -> None:
    async with reaching() as connections:
        with pytest.raises(InvalidArgument) as refused:
            open_model(ModelAt(model=MODEL, extra={name: "x"}), connections, where="models.agent")
    assert refused.value.where == f"models.agent.extra.{name}"


async def test_a_key_by_reference_is_used_instead_of_the_provider_s_variable(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OTHER_KEY", "another-key-of-ours")
    with FakeEndpoint() as endpoint:
        at(endpoint, monkeypatch)
        spec: ModelName = ModelAt(model=MODEL, key="env:OTHER_KEY", headers={"X-Team": "search"})
        async with reaching() as connections:
            await open_model(spec, connections).complete(HELLO)
        assert endpoint.requests[0].headers["authorization"] == "Bearer another-key-of-ours"
        assert endpoint.requests[0].headers["x-team"] == "search"


async def test_nothing_is_written_to_standard_output_whatever_happens() -> None:
    code = """
import anyio
from caseharden.engine.llm import Connections, Message, ModelRequest, open_model
from caseharden.engine.net import HttpClient, Network, Secrets
from caseharden.tests.fake_endpoint import FakeEndpoint, chat, fault
import os

def nothing(path, where):
    raise ValueError(path)

async def main(endpoint):
    os.environ.update(OPENAI_BASE_URL=endpoint.base_url, OPENAI_API_KEY="sk-x")
    connections = Connections(HttpClient(Network()), Secrets(nothing))
    for name in ("openai/gpt-4o", "nobody/x", "openai/gpt-4o"):
        try:
            await open_model(name, connections).complete(ModelRequest("user", [Message("user", "Hi")]))
        except Exception as error:
            pass
    await connections.aclose()

with FakeEndpoint() as endpoint:
    endpoint.then(fault(401), chat())
    anyio.run(main, endpoint)
    assert len(endpoint.requests) == 2
"""
    run = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
        )
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr


def probed(model: ModelClient) -> Probed:
    assert isinstance(model, Probed)
    return model
