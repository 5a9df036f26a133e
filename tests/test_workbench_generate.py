"""Personas and scenarios written by the writer model, as jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import Conflict, HeldOut, InvalidArgument
from caseharden.engine.generate import scenarios
from caseharden.engine.workbench.results import Creation
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.workbench_cases import INSTRUCTIONS, audited, bench_at, tickets

pytestmark = pytest.mark.anyio

OFFLINE = "Written by offline: from templates and world data, less varied than by a language model."


@pytest.mark.requirement("AS-15")
async def test_personas_are_written_distinct_and_tied_to_records(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop")
        made = await bench.personas.generate("support", brief="hurried people", count=4, wait_s=45)
        assert len(made.made) == 4 and made.by.startswith("offline")
        assert OFFLINE in made.warnings
        assert 0 <= made.checked["highest_overlap"] < 0.7
        assert made.checked["near_duplicates_refused"] >= 0 and made.checked["records_exist"] == 4
        assert made.counts["personas"] == 10
        assert made.job is not None and made.job.state == "done"
        assert made.job.units.completed + made.job.units.failed == made.job.units.total == 4
        shown = await bench.items.get("persona", made.made[0])
        assert shown.item["source"] == "generated"
    assert ("create", "persona", made.made[0]) in audited(tmp_path)


async def test_scenarios_are_solved_before_they_are_stored(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop")
        made = await bench.scenarios.generate("support", count=4, wait_s=45)
        assert len(made.made) >= 1 and made.by.startswith("offline")
        assert made.checked["proven"] + len(made.checked["unproven"]) == len(made.made)
        assert made.checked["do_nothing_passes"] == []
        assert OFFLINE in made.warnings
        shown = await bench.items.get("scenario", made.made[0])
        assert shown.item["split"] in ("train", "held_out")
        slugs = [f"scenario:{id.partition('/')[2]}" for id in made.made]
        await bench.simulations.create("support", scenarios=[s.partition(":")[2] for s in slugs])
        run = (await bench.runs.start("support", select=slugs, wait_s=45)).run
        assert run.totals.error == run.totals.invalid == 0


@pytest.mark.requirement("AS-2", "AS-3")
async def test_a_model_at_an_endpoint_writes_what_is_stored_and_is_told_what_was_wrong(
    tmp_path: Path,
) -> None:
    persona = {
        "id": "climber",
        "kind": "crescendo",
        "profile": "Ana, 41, a baker.",
        "style": "please",
        "traits": ["patient"],
        "objective": "Get ticket T1 closed twice",
    }
    asked: list[dict[str, Any]] = []

    def answer(seen: Seen) -> Answer:
        data = json.loads(seen.json["messages"][-1]["content"].partition("\n")[2])
        asked.append(data)
        if data["task"] == "personas":
            wrong = {**persona, "profile": "Ana holds T99."}
            return chat(json.dumps({"personas": [persona if data["refused"] else wrong]}))
        steps = [
            {"tool": "look_up_ticket", "args": {"ticket_id": "T1"}},
            {"tool": "close_ticket", "args": {"ticket_id": "T1"}},
            {"say": "Closed."},
        ]
        case = {
            "id": "close-in-trouble",
            "kind": "faults",
            "goal": "Get ticket T1 closed",
            "knowledge": [{"fact": "ticket id", "value": "T1"}],
            "expected": steps,
            "success": [{"id": "world", "world": "expected"}],
            "faults": [{"tool": "close_ticket", "on_calls": [1], "mode": "timeout"}],
        }
        return chat(json.dumps({"scenarios": [case]}))

    with FakeEndpoint(answer) as endpoint:
        async with bench_at(tmp_path) as bench:
            models = {"writer": {"model": "w", "base_url": endpoint.base_url}}
            await bench.environments.create(
                "desk", instructions=INSTRUCTIONS, world_data=tickets(2), models=models
            )
            people = await bench.personas.generate("desk", count=1, kinds=["crescendo"], wait_s=45)
            cases = await bench.scenarios.generate("desk", count=1, kinds=["faults"], wait_s=45)
            assert people.made == ["desk/climber"] and cases.made == ["desk/close-in-trouble"]
            assert cases.checked["proven"] == 1 and not people.warnings
            pair = {"scenario": "close-in-trouble", "persona": "climber"}
            await bench.simulations.create("desk", simulations=[pair])
            run = (await bench.runs.start("desk", wait_s=45)).run
            (row,) = (await bench.items.page("conversation", where={"run": run.id}, detail="full")).items
    assert "T99" in json.dumps(asked[1]["refused"]) and row["persona"] == "climber"
    assert run.totals.trials == 1 and run.totals.error == run.totals.invalid == 0


async def test_other_languages_are_written_offline_and_it_is_said_that_the_user_speaks_english(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop")
        made = await bench.personas.generate("support", count=2, kinds=["multilingual"], wait_s=45)
    assert len(made.made) == 2 and any("offline user writes English" in one for one in made.warnings)


async def test_the_same_key_and_a_restart_give_the_same_creation(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop")
        first = await bench.personas.generate("support", count=3, wait_s=0, idempotency_key="k")
        assert first.job is not None and not first.made
        with anyio.fail_after(60):
            waited = await bench.jobs.wait(first.job.id, wait_s=45)
        assert isinstance(waited.result, Creation) and len(waited.result.made) == 3
        with pytest.raises(Conflict, match="other arguments"):
            await bench.personas.generate("support", count=4, idempotency_key="k")
    async with bench_at(tmp_path) as bench:
        again = await bench.personas.generate("support", count=3, idempotency_key="k")
        told = await bench.jobs.wait(first.job.id)
        assert isinstance(told.result, Creation)
        for creation in (again, told.result):
            assert creation.made == waited.result.made
            assert creation.checked == waited.result.checked
            assert creation.warnings == waited.result.warnings
        assert (await bench.items.page("persona", environment="support")).total == 9


async def test_wrong_requests_start_nothing_and_failures_are_told(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("bare", instructions=INSTRUCTIONS)
        for count in (-1, 0, 51, 10**9):
            with pytest.raises(InvalidArgument) as wrong:
                await bench.scenarios.generate("bare", count=count)
            assert wrong.value.where == "count"
        with pytest.raises(InvalidArgument) as kind:
            await bench.personas.generate("bare", kinds=["angryy"])
        assert kind.value.where == "kinds[0]"
        with pytest.raises(InvalidArgument, match="brief"):
            await bench.personas.generate("bare", brief="x" * 10_000_000)
        assert (await bench.items.page("job")).total == 0
        with pytest.raises(InvalidArgument, match="no tools"):
            await bench.scenarios.generate("bare", wait_s=45)
        failed = await bench.jobs.wait("job-1")
        assert failed.job.state == "failed" and failed.result is None


async def test_the_world_is_probed_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    pick = scenarios.pick_probes

    def noting(*args: Any) -> Any:
        threads.append(threading.get_ident())
        return pick(*args)

    monkeypatch.setattr(scenarios, "pick_probes", noting)
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop")
        made = await bench.scenarios.generate("support", count=2, wait_s=45)
        assert made.made
    assert threads and threading.get_ident() not in threads


@pytest.mark.requirement("AS-3")
async def test_sealed_scenarios_are_read_by_nobody_before_a_hardening_has_its_outcome(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop")
        asked: dict[str, Any] = {"count": 3, "wait_s": 45}
        made = await bench.scenarios.generate("support", kinds=["must_refuse", "sealed"], **asked)
        assert made.made == ["support/sealed-1", "support/sealed-2", "support/sealed-3"] and not made.refused
        assert any("Nobody reads them before" in warning for warning in made.warnings)
        more = await bench.scenarios.generate("support", kinds=["sealed"], **asked)
        assert more.made[0] == "support/sealed-4"
        page = await bench.items.page("scenario", environment="support", where={"text": "sealed-"}, limit=100)
        row = next(row for row in page.items if row["id"] == "support/sealed-1")
        assert "goal" not in row and row["tags"] == ["sealed"] and row["split"] == "held_out"
        run = (
            await bench.runs.start("support", select=["scenario:sealed-1", "scenario:sealed-2"], wait_s=45)
        ).run
        trial = (await bench.items.page("conversation", where={"run": run.id})).items[0]["id"]
        refused: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: bench.items.get("scenario", "support/sealed-1", view="full"),
            lambda: bench.items.get("scenario", "support/sealed-1", view="solution"),
            lambda: bench.items.get("conversation", trial, view="turns"),
            lambda: bench.items.update("scenario", "support/sealed-1", {"seed": 3}),
            lambda: bench.sessions.start("support", start="sealed-1"),
            lambda: bench.exports.export(run.id, "json"),
            lambda: bench.exports.export("support", "tau2"),
        )
        for look in refused:
            with pytest.raises(HeldOut, match="sealed"):
                await look()
        shown = (await bench.items.get("scenario", "support/sealed-1")).item
        assert "goal" not in shown and "knowledge" not in shown and not shown["spent"]
        with anyio.fail_after(120):
            hardening = (await bench.hardenings.harden("support", strategy="rules", wait_s=45)).hardening
        assert hardening.outcome and "sealed-1" in hardening.held_out
        opened = await bench.items.get("scenario", "support/sealed-1", view="full")
        assert opened.item["goal"] and "count" in " ".join(opened.warnings)


async def test_what_a_client_writes_is_not_sealed_from_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("support", world="shop", models={"writer": "relay"})
        with pytest.raises(InvalidArgument, match=r"cannot be sealed from it.*kinds\[1\]"):
            await bench.scenarios.generate("support", kinds=["edge", "sealed"])
