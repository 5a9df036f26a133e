"""Worlds whose tools are a server's: MCP and HTTP, reset between trials, seen by snapshots, recorded like any other."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from caseharden.engine.errors import CasehardenError, InvalidArgument, NotAllowed
from caseharden.engine.net import Network
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.workbench import Workbench, workbench
from caseharden.tests.agents_told import served_over_http
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, cut, fault, hang, of_json, redirect
from caseharden.tests.plain_mcp import write_plain
from caseharden.tests.warm import warm
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-11")]
COUNT = 4
RULED = f"{INSTRUCTIONS} Before calling close_ticket, call look_up_ticket."
SAID_SOMETHING = {"id": "said", "said": {"pattern": "."}}
SILENT = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "text": "I cannot do that."}), flush=True)
"""
DESK = f"""
import sys, time
from typing import Any
from mcp.server import MCPServer

server = MCPServer("desk")
tickets: dict[str, Any] = {{}}

def opened():
    tickets.clear()
    tickets.update({{f"T{{n}}": {{"status": "open", "owner": "ann"}} for n in range(1, {COUNT} + 1)}})

opened()

@server.tool()
def look(ticket_id: str) -> dict[str, Any]:
    if ticket_id not in tickets:
        raise ValueError("no ticket " + ticket_id)
    print("noise on stdout", flush=True)
    return {{"ticket_id": ticket_id, **tickets[ticket_id]}}

@server.tool()
def close(ticket_id: str) -> str:
    if ticket_id == "slow":
        time.sleep(600)
    tickets[ticket_id]["status"] = "closed"
    return "closed " + ticket_id

@server.tool()
def dump() -> dict[str, Any]:
    return {{"tickets": tickets}}

@server.tool()
def reset() -> str:
    opened()
    return "done"

if __name__ == "__main__":
    if len(sys.argv) > 1:
        import socket, uvicorn
        app = server.streamable_http_app()
        listener = socket.socket(fileno=int(sys.argv[1]))
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
    else:
        server.run()
"""


def behind(world: dict[str, Any], look_up: dict[str, Any], close: dict[str, Any]) -> dict[str, Any]:
    """The tickets with tools that are somebody else's; our own state is empty until it is seen."""
    first, second = world["tools"]
    for tool, kind, impl in ((first, "read", look_up), (second, "write", close)):
        del tool["steps"]
        tool |= {"kind": kind, "impl": impl}
    return {**world, "db": {"tickets": {}}}


def by_mcp(**server: Any) -> dict[str, Any]:
    world = behind(
        tickets(COUNT),
        {"mcp": "desk", "tool": "look"},
        {"mcp": "desk", "tool": "close", "snapshot": "dump"},
    )
    return {**world, "servers": {"desk": server}}


class Service:
    """A ticket service over HTTP with one state for everybody, as most have."""

    def __init__(self, **faults: Answer) -> None:
        self.faults = faults
        """By the last part of a path: what is answered instead."""
        self.lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.tickets = {f"T{n}": {"status": "open", "owner": "ann"} for n in range(1, COUNT + 1)}

    def __call__(self, seen: Seen) -> Answer:
        path, _, query = seen.path.partition("?")
        if path[1:] in self.faults:
            return self.faults[path[1:]]
        with self.lock:
            if path == "/reset":
                self.reset()
                return Answer(b"", 204)
            if path == "/dump":
                return of_json({"tickets": self.tickets})
            id = query.partition("=")[2] if path == "/look" else seen.json["ticket_id"]
            if id not in self.tickets:
                return of_json({"detail": f"no ticket {id}"}, 404)
            if path == "/close":
                self.tickets[id]["status"] = "closed"
            return of_json({"ticket_id": id, **self.tickets[id]})


class Endpoint(FakeEndpoint):
    """Answers every request by what it is for, GETs too."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service

    def take(self, seen: Seen) -> Answer:
        with self.service.lock:
            self.requests.append(seen)
        return self.service(seen)


def by_http(url: str, **more: Any) -> dict[str, Any]:
    common = {"reset": f"{url}/reset", **more}
    return behind(
        tickets(COUNT),
        {"http": {"url": f"{url}/look", "method": "GET", **common}},
        {"http": {"url": f"{url}/close", "snapshot": f"{url}/dump", **common}},
    )


@asynccontextmanager
async def bench(home: Path, **options: Any) -> AsyncGenerator[Workbench]:
    async with Workbench(home / "data", worlds=WORLDS, **options) as made:
        yield made


async def played(desk: Workbench, world: dict[str, Any], count: int = COUNT, **scenario: Any) -> Any:
    """A run over so many scenarios."""
    await desk.environments.create("desk", instructions=RULED, world_data=world)
    cases = [closing(n, **scenario) for n in range(1, count + 1)]
    made = await desk.scenarios.create("desk", cases, check=not scenario)
    with anyio.fail_after(120):
        return made, (await desk.runs.start("desk", wait_s=45)).run


async def log_of(desk: Workbench, run: Any, simulation: str = "close-1") -> dict[str, Any]:
    """The record of a trial."""
    item = await desk.items.get("conversation", f"{run.id}/{simulation}/1", view="full")
    return item.item["conversation"]


def calls_in(talk: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in talk["log"] if "tool" in entry and entry["turn"] > 0]


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


async def test_starting_a_worlds_process_needs_no_thread_that_a_waiting_trial_holds(tmp_path: Path) -> None:
    write_plain(tmp_path / "desk.py", DESK)
    threads = anyio.to_thread.current_default_thread_limiter()
    before, threads.total_tokens = threads.total_tokens, 1
    try:
        async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
            made, run = await played(desk, by_mcp(command=["python", "desk.py"]), 2)
    finally:
        threads.total_tokens = before
    assert made.checked["proven"] == 2 and run.totals.passed == 2


async def test_trials_that_need_several_processes_each_do_not_wait_for_each_other_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path / "desk.py", DESK)
    command = ["python", "desk.py"]
    monkeypatch.setattr(workbench, "Processes", partial(Processes, 3))
    world = by_mcp(command=command)
    world["servers"]["other"] = {"command": command}
    world["tools"][0]["impl"] = {"mcp": "other", "tool": "look"}
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        made, run = await played(desk, world)
    assert made.checked["proven"] == COUNT and (run.state, run.totals.passed) == ("done", COUNT)


async def test_an_agent_that_is_a_process_has_its_place_with_those_of_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path / "desk.py", DESK)
    (tmp_path / "agent.py").write_text(SILENT, encoding="utf-8")
    monkeypatch.setattr(workbench, "Processes", partial(Processes, 2))
    agent = {"kind": "command", "argv": ["python", "agent.py"]}
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        world = by_mcp(command=["python", "desk.py"])
        await desk.environments.create("desk", world_data=world, agent=agent)
        await desk.scenarios.create("desk", [closing(n) for n in range(1, COUNT + 1)])
        with anyio.fail_after(120):
            run = (await desk.runs.start("desk", wait_s=45)).run
    assert (run.state, run.totals.trials, run.totals.error) == ("done", COUNT, 0)


OTHER = """
import sys
from pathlib import Path
import anyio
from caseharden import Workbench

async def main(home, run):
    async with Workbench(Path(home), resume=False) as bench:
        Path(home, "ready").touch()
        print((await bench.runs.start("desk", trials=5, wait_s=45)).run.totals.passed)

anyio.run(main, *sys.argv[1:])
"""


class SlowService(Service):
    def __call__(self, seen: Seen) -> Answer:
        return super().__call__(seen).late(0.02)


async def test_trials_of_two_processes_on_one_data_folder_take_turns(tmp_path: Path) -> None:
    with Endpoint(SlowService()) as endpoint:
        async with bench(tmp_path) as desk:
            await played(desk, by_http(endpoint.url))
            endpoint.requests.clear()
            command = [*warm(), "-c", OTHER, str(tmp_path / "data"), ""]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
                with anyio.fail_after(120):
                    while not (tmp_path / "data" / "ready").exists():
                        await anyio.sleep(0.01)
                    run = (await desk.runs.start("desk", trials=5, wait_s=45)).run
                    told = await anyio.to_thread.run_sync(other.communicate)
        keys = [seen.headers["caseharden-trial"] for seen in endpoint.requests]
    assert run.totals.passed == 5 * COUNT and told[0].strip() == str(5 * COUNT)
    turns = [key for k, key in enumerate(keys) if not k or keys[k - 1] != key]
    assert len(turns) == len(set(turns)) >= 2 * 5 * COUNT, "no trial asked while another one had its turn"


async def test_a_world_with_too_many_servers_to_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    world = by_mcp(command=["python", "desk.py"])
    world["servers"] |= {f"s{n}": {"command": ["python", "desk.py"]} for n in range(16)}
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        with pytest.raises(InvalidArgument, match="17 servers") as wrong:
            await desk.environments.create("desk", world_data=world)
    assert wrong.value.where.endswith("servers") and "16" in wrong.value.allowed


async def test_a_lent_run_whose_trials_take_turns_says_that_it_waits(tmp_path: Path) -> None:
    with Endpoint(Service()) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create("desk", instructions=RULED, world_data=by_http(endpoint.url))
            await desk.scenarios.create("desk", [closing(n) for n in range(1, 4)])
            run = (await desk.runs.start("desk", models={"user": "relay"}, wait_s=0)).run
            with anyio.fail_after(60):
                while (await desk.jobs.wait(run.job, wait_s=1)).job.state != "waiting":
                    pass


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
