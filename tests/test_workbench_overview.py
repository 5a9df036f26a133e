"""The overview, and lists that stay quick however much is stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.records.environment import ModelChoice
from caseharden.engine.records.run import RunRecord
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.listing import COUNTED
from caseharden.tests.server_desk import desk as client_desk, tiny
from caseharden.tests.workbench_cases import WORLDS, bench_at, desk

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("AS-13")]


async def test_the_overview_counts_rates_and_names_what_goes_on(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        await desk(bench, 2, id="other")
        await bench.runs.start("desk", wait_s=45)
        rule = "Before calling close_ticket, call look_up_ticket."
        await bench.items.update("environment", "other", {"instructions": rule})
        await bench.runs.start("other", wait_s=45)
        going = await bench.runs.start("desk", trials=50, wait_s=0)
        assert going.job is not None
        row = (await bench.items.page("overview")).items[0]
        assert row["totals"]["environments"] == 2 and row["totals"]["runs"] == 3
        assert (row["average_pass_rate"], row["rated_runs"]) == (0.5, 2), "a mean of runs, each counts as one"
        assert (row["passed"], row["counted"]) == (2, 14)
        assert [run["id"] for run in row["recent_runs"]] == ["run-3", "run-2", "run-1"]
        (job,) = row["active_jobs"]
        assert (job["id"], job["run"], job["environment"]) == (going.job.id, "run-3", "desk")
        units = [job[name] for name in ("completed", "failed", "running", "pending")]
        assert sum(units) == job["total"]
        await bench.jobs.cancel(going.job.id)
        mine = (await bench.items.page("overview", environment="other")).items[0]
        assert mine["totals"]["runs"] == 1 and mine["average_pass_rate"] == 1.0
        assert "environments" not in mine["totals"] and mine["active_jobs"] == []


async def test_each_role_says_which_model_plays_it_and_who_chose_it(tmp_path: Path) -> None:
    server = ModelChoice(user="offline", judge="nonsense")
    async with Workbench(tmp_path, worlds=WORLDS, models=server) as bench:
        row = (await bench.items.page("overview")).items[0]
        assert {role: told["from"] for role, told in row["models"].items()} == {
            "agent": "default",
            "user": "server",
            "judge": "server",
            "writer": "default",
        }
        assert row["models"]["agent"]["model"] == "offline (rule-based)"
        assert row["models"]["judge"]["model"] == "nonsense"
        assert row["models"]["judge"]["not_reachable"]
        assert row["problems"] == [f"judge: {row['models']['judge']['not_reachable']}"]


async def test_an_environment_that_chooses_for_itself_is_told_and_so_is_a_call(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        await bench.items.update("environment", "desk", {"models": {"agent": "offline"}})
        row = (await bench.items.page("overview")).items[0]
        assert row["models_of_environments"] == {"desk": {"agent": "offline"}}
        mine = (await bench.items.page("overview", environment="desk")).items[0]
        assert mine["models"]["agent"]["from"] == "environment"
        await bench.runs.start("desk", wait_s=45)
    with Store(tmp_path) as opened:
        Archive(opened).runs.change(
            "run-1", lambda run: run.model_copy(update={"models": {**run.models, "agent": "openai/x"}})
        )
    async with bench_at(tmp_path) as bench:
        row = (await bench.items.page("overview")).items[0]
        assert row["recent_runs"][0]["models_of_call"] == {"agent": "openai/x"}


async def test_damaged_lines_are_counted_as_a_problem(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        assert "problems" not in (await bench.items.page("overview")).items[0]
    table = tmp_path / "tables" / "personas.jsonl"
    lines = table.read_bytes().splitlines(keepends=True)
    table.write_bytes(b"".join([*lines[:-1], b'{"half', b"\n", lines[-1]]))
    async with bench_at(tmp_path) as bench:
        assert (await bench.items.page("persona")).total
        row = (await bench.items.page("overview")).items[0]
        assert row["problems"] == [
            "1 damaged line of personas put aside in damaged/personas.jsonl; all else is whole"
        ]


async def test_the_reply_is_short_and_its_next_calls_fit(tmp_path: Path) -> None:
    async with client_desk(tmp_path) as at:
        empty = await at.ok("list_items")
        assert empty["summary"] == "Nothing is stored yet."
        await tiny(at)
        for _ in range(7):
            await at.ok("run_simulations", environment="support", wait_s=45)
        reply = await at.ok("list_items")
        assert "14 of 14 trials pass; the mean of 7 runs is 100%." in reply["summary"]
        assert len(reply["items"][0]["recent_runs"]) == 5
        assert len(json.dumps(reply["items"][0])) < 4_000
        scoped = await at.ok("list_items", environment="support")
        assert [call["tool"] for call in scoped["next"]] == ["list_items", "get_item"]
        await at.follow(scoped)


async def test_a_filter_that_looks_into_documents_looks_at_so_many_and_says_at_least(tmp_path: Path) -> None:
    count = 3 * COUNTED
    with Store(tmp_path) as opened:
        archive = Archive(opened)
        archive.runs.put("run-1", RunRecord(id="run-1", environment="desk", state="done"))
        row: dict[str, Any] = {"verdict": "fail", "end": "user_stop", "turns": 1, "see_turn": 1}
        row["graded"] = {"verdict": "fail", "end": "user_stop", "checks": []}
        rows = {
            f"s{n}/1": {
                **row,
                "id": f"s{n}/1",
                "simulation": f"s{n}",
                "scenario": f"s{n}",
                "failed_checks": ["polite"],
                "split": "held_out" if n % 5 == 0 else "train",
            }
            for n in range(count)
        }
        archive.trials("run-1").table.put_many(rows)
    async with client_desk(tmp_path) as at:
        whole = await at.ok("list_items", kind="conversation", where={"run": "run-1"})
        assert whole["total"] == count
        checked = await at.ok("list_items", kind="conversation", where={"run": "run-1", "check": "polite"})
        assert checked["total"] == count - count // 5, "by an index: all of train, and none that is held out"
        found = await at.ok("list_items", kind="conversation", where={"run": "run-1", "text": "polite"})
        assert found["summary"].startswith("At least ") and 0 < found["total"] <= COUNTED
        seen: set[str] = set()
        query = {"kind": "conversation", "where": {"run": "run-1", "text": "polite"}, "limit": 100}
        cursor = ""
        while True:
            page = await at.ok("list_items", **query, cursor=cursor)
            seen |= {row["id"] for row in page.get("items", [])}
            if not (cursor := page.get("next_cursor", "")):
                break
        assert len(seen) == count - count // 5, "pages go on to the end whatever the total said"
