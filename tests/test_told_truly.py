"""What a newcomer is told: refusals instead of nothing found, and calls that can be made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from caseharden.engine.errors import NotAllowed
from caseharden.engine.net import Network
from caseharden.engine.net.guard import Guard
from caseharden.engine.processes import AllowedCode
from caseharden.mcp_server.app import build_server
from caseharden.resources.workbench import Workbench
from caseharden.tests.server_desk import TINY, Desk, closing, desk, tiny

pytestmark = pytest.mark.anyio


async def test_a_score_that_waits_holds_up_its_own_run_only(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        run = {"environment": "support", "wait_s": 30}
        for _ in range(2):
            await at.ok("run_simulations", **run)
        asked = {"metrics": ["helpfulness"], "judge": "relay"}
        waits = await at.ok("score_run", run="run-1", **asked, wait_s=30)
        assert waits["job"]["state"] == "waiting"
        assert "being scored" in waits["summary"] and "take_model_calls" in waits["summary"]
        assert "scored again" in (await at.ok("score_run", run="run-2", metrics=["turns"]))["summary"]
        refused = await at.error("score_run", run="run-1", metrics=["turns"])
        assert refused["code"] == "conflict" and refused["next"][0]["tool"] == "wait_job"
    async with desk(tmp_path) as at:
        assert (await at.ok("score_run", run="run-2", metrics=["turns"]))["run"] == "run-2"


async def test_nothing_selected_is_refused(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        refused = await at.error("run_simulations", environment="support", select=[])
    assert refused["where"].endswith("select")


@pytest.mark.parametrize(
    ("kind", "where", "allowed"),
    [
        ("conversation", {"run": "run-1", "verdict": "failed"}, "inconclusive"),
        ("run", {"state": "finished"}, "cancelled"),
        ("job", {"state": "ready"}, "waiting"),
    ],
)
async def test_a_filter_that_nothing_can_be_is_refused(
    tmp_path: Path, kind: str, where: dict[str, Any], allowed: str
) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        await at.ok("run_simulations", environment="support", wait_s=30)
        refused = await at.error("list_items", kind=kind, where=where)
        assert refused["where"].endswith(f"where.{list(where)[-1]}") and allowed in str(refused["allowed"])
        refused = await at.error("export_run", source="run-1", format="json", where={"verdict": "failed"})
        assert refused["where"].endswith("where.verdict")


async def test_a_row_of_a_run_shows_that_none_passed(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        await at.ok("run_simulations", environment="support", wait_s=30, options={"limits": {"max_turns": 1}})
        totals = (await at.ok("get_item", kind="run", id="run-1"))["item"]["totals"]
        row = (await at.ok("list_items", kind="run"))["items"][0]
    assert (row["passed"], row["rate"]) == (totals["passed"], totals["rate"])


async def test_the_offline_writer_says_that_it_does_not_read_the_brief(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="shop", world="shop")
        made = await at.ok(
            "generate_scenarios", environment="shop", brief="only talk of the weather", count=2, wait_s=45
        )
    told = next(one for one in made["warnings"] if "does not read the brief" in one)
    assert "it wrote about: " in told


async def test_an_environment_of_that_name_is_looked_at(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        refused = await at.error("create_environment", id="support", world="shop")
        assert [call["tool"] for call in refused["next"]] == ["get_item", "list_items"]
        assert (await at.follow(refused))["id"] == "support"


async def test_a_text_in_the_place_of_a_version_can_be_made_one(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        text = "Ask before you close a ticket."
        refused = await at.error("run_simulations", environment="support", instructions=text)
        assert "submit_candidate" in refused["allowed"]
        assert "instructions" in (await at.follow(refused))["changed"]


async def test_taking_all_instructions_away_is_told_as_in_a_new_environment(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        done = await at.ok("update_item", kind="environment", id="support", changes={"instructions": ""})
    assert any("instructions are empty" in one for one in done["warnings"])


async def test_an_exported_hardening_is_followed_by_a_call_that_works(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="shop", world="shop")
        await at.ok("run_simulations", environment="shop", select=["tag:refund"], wait_s=45)
        begun = await at.ok("harden_agent", environment="shop", strategy="submit", run="run-1", wait_s=45)
        written = await at.ok("export_run", source=begun["hardening"])
        assert (await at.follow(written))["id"] == begun["hardening"]


def test_the_flag_that_lets_this_machine_be_reached_is_named() -> None:
    with pytest.raises(NotAllowed) as refused:
        Guard(Network(loopback=False)).target("http://127.0.0.1:9/chat", "url")
    assert "--allow-loopback" in refused.value.allowed


async def test_what_is_held_out_or_undecided_is_not_told_as_nothing_that_fails(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="support", instructions="Close nothing.", world_data=TINY)
        hidden = {**closing("close-one", "T1"), "split": "held_out", "success": [{"said": "zebra"}]}
        await at.ok("create_scenarios", environment="support", scenarios=[hidden], check=False)
        run = await at.ok("run_simulations", environment="support", wait_s=30)
        assert run["totals"]["failed"] and run["next"][0]["why"] == "all that fails is held out"
        await at.follow(run)
        vague = {**closing("close-two", "T2"), "success": [{"id": "kind", "judge": "Was it kind?"}]}
        await at.ok("create_scenarios", environment="support", scenarios=[vague], check=False)
        await at.ok("create_simulations", environment="support", scenarios=["close-two"])
        run = await at.ok("run_simulations", environment="support", select=["scenario:close-two"], wait_s=30)
    assert run["totals"]["inconclusive"] == 1
    assert [call["tool"] for call in run["next"]][:2] == ["list_items", "score_run"]
    assert any("Nothing could be judged" in one and "kind" in one for one in run["warnings"])


async def test_a_score_that_was_cancelled_before_it_judged_does_not_say_that_it_did(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        await at.ok("run_simulations", environment="support", wait_s=30)
        job = (await at.ok("score_run", run="run-1", metrics=["helpfulness"], judge="relay"))["job"]["id"]
        ended = await at.ok("cancel_job", job=job)
    assert "scored again" not in str(ended) and "Nothing was judged" in ended["summary"]


async def test_a_scenario_without_a_simulation_is_given_one_before_it_is_run(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        await at.ok("create_simulations", environment="support", scenarios=["close-two"])
        refused = await at.error("run_simulations", environment="support", select=["scenario:close-one"])
        assert "has no simulation" in refused["what"]
        item = await at.ok("get_item", kind="scenario", id="support/close-one")
        assert item["next"][0]["tool"] == "create_simulations"
        await at.follow(item)
        await at.ok("run_simulations", environment="support", select=["scenario:close-one"], wait_s=30)


async def run_by_python(at: Desk, folder: Path, body: str) -> dict[str, Any]:
    """The reply of a run whose agent is a function with this body."""
    folder.mkdir()
    (folder / "desk.py").write_text(f"def agent(turn):\n    {body}\n")
    await tiny(at)
    change = {"agent": {"kind": "python", "file": "desk.py"}}
    await at.ok("update_item", kind="environment", id="support", changes=change)
    return await at.ok("run_simulations", environment="support", wait_s=45)


async def test_what_an_agent_raised_and_where_code_is_allowed_are_told(tmp_path: Path) -> None:
    async with coded(tmp_path / "data", [tmp_path / "agents"]) as at:
        run = await run_by_python(at, tmp_path / "agents", "raise ValueError('boom')")
        assert any("raised ValueError" in one and "caseharden show" in one for one in run["warnings"])
        rows = (await at.ok("list_items", kind="conversation", where={"run": "run-1"}))["items"]
        assert rows[0]["error"] == "raised ValueError"
    async with coded(tmp_path / "data", []) as at:
        resume = {"environment": "support", "options": {"resume": "run-1"}}
        refused = await at.error("run_simulations", **resume)
    assert "--allow-code" in refused["allowed"]


async def test_an_environment_whose_agent_is_not_reached_is_not_called_ready(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        agent = {"kind": "chat_completions", "url": "http://127.0.0.1:9/chat"}
        made = await at.ok("create_environment", id="far", instructions="Help.", world_data=TINY, agent=agent)
    assert "is made, but its agent was not reached" in made["summary"] and " ready" not in made["summary"]


async def test_an_argument_among_the_options_is_told_where_it_belongs(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await tiny(at)
        refused = await at.error("harden_agent", environment="support", options={"strategy": "submit"})
        assert "argument of harden_agent itself, beside `options`" in refused["what"]
        other = await at.error("harden_agent", environment="support", options={"stratgy": "submit"})
        assert "itself" not in other["what"]


async def test_an_agent_that_is_not_ours_is_named_among_the_models(tmp_path: Path) -> None:
    async with coded(tmp_path / "data", [tmp_path / "agents"]) as at:
        run = await run_by_python(at, tmp_path / "agents", "return 'Hello.'")
        item = await at.ok("get_item", kind="run", id="run-1")
    assert item["item"]["models"] == run["models"]
    assert item["item"]["models"]["agent"] == "agent in desk.py"


@asynccontextmanager
async def coded(home: Path, folders: list[Path]) -> AsyncGenerator[Desk]:
    """A client at a server that runs code of these folders."""
    server = build_server(Workbench(home, code=AllowedCode(folders)))
    async with Client(server) as client:
        yield Desk(client)
