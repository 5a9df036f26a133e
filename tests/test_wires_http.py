"""What the HTTP server refuses, and how it begins and ends: tokens, Host and Origin, sizes, types, addresses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from caseharden.mcp_server.cli import main
from caseharden.mcp_server.http import SESSIONS, Listen, opened
from caseharden.tests.server_desk import MODES, Desk, Mode, tiny
from caseharden.tests.wire_plan import long_run
from caseharden.tests.wires import COMMAND, TOKEN, Served, http_client, http_server

pytestmark = pytest.mark.anyio
NAMED = "another-token-for-tests"
OLD = "a-token-that-has-expired"
HASHED = "a-token-with#a-hash"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for the module; what it logs of refusals is not looked at."""
    lines = [TOKEN, f"{NAMED} ci-robot 2999-01-01T00:00:00Z", f"{OLD} gone 2020-01-01", f"{HASHED} # more"]
    tokens = "\n".join(["# who may come in", *lines])
    with http_server(tmp_path_factory.mktemp("http") / "data", tokens=tokens, clean=False) as found:
        yield found


def post(
    served: Served, body: bytes | None = None, path: str = "", headers: dict[str, str] | None = None
) -> httpx2.Response:
    """POST to the server with good headers but for those that are named; "" leaves one out."""
    told = {name: value for name, value in {**HEADERS, **(headers or {})}.items() if value}
    content = json.dumps(HELLO).encode() if body is None else body
    return httpx2.post(served.url + path, content=content, headers=told, timeout=30)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": f"bearer {NAMED}"}, 200),
        ({"Authorization": f"Bearer {HASHED}"}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": f"Bearer {OLD}"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}", "Host": "evil.example"}, 421),
        ({"Authorization": "", "Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Content-Type": "text/plain"}, 400),
        ({"Accept": "text/html"}, 406),
    ],
)
def test_only_a_request_with_a_good_token_host_origin_and_type_comes_in(
    served: Served, headers: dict[str, str], status: int
) -> None:
    answer = post(served, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 401:
        assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert OLD not in answer.text
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", ["?access_token={token}", "?token={token}", "?a=1&access_token="])
def test_a_token_in_the_address_is_refused_even_beside_a_good_one(served: Served, path: str) -> None:
    answer = post(served, path=path.format(token=TOKEN))
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


def test_a_body_over_four_megabytes_is_refused_before_it_is_parsed(served: Served) -> None:
    large = b" " * 5_000_000
    assert post(served, large).status_code == 413
    assert post(served, large, headers={"Authorization": ""}).status_code == 401


@pytest.mark.parametrize("version", ["", "2025-06-18", "2026-07-28"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_item","arguments":{"id":'
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}}}",
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\xff\xfe"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}',
        b"\x00",
        b"{",
        b"[]",
    ],
    ids=["deep", "no-utf8", "surrogate", "nul", "half", "batch"],
)
def test_a_body_that_no_parser_likes_gets_a_clean_error_and_the_server_lives(
    served: Served, body: bytes, version: str
) -> None:
    answer = post(served, body, headers={"MCP-Protocol-Version": version})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] < 0
    assert "Traceback" not in answer.text
    assert post(served).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/", "/mcp/../health", "/.well-known/oauth-protected-resource"])
def test_without_a_token_there_is_only_the_health_page_and_it_has_no_secret(
    served: Served, path: str
) -> None:
    answer = httpx2.get(served.base + path, timeout=30)
    if answer.status_code == 200:
        assert set(answer.json()) == {"status", "name", "version"}
    else:
        assert answer.status_code == 404
    assert httpx2.get(served.base + path, headers={"Host": "evil.example"}).status_code == 421


def test_a_session_is_bound_to_the_token_that_opened_it(served: Served) -> None:
    session = post(served).headers["mcp-session-id"]
    ping = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"}).encode()
    assert post(served, ping, headers={"Mcp-Session-Id": session}).status_code == 200
    other = {"Mcp-Session-Id": session, "Authorization": f"Bearer {NAMED}"}
    assert post(served, ping, headers=other).status_code == 404
    assert post(served, ping, headers={"Mcp-Session-Id": "0" * 32}).status_code == 404


def test_sessions_are_limited(tmp_path: Path) -> None:
    with http_server(tmp_path / "data", clean=False) as served, httpx2.Client(headers=HEADERS) as client:
        codes = [client.post(served.url, json=HELLO).status_code for _ in range(SESSIONS + 1)]
        assert codes == [200] * SESSIONS + [503]
        modern = {"MCP-Protocol-Version": "2026-07-28"}
        assert client.post(served.url, json=HELLO, headers=modern).status_code != 503


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--http", "--host", "0.0.0.0"),
            "--host: 0.0.0.0 can be reached from other machines; that takes --token and --allow-host.",
        ),
        (("--http", "--host", "0.0.0.0", "--token", "env:GOOD"), "that takes --allow-host."),
        (("--http", "--host", "::", "--allow-host", "tests.example"), "that takes --token."),
        (("--http", "--token", "my-secret-token-itself"), "--token: A token is given by reference"),
        (
            ("--http", "--token", "env:NOBODY_SET_THIS"),
            "--token: The environment variable NOBODY_SET_THIS is not set.",
        ),
        (
            ("--http", "--token", "file:/nowhere/token"),
            "--token: The token file /nowhere/token cannot be read",
        ),
        (
            ("--http", "--token", "env:SHORT"),
            "--token: Line 1 of the tokens: the token has under 16 characters.",
        ),
        (("--http", "--token", "env:WORDS"), "--token: Line 2 of the tokens: the end is no time."),
        (("--http", "--port", "99999"), "--port: 99999 is no port."),
        (("--http", "--host", "no.such.host.invalid"), "--host: `no.such.host.invalid` is no address"),
        (("--http", "--allow-host", "http://x"), "--allow-host: `http://x` is no host name."),
        (("--token", "env:GOOD"), "--token: --token without --http."),
        (("--allow-net", "10.0.0.0/99"), "--allow-net: "),
        (("--proxy", "socks5://x"), "--proxy: "),
        (("--ca-file", "/nowhere.pem"), "--ca-file: `/nowhere.pem` is not a file."),
        (("--toolset", "some"), "argument --toolset: invalid choice: 'some'"),
    ],
)
def test_a_start_that_would_be_unsafe_or_cannot_work_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setenv("CASEHARDEN_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("GOOD", TOKEN)
    monkeypatch.setenv("SHORT", "short")
    monkeypatch.setenv("WORDS", f"{TOKEN}\n{NAMED} robot tomorrow")
    assert main(["serve", *words]) in (2, 3)
    printed = capsys.readouterr()
    assert told in printed.err
    assert "next:" in printed.err
    for secret in ("my-secret-token-itself", TOKEN, NAMED):
        assert secret not in printed.err + printed.out


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["--home", str(tmp_path / "data"), "--http", "--port", str(taken.getsockname()[1])]
        assert main(["serve", *words]) == 3
    assert "--port: Nobody can listen" in capsys.readouterr().err


def test_where_no_port_was_named_a_free_one_is_taken() -> None:
    with opened(Listen(port=None)) as one, opened(Listen(port=None)) as two:
        assert one.getsockname()[1] != two.getsockname()[1]


async def test_a_token_is_made_kept_in_a_file_of_its_owner_and_never_printed(tmp_path: Path) -> None:
    home = tmp_path / "data"
    seen: list[str] = []
    for _ in range(2):
        command = [*COMMAND, "--http", "--port", "0", "--home", str(home)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            url = process.stderr.readline().split()[3]
            place = process.stderr.readline()
            path = home / "http-token"
            assert f"file:{path}," in place
            assert path.stat().st_mode & 0o777 == 0o600
            token = path.read_text().strip()
            seen.append(token)
            assert len(token) >= 40
            async with http_client(url, "auto", token) as client:
                assert (await client.list_tools()).tools
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
            assert token not in place + process.stderr.read()
    assert seen[0] == seen[1]


async def test_told_to_end_it_ends_in_order_and_the_next_start_goes_on_with_the_run(tmp_path: Path) -> None:
    home = tmp_path / "data"
    long: dict[str, Any] = {
        "environment": "support",
        "trials": 50,
        "options": {"concurrency": 1},
        "wait_s": 0,
    }
    with http_server(home) as served:
        async with http_client(served.url, "auto") as client:
            at = Desk(client)
            await tiny(at)
            await at.ok("create_simulations", environment="support", pairing="all")
            job = (await at.ok("run_simulations", **long))["job"]
            assert job["state"] in ("queued", "running")
        async with http_client(served.url, "legacy") as client:
            seen = await Desk(client).ok("wait_job", job=job["id"], wait_s=0)
            assert seen["job"]["state"] in ("running", "done")
    with http_server(home) as served:
        async with http_client(served.url, "auto") as client:
            at = Desk(client)
            with anyio.fail_after(60):
                while (waited := await at.ok("wait_job", job=job["id"], wait_s=20))["job"][
                    "state"
                ] == "running":
                    pass
    assert waited["job"]["state"] == "done"
    assert waited["job"]["completed"] == waited["job"]["total"] == 200


@pytest.mark.parametrize("mode", MODES)
async def test_told_to_end_it_does_not_wait_for_the_calls_of_clients(tmp_path: Path, mode: Mode) -> None:
    heard = anyio.Event()

    async def notice(progress: float, total: float | None, message: str | None) -> None:
        heard.set()

    with http_server(tmp_path / "data", clean=False) as served:
        async with http_client(served.url, mode) as client:
            job = await long_run(Desk(client))

            async def wait() -> None:
                with pytest.raises(MCPError):
                    await client.call_tool("wait_job", {"job": job, "wait_s": 45}, progress_callback=notice)

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    group.start_soon(wait)
                    await heard.wait()
                    served.process.terminate()
                code = await anyio.to_thread.run_sync(served.process.wait)
            assert code == 0
            assert served.process.stderr is not None
            assert "Traceback" not in served.process.stderr.read()


async def test_two_servers_that_are_asked_for_the_same_run_execute_it_once(tmp_path: Path) -> None:
    home = tmp_path / "data"
    with http_server(home) as one, http_server(home) as two:
        async with http_client(one.url, "auto") as first, http_client(two.url, "legacy") as second:
            await tiny(Desk(first))
            answers: list[dict[str, Any]] = []

            async def ask(at: Desk) -> None:
                asked: dict[str, Any] = {
                    "environment": "support",
                    "wait_s": 30,
                    "idempotency_key": "the-same",
                }
                answers.append(await at.ok("run_simulations", **asked))

            async with anyio.create_task_group() as group:
                group.start_soon(ask, Desk(first))
                group.start_soon(ask, Desk(second))
            assert [one["run"] for one in answers] == ["run-1", "run-1"]
            for client in (first, second):
                page = await Desk(client).ok("list_items", kind="conversation", where={"run": "run-1"})
                assert page["total"] == 2
                assert (await Desk(client).ok("list_items", kind="run"))["total"] == 1
