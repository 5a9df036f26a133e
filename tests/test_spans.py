"""Spans of agents: what they export by OpenTelemetry stands in the record, each call once, and harms nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest

from caseharden.engine.agents.spans import MOST_DEPTH, MOST_SPANS, MOST_TEXT, call_of, read_export, usage_of
from caseharden.engine.agents.watched import MOST_SIZE, Watched
from caseharden.engine.workbench import Workbench
from caseharden.mcp_server.span_intake import MOST_BYTES
from caseharden.mcp_server.world_tools import world_tools
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = pytest.mark.anyio
BODY = {
    "text": "{{last}}",
    "talk": "{{conversation}}",
    "url": "{{spans_url}}",
    "token": "{{spans_token}}",
    "under": "{{traceparent}}",
}

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 40}


def attributes(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value_of(value)} for key, value in told.items()]


def value_of(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(cast("dict[str, Any]", value))}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [value_of(one) for one in cast("list[Any]", value)]}}
    return {"stringValue": value}


def a_span(
    id: int, told: dict[str, Any], *, trace: str = "a" * 32, parent: str = "", at: int = 1, name: str = "s"
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{id:016x}",
        "parentSpanId": parent,
        "name": name,
        "startTimeUnixNano": str(at * 10**9),
        "endTimeUnixNano": str(at * 10**9 + 25 * 10**7),
        "attributes": attributes(told),
    }


def exported(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def gen_ai(name: str, arguments: dict[str, Any], result: str = "ok", id: str = "") -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name,
        "gen_ai.tool.call.arguments": json.dumps(arguments),
        "gen_ai.tool.call.result": result,
        **({"gen_ai.tool.call.id": id} if id else {}),
    }


def openinference(name: str, arguments: dict[str, Any], result: str = "ok") -> dict[str, Any]:
    return {
        "openinference.span.kind": "TOOL",
        "tool.name": name,
        "input.value": json.dumps(arguments),
        "output.value": result,
    }


def read(*spans: dict[str, Any]) -> Any:
    return read_export(json.dumps(exported(*spans)).encode())


def test_both_vocabularies_are_read_as_calls_with_arguments_results_and_times() -> None:
    batch = read(
        a_span(1, gen_ai("get_order", {"id": "W1"}, '{"state": "sent"}', "call_1")),
        a_span(2, openinference("refund", {"id": "W1", "amount": 5})),
        a_span(
            3,
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": {"n": 1}},
            name="execute_tool add",
        ),
        a_span(4, {"openinference.span.kind": "tool", "input.value": "just words"}, name="search"),
        a_span(5, {"http.method": "GET"}),
        a_span(
            6,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 3,
            },
        ),
        a_span(
            7,
            {"openinference.span.kind": "LLM", "llm.token_count.prompt": 7, "llm.token_count.completion": 2},
        ),
    )
    calls = [call for span in batch.spans if (call := call_of(span))]
    assert [(c.name, json.loads(c.arguments)) for c in calls] == [
        ("get_order", {"id": "W1"}),
        ("refund", {"id": "W1", "amount": 5}),
        ("add", {"n": 1}),
        ("search", {"input": "just words"}),
    ]
    assert calls[0].result == {"state": "sent"} and calls[0].id == "call_1" and calls[0].span.wall_s == 0.25
    used = [usage for span in batch.spans if (usage := usage_of(span))]
    assert [(u.input_tokens, u.output_tokens) for u in used] == [(12, 3), (7, 2)]


def test_hostile_spans_are_cut_left_out_and_counted() -> None:
    deep: Any = "x"
    for _ in range(MOST_DEPTH * 3):
        deep = [deep]
    batch = read(
        a_span(1, gen_ai("t", {}, "r" * (MOST_TEXT * 2))),
        {**a_span(2, {}), "traceId": "../../etc"},
        {**a_span(3, {}), "spanId": 7.5},
        {**a_span(4, {"deep": deep}), "startTimeUnixNano": "-" + "9" * 400, "endTimeUnixNano": {"a": 1}},
        {**a_span(5, {}), "attributes": {"not": "a list"}, "status": "broken"},
        "no span",  # type: ignore[arg-type]
        a_span(6, {f"k{n}": n for n in range(1000)}),
    )
    assert batch.left_out == 3 and len(batch.spans) == 4
    first = call_of(batch.spans[0])
    assert first is not None and len(first.result) == MOST_TEXT
    assert batch.spans[1].wall_s == 0 and batch.spans[3].attributes == {}
    many = read_export(json.dumps(exported(*(a_span(n, {}) for n in range(1, MOST_SPANS + 6)))).encode())
    assert len(many.spans) == MOST_SPANS and many.left_out == 5


Posts = Callable[[dict[str, Any], Seen], Iterable[Any]]


def posting(
    posts: Posts, answers: list[httpx.Response], said: Answer | None = None
) -> Callable[[Seen], Answer]:
    """An agent that exports spans to where it is told before it answers."""

    def answer(seen: Seen) -> Answer:
        told = seen.json
        headers = {"Authorization": f"Bearer {told['token']}", "Content-Type": "application/json"}
        bodies = (json.dumps(body) for body in posts(told, seen))
        answers.extend(httpx.post(told["url"], content=body, headers=headers) for body in bodies)
        return said or Answer(body=b'{"reply": "Your ticket is closed."}')

    return answer


async def played(tmp_path: Path, agent: dict[str, Any], **scenario: Any) -> dict[str, Any]:
    """The one conversation of a run with that agent, in full."""
    async with Workbench(tmp_path / "data", worlds=WORLDS, doors=world_tools) as bench:
        spec = {
            "kind": "chat_completions",
            "body": BODY,
            "spans": True,
            "spans_wait_s": 20,
            "retries": 0,
            **agent,
        }
        await bench.environments.create("desk", instructions=INSTRUCTIONS, world_data=tickets(1), agent=spec)
        case = {**closing(1), "limits": {"max_turns": 1}, **scenario}
        await bench.scenarios.create("desk", [case], check=False)
        with anyio.fail_after(60):
            report = await bench.runs.start("desk", wait_s=45)
        found = await bench.items.get("conversation", f"{report.run.id}/close-1/1", view="full")
    return {**found.item["conversation"], "run": report.run}


def calls_of(talk: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in talk["log"] if "tool" in entry]


def under(told: dict[str, Any]) -> tuple[str, str]:
    """(trace, parent) that the agent was given."""
    _, trace, parent, flags = told["under"].split("-")
    assert flags == "01"
    return trace, parent


@pytest.mark.requirement("CH-11")
@pytest.mark.requirement("AK-13")
@pytest.mark.parametrize("vocabulary", [gen_ai, openinference])
async def test_spans_of_an_agent_elsewhere_are_calls_of_its_record(
    tmp_path: Path, vocabulary: Callable[..., dict[str, Any]]
) -> None:
    def spans(told: dict[str, Any], seen: Seen) -> Iterable[Any]:
        trace, parent = under(told)
        assert seen.headers["traceparent"] == told["under"]
        yield exported(
            a_span(
                2,
                vocabulary("find_customer", {"name": "Dana"}, '{"id": "C1"}'),
                trace=trace,
                parent="1",
                at=1,
            )
        )
        yield exported(
            a_span(
                3,
                {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 40},
                trace=trace,
                parent="1",
                at=2,
            ),
            a_span(1, {"gen_ai.operation.name": "invoke_agent"}, trace=trace, parent=parent, at=0),
        )

    answers: list[httpx.Response] = []
    with FakeEndpoint(posting(spans, answers)) as endpoint:
        check = {"id": "looked", "tool": "find_customer", "args": {"name": "Dana"}, "own": True}
        talk = await played(tmp_path, {"url": endpoint.url}, success=[check])
    assert [answer.status_code for answer in answers] == [200, 200] and answers[0].json() == {}
    (call,) = calls_of(talk)
    assert (call["tool"], call["args"], call["kind"]) == ("find_customer", {"name": "Dana"}, "own")
    assert call["result"] == {"id": "C1"} and call["wall_s"] == 0.25
    assert talk["run"].totals.passed == 1
    (used,) = (use for name, use in talk["models"].items() if name.startswith("agent"))
    assert used["input_tokens"] == 40


async def test_a_call_that_was_seen_otherwise_or_twice_is_in_the_record_once(tmp_path: Path) -> None:
    def spans(told: dict[str, Any], seen: Seen) -> Iterable[Any]:
        trace, parent = under(told)
        both: dict[str, Any] = {"trace": trace, "parent": parent}
        told_call = gen_ai("send_mail", {"to": "dana"}, id="call_7")
        yield exported(
            a_span(1, told_call, **both),
            a_span(2, gen_ai("check_stock", {"n": 1}), **both),
            a_span(3, openinference("check_stock", {"n": 1}), **both),
            a_span(4, gen_ai("check_stock", {"n": 1}), **both, at=9),
            a_span(5, gen_ai("send_mail", {"to": "dana"}, id="call_8"), **both, at=10),
        )
        yield exported(a_span(2, gen_ai("check_stock", {"n": 1}), **both))

    own = {
        "id": "call_7",
        "type": "function",
        "function": {"name": "send_mail", "arguments": '{"to": "dana"}'},
    }
    said = {"choices": [{"message": {"role": "assistant", "content": "Done.", "tool_calls": [own]}}]}
    with FakeEndpoint(posting(spans, [], Answer(body=json.dumps(said).encode()))) as endpoint:
        talk = await played(tmp_path, {"url": endpoint.url, "tools": "none"})
    assert [call["tool"] for call in calls_of(talk)] == [
        "send_mail",
        "check_stock",
        "check_stock",
        "send_mail",
    ]


@pytest.mark.parametrize(
    "told", ["[" * 900 + "]" * 900, "[NaN]", '{"n": 1e999}', '["\\ud800"]', "\ud800", "[" + "9" * 30 + "]"]
)
async def test_hostile_values_of_a_span_are_kept_as_text_and_harm_neither_run_nor_export(
    tmp_path: Path, told: str
) -> None:
    def spans(given: dict[str, Any], seen: Seen) -> Iterable[Any]:
        trace, parent = under(given)
        hostile = {**gen_ai("look", {}, told), "gen_ai.tool.call.arguments": told}
        yield exported(a_span(1, hostile, trace=trace, parent=parent))

    with FakeEndpoint(posting(spans, [])) as endpoint:
        talk = await played(tmp_path, {"url": endpoint.url})
    (call,) = calls_of(talk)
    assert talk["run"].state == "done" and "NaN" not in json.dumps(call["result"]).replace('"[NaN]"', "")
    assert json.dumps(call, ensure_ascii=False).encode() and isinstance(call["result"], str | list)


def test_the_spans_of_a_turn_are_kept_up_to_a_size() -> None:
    large = {name: "x" * MOST_TEXT for name in ("input.value", "output.value", "tool.parameters")}
    batch = read(*(a_span(n, {**large, "unread": "y" * MOST_TEXT}) for n in range(1, 61)))
    watched = Watched("a" * 32, "talk")
    left_out = watched.take(batch)
    kept = watched.taken()
    assert left_out == 60 - len(kept) > 0
    size = sum(len(json.dumps(dict(span.attributes))) for span in kept)
    assert MOST_SIZE - 4 * MOST_TEXT < size <= MOST_SIZE
    again = read(a_span(99, large))
    assert watched.take(again) == 0 and len(watched.taken()) == 1


async def test_spans_with_the_token_of_one_trial_go_to_the_trial_that_they_are_of() -> None:
    first, second = Watched("a" * 32, "one"), Watched("b" * 32, "two")
    async with world_tools() as doors:
        door = await doors.watch(first)
        await doors.watch(second)
        spans = exported(
            a_span(1, {}, trace="b" * 32),
            a_span(2, {"gen_ai.conversation.id": "two"}, trace="c" * 32),
            a_span(3, {}, trace="a" * 32),
            a_span(4, {}, trace="d" * 32),
        )
        headers = {"Authorization": f"Bearer {door.token}"}
        async with httpx.AsyncClient(headers=headers) as client:
            assert (await client.post(door.url, json=spans)).json() == {}
    assert [int(span.id, 16) for span in first.taken()] == [3, 4]
    assert [int(span.id, 16) for span in second.taken()] == [1, 2]


async def test_a_call_on_the_world_is_not_told_again_by_its_span(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Answer:
        told = seen.json
        if "tool" not in [message["role"] for message in told["messages"]]:
            call = {
                "id": "c1",
                "type": "function",
                "function": {"name": "look_up_ticket", "arguments": '{"ticket_id": "T1"}'},
            }
            message = {"role": "assistant", "content": None, "tool_calls": [call]}
            return Answer(body=json.dumps({"choices": [{"message": message}]}).encode())
        trace, parent = under(told)
        span = a_span(1, gen_ai("look_up_ticket", {"ticket_id": "T1"}), trace=trace, parent=parent)
        httpx.post(told["url"], json=exported(span), headers={"Authorization": f"Bearer {told['token']}"})
        return chat("It is open.")

    with FakeEndpoint(answer) as endpoint:
        body = {**BODY, "messages": "{{messages}}", "tools": "{{tools}}"}
        talk = await played(tmp_path, {"url": endpoint.url, "body": body})
    (call,) = calls_of(talk)
    assert (call["tool"], call["kind"]) == ("look_up_ticket", "read")


async def test_a_token_takes_spans_of_its_own_trial_alone_and_hostile_posts_are_refused(
    tmp_path: Path,
) -> None:
    kept: list[dict[str, Any]] = []
    statuses: dict[str, int] = {}

    def answer(seen: Seen) -> Answer:
        told = seen.json
        kept.append(told)
        url, headers = told["url"], {"Authorization": f"Bearer {told['token']}"}
        whole = exported(a_span(1, {}, trace=under(told)[0], parent=under(told)[1]))
        as_json = {**headers, "Content-Type": "application/json"}

        def post(name: str, **more: Any) -> None:
            arguments: dict[str, Any] = {"headers": as_json, **more}
            statuses[name] = httpx.post(url, **arguments).status_code

        post("no token", json=whole, headers={})
        post("made up", json=whole, headers={"Authorization": "Bearer made-up"})
        post("no json", content=b"{")
        post("no spans", json={"spans": []})
        post("nested", content=b'{"resourceSpans": ' + b"[" * 200_000)
        post("protobuf", content=b"\x0a\x02", headers={**headers, "Content-Type": "application/x-protobuf"})
        post("gzip", content=gzip.compress(b"{}"), headers={**as_json, "Content-Encoding": "gzip"})
        post("large", content=b" " * (MOST_BYTES + 1))
        post("streamed", content=iter([b" " * MOST_BYTES, b" " * 10]))
        statuses["get"] = httpx.get(url, headers=headers).status_code
        post("elsewhere", json=whole, headers={"Authorization": f"Bearer {kept[0]['token']}"})
        post("right", json=whole)
        return chat("Done.")

    with FakeEndpoint(answer) as endpoint:
        talk = await played(tmp_path, {"url": endpoint.url})
    assert statuses == {
        "no token": 401,
        "made up": 401,
        "no json": 400,
        "no spans": 400,
        "nested": 400,
        "protobuf": 415,
        "gzip": 415,
        "large": 413,
        "streamed": 413,
        "get": 405,
        "elsewhere": 200,
        "right": 200,
    }
    assert calls_of(talk) == [] and talk["run"].totals.error == 0
    with pytest.raises(httpx.ConnectError):
        httpx.post(kept[0]["url"], json={}, headers={"Authorization": f"Bearer {kept[0]['token']}"})


async def test_an_agent_that_exports_nothing_is_waited_for_no_longer_than_was_said(tmp_path: Path) -> None:
    with FakeEndpoint(chat("Done.")) as endpoint:
        talk = await played(tmp_path, {"url": endpoint.url, "spans_wait_s": 0.05})
    assert calls_of(talk) == [] and talk["run"].totals.error == 0
