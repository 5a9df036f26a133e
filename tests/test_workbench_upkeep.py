"""Upkeep: conversations, runs and hardenings are renamed and deleted; what goes is purged, what is in use stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import Conflict, InvalidArgument, NotFound, StorageError
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.deleting import Deleting
from caseharden.tests.killed_at import CALLS, copies_killed, last_write
from caseharden.tests.workbench_cases import audited, bench_at, desk

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("AS-1")]
RULE: list[dict[str, Any]] = [
    {"op": "add", "anchor": "end", "text": "Before calling close_ticket, call look_up_ticket."}
]
SECRET = "sesame-4711"


def holding(home: Path, text: str) -> list[str]:
    """Files below the folder that hold the text."""
    return [
        str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and text.encode() in p.read_bytes()
    ]


async def ran(bench: Workbench, **arguments: Any) -> str:
    return (await bench.runs.start("desk", wait_s=45, **arguments)).run.id


async def test_a_deleted_conversation_is_purged_and_its_run_is_scored_anew(tmp_path: Path) -> None:
    log = [{"say": "Hello.", "by": "user"}, {"say": f"The word is {SECRET}.", "by": "agent"}]
    played = [{"scenario": f"close-{n}", "log": log if n == 2 else log[:1]} for n in (1, 2, 3)]
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3, settings={"thresholds": {"pass_rate": 0}})
        recorded = {"kind": "recorded", "conversations": played}
        await bench.items.update("environment", "desk", {"agent": recorded})
        run = await ran(bench)
        id = f"{run}/close-2-omar/1"
        kept = (await bench.items.get("conversation", f"{run}/close-3-dana/1", view="full")).item
        told = await bench.items.delete("conversation", [id])
        assert (
            not told.done
            and "scored anew" in told.warnings[0]
            and "1 of 3 trials as missing" in told.warnings[0]
        )
        assert (await bench.items.page("conversation", where={"run": run})).total == 3
        assert (await bench.items.delete("conversation", [id], confirm=True)).done
        with pytest.raises(NotFound):
            await bench.items.get("conversation", id)
        after = (await bench.items.get("run", run, view="full")).item
        assert after["totals"]["trials"] == 2 and after["state"] == "done"
        missing = [t for t in after["thresholds"] if t["result"] == "fail"]
        assert missing and all("1 of 3 trials is missing" in t["why"] for t in missing)
        assert (await bench.items.get("conversation", f"{run}/close-3-dana/1", view="full")).item == kept
        assert ("delete", "conversation", id) in audited(tmp_path)
        assert not [f for f in holding(tmp_path / "runs", SECRET) if "segments" in f or "trials" in f]
        with pytest.raises(NotFound, match="Nothing was deleted"):
            await bench.items.delete("conversation", [id], confirm=True)


async def left_of(home: Path) -> tuple[list[Any], list[str], set[tuple[str, str, str]]]:
    """The stored runs, the files that hold the deleted text, and the audited deletions."""
    async with bench_at(home) as bench:
        runs = [(await bench.items.get("run", f"run-{n}", view="full")).item for n in (1, 2)]
        there = [
            str(row["id"])
            for n in (1, 2)
            for row in (await bench.items.page("conversation", where={"run": f"run-{n}"})).items
        ]
    with Store(home) as store:
        options = [Archive(store).runs.get(f"run-{n}").options for n in (1, 2)]
    found = [f for f in holding(home / "runs", SECRET) if "segments" in f or "trials" in f]
    told = {line for line in audited(home) if line[0] == "delete"}
    return [*((run["totals"], run["state"]) for run in runs), there, options], found, told


async def test_a_deletion_of_conversations_killed_anywhere_is_completed_by_the_same_call(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    log = [{"say": "Hello.", "by": "user"}, {"say": f"The word is {SECRET}.", "by": "agent"}]
    async with bench_at(home) as bench:
        await desk(bench, 3)
        recorded = {
            "kind": "recorded",
            "conversations": [
                {"scenario": f"close-{n}", "log": log if n == 2 else log[:1]} for n in (1, 2, 3)
            ],
        }
        await bench.items.update("environment", "desk", {"agent": recorded})
        assert [await ran(bench), await ran(bench)] == ["run-1", "run-2"]
    *killed, done, whole = copies_killed(home, tmp_path / "copies", "delete")
    wanted = await left_of(whole)
    assert await left_of(done) == wanted, "it was killed after its last write"
    assert len(killed) > 5 and not wanted[1] and len(wanted[2]) == 2
    for copy in killed:
        async with bench_at(copy) as bench:
            assert (await CALLS["delete"](bench)).done
        assert await left_of(copy) == wanted, last_write(copy)


def test_an_erased_document_is_blank_and_the_others_stand_where_they_were(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        pointers = [store.segments.append("run-1", {"n": n, "said": SECRET * n}) for n in (1, 2, 3)]
        for _ in range(2):
            store.segments.erase(pointers[1])
        with pytest.raises(StorageError):
            store.segments.read(pointers[1])
        assert [store.segments.read(p)["n"] for p in (pointers[0], pointers[2])] == [1, 3]
        later = store.segments.append("run-1", {"n": 4})
        assert store.segments.read(later) == {"n": 4}
        assert SECRET * 2 in "".join(store.segments.read(pointers[2])["said"])
        store.delete_run("run-1")
        store.segments.erase(pointers[0])


async def test_resuming_runs_no_deleted_conversation_again(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        report = await bench.runs.start("desk", trials=20, wait_s=0)
        run = report.run.id
        while (await bench.items.page("conversation", where={"run": run}, limit=1)).total < 5:
            await bench.jobs.wait("job-1", wait_s=0.05)
        await bench.jobs.cancel("job-1")
        rows = (await bench.items.page("conversation", where={"run": run}, limit=2)).items
        gone = [str(row["id"]) for row in rows]
        await bench.items.delete("conversation", gone, confirm=True)
        whole = (await bench.runs.start("desk", options={"resume": run}, wait_s=45)).run
        assert whole.totals.trials == 12 * 20 - len(gone)
        for id in gone:
            with pytest.raises(NotFound):
                await bench.items.get("conversation", id)


async def test_what_is_in_use_is_neither_deleted_nor_renamed(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        base = await ran(bench)
        going = await bench.runs.start("desk", trials=50, wait_s=0)
        assert going.job is not None
        while not (rows := (await bench.items.page("conversation", where={"run": going.run.id})).items):
            await bench.jobs.wait(going.job.id, wait_s=0.05)
        for kind, id in (("run", going.run.id), ("conversation", str(rows[0]["id"]))):
            with pytest.raises(Conflict, match="running") as refused:
                await bench.items.delete(kind, [id], confirm=True)
            assert refused.value.next[0].tool == "cancel_job"
        renamed = await bench.items.update("run", going.run.id, {"name": "Fifty"})
        assert renamed.changed == {"name": "Fifty"}
        await bench.jobs.cancel(going.job.id)
        assert (await bench.items.get("run", going.run.id)).item["name"] == "Fifty"
        await bench.hardenings.harden("desk", strategy="submit", run=base, wait_s=45)
        with pytest.raises(Conflict, match="evidence of hard-1"):
            await bench.items.delete("conversation", [f"{base}/close-1-dana/1"], confirm=True)
        with pytest.raises(InvalidArgument, match="is a turn"):
            await bench.items.delete("conversation", [f"{base}/close-1-dana/1@2"])


@pytest.mark.parametrize(("kind", "id"), [("run", "run-1"), ("environment", "desk")])
async def test_a_run_that_is_resumed_while_it_is_about_to_be_deleted_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, id: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = await ran(bench)
        with Store(tmp_path) as other:

            def resumed_elsewhere(*_: Any) -> list[str]:
                """After all checks, before anything is gone."""
                other.jobs.resume("job-1", reopen=True)
                return []

            monkeypatch.setattr(Deleting, "_notes", resumed_elsewhere)
            with pytest.raises(Conflict, match="job-1 goes on"):
                await bench.items.delete(kind, [id], confirm=True)
            monkeypatch.undo()
            other.jobs.mark("job-1", "done")
        assert (await bench.items.page("conversation", where={"run": run})).total == 3
        assert (await bench.items.delete(kind, [id], confirm=True)).done
    assert not (tmp_path / "runs" / run).exists() and not (tmp_path / "jobs" / "job-1").exists()


async def test_a_hardening_is_named_and_deleted_with_all_that_is_its_own(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        base = await ran(bench)
        await bench.hardenings.harden("desk", strategy="submit", run=base, wait_s=45)
        named = await bench.items.update("hardening", "hard-1", {"name": "Look first"}, version=1)
        assert (named.version, named.changed) == (2, {"name": "Look first"})
        with pytest.raises(Conflict, match="version 2"):
            await bench.items.update("hardening", "hard-1", {"name": "x"}, version=1)
        with pytest.raises(InvalidArgument, match="unknown"):
            await bench.items.update("hardening", "hard-1", {"outcome": "improved"})
        done = await bench.hardenings.submit("hard-1", edits=RULE, wait_s=45)
        assert done.hardening.outcome is not None and done.hardening.name == "Look first"
        assert (await bench.items.page("hardening")).items[0]["name"] == "Look first"
        told = await bench.items.delete("hardening", ["hard-1"])
        assert told.goes_with["candidate"] == 1 and told.goes_with["run"] and told.goes_with["conversation"]
        assert "looks" in told.warnings[0].lower()
        assert (await bench.items.delete("hardening", ["hard-1"], confirm=True)).done
        assert (await bench.items.page("hardening")).total == 0
        assert (await bench.items.get("run", base)).item["totals"]["trials"] == 12
        assert holding(tmp_path / "runs", "hard-1/c1") == [] and holding(
            tmp_path / "tables", "hard-1/c1"
        ) == ["looks.jsonl"]


async def test_deleting_a_run_says_which_exports_stay(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        run = await ran(bench)
        assert (await bench.items.delete("run", [run])).warnings == []
        await bench.exports.export(run)
        told = await bench.items.delete("run", [run], confirm=True)
        assert told.warnings == ["Exports are files of your own and stay: run-1.json."]
        assert holding(tmp_path / "runs", "T1") == []
