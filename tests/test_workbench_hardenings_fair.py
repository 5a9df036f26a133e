"""What makes a proof fair: both arms meet the same cases, every look costs, and what is rejected stays so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import Conflict, NotFound
from caseharden.engine.records.hardening import Hardening
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import HardeningReport
from caseharden.tests.workbench_cases import bench_at, closing, desk
from caseharden.tools.outcomes import hardening_reply
from caseharden.tools.sight import item_next

pytestmark = pytest.mark.anyio

RULE = "Before calling close_ticket, call look_up_ticket."
KIND = "Be kind."


async def over(bench: Workbench, report: HardeningReport) -> HardeningReport:
    with anyio.fail_after(90):
        while report.job is not None:
            waited = await bench.jobs.wait(report.job.id, wait_s=20)
            assert waited.job.state != "failed", waited.job.error
            if isinstance(waited.result, HardeningReport):
                report = waited.result
    return report


async def opened(bench: Workbench, **arguments: Any) -> Hardening:
    """A hardening that waits for texts."""
    report = await bench.hardenings.harden("desk", strategy="submit", wait_s=45, **arguments)
    return (await over(bench, report)).hardening


async def submitted(bench: Workbench, hardening: str, text: str) -> HardeningReport:
    edits = [{"op": "add", "anchor": "end", "text": text}]
    return await over(bench, await bench.hardenings.submit(hardening, edits=edits, wait_s=45))


async def weaken(bench: Workbench, count: int) -> None:
    """Every case without the rule that the agent breaks."""
    for n in range(1, count + 1):
        await bench.items.update("scenario", f"desk/close-{n}", {"world": {"skip_rules": ["looked-up"]}})


def look(report: HardeningReport) -> int:
    found = report.hardening.find(report.candidate)
    assert found is not None and found.evidence is not None and found.evidence.held_out is not None
    return found.evidence.held_out.look


async def test_tests_that_change_during_a_hardening_change_nothing_of_its_proof(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        await weaken(bench, 24)
        await bench.items.update("environment", "desk", {"world": {"policy": "Close it at once."}})
        await bench.items.update("environment", "desk", {"settings": {"user_guidelines": "Be brief."}})
        await bench.items.delete("simulation", ["desk/close-1-dana"], confirm=True)
        report = await submitted(bench, "hard-1", KIND)
        assert (report.hardening.outcome, report.hardening.candidates[0].outcome) == (None, "no_change")
        with pytest.raises(Conflict, match="no_change"):
            await bench.hardenings.decide("hard-1/c1", "promote")
        proven = await submitted(bench, "hard-1", RULE)
        assert proven.hardening.outcome == "improved"
        assert proven.hardening.evidence is not None and proven.hardening.evidence.train is not None
        assert proven.hardening.evidence.train.base == 0


async def test_a_hardening_under_way_goes_on_under_the_agent_and_world_it_began_with(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        changes = {"agent": {"tools": ["look_up_ticket"]}, "world": {"policy": "Close it at once."}}
        await bench.items.update("environment", "desk", changes)
        report = await submitted(bench, "hard-1", RULE)
        assert report.hardening.outcome == "improved"
        arms = [(await bench.items.get("run", id, view="full")).item for id in ("run-1", "run-2")]
        assert [arm["agent"] for arm in arms] == [{"kind": "prompt"}] * 2
        assert arms[0]["world"] == arms[1]["world"]


async def test_a_hardening_outlives_the_run_it_started_from_and_the_world_of_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk")).run
        record = await opened(bench, run=run.id)
        assert record.rounds[0].conversations[0].startswith(f"{run.id}/")
        await bench.items.delete("run", [run.id], confirm=True)
        await bench.items.update("environment", "desk", {"world": {"policy": "Close it at once."}})
    async with bench_at(tmp_path) as bench:
        report = await submitted(bench, "hard-1", RULE)
        assert report.hardening.outcome == "improved"


@pytest.mark.parametrize(
    ("what", "changes", "harden"),
    [
        ("world", {"world": {"policy": "Close it at once."}}, {}),
        ("user guidelines", {"settings": {"user_guidelines": "Be brief."}}, {}),
        ("agent", {"agent": {"temperature": 1}}, {}),
        ("limits", {"settings": {"limits": {"max_turns": 9}}}, {}),
        ("seed", {}, {"options": {"seed": 5}}),
    ],
)
async def test_a_base_run_made_under_other_settings_is_run_anew(
    tmp_path: Path, what: str, changes: dict[str, Any], harden: dict[str, Any]
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk")).run
        if changes:
            await bench.items.update("environment", "desk", changes)
        record = await opened(bench, run=run.id, **harden)
        told = f"{run.id} was made under other settings ({what}); the base is run anew."
        assert record.warnings.count(told) == 1
        assert record.rounds[0].conversations[0].startswith("run-2/")


async def test_a_base_run_with_limits_of_its_own_is_run_anew(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk", options={"limits": {"max_turns": 1}})).run
        record = await opened(bench, run=run.id)
        assert record.warnings[0].startswith(f"{run.id} was made under other settings (limits)")


@pytest.mark.parametrize(
    ("kind", "id", "changes", "cases"),
    [
        ("scenario", "desk/close-2", {"world": {"skip_rules": ["looked-up"]}}, 1),
        ("simulation", "desk/close-1-dana", {"user_input": "Please close T1."}, 1),
        ("persona", "desk/dana", {"profile": "Hasty."}, 2),
    ],
)
async def test_a_base_run_of_cases_that_changed_since_is_run_anew(
    tmp_path: Path, kind: str, id: str, changes: dict[str, Any], cases: int
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk")).run
        await bench.items.update(kind, id, changes)
        record = await opened(bench, run=run.id)
        assert f"{run.id} was made under other settings ({cases} of 3 cases)" in record.warnings[0]
        assert record.rounds[0].conversations[0].startswith("run-2/")


async def test_a_base_run_of_the_same_cases_serves_even_where_they_were_stored_again(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk")).run
        await bench.items.update("scenario", "desk/close-2", {"goal": "Something else."})
        await bench.items.update("scenario", "desk/close-2", {"goal": closing(2)["goal"]})
        record = await opened(bench, run=run.id)
        assert not [told for told in record.warnings if "other settings" in told]
        assert record.rounds[0].conversations[0].startswith(f"{run.id}/")


@pytest.mark.requirement("CH-6")
async def test_a_proof_of_an_agent_with_luck_plays_trials_that_nobody_has_seen(tmp_path: Path) -> None:
    """Whoever names the unluckiest of many runs gains nothing by it."""
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk", models={"agent": "offline:slip=0.1"}, wait_s=45)).run
        h = await opened(bench, run=run.id, options={"trials": 2})
        for number, text in ((1, RULE), (2, f"{RULE} {KIND}")):
            report = await submitted(bench, h.id, text)
            assert look(report) == number
            rows = (await bench.items.page("conversation", where={"run": "run-2"}, limit=100)).items
            held_out = {
                int(str(row["id"]).rsplit("/", 1)[1]) for row in rows if row.get("split") == "held_out"
            }
            assert {100 * number + 1, 100 * number + 2} <= held_out


async def test_looks_are_counted_over_all_hardenings_and_outlive_them(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        assert look(await submitted(bench, "hard-1", RULE)) == 1
        second = await opened(bench)
        assert second.looks == 1
        assert any("this is look 2" in told for told in second.warnings)
        with pytest.raises(Conflict, match="hard-2 is open on desk"):
            await submitted(bench, "hard-1", f"{RULE} {KIND}")
        assert look(await submitted(bench, "hard-2", f"{RULE} {KIND}")) == 2
        third = await submitted(bench, "hard-1", f"{KIND} {RULE}")
        assert (look(third), third.hardening.outcome) == (3, "unconfirmed")
        await bench.items.delete("hardening", ["hard-1", "hard-2"], confirm=True)
        assert (await opened(bench)).looks == 3
        assert not list((tmp_path / "runs").glob("hard-[12]"))


async def test_a_second_submission_builds_on_the_first_that_train_kept_after_a_restart_too(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        await submitted(bench, "hard-1", RULE)
    async with bench_at(tmp_path) as bench:
        record = (await submitted(bench, "hard-1", KIND)).hardening
        first, second = record.candidates
        assert (second.parent, second.text) == (first.id, f"{first.text}\n{KIND}")
        assert record.brief is not None and record.brief.text == second.text
        assert record.stop_reason == "proven"


async def test_a_text_that_was_proven_before_has_its_outcome_and_costs_no_look(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await bench.scenarios.create("desk", [LOOKING])
        h = await opened(bench, **CHOSEN)
        first = await submitted(bench, "hard-1", CLOSES_ALL)
        jobs = (await bench.items.page("job")).total
        text = f"{h.base_text}\n{CLOSES_ALL}".replace("call", " call")
        again = await bench.hardenings.submit("hard-1", instructions=f"{text}\n", wait_s=45)
        assert (again.candidate, again.hardening.outcome, again.job) == ("hard-1/c1", "regressed", None)
        assert "its outcome stands, nothing was run and no look was taken" in again.warnings[0]
        assert again.hardening == first.hardening and (await bench.items.page("job")).total == jobs
        await bench.hardenings.decide("hard-1", "reject")
        await opened(bench, **CHOSEN)
        assert look(await submitted(bench, "hard-2", RULE)) == 2
        other = await bench.hardenings.submit("hard-2", instructions=f"{h.base_text}\n{RULE}", wait_s=45)
        assert other.candidate == "hard-2/c1" and other.hardening.looks == 2


async def test_a_text_that_was_proven_in_another_hardening_is_known_while_its_cases_are_the_same(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 10)
        await opened(bench)
        assert (await submitted(bench, "hard-1", RULE)).hardening.outcome == "unconfirmed"
        await opened(bench)
        told = hardening_reply(await submitted(bench, "hard-2", RULE))
        assert told.hardening == "hard-1" and told.outcome == "unconfirmed"
        assert told.warnings[0].startswith("hard-1/c1 is the same text")
        await bench.hardenings.decide("hard-2", "reject")
        await bench.items.update("scenario", "desk/close-1", {"goal": "Get ticket T1 closed, please."})
        await opened(bench)
        anew = await submitted(bench, "hard-3", RULE)
        assert (anew.candidate, look(anew)) == ("hard-3/c1", 2)


async def test_a_deleted_environment_takes_its_looks_along(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        await submitted(bench, "hard-1", RULE)
        await bench.items.delete("environment", ["desk"], confirm=True)
        assert not list((tmp_path / "runs").glob("hard-*"))
        await desk(bench, 24)
        assert (await opened(bench)).looks == 0


async def test_a_scenario_made_anew_under_the_id_of_a_spent_one_is_spent(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk")).run
        rows = (await bench.items.page("conversation", where={"run": run.id}, limit=100)).items
        seen = next(row for row in rows if row["split"] == "held_out")
        await bench.items.get("conversation", str(seen["id"]), view="turns")
        slug = str(seen["id"]).split("/")[1].rpartition("-")[0]
        await bench.items.delete("scenario", [f"desk/{slug}"], confirm=True)
        number = int(slug.partition("-")[2])
        await bench.scenarios.create("desk", [closing(number, split="held_out")])
        assert (await bench.items.get("scenario", f"desk/{slug}")).item["spent"] is True
        await bench.simulations.create("desk")
        await opened(bench)
        report = await submitted(bench, "hard-1", RULE)
        assert report.hardening.spent == [slug]
        assert report.hardening.marks == ["exposed"]


async def test_a_rejected_candidate_cannot_be_promoted_any_more(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        await submitted(bench, "hard-1", RULE)
        await submitted(bench, "hard-1", f"{RULE} {KIND}")
        await bench.hardenings.decide("hard-1/c1", "reject", reason="not ours")
        with pytest.raises(Conflict, match="hard-1/c1 is rejected"):
            await bench.hardenings.decide("hard-1/c1", "promote")
        with pytest.raises(Conflict, match="hard-1/c1 is rejected"):
            await bench.hardenings.decide("hard-1/c1", "promote", override=True, reason="I want it")
        assert (await bench.items.get("environment", "desk")).item["instructions"]["id"] == "desk@1"
        promoted = await bench.hardenings.decide("hard-1/c2", "promote")
        assert promoted.became is not None and promoted.became.id == "desk@2"


async def test_a_hardening_closed_as_a_whole_takes_all_its_candidates_along(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await opened(bench)
        await submitted(bench, "hard-1", RULE)
        await bench.hardenings.decide("hard-1", "reject")
        with pytest.raises(Conflict, match="hard-1/c1 is rejected"):
            await bench.hardenings.decide("hard-1/c1", "promote")


@pytest.mark.parametrize("steps", range(1, 6))
async def test_a_call_that_goes_away_while_its_hardening_begins_leaves_no_job_behind(
    tmp_path: Path, steps: int
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.hardenings.harden, "desk")
            for _ in range(steps):
                await anyio.sleep(0)
            tasks.cancel_scope.cancel()
        for row in (await bench.items.page("job")).items:
            assert (await bench.jobs.wait(str(row["id"]), wait_s=20)).job.state == "done"


async def test_a_hardening_of_what_failed_is_proven_on_all_that_is_held_out(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        whole = (await bench.runs.start("desk", wait_s=45)).run
        part = (
            await bench.runs.start("desk", select=["scenario:close-1", "scenario:close-2"], wait_s=45)
        ).run
        failed = (await bench.runs.start("desk", select=[f"failed:{whole.id}"], wait_s=45)).run
        assert (part.options["part_of"], failed.options["part_of"]) == ("", whole.id)
        h = await opened(bench, run=part.id)
        rows = (await bench.items.page("scenario", environment="desk", limit=100)).items
    held_out = {row["id"].partition("/")[2] for row in rows if row["split"] == "held_out"}
    assert set(h.held_out) == held_out and set(h.train) == {"close-1", "close-2"} - held_out
    told = " ".join(h.warnings)
    assert "All held-out scenarios are in the proof" in told
    assert f"{24 - len(held_out) - len(h.train)} train simulations are not selected" in told


LOOKING = {
    "id": "look-1",
    "split": "train",
    "goal": "Look up ticket T1.",
    "knowledge": [{"fact": "ticket id", "value": "T1"}],
    "expected": [{"tool": "look_up_ticket", "args": {"ticket_id": "T1"}}],
    "success": [{"id": "world", "world": "expected"}],
}
CLOSES_ALL = f"{RULE}\nAfter calling look_up_ticket, call close_ticket."
CHOSEN = {"options": {"select": ["scenario:close-1", "scenario:close-2", "scenario:close-3"]}}


async def ran_in(bench: Workbench, run: str) -> set[str]:
    """The scenarios of a run's trials."""
    rows = (await bench.items.page("conversation", where={"run": run}, limit=100)).items
    return {str(row["id"]).split("/")[1].rpartition("-")[0] for row in rows}


@pytest.mark.requirement("CH-6")
async def test_what_breaks_only_beside_the_selection_is_regressed_and_named(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await bench.scenarios.create("desk", [LOOKING])
        h = await opened(bench, **CHOSEN)
        assert h.left_out and "look-1" not in h.train
        assert "left_out" not in (await bench.items.get("hardening", "hard-1")).item
        report = await submitted(bench, "hard-1", CLOSES_ALL)
        found = report.hardening.find("hard-1/c1")
        assert found is not None and found.evidence is not None and found.evidence.held_out is not None
        proof = found.evidence.held_out
        assert (found.outcome, proof.worse, proof.n) == ("regressed", 0, len(h.held_out))
        assert proof.p <= proof.alpha
        (broken,) = [one for one in found.evidence.regressions if one.confirmed]
        assert (broken.scenario, broken.check, broken.left_out) == ("look-1", "world", True)
        told = hardening_reply(report)
        assert "check world in scenario look-1 broke outside of the selection" in told.summary
        assert broken.conversation in told.summary
        seen = await bench.items.get("conversation", broken.conversation, view="checks")
        assert seen.item["verdict"] == "fail"
        with pytest.raises(Conflict, match="regressed"):
            await bench.hardenings.decide("hard-1/c1", "promote", override=True, reason="I want it")
        again = await submitted(bench, "hard-1", RULE)
        assert again.hardening.find("hard-1/c2") is not None
        assert again.hardening.outcome == "improved"
        assert "Nothing broke in" in hardening_reply(again).summary


async def test_what_is_not_selected_is_run_only_where_all_else_says_improved(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        await bench.scenarios.create("desk", [LOOKING])
        h = await opened(bench, **CHOSEN)
        await submitted(bench, "hard-1", KIND)
        assert await ran_in(bench, "run-1") == {*h.train, *h.held_out}
        assert await ran_in(bench, "run-2") == set(h.train)
        await submitted(bench, "hard-1", RULE)
        assert len(await ran_in(bench, "run-1")) == len(await ran_in(bench, "run-3")) == 25


async def test_a_base_run_of_all_serves_for_what_is_not_selected_too(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        run = (await bench.runs.start("desk", wait_s=45)).run
        await opened(bench, run=run.id, **CHOSEN)
        report = await submitted(bench, "hard-1", RULE)
        assert report.hardening.outcome == "improved"
        assert len(await ran_in(bench, "run-2")) == 24
        with pytest.raises(NotFound):
            await bench.items.get("run", "run-3")


async def test_a_conversation_of_a_part_leads_to_a_hardening_of_the_whole(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 24)
        whole = (await bench.runs.start("desk", wait_s=45)).run
        picked = [f"failed:{whole.id}"], ["scenario:close-1", "scenario:close-2", "scenario:close-3"]
        for select, base in zip(picked, ({"run": whole.id}, {}), strict=True):
            part = (await bench.runs.start("desk", select=select, wait_s=45)).run
            rows = (await bench.items.page("conversation", where={"run": part.id}, limit=100)).items
            failed = next(row for row in rows if row["verdict"] == "fail" and row.get("split") != "held_out")
            item = await bench.items.get("conversation", str(failed["id"]))
            calls = [call for call in item_next(item, limit=20) if call.tool == "harden_agent"]
            assert [call.args for call in calls] == [{"environment": "desk", **base}]
