"""The official conformance suite against our server over HTTP. Exit 0: nothing failed.

Twice: the scenarios that need nothing special against the server as it is, and all that a revision requires against
the same server with the suite's fixtures beside our tools. The suite cannot send a token: a wrapper around our
application adds it to every request, so that the rest is as it is served.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from caseharden.mcp_server.app import build_server
from caseharden.mcp_server.gate import security
from caseharden.mcp_server.http import LOOPBACK, Listen, http_app, opened
from caseharden.mcp_server.tokens import made
from caseharden.resources.workbench import Workbench
from caseharden.tests.outside import fixtures, node

PACKAGE = "@modelcontextprotocol/conformance"
OLD, NEW = "0.1.16", "0.2.0-alpha.12"
PLAIN = {
    OLD: [
        *(
            "server-initialize",
            "ping",
            "tools-list",
            "resources-list",
            "resources-subscribe",
            "resources-unsubscribe",
        ),
        *("prompts-list", "server-sse-multiple-streams", "dns-rebinding-protection"),
    ],
    NEW: [
        *("tools-list", "resources-list", "prompts-list", "sep-2164-resource-not-found", "caching"),
        *("dns-rebinding-protection", "http-header-validation", "server-sse-multiple-streams"),
        "input-required-result-unsupported-methods",
    ],
}
"""The scenarios that need no fixture, by version of the suite."""
LEGS = (
    ("2025 wires, first suite", OLD, ["--suite", "active"]),
    ("all that 2025-11-25 requires", NEW, ["--requirements", "2025-11-25"]),
    ("all that 2026-07-28 requires", NEW, ["--requirements", "2026-07-28"]),
)
"""With the fixtures. Nothing of it is expected to fail; what is not required (the tasks extension, streams that go on
where they broke off) is run by the suite and not counted."""


class Bearing:
    """Adds the token that the suite cannot send."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._header = (b"authorization", f"Bearer {token}".encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], self._header]}
        await self._app(scope, receive, send)


@contextlib.contextmanager
def served(*, with_fixtures: bool) -> Generator[str]:
    """The address of our server, in a thread."""
    with tempfile.TemporaryDirectory() as folder, opened(Listen(port=0)) as listener:
        home = Path(folder)
        tokens, path = made(home)
        server = build_server(
            Workbench(home),
            extra=fixtures.TOOLS if with_fixtures else (),
            verifier=tokens,
            log_level="CRITICAL",
        )
        if with_fixtures:
            fixtures.add(server)
        app = Bearing(http_app(server, security(LOOPBACK)), path.read_text().strip())
        web = uvicorn.Server(
            uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://{address(listener)}/mcp"
        finally:
            web.should_exit = True
            thread.join()


def address(listener: socket.socket) -> str:
    """`127.0.0.1:PORT`."""
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"


def main() -> int:
    """Every leg, one line each; what failed stands under it."""
    failed = False
    with served(with_fixtures=False) as url:
        for version, scenarios in PLAIN.items():
            for scenario in scenarios:
                words = [
                    "--scenario",
                    scenario,
                    *(["--spec-version", "2026-07-28"] if version == NEW else []),
                ]
                failed |= leg(f"as it is: {scenario}", version, url, words)
    with served(with_fixtures=True) as url:
        for name, version, words in LEGS:
            failed |= leg(name, version, url, words)
    return 1 if failed else 0


def leg(name: str, version: str, url: str, words: list[str]) -> bool:
    """Run a part of the suite; whether it failed."""
    suite = str(node.installed(PACKAGE, version) / "dist" / "index.js")
    with tempfile.TemporaryDirectory() as results:
        done = node.run(suite, "server", "--url", url, *words, "-o", results, timeout_s=300)
    told = done.stdout + done.stderr
    passed, missed = counted(told)
    failed = done.returncode != 0 or missed > 0 or not passed
    print(f"{'FAIL' if failed else 'ok  '}  {version}  {name}: {passed} passed, {missed} failed", flush=True)
    if failed:
        print(told)
    return failed


def counted(told: str) -> tuple[int, int]:
    """Checks that passed and that failed, without those of scenarios that are not required."""
    if single := re.search(r"Passed: (\d+)/\d+, (\d+) failed", told):
        return int(single[1]), int(single[2])
    optional = set(re.findall(r"^  . (\S+) \(", told, re.MULTILINE))
    rows = re.findall(r"^. (\S+): (\d+) passed, (\d+) failed", told, re.MULTILINE)
    required = [(int(passed), int(failed)) for name, passed, failed in rows if name not in optional]
    return sum(passed for passed, _ in required), sum(failed for _, failed in required)


if __name__ == "__main__":
    sys.exit(main())
