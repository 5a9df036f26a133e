"""Comparing stored runs: over instructions, seeds, agents and worlds, and one simulation side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import Conflict, HeldOut, InvalidArgument, NotFound
from caseharden.engine.records.hardening import Hardening
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.archive import Archive
from caseharden.tests.workbench_cases import INSTRUCTIONS, audited, bench_at, closing, desk, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-21")]
MENDED = f"{INSTRUCTIONS}\nBefore calling close_ticket, call look_up_ticket."


async def ran(bench: Workbench, environment: str = "desk", **arguments: Any) -> str:
    return (await bench.runs.start(environment, wait_s=45, **arguments)).run.id


async def before_and_after(bench: Workbench, count: int = 8) -> tuple[str, str]:
    """A run that fails everywhere, and one with the rule that mends it."""
    await desk(bench, count)
    base = await ran(bench)
    await bench.items.update("environment", "desk", {"instructions": MENDED})
    return base, await ran(bench)


async def held_out_simulation(bench: Workbench, run: str) -> str:
    rows = (await bench.items.page("conversation", where={"run": run}, limit=100)).items
    return next(str(row["id"]) for row in rows if row["split"] == "held_out").split("/")[1]


async def test_what_a_rule_mended_is_told_with_its_cause_and_evidence(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        base, run = await before_and_after(bench)
        report = await bench.comparisons.compare(base, run)
        assert report.differs == {"instructions": "desk@1 -> desk@2"} and report.warnings == []
        assert len(report.found.fixed) == 8 and not report.found.broken and not report.found.flaky
        assert report.found.p == 2 / 2**8 and report.found.finding == "better"
        assert "+Before calling close_ticket, call look_up_ticket." in report.diff
        back = await bench.comparisons.compare(run, base)
        assert back.found.broken == report.found.fixed and back.found.finding == "worse"


async def test_other_agents_and_worlds_are_paired_and_more_than_one_cause_is_warned_of(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        base, _ = await before_and_after(bench)
        other = {**tickets(8), "policy": "Close what the customer names."}
        tools = {"kind": "prompt", "tools": ["close_ticket", "look_up_ticket"]}
        await bench.environments.create("other", instructions=MENDED, world_data=other, agent=tools)
        await bench.personas.create(
            "other", [{"id": "dana", "style": "terse"}, {"id": "omar", "profile": "Polite."}]
        )
        changed = closing(8, goal="Get the ticket T8 closed now.")
        await bench.scenarios.create("other", [*(closing(n) for n in range(1, 8)), changed])
        report = await bench.comparisons.compare(base, await ran(bench, "other"))
        assert report.found.pairs == 8 and report.found.fixed
        assert set(report.differs) == {"instructions", "agent", "world", "cases", "environment"}
        assert report.differs["cases"].startswith("1 of 8")
        told = " ".join(report.warnings)
        assert "More than one thing differs (instructions, agent, world, cases)" in told
        assert "cases were changed" in told


async def test_two_models_are_compared_and_what_disagrees_with_itself_is_flaky(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await before_and_after(bench)
        sure = await ran(bench, trials=6)
        slips = await ran(bench, trials=6, models={"agent": "offline:slip=0.5"})
        report = await bench.comparisons.compare(sure, slips)
        assert report.differs == {"models": "agent offline -> offline:slip=0.5"}
        assert report.found.pairs == 48 and report.found.flaky and report.found.base.passed == 48
        assert report.found.worse and not report.found.better and report.found.finding == "worse"
        names = (report.found.fixed, report.found.broken, report.found.flaky, report.found.unchanged)
        assert sum(map(len, names)) == 8


async def test_other_seeds_are_left_out_and_trials_of_one_run_only_are_counted(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        base = await ran(bench)
        with pytest.raises(Conflict, match="other seeds") as refused:
            await bench.comparisons.compare(base, await ran(bench, options={"seed": 5}))
        assert refused.value.next[0].args["options"] == {"seed": 0}
        report = await bench.comparisons.compare(base, await ran(bench, trials=3))
        assert report.differs == {"trials": "1 -> 3"}
        assert report.warnings == ["4 pairs compared; left out: 8 trials of run-3 that run-1 does not have."]


async def test_a_failure_that_became_an_error_is_told_and_is_no_gain(tmp_path: Path) -> None:
    log = [{"say": "Hello", "by": "user"}, {"say": "No.", "by": "agent"}]
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        base = await ran(bench)
        conversations = [{"scenario": "close-1", "log": log}]
        await bench.items.update(
            "environment", "desk", {"agent": {"kind": "recorded", "conversations": conversations}}
        )
        report = await bench.comparisons.compare(base, await ran(bench))
        assert report.pairing.run_uncounted == 2 and report.found.pairs == 1
        assert (
            "2 trials of run-2, ended in error or invalid where run-1 counted (no gain)" in report.warnings[0]
        )
        assert report.found.fixed == []


async def test_runs_that_share_nothing_or_go_on_are_refused(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        one = await ran(bench, select=["scenario:close-1"])
        two = await ran(bench, select=["scenario:close-2"])
        with pytest.raises(Conflict, match="share no simulation"):
            await bench.comparisons.compare(one, two)
        with pytest.raises(NotFound, match="nearest `run-1`"):
            await bench.comparisons.compare("run-11", two)
        with pytest.raises(InvalidArgument, match="same as itself"):
            await bench.comparisons.compare(one, one)
        whole = await bench.runs.start("desk", trials=50, wait_s=0)
        assert whole.job is not None
        with pytest.raises(Conflict, match="still running") as refused:
            await bench.comparisons.compare(one, whole.run.id)
        assert refused.value.next[0].args == {"job": whole.job.id}
        await bench.jobs.cancel(whole.job.id)


async def test_side_by_side_begins_at_the_first_turn_that_differs(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        base, run = await before_and_after(bench)
        hidden = await held_out_simulation(bench, base)
        seen = next(s for s in (await bench.comparisons.compare(base, run)).found.fixed if s != hidden)
        shown = (await bench.comparisons.compare(base, run, simulation=f"desk/{seen}")).side_by_side
        assert (shown["simulation"], shown["trial"], shown["turn"]) == (seen, 1, 1)
        assert shown["base"]["verdict"] == "fail" and shown["run"]["verdict"] == "pass"
        first = shown["turns"][0]
        assert first["base"]["user"] == first["run"]["user"]
        assert [c["tool"] for c in first["base"]["calls"]] == ["close_ticket"]
        assert [c["tool"] for c in first["run"]["calls"]] == ["look_up_ticket", "close_ticket"]
        assert "state" not in shown
        again = await ran(bench)
        same = (await bench.comparisons.compare(run, again, simulation=seen)).side_by_side
        assert same["turn"] == 0 and same["turns"] == []
        with pytest.raises(NotFound, match=f"nearest `{seen}`"):
            await bench.comparisons.compare(base, run, simulation=f"{seen}x")


async def test_side_by_side_tells_where_the_world_ended_otherwise(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        base, _ = await before_and_after(bench)
        await bench.items.update("environment", "desk", {"instructions": "Never call close_ticket."})
        run = await ran(bench)
        report = await bench.comparisons.compare(base, run)
        seen = next(s for s in report.found.unchanged if s not in report.held_out)
        shown = (await bench.comparisons.compare(base, run, simulation=seen)).side_by_side
        (row,) = shown["state"]
        assert row["path"].startswith("db.tickets.") and row["base"]["new"] == "closed"
        assert "run" not in row


async def test_what_changed_is_told_by_persona_tag_and_scenario(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        for n, tag in ((1, "late"), (2, "late"), (3, "gift")):
            await bench.items.update("scenario", f"desk/close-{n}", {"tags": [tag]})
        base = await ran(bench)
        await bench.items.update("environment", "desk", {"instructions": MENDED})
        report = await bench.comparisons.compare(base, await ran(bench))
        tags = {one.name: (one.base, one.run, one.pairs, one.better) for one in report.groups["tag"]}
        assert tags == {"late": (0, 2, 2, 2), "gift": (0, 1, 1, 1)}
        assert sum(one.pairs for one in report.groups["persona"]) == report.found.pairs
        assert [one.name for one in report.groups["scenario"]] == [f"close-{n}" for n in range(1, 5)]


async def test_looking_side_by_side_spends_a_held_out_scenario_and_is_refused_in_a_proof(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        base, run = await before_and_after(bench)
        hidden = await held_out_simulation(bench, base)
        whole = await bench.comparisons.compare(base, run)
        assert hidden in whole.held_out and whole.warnings == []
        assert not [line for line in audited(tmp_path) if line[0] == "spend"]
    hardening = Hardening(
        id="hard-9",
        environment="desk",
        base="desk@2",
        base_text="",
        strategy="rules",
        state="running",
        proving=True,
    )
    with Store(tmp_path) as opened:
        Archive(opened).hardenings.put("hard-9", hardening)
    async with bench_at(tmp_path) as bench:
        with pytest.raises(HeldOut):
            await bench.comparisons.compare(base, run, simulation=hidden)
        assert not [line for line in audited(tmp_path) if line[0] == "spend"]
    with Store(tmp_path) as opened:
        Archive(opened).hardenings.delete(["hard-9"])
    async with bench_at(tmp_path) as bench:
        read = await bench.comparisons.compare(base, run, simulation=hidden)
        assert "counts as train" in read.warnings[0]
        assert [line for line in audited(tmp_path) if line[0] == "spend"]
