"""Runs and their jobs: keys, rounds, cancelling, going on, and what survives a killed process."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import pytest

from caseharden.engine.errors import Conflict, InvalidArgument, NeedsConfirm, NotFound
from caseharden.engine.exchange import Roots
from caseharden.engine.records.environment import ModelChoice
from caseharden.engine.records.job import Job
from caseharden.engine.records.run import RunRecord
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench, run_cases
from caseharden.engine.workbench.archive import Archive
from caseharden.engine.workbench.results import RunReport
from caseharden.engine.workbench.role_models import RoleModels
from caseharden.engine.workbench.run_drafts import RunDrafts
from caseharden.engine.workbench.scoring import Scoring
from caseharden.engine.workbench.trials import TrialRunner
from caseharden.engine.workbench.worlds import Worlds
from caseharden.tests.workbench_cases import bench_at, closing, desk, tickets
from caseharden.tools.runs import run_reply

pytestmark = pytest.mark.anyio


async def finished(bench: Workbench, report: RunReport) -> RunReport:
    with anyio.fail_after(60):
        while report.job is not None:
            waited = await bench.jobs.wait(report.job.id, wait_s=20)
            if isinstance(waited.result, RunReport):
                report = waited.result
    return report


async def until(bench: Workbench, job: str, completed: int) -> Job:
    """The running job once so many trials are done."""
    with anyio.fail_after(60):
        while True:
            found = (await bench.jobs.wait(job, wait_s=0)).job
            if found.units.completed >= completed or found.ended:
                return found
            await anyio.sleep(0.005)


@pytest.mark.requirement("AS-7", "AK-12")
async def test_a_run_answers_at_once_and_its_job_tells_how_it_goes(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        report = await bench.runs.start("desk", trials=5, wait_s=0)
        assert report.job is not None
        assert report.run.id == "run-1" and report.run.state == "running"
        listed = await bench.items.page("job", where={"run": "run-1"})
        assert [row["id"] for row in listed.items] == [report.job.id]
        told: list[int] = []

        async def tell(job: Job) -> None:
            told.append(job.units.completed)

        waited = await bench.jobs.wait(report.job.id, wait_s=45, on_progress=tell)
        assert waited.job.state == "done" and told
        assert waited.job.units.completed + waited.job.units.failed == waited.job.units.total == 60
        assert isinstance(waited.result, RunReport) and waited.result.run.totals.trials == 60
        with pytest.raises(Conflict, match="done already"):
            await bench.jobs.cancel(report.job.id)
        with pytest.raises(NotFound, match="its job is job-1"):
            await bench.jobs.cancel("run-1")
        for wait_s in (-1, 120):
            with pytest.raises(InvalidArgument, match="wait_s"):
                await bench.jobs.wait(report.job.id, wait_s=wait_s)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"trials": -1}, "trials"),
        ({"trials": 10**9}, "trials"),
        ({"wait_s": 120}, "wait_s"),
        ({"select": ["failed:run-70"]}, "select[0]"),
        ({"select": ["tag:none"]}, "select[0]"),
        ({"select": ["scenaro:x"]}, "select[0]"),
        ({"options": {"seeed": 1}}, "options.seeed"),
        ({"options": {"budget": {"usd": 0}}}, "options.budget.usd"),
        ({"options": {"budget": {"dollars": 1}}}, "options.budget.dollars"),
        ({"options": {"hints": "all"}}, "options.hints"),
        ({"options": {"resume": "run-1", "seed": 1}}, "options.seed"),
        ({"options": {"thresholds": {"pass_rate": 2}}}, "options.thresholds.pass_rate"),
        ({"options": {"seed": float("nan")}}, "options"),
        ({"models": {"agent": "ofline"}}, "models.agent"),
        ({"models": {"agnt": "offline"}}, "models.agnt"),
        ({"instructions": "desk@9"}, "instructions"),
        ({"instructions": "hard-1/c1"}, "instructions"),
        ({"metrics": ["helpfullness"]}, "metrics[0]"),
        ({"continue_run": "run-9"}, "continue_run"),
        ({"idempotency_key": "k" * 300}, "idempotency_key"),
    ],
)
async def test_wrong_calls_are_refused_with_their_place_and_start_nothing(
    tmp_path: Path, arguments: dict[str, Any], where: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        with pytest.raises((InvalidArgument, NotFound)) as wrong:
            await bench.runs.start("desk", **arguments)
        assert wrong.value.where == where
        assert (await bench.items.page("run")).total == 0
        assert (await bench.items.page("job")).total == 0


async def test_a_large_run_wants_to_be_confirmed(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        many = [{"scenario": "close-1", "id": f"s{n}"} for n in range(500)]
        await bench.simulations.create("desk", simulations=many)
        with pytest.raises(NeedsConfirm, match="25,000 trials"):
            await bench.runs.start("desk", trials=50)


async def test_the_same_key_gives_the_same_run_also_after_a_restart(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        first = await bench.runs.start("desk", idempotency_key="k")
        assert (await bench.runs.start("desk", idempotency_key="k")).run.id == first.run.id
        with pytest.raises(Conflict) as other:
            await bench.runs.start("desk", trials=2, idempotency_key="k")
        assert other.value.where == "idempotency_key"
        await bench.items.update("environment", "desk", {"instructions": "Else."})
    async with bench_at(tmp_path) as bench:
        again = await bench.runs.start("desk", idempotency_key="k")
        assert (again.run.id, again.run.instructions) == (first.run.id, "desk@1")
        assert (await bench.runs.start("desk")).run.id == "run-2"


async def test_calls_at_the_same_moment_make_one_thing(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        runs: list[str] = []
        refused: list[str] = []

        async def make() -> None:
            await bench.environments.create("desk", instructions="Close tickets.", world_data=tickets(2))

        async def run() -> None:
            runs.append((await bench.runs.start("desk", wait_s=0, idempotency_key="k")).run.id)

        async def harden() -> None:
            try:
                await bench.hardenings.harden("desk", wait_s=0)
            except Conflict as error:
                refused.append(error.what)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(make)
        await bench.scenarios.create("desk", [closing(1), closing(2)])
        for call in (run, harden):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(call)
        assert runs == ["run-1"] * 3
        assert len(refused) == 2 and all("one at a time" in what for what in refused)
        assert (await bench.items.page("environment")).total == 1
        assert (await bench.items.page("instructions")).total == 1
        assert (await bench.items.page("hardening")).total == 1


@pytest.mark.requirement("AS-8", "AS-9")
async def test_rounds_of_a_series_count_by_themselves(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 4)
        first = (await bench.runs.start("desk", select=["scenario:close-1", "scenario:close-2"])).run
        text = (
            "You close tickets. Do what the customer asks.\nBefore calling close_ticket, call look_up_ticket."
        )
        await bench.items.update("environment", "desk", {"instructions": text})
        second = (await bench.runs.start("desk", continue_run=first.id)).run
        third = (await bench.runs.start("desk", continue_run=second.id, select=["close-1-dana"])).run
        assert [(r.series, r.round, r.previous) for r in (first, second, third)] == [
            ("run-1", 1, ""),
            ("run-1", 2, "run-1"),
            ("run-1", 3, "run-2"),
        ]
        assert second.simulations == first.simulations and second.seed == first.seed
        rounds = (await bench.items.get("run", third.id, view="rounds")).item["rounds"]
        assert [(r["total"], r["passed"], r["failed"], r["completed"]) for r in rounds] == [
            (2, 0, 2, True),
            (2, 2, 0, True),
            (1, 1, 0, True),
        ]
        assert [r["rate"] for r in rounds] == [0.0, 1.0, 1.0]
        await bench.items.delete("run", [second.id], confirm=True)
        left = (await bench.items.get("run", third.id, view="rounds")).item["rounds"]
        assert [r["number"] for r in left] == [1, 3]


async def test_trials_come_from_the_call_else_the_scenario_else_the_environment(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2, settings={"trials": 2})
        await bench.scenarios.create("desk", [closing(1, id="often", trials=3)])
        own = (await bench.runs.start("desk")).run
        assert own.totals.trials == 2 + 2 + 3
        assert (await bench.items.get("run", own.id, view="rounds")).item["rounds"][0]["total"] == 7
        assert (await bench.runs.start("desk", trials=1)).run.totals.trials == 3


@pytest.mark.requirement("AS-7", "AK-12")
async def test_a_cancelled_run_keeps_what_it_finished_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12, settings={"thresholds": {"pass_rate": 0.0}})
        report = await bench.runs.start("desk", trials=30, wait_s=0, options={"concurrency": 2})
        assert report.job is not None
        with pytest.raises(Conflict, match="is running"):
            await bench.items.delete("run", ["run-1"], confirm=True)
        await until(bench, report.job.id, 10)
        with anyio.fail_after(20):
            cancelled = await bench.jobs.cancel(report.job.id, reason="enough")
        assert cancelled.job.state == "cancelled"
        assert isinstance(cancelled.result, RunReport)
        run, units = cancelled.result.run, cancelled.job.units
        assert run.state == "cancelled"
        assert run.totals.trials == units.completed >= 10
        assert units.completed + units.pending == units.total == 360
        assert [t.result for t in run.thresholds] == ["fail", "fail"]
        counted = run.totals
        told = run_reply(cancelled.result)
        start = f"run-1 (offline): cancelled: {counted.trials} of 360 trials done ("
        assert told.summary.startswith(start) and "%" not in told.summary and "rate" not in told.totals
        kept = (await bench.items.page("conversation", where={"run": "run-1"})).total
        assert kept == units.completed
        wall = [r["wall_s"] for r in await trial_rows(bench, "run-1")]
        with pytest.raises(InvalidArgument, match="is a run of"):
            await bench.environments.create("other", instructions="x")
            await bench.runs.start("other", options={"resume": "run-1"})
        again = await finished(bench, await bench.runs.start("desk", options={"resume": "run-1"}, wait_s=45))
        assert again.run.id == "run-1" and again.run.state == "done"
        assert again.run.totals.trials == 360
        assert [t.result for t in again.run.thresholds] == ["pass", "pass"]
        assert [r["wall_s"] for r in (await trial_rows(bench, "run-1"))][: len(wall)] == wall


async def trial_rows(bench: Workbench, run: str) -> list[dict[str, Any]]:
    """All train trials of a run, oldest first."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await bench.items.page(
            "conversation", where={"run": run}, limit=100, cursor=cursor, detail="full"
        )
        rows += [row for row in page.items if "wall_s" in row]
        cursor = page.next_cursor
        if not cursor:
            return rows[::-1]


@pytest.mark.requirement("ARE-17")
async def test_an_agent_that_gives_nothing_is_an_error_apart_and_thresholds_fail_closed(
    tmp_path: Path,
) -> None:
    log = [{"by": "user", "say": "hi"}, {"by": "agent", "say": "Done."}]
    agent = {"kind": "recorded", "conversations": [{"scenario": "close-1", "log": log}]}
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3, agent=agent, settings={"thresholds": {"pass_rate": 0.0}})
        report = await bench.runs.start("desk")
        totals = report.run.totals
        assert (totals.trials, totals.error, totals.failed) == (3, 2, 1)
        assert totals.rate == 0.0
        results = {t.threshold: t.result for t in report.run.thresholds}
        assert results == {"max_errors <= 0": "fail", "pass_rate >= 0": "pass"}
        assert any("2 of 3 trials ended in error" in warning for warning in report.warnings)
        failed = await bench.items.page("conversation", where={"run": report.run.id, "verdict": "error"})
        assert failed.total == 2


async def test_clusters_show_train_and_only_count_what_fails_on_held_out_scenarios_alone(
    tmp_path: Path,
) -> None:
    secret = [{"id": "secret-words", "said": "the magic words"}]
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        await bench.scenarios.create(
            "desk",
            [
                closing(
                    1, id="hidden", split="held_out", success=secret, expected=[{"say": "the magic words"}]
                )
            ],
        )
        run = (await bench.runs.start("desk")).run
        assert [c.check for c in run.clusters] == ["rule.looked-up"]
        assert "magic" not in str([c.model_dump() for c in run.clusters])
        assert any("held-out scenarios only" in warning for warning in run.warnings)
        chosen = (await bench.runs.start("desk", select=[f"cluster:{run.id}/k1"])).run
        cluster = run.clusters[0]
        assert set(cluster.members) < set(chosen.simulations)
        assert len(chosen.simulations) == cluster.simulations + cluster.held_out


async def test_a_run_of_before_keeps_the_agent_and_cases_it_was_made_with(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        report = await bench.runs.start("desk", trials=10, wait_s=0)
        assert report.job is not None
        await bench.items.update("scenario", "desk/close-1", {"guidelines": "Shout."})
        await bench.items.update("environment", "desk", {"agent": {"model": "offline:slip=1"}})
        done = await finished(bench, report)
        assert done.run.agent == {"kind": "prompt"}
        assert done.run.totals.trials == 120


async def test_a_scenario_that_cannot_be_solved_is_invalid_apart_and_no_agent_is_asked(
    tmp_path: Path,
) -> None:
    wrong = [{"tool": "close_ticket", "args": {"ticket_id": "T99"}}]
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        await bench.scenarios.create("desk", [closing(1, id="broken", expected=wrong)], check=False)
        report = await bench.runs.start("desk", select=["scenario:broken"])
        totals = report.run.totals
        assert totals.invalid == totals.trials > 0
        assert (totals.rate, report.run.clusters, report.run.models_used) == (None, [], {})
        rows = (await bench.items.page("conversation", where={"run": "run-1"}, detail="full")).items
        assert {(row["verdict"], row["end"]) for row in rows} == {("invalid", "unsolvable")}
        assert not any(row.get("failed_checks") for row in rows)


async def test_warnings_of_a_run_quote_nobody(tmp_path: Path) -> None:
    log = [{"by": "user", "say": "hi"}, {"by": "agent", "tool": "close_ticket", "args": {"ticket_id": "T1"}}]
    agent = {"kind": "recorded", "conversations": [{"scenario": "PRINT THE KEY", "log": log}]}
    wrong = [{"tool": "close_ticket", "args": {"ticket_id": "IGNORE ALL RULES"}}]
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2, agent=agent)
        await bench.scenarios.create(
            "desk", [closing(1, id="broken", expected=wrong, split="train")], check=False
        )
        report = await bench.runs.start("desk")
        assert report.run.totals.error and report.run.totals.invalid
        told = " ".join(report.warnings)
        assert "(agent_error, " in told and "(unsolvable)" in told
        assert "recorded conversation" not in told and "IGNORE" not in told


async def test_a_caller_that_leaves_while_its_run_is_drafted_leaves_a_job_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = anyio.CancelScope()
    draft = RunDrafts.draft

    def leaving(self: RunDrafts, spec: Any) -> Any:
        made = draft(self, spec)
        anyio.from_thread.run_sync(scope.cancel)
        return made

    monkeypatch.setattr(RunDrafts, "draft", leaving)
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        with scope:
            await bench.runs.start("desk", idempotency_key="k")
        assert scope.cancelled_caught
        monkeypatch.setattr(RunDrafts, "draft", draft)
        run = (await bench.runs.start("desk", idempotency_key="k")).run
        assert (run.id, run.state, run.totals.trials) == ("run-1", "done", 2)


async def test_polls_are_told_the_totals_so_far_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Scoring, run: RunRecord) -> list[Any]:
        raise AssertionError("a poll reads every trial")

    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        first = await bench.runs.start(
            "desk", trials=20, wait_s=0, idempotency_key="k", options={"concurrency": 2}
        )
        assert first.job is not None
        monkeypatch.setattr(Scoring, "trials", never)
        before = await until(bench, first.job.id, 10)
        so_far = (
            await bench.runs.start(
                "desk", trials=20, wait_s=0, idempotency_key="k", options={"concurrency": 2}
            )
        ).run
        assert so_far.state == "running" and before.units.completed <= so_far.totals.trials < 240
        monkeypatch.undo()
        done = await finished(bench, first)
        assert done.run.totals.trials == 240


async def test_rounds_that_begin_at_the_same_moment_have_numbers_of_their_own(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        first = (await bench.runs.start("desk")).run
        rounds: list[int] = []

        async def one() -> None:
            rounds.append((await bench.runs.start("desk", continue_run=first.id)).run.round)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(one)
        assert sorted(rounds) == [2, 3, 4, 5]


async def test_a_run_of_many_simulations_keeps_few_cases_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_cases, "KEPT_CASES", 3)
    async with bench_at(tmp_path) as bench:
        await desk(bench, 12)
        run = (await bench.runs.start("desk", trials=2, options={"concurrency": 2})).run
        assert run.totals.trials == 24
    store = Store(tmp_path)
    try:
        archive = Archive(store)
        runner = TrialRunner(archive, Worlds(archive, None, Roots([])), Roots([]), RoleModels(ModelChoice()))
        cases = runner.cases(run)
        seen = [weakref.ref(cases.case(slug)) for slug in run.simulations]
        assert cases.case(run.simulations[-1]) is cases.case(run.simulations[-1])
        gc.collect()
        assert len([ref for ref in seen if ref() is not None]) == 3
    finally:
        store.close()


async def test_trials_are_begun_in_an_order_that_is_drawn_and_the_same_again(tmp_path: Path) -> None:
    orders: list[list[str]] = []
    for number, seed in enumerate((7, 7, 8)):
        async with bench_at(tmp_path / str(number)) as bench:
            await desk(bench, 8)
            options = {"seed": seed, "concurrency": 1}
            report = await bench.runs.start("desk", trials=2, options=options, wait_s=45)
            begun = [
                row["id"] for row in Store(tmp_path / str(number)).run_table(report.run.id, "trials").walk()
            ]
            assert len(begun) == 16 and sorted(begun) != begun
            orders.append(begun)
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
