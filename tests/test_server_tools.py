"""Worlds whose tools are a server's: MCP and HTTP, reset between trials, seen by snapshots, recorded like any other."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import CasehardenError, InvalidArgument, NotAllowed
from caseharden.engine.net import Network
from caseharden.engine.processes import AllowedCode
from caseharden.tests.agents_told import served_over_http
from caseharden.tests.fake_endpoint import Answer, Seen, cut, fault, hang, of_json, redirect
from caseharden.tests.plain_mcp import write_plain
from caseharden.tests.served_desk import (
    COUNT,
    DESK,
    RULED,
    Endpoint,
    Service,
    behind,
    bench,
    by_http,
    by_mcp,
    calls_in,
    log_of,
    played,
)
from caseharden.tests.workbench_cases import INSTRUCTIONS, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-11")]
SAID_SOMETHING = {"id": "said", "said": {"pattern": "."}}


async def test_http_tools_are_reset_take_turns_and_change_the_world_that_is_checked(tmp_path: Path) -> None:
    service = Service()
    with Endpoint(service) as endpoint:
        async with bench(tmp_path) as desk:
            made, run = await played(desk, by_http(endpoint.url))
            assert made.checked["proven"] == COUNT
            assert (run.state, run.totals.passed) == ("done", COUNT)
            talk = await log_of(desk, run)
    look, close = calls_in(talk)
    assert look["result"] == {"ticket_id": "T1", "status": "open", "owner": "ann"}
    assert (close["tool"], close["kind"], close["ok"]) == ("close_ticket", "write", True)
    change = {"path": "db.tickets.T1.status", "by": "agent", "old": "open", "new": "closed", "op": "set"}
    assert close["patches"] == [change]
    # Between two resets everything comes from one trial, whose key is in every request.
    keys = [(seen.headers["caseharden-trial"], seen.path) for seen in endpoint.requests]
    seen: list[str] = []
    for key, path in keys:
        if path == "/reset":
            assert key not in seen
            seen.append(key)
        assert key == seen[-1]
    assert len(seen) >= COUNT


@pytest.mark.parametrize("over_http", [False, True])
async def test_the_tools_of_an_mcp_server_are_tools_of_the_world(tmp_path: Path, over_http: bool) -> None:
    if over_http:
        (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    else:
        write_plain(tmp_path / "desk.py", DESK)
    where: dict[str, Any] = {"command": ["python", "desk.py"]}
    with ExitStack() as stack:
        if over_http:
            port = stack.enter_context(served_over_http(tmp_path / "desk.py"))
            where = {"url": f"http://127.0.0.1:{port}/mcp", "reset": "reset"}
        async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
            made, run = await played(desk, by_mcp(**where), 2)
            assert made.checked["proven"] == 2 and run.totals.passed == 2
            talk = await log_of(desk, run, "close-2")
    look, close = calls_in(talk)
    assert look["result"] == {"ticket_id": "T2", "status": "open", "owner": "ann"}
    assert close["result"] == "closed T2"
    assert [(p["path"], p["new"]) for p in close["patches"]] == [("db.tickets.T2.status", "closed")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (of_json({"detail": "not today"}, 409), "refused", "not today"),
        (of_json({"error": "no such thing"}, 404), "refused", "no such thing"),
        (fault(500), "runtime", "its server: answered 500"),
        (of_json({}, 401), "runtime", "answered 401"),
        (hang(), "runtime", "0.5 s"),
        (cut(0), "runtime", "the connection was cut"),
        (Answer(b"{"), "runtime", "cannot be read"),
        (Answer(b'{"a": NaN}'), "runtime", "cannot be kept"),
        (Answer(b"[" * 100_000), "runtime", "nested too deep"),
        (Answer(b"x" * 3_000_000, content_type="text/plain"), "runtime", "longer than"),
        (redirect("http://169.254.169.254/"), "runtime", "redirects are not followed"),
        (Answer(b"all is well", content_type="text/plain"), None, "all is well"),
        (Answer(b"", 204), None, None),
    ],
)
async def test_what_an_endpoint_does_wrong_is_the_error_of_its_call_and_the_trial_goes_on(
    tmp_path: Path, answer: Answer, error: str | None, words: str | None
) -> None:
    with Endpoint(Service(look=answer)) as endpoint:
        async with bench(tmp_path) as desk:
            _, run = await played(desk, by_http(endpoint.url, timeout_s=0.5), 1, success=[SAID_SOMETHING])
            talk = await log_of(desk, run)
    first = calls_in(talk)[0]
    assert first.get("error") == error
    assert first["result"] == words if words is None else words in str(first["result"])
    assert talk["end"]["reason"] not in ("world_error", "agent_error", "timeout")


@pytest.mark.parametrize("part", ["reset", "dump"])
async def test_a_world_that_cannot_begin_or_be_seen_is_invalid_and_not_the_agents_failure(
    tmp_path: Path, part: str
) -> None:
    faults: dict[str, Answer] = {part: fault(503, "down")}
    with Endpoint(Service(**faults)) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create(
                "desk", instructions=INSTRUCTIONS, world_data=by_http(endpoint.url)
            )
            await desk.scenarios.create("desk", [closing(1, success=[SAID_SOMETHING])], check=False)
            run = (await desk.runs.start("desk", wait_s=45)).run
            talk = await log_of(desk, run)
    assert (run.totals.passed, run.totals.invalid) == (0, 1)
    assert talk["end"]["reason"] == "world_error"
    assert "503" in talk["end"]["detail"] and part in talk["end"]["detail"].replace("snapshot", "dump")


async def test_a_server_that_hangs_or_ends_is_the_error_of_its_calls(tmp_path: Path) -> None:
    write_plain(tmp_path / "desk.py", DESK.replace("ticket_id not in tickets", "True"))
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        world = by_mcp(command=["python", "desk.py"])
        _, run = await played(desk, world, 1, success=[SAID_SOMETHING])
        first = calls_in(await log_of(desk, run))[0]
    assert (first["error"], first["ok"]) == ("refused", False) and first[
        "result"
    ] == "Error executing tool look"
    (tmp_path / "desk.py").write_text("import sys\nsys.exit('no licence')", encoding="utf-8")
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        run = (await desk.runs.start("desk", wait_s=45)).run
        talk = await log_of(desk, run)
    assert talk["end"]["reason"] == "world_error" and "no licence" in talk["end"]["detail"]


@pytest.mark.parametrize(
    ("change", "error", "where", "told"),
    [
        ({"url": "http://169.254.169.254/mcp"}, NotAllowed, "servers.desk.url", "metadata"),
        ({"url": "http://10.0.0.1/mcp"}, NotAllowed, "servers.desk.url", "10.0.0.1"),
        ({"url": "file:///etc/passwd"}, CasehardenError, "servers.desk.url", "http"),
        ({"command": ["sh", "-c", "id"]}, NotAllowed, "servers.desk.command", "--allow-code DIR"),
        ({"command": ["python", "/etc/passwd"]}, NotAllowed, "servers.desk.command[1]", "--allow-code"),
        ({"url": "http://127.0.0.1:1/", "command": ["x"]}, InvalidArgument, "servers.desk", "exactly one"),
        ({}, InvalidArgument, "servers.desk", "exactly one"),
        (
            {"url": "http://127.0.0.1:1/", "headers": {"Authorization": "Bearer sk-abcdefghijklmnop1234"}},
            InvalidArgument,
            "servers.desk.headers.Authorization",
            "literal secret",
        ),
        (
            {"url": "http://127.0.0.1:1/", "headers": {"X-Key": "env:HOME"}},
            NotAllowed,
            "servers.desk.headers.X-Key",
            "may not be named",
        ),
    ],
)
async def test_a_server_that_may_not_be_reached_is_refused_when_the_world_is_made(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], where: str, told: str
) -> None:
    async with bench(tmp_path) as desk:
        with pytest.raises(error) as refused:
            await desk.environments.create("desk", world_data=by_mcp(**change))
        found = refused.value
        assert isinstance(found, CasehardenError)
        assert found.where == f"world_data.{where}"
        assert told in f"{found.what} {found.allowed}"


async def test_every_url_of_a_tool_passes_the_guard_and_its_headers_name_no_secret(tmp_path: Path) -> None:
    async with bench(tmp_path, network=Network(loopback=False)) as desk:
        for field in ("url", "snapshot", "reset"):
            http = {name: "http://example.com/x" for name in ("url", "snapshot", "reset")}
            http[field] = "http://127.0.0.1:9/x"
            world = behind(tickets(1), {"canned": []}, {"http": http})
            with pytest.raises(NotAllowed, match="this machine") as refused:
                await desk.environments.create("desk", world_data=world)
            assert refused.value.where == f"world_data.tools[1](close_ticket).impl.http.{field}"


@pytest.mark.parametrize(
    ("impl", "told"),
    [
        ({"mcp": "dsk"}, "The world has no server `dsk`. Did you mean `desk`?"),
        ({"mcp": "desk", "http": {"url": "http://x/"}}, "exactly one of python, canned, mcp and http"),
        ({}, "exactly one of python, canned, mcp and http"),
        ({"canned": [], "snapshot": "dump"}, "`tool` and `snapshot` belong to mcp"),
        ({"mcp": "desk", "style": "tau1"}, "belong to python"),
        ({"http": {"url": "http://x/", "method": "TRACE"}}, "method"),
    ],
)
async def test_mistakes_in_impl_are_told_with_what_is_allowed(
    tmp_path: Path, impl: dict[str, Any], told: str
) -> None:
    world = by_mcp(url="http://127.0.0.1:9/mcp")
    world["tools"][0]["impl"] = impl
    async with bench(tmp_path) as desk:
        with pytest.raises(InvalidArgument) as refused:
            await desk.environments.create("desk", world_data=world)
        assert told in str(refused.value) and "tools[0]" in refused.value.where


async def test_a_header_of_a_reference_is_sent_and_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_TOKEN", "the-token-of-the-desk-0001")
    service = Service(look=of_json({"echo": "the-token-of-the-desk-0001"}))
    with Endpoint(service) as endpoint:
        async with bench(tmp_path) as desk:
            headers = {"Authorization": "Bearer env:DESK_TOKEN"}
            _, run = await played(desk, by_http(endpoint.url, headers=headers), 1, success=[SAID_SOMETHING])
            talk = await log_of(desk, run)
    assert all(s.headers["authorization"] == "Bearer the-token-of-the-desk-0001" for s in endpoint.requests)
    assert {seen.path.partition("?")[0] for seen in endpoint.requests} >= {"/reset", "/dump", "/look"}
    assert "the-token" not in json.dumps(talk)
    kept = [f for f in (tmp_path / "data").rglob("*") if f.is_file() and b"the-token-of" in f.read_bytes()]
    assert kept == []


async def test_a_reference_without_a_value_makes_the_trial_invalid_and_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DESK_TOKEN", raising=False)
    async with bench(tmp_path) as desk:
        world = by_http("http://127.0.0.1:9", headers={"Authorization": "Bearer env:DESK_TOKEN"})
        _, run = await played(desk, world, 1, success=[SAID_SOMETHING])
        talk = await log_of(desk, run)
    assert talk["end"]["reason"] == "world_error" and "DESK_TOKEN is not set" in talk["end"]["detail"]


class Counting(Service):
    """Counts what it is asked and tells the number: no two plays of anything are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def __call__(self, seen: Seen) -> Answer:
        self.asked += 1
        return of_json({"n": self.asked}) if seen.path.startswith("/look") else super().__call__(seen)


@pytest.mark.requirement("CH-9")
async def test_a_solution_that_gives_another_record_each_time_is_refused(tmp_path: Path) -> None:
    with Endpoint(Counting()) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create("desk", world_data=by_http(endpoint.url))
            with pytest.raises(InvalidArgument, match="two plays of the solution differ"):
                await desk.scenarios.create("desk", [closing(1)])


async def test_a_session_on_a_server_is_reset_and_played_again_at_every_step(tmp_path: Path) -> None:
    service = Service()
    with Endpoint(service) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create("desk", instructions=RULED, world_data=by_http(endpoint.url))
            await desk.scenarios.create("desk", [closing(1)])
            session = (await desk.sessions.start("desk", start="close-1")).session.id
            for tool in ("look_up_ticket", "close_ticket"):
                await desk.sessions.step(session, action="call", tool=tool, arguments={"ticket_id": "T1"})
            assert service.tickets["T1"]["status"] == "closed"
            await desk.sessions.step(session, action="undo")
            await desk.sessions.step(session, text="Which one?")
            assert service.tickets["T1"]["status"] == "open"
            ended = await desk.sessions.step(session, action="end")
    assert ended.session.state == "ended"


async def test_a_lone_surrogate_in_an_argument_is_that_of_one_call_and_the_run_goes_on(
    tmp_path: Path,
) -> None:
    with Endpoint(Service()) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create("desk", world_data=by_http(endpoint.url))
            await desk.scenarios.create("desk", [closing(1)])
            session = (await desk.sessions.start("desk", start="close-1")).session.id
            arguments = {"ticket_id": "\ud800"}
            step = await desk.sessions.step(
                session, action="call", tool="look_up_ticket", arguments=arguments
            )
    assert step.result is not None
    assert (step.result["error"], step.result["result"]) == ("refused", "no ticket ?")


async def test_showing_prompts_reaches_no_server_and_says_what_is_left_out(tmp_path: Path) -> None:
    with Endpoint(Service()) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create("desk", instructions=RULED, world_data=by_http(endpoint.url))
            await desk.scenarios.create("desk", [closing(1)])
            endpoint.requests.clear()
            agent, user, judge = await desk.prompts.of("desk", ["agent", "user", "judge"])
    assert endpoint.requests == []
    assert agent.messages and user.messages
    assert judge.messages == [] and "left out" in judge.what
