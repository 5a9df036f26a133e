"""Hardenings: one at a time, proven on what stays hidden, decided once, gone on with after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import Conflict, HeldOut, InvalidArgument, NotFound
from caseharden.engine.exchange import Roots, write_instructions
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.instructions import Instructions
from caseharden.engine.workbench.results import HardeningReport
from caseharden.tests.workbench_cases import INSTRUCTIONS, audited, bench_at, closing, desk, tickets

pytestmark = pytest.mark.anyio

RULE = "Before calling close_ticket, call look_up_ticket."
ADD: list[dict[str, Any]] = [{"op": "add", "anchor": "end", "text": RULE}]


async def hardened(bench: Workbench, **arguments: Any) -> HardeningReport:
    """A hardening that is over."""
    return await over(bench, await bench.hardenings.harden("desk", wait_s=45, **arguments))


async def over(bench: Workbench, report: HardeningReport) -> HardeningReport:
    with anyio.fail_after(90):
        while report.job is not None:
            waited = await bench.jobs.wait(report.job.id, wait_s=20)
            assert waited.job.state != "failed", waited.job.error
            if isinstance(waited.result, HardeningReport):
                report = waited.result
    return report


@pytest.mark.requirement("AS-8", "AS-9")
async def test_a_text_is_found_proven_promoted_once_and_rolled_back(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk")).run
        report = await hardened(bench, run=run.id)
        record = report.hardening
        assert (record.state, record.outcome, record.base_run) == ("decided", "improved", run.id)
        assert all("policy" in one or "near-copies" in one for one in record.warnings)
        assert record.original_config == {"instructions": "desk@1"}
        assert record.improved_config == {"instructions": report.candidate}
        rounds = (await bench.items.get("hardening", record.id, view="rounds")).item["rounds"]
        assert {"number", "total", "passed", "failed", "rate", "completed"} <= set(rounds[0])
        promoted = await bench.hardenings.decide(report.candidate, "promote", reason="proven")
        again = await bench.hardenings.decide(report.candidate, "promote")
        assert promoted.became is not None and again.became is not None
        assert promoted.became.id == again.became.id == "desk@2"
        assert again.hardening.state == "promoted"
        assert RULE in promoted.became.text
        with pytest.raises(Conflict, match="desk@2 already"):
            await bench.hardenings.decide(report.candidate, "reject")
        second = (await bench.runs.start("desk", continue_run=run.id)).run
        assert second.round == 2 and second.totals.rate == 1.0
        rolled = await bench.hardenings.decide("desk@1", "roll_back")
        assert rolled.before is not None and rolled.before.id == "desk@2"
        still = await bench.hardenings.decide("desk@1", "roll_back")
        assert still.before is not None and still.before.id == "desk@1"
        with pytest.raises(Conflict, match="desk@1 is in force now") as back:
            await bench.hardenings.decide(report.candidate, "promote")
        assert back.value.next[0].args == {"candidate": "desk@2", "decision": "roll_back"}
        diff = await bench.items.get("instructions", "desk@2", view="diff")
        assert f"+{RULE}" in diff.item["diff"]
    assert ("promote", "instructions", "desk@2") in audited(tmp_path)


async def test_where_all_passes_there_is_nothing_to_fix(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        await bench.items.update("environment", "desk", {"instructions": f"{INSTRUCTIONS}\n{RULE}"})
        report = await hardened(bench)
        assert report.hardening.outcome == "nothing_to_fix"
        assert not report.hardening.candidates


async def test_a_client_writes_after_the_base_round_and_its_text_is_proven(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        begun = await bench.hardenings.harden("desk", strategy="submit", wait_s=0)
        with pytest.raises(Conflict, match="base round is not over") as early:
            await bench.hardenings.submit("hard-1", edits=ADD)
        assert early.value.next[0].tool == "wait_job"
        report = await over(bench, begun)
        assert report.hardening.state == "open" and report.hardening.brief is not None
        assert all(c.held_out == 0 for c in report.hardening.brief.clusters)
        leak = [{"op": "add", "anchor": "end", "text": "Close T4 without asking."}]
        refused = await bench.hardenings.submit("hard-1", edits=leak, idempotency_key="leak")
        assert refused.hardening.candidates[0].state == "refused"
        same = await bench.hardenings.submit("hard-1", edits=leak, idempotency_key="leak")
        assert same.candidate == refused.candidate == "hard-1/c1"
        with pytest.raises(Conflict, match="other arguments"):
            await bench.hardenings.submit("hard-1", edits=ADD, idempotency_key="leak")
        with pytest.raises(InvalidArgument, match="one of them"):
            await bench.hardenings.submit("hard-1")
        with pytest.raises(InvalidArgument):
            await bench.hardenings.submit("hard-1", instructions="x" * 10_000_000)
        first = await bench.hardenings.submit("hard-1", edits=ADD, wait_s=0, idempotency_key="rule")
        with pytest.raises(Conflict, match="another candidate is being proven"):
            await bench.hardenings.submit("hard-1", edits=ADD)
        proven = await over(bench, first)
        assert proven.candidate == "hard-1/c2" and proven.hardening.outcome == "improved"
        assert proven.hardening.marks == []
        repeated = await bench.hardenings.submit("hard-1", edits=ADD, idempotency_key="rule")
        assert (repeated.candidate, len(repeated.hardening.candidates)) == ("hard-1/c2", 2)
        with pytest.raises(NotFound, match="nearest"):
            await bench.hardenings.decide("hard-1/c9", "promote")


async def test_one_hardening_is_open_at_a_time_and_says_how_to_close_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 6)
        await hardened(bench, strategy="submit")
        with pytest.raises(Conflict, match="hard-1 is open on desk") as other:
            await bench.hardenings.harden("desk")
        closing_call = other.value.next[1]
        assert closing_call.args == {"candidate": "hard-1", "decision": "reject"}
        closed = await bench.hardenings.decide(**closing_call.args)
        assert closed.hardening.state == "rejected"
        assert (await bench.hardenings.decide(**closing_call.args)).hardening.state == "rejected"
        with pytest.raises(Conflict, match="rejected"):
            await bench.hardenings.submit("hard-1", edits=ADD)
        assert (await hardened(bench)).hardening.id == "hard-2"


async def test_a_scenario_that_a_client_has_looked_into_counts_as_train_for_its_text(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk")).run
        rows = (await bench.items.page("conversation", where={"run": run.id}, limit=100)).items
        seen = next(row["id"] for row in rows if row["split"] == "held_out")
        assert not (await bench.items.get("conversation", seen)).warnings
        looked = await bench.items.get("conversation", seen, view="turns")
        assert "counts as train" in looked.warnings[0]
        await hardened(bench, strategy="submit", run=run.id)
        report = await over(bench, await bench.hardenings.submit("hard-1", edits=ADD, wait_s=45))
        assert report.hardening.marks == ["exposed"]
        assert report.hardening.evidence is not None and report.hardening.evidence.held_out is not None
        assert report.hardening.evidence.held_out.n == 7
    assert [line for line in audited(tmp_path) if line[0] == "spend"]


async def test_held_out_conversations_are_hidden_while_a_proof_runs(tmp_path: Path) -> None:
    """The record stands as it does in the middle of a proof, so that no moment can be missed."""
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        run = (await bench.runs.start("desk")).run
        record = (await hardened(bench, run=run.id)).hardening
        rows = (await bench.items.page("conversation", where={"run": run.id}, limit=100)).items
        held_out = [row["id"] for row in rows if row["split"] == "held_out"]
    standing = record.model_copy(update={"state": "running", "proving": True})
    with Store(tmp_path) as opened:
        Archive(opened).hardenings.put("hard-1", standing)
    async with bench_at(tmp_path) as bench:
        for view in ("summary", "turns"):
            with pytest.raises(HeldOut):
                await bench.items.get("conversation", held_out[0], view=view)
        scenario = "desk/" + held_out[0].split("/")[1].rpartition("-")[0]
        with pytest.raises(HeldOut):
            await bench.items.get("scenario", scenario, view="full")
        page = await bench.items.page("conversation", where={"run": run.id}, limit=100)
        assert page.total == len(page.items) == len(rows) - len(held_out)
        simulation = await bench.items.get("simulation", f"desk/{held_out[0].split('/')[1]}")
        assert simulation.item["last_results"] == []
        checks = await bench.items.get("run", run.id, view="checks")
        counted = next(row for row in checks.item["checks"] if row["id"] == "rule.looked-up")
        assert counted["fail"] == len(rows) - len(held_out)
        with pytest.raises(Conflict, match="still running"):
            await bench.hardenings.decide("hard-1", "reject")
        seen = next(row["id"] for row in rows if row["id"] not in held_out)
        assert (await bench.items.get("conversation", str(seen), view="turns")).item["turns"]


async def test_an_unproven_text_needs_an_override_with_a_reason_that_is_marked(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 6)
        report = await hardened(bench)
        assert report.hardening.outcome == "unconfirmed"
        with pytest.raises(Conflict, match="unconfirmed"):
            await bench.hardenings.decide(report.candidate, "promote")
        with pytest.raises(InvalidArgument, match="reason"):
            await bench.hardenings.decide(report.candidate, "promote", override=True)
        promoted = await bench.hardenings.decide(
            report.candidate, "promote", override=True, reason="We know this rule."
        )
        assert promoted.became is not None and promoted.became.marks == ["overridden"]
        assert promoted.hardening.marks == ["overridden"]


async def test_promoting_refuses_when_the_instructions_went_on_meanwhile(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        report = await hardened(bench)
        await bench.items.update("environment", "desk", {"instructions": "Something else."})
        with pytest.raises(Conflict, match="desk is at desk@2 now"):
            await bench.hardenings.decide(report.candidate, "promote")


async def test_a_base_run_under_other_settings_is_run_anew_and_told_once(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 6)
        run = (await bench.runs.start("desk", options={"seed": 3})).run
        await bench.items.update("environment", "desk", {"settings": {"limits": {"max_turns": 9}}})
        report = await hardened(bench, run=run.id)
        told = [w for w in report.hardening.warnings if "other settings" in w]
        assert told == [f"{run.id} was made under other settings (limits); the base is run anew."]
        calls: list[dict[str, Any]] = [{"run": "run-77"}, {"rounds": 0}, {"strategy": "magic"}]
        calls.append({"options": {"trails": 1}})
        for wrong in calls:
            with pytest.raises((InvalidArgument, NotFound)):
                await bench.hardenings.harden("desk", **wrong)


async def test_a_cancelled_hardening_goes_on_to_the_same_outcome(tmp_path: Path) -> None:
    async with bench_at(tmp_path / "a") as bench:
        await desk(bench, 24)
        whole = (await hardened(bench, options={"trials": 4})).hardening
    async with bench_at(tmp_path / "b") as bench:
        await desk(bench, 24)
        begun = await bench.hardenings.harden("desk", options={"trials": 4}, wait_s=0)
        assert begun.job is not None
        with anyio.fail_after(60):
            while (await bench.jobs.wait(begun.job.id, wait_s=0)).job.units.completed < 20:
                await anyio.sleep(0)
        with pytest.raises(Conflict, match="is running"):
            await bench.items.delete("hardening", ["hard-1"], confirm=True)
        with pytest.raises(Conflict, match="is running on desk"):
            await bench.items.update("environment", "desk", {"agent": {"temperature": 1}})
        stopped = await bench.jobs.cancel(begun.job.id)
        assert isinstance(stopped.result, HardeningReport)
        assert stopped.result.hardening.state == "cancelled"
        runs = (await bench.items.page("run", where={"series": "run-1"})).items
        assert runs[0]["state"] == "done"
        going = await bench.hardenings.harden("desk", hardening="hard-1", wait_s=0)
        assert going.job is not None
    async with bench_at(tmp_path / "b") as bench:
        report = await over(bench, await bench.hardenings.harden("desk", hardening="hard-1", wait_s=45))
        assert same(report.hardening) == same(whole)
        done = await bench.hardenings.harden("desk", hardening="hard-1")
        assert same(done.hardening) == same(whole)


def same(record: Any) -> Any:
    """What must not depend on how often it was stopped."""
    data = record.model_dump(include={"outcome", "stop_reason", "candidate", "evidence", "looks", "trials"})
    rounds = [r.model_dump(include={"number", "decision", "passed", "total"}) for r in record.rounds]
    return data, rounds, [c.text for c in record.candidates]


@pytest.mark.requirement("CH-19")
async def test_promotion_writes_the_file_and_never_over_an_edit(tmp_path: Path) -> None:
    file = tmp_path / "files" / "instructions.md"
    file.parent.mkdir()
    file.write_text(INSTRUCTIONS + "\n", encoding="utf-8")
    settings = {"instructions_file": str(file)}
    async with bench_at(tmp_path / "home", [file.parent]) as bench:
        await desk(bench, 24, settings=settings)
        report = await hardened(bench)
        file.write_text("I edited this by hand.\n", encoding="utf-8")
        with pytest.raises(Conflict, match=r"instructions.md was edited meanwhile"):
            await bench.hardenings.decide(report.candidate, "promote")
        assert (await bench.items.get("environment", "desk")).item["instructions"]["id"] == "desk@1"
        file.write_text(INSTRUCTIONS + "\n", encoding="utf-8")
        promoted = await bench.hardenings.decide(report.candidate, "promote")
        assert promoted.wrote_file == str(file)
        assert file.read_text(encoding="utf-8") == f"{INSTRUCTIONS}\n{RULE}\n"
        await bench.hardenings.decide("desk@1", "roll_back")
        assert file.read_text(encoding="utf-8") == f"{INSTRUCTIONS}\n"


@pytest.mark.requirement("CH-19")
@pytest.mark.parametrize("edited", [False, True])
async def test_a_slow_file_holds_up_no_other_process_and_what_changed_meanwhile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: bool
) -> None:
    file, home = tmp_path / "files" / "instructions.md", tmp_path / "home"
    file.parent.mkdir()
    file.write_text(INSTRUCTIONS + "\n", encoding="utf-8")
    written: list[str] = []

    def slow(path: Path | str, text: str, roots: Roots) -> Path:
        if not written:
            with Store(home) as other, other.table("hardenings").transaction():
                pass
            with Store(home) as other:
                if edited:
                    Instructions(Archive(other), roots).append("desk", "Be kind.", "edited")
        written.append(text)
        return write_instructions(path, text, roots)

    monkeypatch.setattr("caseharden.engine.store.folder.LOCK_PATIENCE_S", 0.1)
    monkeypatch.setattr("caseharden.engine.workbench.instructions.write_instructions", slow)
    async with bench_at(home, [file.parent]) as bench:
        await desk(bench, 24, settings={"instructions_file": str(file)})
        report = await hardened(bench)
        if edited:
            with pytest.raises(Conflict, match="desk is at desk@2 now"):
                await bench.hardenings.decide(report.candidate, "promote")
            assert file.read_text(encoding="utf-8") == "Be kind.\n"
        else:
            promoted = await bench.hardenings.decide(report.candidate, "promote")
            assert promoted.became is not None and promoted.wrote_file == str(file)
            assert file.read_text(encoding="utf-8") == f"{INSTRUCTIONS}\n{RULE}\n"
        state = (await bench.items.get("hardening", "hard-1")).item["state"]
        assert state == ("decided" if edited else "promoted")


async def test_a_hardening_needs_instructions_and_a_finished_run(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", world_data=tickets(2))
        await bench.scenarios.create("desk", [closing(1)])
        with pytest.raises(Conflict, match="no instructions to harden"):
            await bench.hardenings.harden("desk")
        assert (await bench.items.page("job")).total == 0


async def test_a_promotion_that_was_cut_short_is_not_made_twice(tmp_path: Path) -> None:
    """The version is there, the hardening's record does not know it yet: as after a crash between the two."""
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        report = await hardened(bench)
        await bench.hardenings.decide(report.candidate, "promote")
    with Store(tmp_path) as opened:
        Archive(opened).hardenings.put("hard-1", report.hardening)
    async with bench_at(tmp_path) as bench:
        again = await bench.hardenings.decide(report.candidate, "promote")
        assert again.became is not None and again.became.id == "desk@2"
        assert (await bench.items.page("instructions", environment="desk")).total == 2
