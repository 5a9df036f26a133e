"""What is kept: deleting leaves no byte behind, age limits delete by themselves, every change is audited."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.exchange import Roots
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench, acting_as
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.deleting import Deleting
from caseharden.engine.workbench.jobs import Jobs
from caseharden.engine.workbench.retention import Retention
from caseharden.engine.workbench.scoring import Scoring
from caseharden.engine.workbench.worlds import Worlds
from caseharden.tests.server_desk import Desk, desk as server_at
from caseharden.tests.workbench_cases import WORLDS, bench_at, closing, desk, tickets

pytestmark = pytest.mark.anyio
MARK = "xyzzy"
"""Stands in everything that a test is going to delete."""


def holding(home: Path, mark: str = MARK) -> list[str]:
    """The files of a data folder in which a text stands, the audit's left out: it keeps ids and reasons."""
    files = [path for path in home.rglob("*") if path.is_file() and path.name != "audit.jsonl"]
    found = [path for path in files if mark.encode() in path.read_bytes()]
    return sorted(str(path.relative_to(home)) for path in found)


async def marked_desk(bench: Workbench, id: str = "desk") -> None:
    """An environment with the mark in its world, instructions, recordings, personas and scenarios, and work on it."""
    world = {**tickets(8), "policy": f"{MARK} policy"}
    played = [{"scenario": "close-1", "turns": [{"user": f"{MARK} hi", "agent": f"{MARK} ho"}]}]
    await bench.environments.create(
        id,
        instructions=f"{MARK}: you close tickets.",
        world_data=world,
        settings={"user_guidelines": f"{MARK} be short"},
    )
    await bench.personas.create(id, [{"id": "dana", "profile": f"{MARK} a person"}])
    cases = [closing(n, guidelines=f"{MARK} case") for n in range(1, 9)]
    await bench.scenarios.create(id, cases)
    await bench.personas.generate(id, brief=f"{MARK} people", count=2, wait_s=45)
    await bench.runs.start(id, trials=2, wait_s=45, options={"name": MARK})
    hardened = await bench.hardenings.harden(id, strategy="submit", wait_s=45)
    edits = [{"op": "add", "anchor": "end", "text": f"{MARK}: call look_up_ticket before close_ticket."}]
    await bench.hardenings.submit(hardened.hardening.id, edits=edits, why=MARK, wait_s=45)
    await bench.items.update("environment", id, {"agent": {"kind": "recorded", "conversations": played}})
    await bench.runs.start(id, trials=1, wait_s=45, options={"name": MARK})


async def test_after_an_environment_is_deleted_no_byte_of_it_is_left(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await marked_desk(bench)
        draft = tmp_path / "worlds" / f"{next((tmp_path / 'worlds').glob('*.json')).stem}.0123.tmp"
        draft.write_text(f"{MARK}, half written")
        await desk(bench, 2, id="other")
        assert len(holding(tmp_path)) > 12
        gone = await bench.items.delete("environment", ["desk"], confirm=True)
        assert gone.goes_with["conversation"] > 16
        assert holding(tmp_path) == []
        assert (await bench.runs.start("other", wait_s=45)).run.totals.trials == 2


async def test_a_deleted_run_takes_with_it_the_world_that_only_it_was_made_of(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        await bench.items.update("environment", "desk", {"world": {"policy": f"{MARK} policy"}})
        run = (await bench.runs.start("desk", wait_s=45)).run.id
        await bench.items.update("environment", "desk", {"world": {"policy": "another"}})
        assert len(holding(tmp_path)) == 1 and run == "run-1"
        await bench.items.delete("run", ["run-1"], confirm=True)
        assert holding(tmp_path) == [] and not (tmp_path / "runs" / "run-1").exists()


@pytest.mark.parametrize("kind", ["persona", "scenario"])
async def test_deleted_records_are_in_no_table_and_in_no_job_that_wrote_them(
    tmp_path: Path, kind: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        service = bench.personas if kind == "persona" else bench.scenarios
        made = (await service.generate("desk", count=2, wait_s=45)).made
        with Store(tmp_path) as store:
            row = store.table(f"{kind}s").fetch(made[0])
        said = row["persona"]["profile"] if kind == "persona" else row["scenario"]["goal"]
        assert f"tables/{kind}s.jsonl" in holding(tmp_path, said)
        await bench.items.delete(kind, made, confirm=True)
        assert holding(tmp_path, said) == []


@asynccontextmanager
async def keeping(home: Path, days: float, later: timedelta) -> AsyncGenerator[Retention]:
    """What keeps a data folder so many days, at a later time."""
    with Store(home, actor="keeper") as store:
        async with anyio.create_task_group() as tasks:
            archive = Archive(store)
            scoring = Scoring(archive, Worlds(archive, None, Roots(())))
            deleting = Deleting(archive, Jobs(store, tasks), scoring)
            yield Retention(archive, deleting, days, lambda: datetime.now(UTC) + later)


async def test_what_ended_longer_ago_than_the_limit_is_deleted_and_audited(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await marked_desk(bench)
        await bench.hardenings.decide("hard-1", "reject")
        await desk(bench, 24, id="kept")
        hardened = await bench.hardenings.harden("kept", wait_s=45)
        assert hardened.hardening.outcome == "improved"
        await bench.hardenings.decide(hardened.candidate, "promote")
        await desk(bench, 24, id="going")
        base = (await bench.runs.start("going", wait_s=45)).run.id
        await bench.hardenings.harden("going", strategy="submit", run=base, wait_s=45)
    async with keeping(tmp_path, 30, timedelta(days=29)) as retention:
        assert retention.sweep() == {"hardening": 0, "run": 0, "session": 0, "job": 0}
    async with keeping(tmp_path, 30, timedelta(days=31)) as retention:
        gone = retention.sweep()
        assert retention.sweep() == {"hardening": 0, "run": 0, "session": 0, "job": 0}
    assert gone["hardening"] == 2 and gone["run"] == 2
    async with bench_at(tmp_path) as bench:
        assert [row["id"] for row in (await bench.items.page("hardening")).items] == ["hard-3"]
        runs = [row["id"] for row in (await bench.items.page("run")).items]
        versions = await bench.items.page("instructions", environment="kept")
        assert len(runs) == 1 and versions.total == 2, (
            "what an open hardening rests on, and what was promoted"
        )
        assert {path.name for path in (tmp_path / "runs").iterdir()} >= {"hard-3", base}
        assert (await bench.hardenings.harden("going", hardening="hard-3")).hardening.state == "open"
        assert (await bench.items.page("job")).total == 2
    rows = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    kept = [(row["kind"], row["actor"]) for row in rows if row["action"] == "retention"]
    assert kept.count(("run", "keeper")) == 2 and kept.count(("hardening", "keeper")) == 2
    assert kept.count(("job", "keeper")) == gone["job"] == 1, "the others went with their run or hardening"


async def test_a_workbench_keeps_its_limit_by_itself_from_the_start(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        await bench.runs.start("desk", wait_s=45)
    async with Workbench(tmp_path, retention_days=1e-9) as bench:
        with anyio.fail_after(30):
            while (await bench.items.page("run")).total or (await bench.items.page("job")).total:
                await anyio.sleep(0.01)
        assert not (tmp_path / "runs" / "run-1").exists()
    for days in (-1, float("nan"), 1e9):
        with pytest.raises(InvalidArgument, match=r"0 \(keep all\) to 36500"):
            Workbench(tmp_path, retention_days=days)


Step = Callable[[Desk], Awaitable[Mapping[str, Any]]]
PEOPLE = [{"id": "dana"}, {"id": "omar"}]
STEPS: list[tuple[str, dict[str, Any], list[str]]] = [
    (
        "create_environment",
        {"id": "desk", "instructions": "Close the ticket.", "world_data": tickets(24)},
        ["create environment desk"],
    ),
    (
        "create_environment",
        {"id": "desk", "instructions": "Close the ticket.", "world_data": tickets(24)},
        [],
    ),
    (
        "create_personas",
        {"environment": "desk", "personas": PEOPLE},
        ["create persona desk/dana", "create persona desk/omar"],
    ),
    ("create_personas", {"environment": "desk", "personas": PEOPLE}, []),
    (
        "create_scenarios",
        {"environment": "desk", "scenarios": [closing(n) for n in range(1, 25)]},
        [f"create scenario desk/close-{n}" for n in range(1, 25)],
    ),
    (
        "generate_personas",
        {"environment": "desk", "count": 1},
        ["start personas job-1", "create persona *"],
    ),
    (
        "generate_scenarios",
        {"environment": "desk", "count": 1},
        ["start scenarios job-2", "create scenario *"],
    ),
    (
        "create_simulations",
        {"environment": "desk"},
        ["start simulations job-3", "create simulation desk"],
    ),
    (
        "create_simulations",
        {"environment": "desk", "simulations": [{"id": "mine", "scenario": "close-1"}]},
        ["create simulation desk/mine"],
    ),
    (
        "run_simulations",
        {"environment": "desk", "idempotency_key": "k", "wait_s": 45},
        ["start run job-4", "create run run-1"],
    ),
    ("run_simulations", {"environment": "desk", "idempotency_key": "k", "wait_s": 45}, []),
    (
        "harden_agent",
        {"environment": "desk", "wait_s": 45},
        ["start hardening job-5", "create hardening hard-1"],
    ),
    (
        "decide_candidate",
        {"candidate": "hard-1/c1", "decision": "promote"},
        ["promote instructions desk@2"],
    ),
    ("decide_candidate", {"candidate": "hard-1/c1", "decision": "promote"}, []),
    (
        "decide_candidate",
        {"candidate": "desk@1", "decision": "roll_back"},
        ["roll_back instructions desk@1"],
    ),
    (
        "harden_agent",
        {"environment": "desk", "strategy": "submit", "wait_s": 45},
        ["start hardening job-6", "create hardening hard-2"],
    ),
    (
        "submit_candidate",
        {
            "hardening": "hard-2",
            "edits": [{"op": "add", "anchor": "end", "text": "Call look_up_ticket before close_ticket."}],
            "wait_s": 45,
        },
        ["start hardening job-7", "submit candidate hard-2/c1"],
    ),
    (
        "decide_candidate",
        {"candidate": "hard-2/c1", "decision": "reject", "reason": "no"},
        ["reject candidate hard-2/c1"],
    ),
    (
        "update_item",
        {"kind": "persona", "id": "desk/dana", "changes": {"style": "terse"}},
        ["update persona desk/dana"],
    ),
    (
        "update_item",
        {"kind": "environment", "id": "desk", "changes": {"instructions": "Be kind."}},
        ["edit instructions desk@3"],
    ),
    (
        "update_item",
        {"kind": "environment", "id": "desk", "changes": {"name": "Desk"}},
        ["update environment desk"],
    ),
    ("update_item", {"kind": "run", "id": "run-1", "changes": {"name": "first"}}, ["update run run-1"]),
    ("delete_items", {"kind": "run", "ids": ["run-1"]}, []),
    ("delete_items", {"kind": "run", "ids": ["run-1"], "confirm": True}, ["delete run run-1"]),
    (
        "run_simulations",
        {"environment": "desk", "trials": 50, "wait_s": 0},
        ["start run job-8", "create run *"],
    ),
    ("cancel_job", {"job": "job-8", "reason": "enough"}, ["cancel run job-8"]),
    (
        "run_simulations",
        {"environment": "desk", "options": {"resume": "*"}, "wait_s": 0},
        ["resume run job-8"],
    ),
    ("cancel_job", {"job": "job-8"}, ["cancel run job-8"]),
    ("delete_items", {"kind": "environment", "ids": ["desk"], "confirm": True}, ["delete environment desk"]),
]
"""Calls that change something, and the lines (action, kind, id) that each leaves in the audit."""


async def test_every_call_that_changes_something_leaves_its_lines_in_the_audit(tmp_path: Path) -> None:
    audit = tmp_path / "home" / "audit.jsonl"
    last: dict[str, Any] = {}
    async with server_at(tmp_path / "home") as client:
        for tool, given, wanted in STEPS:
            before = len(audit.read_text().splitlines())
            arguments = json.loads(json.dumps(given).replace('"*"', json.dumps(last.get("run", ""))))
            reply = await client.ok(tool, **arguments)
            last = reply if "run" in reply else last
            rows = [json.loads(line) for line in audit.read_text().splitlines()[before:]]
            told = [f"{row['action']} {row['kind']} {row['id']}" for row in rows]
            assert len(told) == len(wanted), (tool, told)
            for line, want in zip(told, wanted, strict=True):
                assert line.startswith(want.removesuffix("*")) and (want.endswith("*") or line == want), tool
            assert all(row["actor"] == "python" and row["time"].endswith("Z") for row in rows)


async def test_the_audit_names_who_did_it_also_in_what_a_call_starts(tmp_path: Path) -> None:
    async with Workbench(tmp_path, worlds=WORLDS, actor="stdio") as bench:
        await desk(bench, 2)
        with acting_as("http:ann"):
            await bench.personas.generate("desk", count=1, wait_s=45)
            await bench.simulations.create("desk", wait_s=45)
        await bench.items.delete("environment", ["desk"], confirm=True)
    rows = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    by = {f"{row['action']} {row['kind']}": row["actor"] for row in rows}
    assert by["create environment"] == by["delete environment"] == "stdio"
    assert by["start personas"] == by["create simulation"] == "http:ann"
    assert [row["actor"] for row in rows if row["kind"] == "persona"] == ["stdio", "stdio", "http:ann"]
