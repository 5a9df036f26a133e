"""The state of a world can be read while its trial goes on and afterwards; an export has it all."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.types import TextResourceContents

from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.server_desk import Desk, desk
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio
CHANGED = [{"path": "db.tickets.T1.status", "old": "open", "new": "closed"}]


class Waiting:
    """An agent that closes its ticket at once and answers only when it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, seen: Seen) -> Answer:
        if all(message["role"] != "tool" for message in seen.json["messages"]):
            return chat(None, [("close_ticket", {"ticket_id": "T1"})])
        self.reached.set()
        assert self.go.wait(30)
        return chat("Closed.")


def parts(endpoint: FakeEndpoint) -> dict[str, Any]:
    """The environment."""
    agent = {"kind": "chat_completions", "url": f"{endpoint.base_url}/chat/completions"}
    return {"instructions": "Close.", "world_data": tickets(2), "agent": agent}


def scenario(split: str) -> dict[str, Any]:
    events = [{"id": "told", "when": {"tool": "close_ticket"}, "do": {"notify": "One less"}}]
    return closing(1, split=split, events=events)


async def until(reached: threading.Event) -> None:
    with anyio.fail_after(20):
        assert await anyio.to_thread.run_sync(reached.wait, 20)


@pytest.mark.requirement("ARE-16")
async def test_the_state_is_read_while_a_trial_goes_on_and_when_it_is_over(tmp_path: Path) -> None:
    agent = Waiting()
    with FakeEndpoint(agent) as endpoint:
        async with desk(tmp_path / "data") as at:
            await at.ok("create_environment", id="desk", **parts(endpoint))
            await at.ok("create_scenarios", environment="desk", scenarios=[scenario("train")])
            begun = await at.ok("run_simulations", environment="desk", wait_s=0)
            id = f"{begun['run']}/close-1/1"
            await until(agent.reached)
            item = (await at.ok("get_item", kind="conversation", id=id, view="state"))["item"]
            assert (item["state"], item["turn"], item["changes"]) == ("running", 1, CHANGED)
            assert await resource(at, id) == item
            turns = (await at.ok("get_item", kind="conversation", id=id, view="turns"))["item"]["turns"]
            assert [row["tool"] for row in turns[0]["calls"]] == ["close_ticket"]
            assert turns[0]["events"][-1]["notify"] == "One less"
            full = (await at.ok("get_item", kind="conversation", id=id, view="full"))["item"]
            assert "end" not in full["conversation"] and "verdict" not in full
            agent.go.set()
            await at.ok("wait_job", job=begun["job"]["id"], wait_s=30)
            over = (await at.ok("get_item", kind="conversation", id=id, view="state"))["item"]
            assert over["changes"] == CHANGED and "state" not in over
            assert await resource(at, id) == over


async def resource(at: Desk, id: str) -> Any:
    (content,) = (await at.client.read_resource(f"caseharden://conversation/{id}/state")).contents
    assert isinstance(content, TextResourceContents)
    return json.loads(content.text)


async def test_of_a_held_out_trial_only_that_it_goes_on_is_told(tmp_path: Path) -> None:
    agent = Waiting()
    with FakeEndpoint(agent) as endpoint:
        async with bench_at(tmp_path) as bench:
            await bench.environments.create("desk", **parts(endpoint))
            await bench.scenarios.create("desk", [scenario("held_out")])
            begun = await bench.runs.start("desk", wait_s=0)
            await until(agent.reached)
            for view in ("summary", "state", "turns", "full", "checks"):
                item = await bench.items.get("conversation", f"{begun.run.id}/close-1/1", view=view)
                assert item.item == {"state": "running"}, view
            assert not (await bench.items.get("scenario", "desk/close-1")).item.get("spent")
            agent.go.set()
            assert begun.job is not None
            with anyio.fail_after(30):
                await bench.jobs.wait(begun.job.id, wait_s=20)


@pytest.mark.requirement("ARE-16")
async def test_one_file_holds_the_events_the_state_before_and_after_and_the_verdicts(tmp_path: Path) -> None:
    async with bench_at(tmp_path / "data") as bench:
        await bench.environments.create("desk", instructions="Close.", world_data=tickets(2))
        await bench.scenarios.create("desk", [scenario("train")])
        run = (await bench.runs.start("desk", wait_s=45)).run
        await bench.exports.export(run.id, "json", file="run.json")
    whole = json.loads((tmp_path / "data" / "exports" / "run.json").read_text())
    (trial,) = whole["trials"]
    assert [e["event"] for e in trial["conversation"]["log"] if "event" in e] == ["told"]
    assert whole["world"]["db"]["tickets"]["T1"]["status"] == "open"
    (patch,) = trial["conversation"]["delta"]
    assert (patch["path"], patch["old"], patch["new"]) == ("db.tickets.T1.status", "open", "closed")
    assert trial["record"]["graded"]["verdict"] in ("pass", "fail")
