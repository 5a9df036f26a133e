"""Spans that come to the server: one exporter for all trials, and code of others beside its calls on the world."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest
import uvicorn

from caseharden.engine.processes import AllowedCode
from caseharden.engine.workbench import Workbench
from caseharden.mcp_server.app import build_server
from caseharden.mcp_server.gate import security
from caseharden.mcp_server.http import Listen, add_traces, http_app, opened
from caseharden.mcp_server.tokens import referred
from caseharden.mcp_server.world_tools import world_tools
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.test_spans import BODY, a_span, calls_of, exported, gen_ai, under
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = pytest.mark.anyio


class Beside(uvicorn.Server):
    """A web server that leaves signals to the tests."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def over_http(bench: Workbench) -> AsyncGenerator[str]:
    """The server's own address for spans, as `caseharden serve --http` opens it."""
    tokens = referred("env:TOKENS")
    server = build_server(bench, owns=False, verifier=tokens)
    add_traces(server, bench, tokens)
    app = http_app(server, security(["127.0.0.1"]))
    web = Beside(uvicorn.Config(app, log_config=None, access_log=False))
    with opened(Listen(port=0)) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(web.serve, sockets=[listener]))
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces"
            web.should_exit = True


@pytest.mark.requirement("CH-11")
async def test_an_agent_with_one_exporter_for_all_sends_to_the_server_and_its_spans_find_their_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKENS", "the-token-of-the-exporter")
    address: list[str] = []
    answers: list[httpx.Response] = []

    def answer(seen: Seen) -> Answer:
        told = seen.json
        trace, parent = under(told)
        ticket = re.findall(r"T\d", told["text"])[0]
        by_trace = a_span(1, gen_ai("first", {"id": ticket}), trace=trace, parent="2")
        named = {**gen_ai("second", {"id": ticket}), "gen_ai.conversation.id": told["talk"]}
        by_name = a_span(2, named, trace=f"{int(ticket[1:]):032x}")
        strange = a_span(3, gen_ai("third", {}), trace="f" * 32)
        last = a_span(4, {}, trace=trace, parent=parent)
        body = exported(by_trace, by_name, strange, last)
        for token in ("the-token-of-the-exporter", told["token"], "made-up"):
            headers = {"Authorization": f"Bearer {token}"}
            answers.append(httpx.post(address[0], json=body, headers=headers))
        return chat("Done.")

    with FakeEndpoint(answer) as endpoint:
        spec = {
            "kind": "chat_completions",
            "url": endpoint.url,
            "body": BODY,
            "spans": True,
            "spans_wait_s": 20,
            "retries": 0,
        }
        async with (
            Workbench(tmp_path / "data", worlds=WORLDS, doors=world_tools) as bench,
            over_http(bench) as url,
        ):
            address.append(url)
            await bench.environments.create(
                "desk", instructions=INSTRUCTIONS, world_data=tickets(3), agent=spec
            )
            cases = [{**closing(n), "limits": {"max_turns": 1}} for n in range(1, 4)]
            await bench.scenarios.create("desk", cases, check=False)
            with anyio.fail_after(60):
                report = await bench.runs.start("desk", wait_s=45)
            for n in range(1, 4):
                found = await bench.items.get("conversation", f"{report.run.id}/close-{n}/1", view="full")
                made = [(call["tool"], call["args"]) for call in calls_of(found.item["conversation"])]
                assert made == [("first", {"id": f"T{n}"}), ("second", {"id": f"T{n}"})]
    assert Counter(answer.status_code for answer in answers) == {200: 3, 401: 6}
    taken = [answer.json() for answer in answers if answer.status_code == 200]
    assert {told["partialSuccess"]["rejectedSpans"] for told in taken} == {"1"}


PYTHON = """
import json, urllib.request

def agent(turn):
    _, trace, parent, _ = turn.traceparent.split("-")
    attributes = {"openinference.span.kind": "TOOL", "tool.name": "weigh", "input.value": '{"kg": 2}'}
    told = [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()]
    span = {"traceId": trace, "spanId": "1" * 16, "parentSpanId": parent, "name": "weigh", "attributes": told}
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    headers = {"Authorization": "Bearer " + turn.spans_token, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(turn.spans_url, body, headers)) as answer:
        assert answer.status == 200
    return turn.call("look_up_ticket", ticket_id="T1") and "It is open."
"""


async def test_code_of_others_exports_spans_while_its_calls_on_the_world_are_made(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(PYTHON, encoding="utf-8")
    code = AllowedCode([tmp_path])
    async with Workbench(tmp_path / "data", worlds=WORLDS, code=code, doors=world_tools) as bench:
        spec = {"kind": "python", "file": "desk.py", "spans": True, "spans_wait_s": 5}
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(1), agent=spec)
        await bench.scenarios.create("desk", [{**closing(1), "limits": {"max_turns": 1}}], check=False)
        with anyio.fail_after(60):
            report = await bench.runs.start("desk", wait_s=45)
        found = await bench.items.get("conversation", f"{report.run.id}/close-1/1", view="full")
    assert report.run.totals.error == 0, found.item
    told = [(call["tool"], call["kind"]) for call in calls_of(found.item["conversation"])]
    assert sorted(told) == [("look_up_ticket", "read"), ("weigh", "own")]
