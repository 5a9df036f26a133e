"""What is said where there is nothing, and where there is one: of what, and what makes the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from caseharden.engine.plural import plural
from caseharden.tests.server_desk import desk

pytestmark = pytest.mark.anyio
MAKERS = {
    "persona": "generate_personas",
    "scenario": "generate_scenarios",
    "simulation": "create_simulations",
    "run": "run_simulations",
    "hardening": "harden_agent",
    "candidate": "harden_agent",
    "job": "run_simulations",
    "session": "start_session",
}


def test_a_number_stands_with_the_noun_that_fits() -> None:
    assert [plural(n, "trial") for n in (0, 1, 1200)] == ["0 trials", "1 trial", "1,200 trials"]
    assert plural(1, "try", "tries") == "1 try" and plural(2, "try", "tries") == "2 tries"
    assert plural(1, "instructions") == "1 instructions" and plural(2, "instructions") == "2 instructions"


async def test_an_empty_list_says_what_makes_the_first_of_its_kind(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        none = await at.ok("list_items", kind="environment")
        assert (await at.follow(none))["kind"] == "world"
        assert (await at.ok("list_items", kind="run"))["next"][0]["args"] == {"kind": "environment"}
        await at.ok("create_environment", id="bare")
        for kind, maker in MAKERS.items():
            page = await at.ok("list_items", kind=kind, environment="bare")
            (call,) = page["next"]
            assert (call["tool"], call["args"]) == (maker, {"environment": "bare"}), kind
            chosen = await at.ok("list_items", kind=kind, environment="bare", where={"text": "zzz"})
            assert chosen["next"][0]["args"] == {"kind": kind, "environment": "bare"}
            assert chosen["next"][1] == call


async def test_what_is_empty_in_a_call_is_named(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        answers = await at.error("answer_model_calls", answers=[])
        assert answers["what"] == "There is no answer in `answers`." and answers["allowed"]
        assert answers["next"] == [{"tool": "take_model_calls", "args": {}}]
        source = await at.error("export_run", source="")
        assert source["where"] == "export_run.source" and "source" in source["what"]


async def test_one_of_a_kind_is_told_as_one(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok(
            "create_environment", id="bare", world_data={"format": "world/1", "name": "w", "db": {"a": {}}}
        )
        await at.ok("create_personas", environment="bare", personas=[{"id": "dana"}])
        await at.ok("create_scenarios", environment="bare", scenarios=[{"id": "one", "goal": "Say hello."}])
        about = await at.ok("get_item", kind="environment", id="bare")
        assert "1 scenario (" in about["summary"] and "1 persona," in about["summary"]
        run = await at.ok("run_simulations", environment="bare", trials=1, wait_s=45)
        told = await at.ok("get_item", kind="run", id=run["run"], view="clusters")
        assert "of 1 trial failed" in told["summary"]
        where = {"run": run["run"], "verdict": "error"}
        errors = await at.ok("list_items", kind="conversation", where=where)
        assert errors["total"] == 0 and (await at.follow(errors))["id"] == run["run"]
        lists = [
            await at.ok("list_items", kind=kind, environment="bare")
            for kind in ("persona", "scenario", "run")
        ]
        assert [page["summary"] for page in lists] == [
            "1 persona in bare.",
            "1 scenario in bare.",
            "1 run in bare.",
        ]
