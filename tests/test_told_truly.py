"""What a newcomer is told: refusals instead of nothing found, and calls that can be made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import NotAllowed
from caseharden.engine.net import Network
from caseharden.engine.net.guard import Guard
from caseharden.tests.server_desk import desk, tiny

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
