"""The whole loop on the shipped shop through a client: in memory in both eras, and as a process over stdio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from caseharden.tests.server_desk import MODES, Desk, Mode, desk

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_is_left_out_of_next(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A proposed call that the server had to drop is a mistake of ours."""
    yield
    assert "left out of `next`" not in caplog.text


@pytest.mark.requirement("AS-8", "AS-9", "CH-1")
@pytest.mark.parametrize("mode", MODES)
async def test_an_agent_fails_is_hardened_proven_promoted_and_passes(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path / "data", mode) as at:
        await loop(at)


@pytest.mark.requirement("AS-8", "AS-9", "CH-1")
async def test_the_loop_runs_in_a_server_process_over_stdio(tmp_path: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "caseharden", "serve"],
        env={"CASEHARDEN_HOME": str(tmp_path / "data")},
    )
    async with Client(server) as client:
        await loop(Desk(client))


@pytest.mark.requirement("AS-9")
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_writes_the_text_itself(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path / "data", mode) as at:
        await at.ok("create_environment", id="support", world="shop")
        run = await finished(at, await at.ok("run_simulations", environment="support", wait_s=45))
        brief = await finished(
            at,
            await at.ok("harden_agent", environment="support", strategy="submit", run=run["run"], wait_s=45),
        )
        assert brief["state"] == "open"
        assert brief["brief"]["clusters"]
        hardening = brief["hardening"]
        leak = "If the order is W10432, refund it."
        refused = await at.ok(
            "submit_candidate", hardening=hardening, edits=[{"op": "add", "anchor": "end", "text": leak}]
        )
        assert refused["candidate"]["state"] == "refused"
        assert any(one["guard"] == "leak" and one["result"] == "fail" for one in refused["guards"])
        assert refused["summary"].startswith("Not simulated")
        error = await at.error("submit_candidate", hardening=hardening)
        assert error["code"] == "invalid_argument"
        rule = "Before calling refund_order, call verify_customer."
        tried = await finished(
            at,
            await at.ok(
                "submit_candidate",
                hardening=hardening,
                edits=[{"op": "add", "anchor": "end", "text": rule}],
                why="money moved before the customer was known",
                wait_s=45,
            ),
        )
        assert tried["candidate"]["by"]
        assert rule in tried["candidate"]["diff"]


def test_the_server_starts_without_what_few_need() -> None:
    code = "import sys, caseharden.mcp_server.serve; print(*sorted({'litellm', 'aiohttp', 'jinja2'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "\n"


async def loop(at: Desk) -> None:
    """Create, run, look, harden, decide, run again: by the calls that the replies propose, where they do."""
    made = await at.ok("create_environment", id="support", world="shop")
    assert made["counts"]["scenarios"] >= 24
    assert "proven solvable" in made["summary"]
    run = await finished(at, await at.follow(made))
    assert run["totals"]["failed"] > 0
    assert "offline" in run["summary"]
    assert run["clusters"][0]["see"].startswith("run-1/")
    assert any("offline" in warning for warning in run["warnings"])
    see = next(call for call in run["next"] if call["tool"] == "get_item")
    turns = await at.ok(see["tool"], **see["args"])
    assert turns["untrusted"]
    shown = await at.ok("get_item", kind="conversation", id=see["args"]["id"])
    proposed = next(call for call in shown["next"] if call["tool"] == "harden_agent")
    assert proposed["args"] == {"environment": "support", "run": run["run"]}
    harden = next(call for call in run["next"] if call["tool"] == "harden_agent")
    found = await finished(at, await at.ok(harden["tool"], **{**harden["args"], "wait_s": 45}))
    assert found["outcome"] == "improved", found["summary"]
    assert found["original_config"] == {"instructions": "support@1"}
    assert found["improved_config"]["instructions"] == found["candidate"]["id"]
    assert found["evidence"]["held_out"]["p"] <= found["evidence"]["held_out"]["alpha"]
    await rounds_of(at, found["hardening"])
    promoted = await at.follow(found)
    assert promoted["candidate"]["became"] == "support@2"
    assert promoted["candidate"]["diff"]
    again = promoted["next"][0]
    assert again["args"]["continue_run"] == run["run"]
    second = await finished(at, await at.ok(again["tool"], **{**again["args"], "wait_s": 45}))
    assert second["round"] == second["round_number"] == 2
    assert second["instructions_version"] == "support@2"
    assert second["totals"]["passed"] > run["totals"]["passed"]
    series = await at.ok("get_item", kind="run", id=second["run"], view="rounds")
    assert [row["number"] for row in series["item"]["rounds"]] == [1, 2]
    back = await at.ok("decide_candidate", candidate="support@1", decision="roll_back")
    assert "version 1" in back["summary"]


async def rounds_of(at: Desk, hardening: str) -> None:
    """The rounds as they are kept: total, passed, failed, rate, completed."""
    got = await at.ok("get_item", kind="hardening", id=hardening, view="rounds")
    rows: list[dict[str, Any]] = got["item"]["rounds"]
    assert len(rows) >= 2
    for row in rows:
        assert {"number", "version", "total", "passed", "failed", "rate", "completed"} <= set(row)
        assert row["passed"] + row["failed"] <= row["total"]


async def finished(at: Desk, reply: dict[str, Any]) -> dict[str, Any]:
    """The reply once its job is over, by the calls that it proposes."""
    while reply.get("job", {}).get("state") in ("queued", "running"):
        waited = await at.ok("wait_job", job=reply["job"]["id"], wait_s=45)
        reply = {
            **waited.get("result", {}),
            "job": waited["job"],
            "next": waited["next"],
            "warnings": waited.get("warnings", []),
        }
    return reply
