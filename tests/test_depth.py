"""A Caseharden that tests itself comes to an end: what it starts and asks is told how deep it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.depth import HEADER, MOST, VARIABLE, at_depth
from caseharden.engine.processes import AllowedCode
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint, chat
from caseharden.tests.server_desk import Desk
from caseharden.tests.wires import http_client, http_server
from caseharden.tests.workbench_cases import WORLDS, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-13")]
ITSELF = """
import sys
from caseharden.mcp_server.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", "--home", {home!r}, "--allow-code", {code!r}]))
"""
ONE_TURN = {"limits": {"max_turns": 1, "timeout_s": 100}, "split": "train"}
RUN_AGAIN = {"environment": "desk", "wait_s": 40}


@asynccontextmanager
async def a_bench(tmp_path: Path) -> AsyncGenerator[Workbench]:
    """A workbench beside a file that serves its data folder."""
    code, home = tmp_path / "code", tmp_path / "data"
    code.mkdir()
    (code / "itself.py").write_text(ITSELF.format(home=str(home), code=str(code)), encoding="utf-8")
    async with Workbench(home, worlds=WORLDS, code=AllowedCode([code])) as bench:
        yield bench


async def played_out(bench: Workbench) -> dict[str, str]:
    """How the trial of a run ended, and of each run that it led to."""
    with anyio.fail_after(240):
        report = await bench.runs.start("desk", wait_s=45)
        while (await bench.jobs.wait(report.run.job, 45)).job.active:
            pass
    found: dict[str, str] = {}
    for row in (await bench.items.page("run")).items:
        place = f"{row['id']}/close-1/1"
        item = await bench.items.get("conversation", place, view="full")
        found[str(row["id"])] = str(item.item["conversation"]["end"])
    return found


async def test_a_server_that_is_its_own_agent_comes_to_an_end(tmp_path: Path) -> None:
    agent = {
        "kind": "mcp",
        "command": ["python", "itself.py"],
        "tool": "run_simulations",
        "body": {**RUN_AGAIN, "environment": "{{last}}"},
        "timeout_s": 90,
    }
    async with a_bench(tmp_path) as bench:
        await bench.environments.create("desk", world_data=tickets(1), agent=agent)
        case = closing(1, **ONE_TURN, script=[{"user": "desk"}, {"agent": None}])
        await bench.scenarios.create("desk", [case], check=False)
        runs = await played_out(bench)
    # A server that may start nobody finds that out before it runs anything.
    assert len(runs) == MOST, runs
    assert any("levels deep" in end for end in runs.values()), runs


async def test_a_server_that_is_its_own_world_comes_to_an_end(tmp_path: Path) -> None:
    world = tickets(1)
    world["servers"] = {"itself": {"command": ["python", "itself.py"], "timeout_s": 90}}
    world["tools"][0] |= {"impl": {"mcp": "itself", "tool": "run_simulations"}, "kind": "write"}
    del world["tools"][0]["steps"]
    world["tools"][0]["parameters"] = {"type": "object", "properties": {}}
    case = closing(1, **ONE_TURN)
    case["history"] = [{"by": "agent", "tool": "look_up_ticket", "args": RUN_AGAIN}]
    world["tools"][0]["strict"] = False
    async with a_bench(tmp_path) as bench:
        await bench.environments.create("desk", world_data=world)
        await bench.scenarios.create("desk", [case], check=False)
        runs = await played_out(bench)
    assert len(runs) == MOST + 1, runs
    assert any("levels deep" in end for end in runs.values()), runs


async def test_what_is_started_and_asked_is_told_how_deep_it_is(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    told = f"import os\n\ndef agent(turn):\n    return os.environ[{VARIABLE!r}]\n"
    (code / "agent.py").write_text(told, encoding="utf-8")
    with FakeEndpoint(chat("Hello.")) as endpoint:
        async with Workbench(tmp_path / "data", worlds=WORLDS, code=AllowedCode([code])) as bench:
            agents: dict[str, Any] = {
                "python": {"kind": "python", "file": "agent.py"},
                "http": {"kind": "chat_completions", "url": f"{endpoint.base_url}/chat/completions"},
            }
            for id, agent in agents.items():
                await bench.environments.create(id, world_data=tickets(1), agent=agent)
                await bench.scenarios.create(id, [closing(1, **ONE_TURN)])
                with at_depth("1"):
                    run = (await bench.runs.start(id, wait_s=45)).run
                if id == "python":
                    item = await bench.items.get("conversation", f"{run.id}/close-1/1", view="turns")
                    assert item.item["turns"][0]["agent"] == "2"
    assert endpoint.requests
    assert {seen.headers[HEADER.lower()] for seen in endpoint.requests} == {"2"}


async def test_a_request_that_says_how_deep_it_is_starts_and_asks_nobody(tmp_path: Path) -> None:
    with (
        FakeEndpoint(chat("Hello.")) as endpoint,
        http_server(tmp_path / "data", "--allow-net", "127.0.0.0/8") as served,
    ):
        async with http_client(served.url, "auto") as client:
            at = Desk(client)
            agent = {"kind": "chat_completions", "url": f"{endpoint.base_url}/chat/completions"}
            await at.ok("create_environment", id="desk", world_data=tickets(1), agent=agent)
            await at.ok("create_scenarios", environment="desk", scenarios=[closing(1, **ONE_TURN)])
        for told in ("2", "7", "999999999"):
            async with http_client(served.url, "auto", headers={HEADER: told}) as client:
                at = Desk(client)
                run = await at.ok("run_simulations", environment="desk", wait_s=45)
                talk = await at.ok("get_item", kind="conversation", id=f"{run['run']}/close-1/1")
            assert endpoint.requests == [], told
            assert "levels deep" in str(talk), told
        async with http_client(served.url, "auto", headers={HEADER: "x1"}) as client:
            await Desk(client).ok("run_simulations", environment="desk", wait_s=45)
        assert endpoint.requests
