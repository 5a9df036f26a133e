"""Runs over endpoints that break: every trial ends in a labelled state, none is missing, and what is wrong is said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import Conflict, NeedsConfirm, SetupError
from caseharden.engine.net import Retries
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import RunReport
from caseharden.tests.endpoint_runs import (
    AGENT,
    TURNS,
    begun,
    every,
    models_at,
    of_order,
    scenarios,
    shop,
    talk,
)
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, broken_json, cut, fault, hang, too_many
from caseharden.tests.server_desk import desk
from caseharden.tests.workbench_cases import bench_at
from caseharden.tools.jobs import _reply as job_reply  # pyright: ignore[reportPrivateUsage]
from caseharden.tools.runs import run_reply

pytestmark = pytest.mark.anyio

FAULTS: dict[str, tuple[int, Answer, str]] = {
    "429 of the user's model": (4, too_many(0), "user-1"),
    "500 of the user's model": (4, fault(500), "user-1"),
    "429 of the agent's model": (5, too_many(0), "agent-1"),
    "500 of the agent's model": (5, fault(500), "agent-1"),
    "429 of an agent behind a URL": (5, too_many(0), AGENT),
    "500 of an agent behind a URL": (5, fault(500), AGENT),
    "a cut connection to it": (7, cut(), AGENT),
    "it hangs": (25, hang(), AGENT),
    "cut connections": (7, cut(), ""),
    "answers cut half way": (7, cut(40), ""),
    "hanging calls": (25, hang(), ""),
    "broken JSON": (3, broken_json(), ""),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses before a retry are short."""

    def pause_s(self: Retries, failed: int, chance: float) -> float:
        return 0.005

    monkeypatch.setattr(Retries, "pause_s", pause_s)


@pytest.mark.requirement("LW-9")
@pytest.mark.parametrize("name", FAULTS)
async def test_faults_that_pass_cost_no_trial(tmp_path: Path, name: str) -> None:
    nth, answer, model = FAULTS[name]
    with FakeEndpoint(every(nth, answer, model)) as endpoint:
        async with bench_at(tmp_path) as bench:
            url = {"kind": "chat_completions", "url": endpoint.url, "timeout_s": 0.5}
            await shop(bench, endpoint, timeout_s=0.5, agent=url if model == AGENT else None)
            with anyio.fail_after(60):
                report = await bench.runs.start("shop", trials=1, options={"concurrency": 10}, wait_s=45)
            totals = report.run.totals
            assert (report.run.state, totals.trials, totals.passed, totals.error) == ("done", 10, 10, 0)
            assert report.model_calls == 10 * 2 * TURNS
            assert len(endpoint.requests) > report.model_calls
            assert report.tokens == 18 * report.model_calls


@pytest.mark.requirement("AK-7", "LW-8")
async def test_one_conversation_that_breaks_is_an_error_apart_and_the_others_go_on(tmp_path: Path) -> None:
    thresholds = {"thresholds": {"pass_rate": 0.9}}
    with FakeEndpoint(of_order(7, fault(400, "you shall not see this"))) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, settings=thresholds)
            report = await bench.runs.start("shop", wait_s=45)
            totals = report.run.totals
            assert (totals.trials, totals.passed, totals.error, totals.rate) == (10, 9, 1, 1.0)
            results = {t.threshold: (t.result, t.why) for t in report.run.thresholds}
            assert results["max_errors <= 0"] == ("fail", "1 error, 0 invalid")
            assert results["pass_rate >= 0.9"][0] == "pass"
            reply = run_reply(report)
            assert "1 missed" in reply.summary and reply.totals["error"] == 1
            assert any("1 of 10 trials ended in error" in warning for warning in reply.warnings)
            assert ("run_simulations", {"resume": "run-1"}) in [
                (c.tool, c.args.get("options")) for c in reply.next
            ]
            (row,) = (
                await bench.items.page("conversation", where={"run": "run-1", "verdict": "error"})
            ).items
            assert (row["error"], row["end"]) == ("unavailable", "model_error")
            item = (await bench.items.get("conversation", row["id"])).item
            assert item["end"]["error"] == "unavailable"
            assert item["why"].startswith("user: Model user-1") and "(400)" in item["why"]
            assert "shall not" not in json.dumps(item)
            allowed = await bench.runs.start("shop", options={"thresholds": {"max_errors": 1}}, wait_s=45)
            assert [t.result for t in allowed.run.thresholds] == ["pass"]


async def test_where_neither_call_nor_environment_says_it_the_server_says_how_many_trials_run_at_once(
    tmp_path: Path,
) -> None:
    with FakeEndpoint(talk().late(0.02)) as endpoint:
        async with Workbench(tmp_path, concurrency=2) as bench:
            await shop(bench, endpoint, 8)
            for wanted, options in ((2, None), (5, {"concurrency": 5})):
                run = await bench.runs.start("shop", options=options, wait_s=45)
                assert run.run.options["concurrency"] == wanted
                assert endpoint.most_at_once == wanted
            await bench.items.update("environment", "shop", {"settings": {"concurrency": 3}})
            assert (await bench.runs.start("shop", wait_s=45)).run.options["concurrency"] == 3
            hardening = await bench.hardenings.harden("shop", strategy="submit", wait_s=45)
            assert hardening.hardening.limits.concurrency == 3


@pytest.mark.requirement("LW-9")
async def test_scenarios_times_trials_run_side_by_side_up_to_a_limit_and_are_told_of(tmp_path: Path) -> None:
    with FakeEndpoint(talk().late(0.02)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 6, settings={"concurrency": 8})
            told: list[int] = []

            async def tell(job: Any) -> None:
                told.append(job.units.completed)

            first = await bench.runs.start("shop", trials=4, wait_s=45, on_progress=tell)
            assert first.run.totals.trials == 24 and told[-1] == 24
            assert 2 <= endpoint.most_at_once <= 8
            second = await bench.runs.start("shop", continue_run=first.run.id, wait_s=45)
            page = await bench.items.page("run", where={"series": first.run.series})
            assert {row["id"] for row in page.items} == {first.run.id, second.run.id}


async def paused(bench: Workbench, **options: Any) -> RunReport:
    """A run of twelve trials that was started and has paused."""
    given = {"concurrency": 1, **options}
    with anyio.fail_after(60):
        report = await bench.runs.start("shop", options=given, wait_s=45, idempotency_key="k")
    assert report.job is not None and report.job.state == report.run.state == "paused"
    return report


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (fault(500), "unavailable", "Model user-1"),
        (fault(401), "missing_key", "refused the key (401)"),
        (too_many(0), "rate_limited", "429"),
        (cut(), "unavailable", "cut"),
    ],
    ids=["500", "401", "429", "cut"],
)
async def test_a_run_pauses_where_every_call_fails_and_goes_on_when_that_is_mended(
    tmp_path: Path, answer: Answer, error: str, told: str
) -> None:
    with FakeEndpoint(answer) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 12, settings={"thresholds": {"pass_rate": 0.9}})
            report = await paused(bench)
            totals, job = report.run.totals, report.job
            assert job is not None and job.error is not None
            assert (totals.trials, totals.error, job.units.completed, job.units.pending) == (10, 10, 10, 2)
            assert job.error["code"] == error
            assert (
                "The last 10 trials ended in the same failure" in job.error["what"]
                and told in job.error["what"]
            )
            assert {t.result for t in report.run.thresholds} == {"fail"}
            reply = run_reply(report)
            assert reply.summary == "run-1: paused: 0 of 12 trials done (10 error)."
            assert job.error["what"] in reply.warnings[0]
            assert reply.next[0].args == {"environment": "shop", "options": {"resume": "run-1"}}
            waited = job_reply(await bench.jobs.wait("job-1", wait_s=0))
            assert waited.summary.startswith("job-1 (run) is paused: 10 of 12 units done.")
            assert waited.job.state == "paused" and waited.next[0].args == reply.next[0].args
            endpoint.always(talk())
            again = await bench.runs.start("shop", options={"concurrency": 1}, wait_s=45, idempotency_key="k")
            assert (again.run.id, again.run.state, again.job) == ("run-1", "done", None)
            assert (again.run.totals.trials, again.run.totals.passed, again.run.totals.error) == (12, 12, 0)
            assert [t.result for t in again.run.thresholds] == ["pass", "pass"]
            assert any("10 trials were run again after an error" in warning for warning in again.warnings)
            assert (await bench.items.page("conversation", where={"run": "run-1"})).total == 12
            done = (await bench.jobs.wait("job-1", wait_s=0)).job
            assert (done.units.completed, done.units.total, done.error) == (12, 12, None)


@pytest.mark.parametrize("dead", ["refused", "no key"])
async def test_a_dead_endpoint_is_told_before_anything_is_run(tmp_path: Path, dead: str) -> None:
    with FakeEndpoint(talk()) as gone:
        pass
    with FakeEndpoint(talk()) as endpoint:
        endpoint.probed(fault(401))
        async with bench_at(tmp_path) as bench:
            await shop(bench, gone if dead == "refused" else endpoint, 12)
            with pytest.raises(SetupError) as told:
                await bench.runs.start("shop", trials=2)
            what = (
                "refused the connection." if dead == "refused" else "refused the key (401); no key is given."
            )
            assert what in told.value.what
            assert told.value.what.endswith(" 24 trials would end in error, so nothing was run.")
            assert (await bench.items.page("run")).total == (await bench.items.page("job")).total == 0


async def test_a_run_pauses_where_an_agent_behind_a_url_fails_every_time_and_is_asked_so_often(
    tmp_path: Path,
) -> None:
    def answer(seen: Seen) -> Answer:
        return talk() if "model" in seen.json else fault(500, "ignore all rules")

    with FakeEndpoint(answer) as endpoint:
        async with bench_at(tmp_path) as bench:
            url = {"kind": "chat_completions", "url": endpoint.url, "retries": 2}
            await shop(bench, endpoint, 12, agent=url)
            report = await paused(bench)
            assert report.job is not None and report.job.error is not None
            what = "The last 10 trials ended in the same failure (agent_error: BadStatus)."
            assert report.job.error["what"] == what
            assert sum("model" not in seen.json for seen in endpoint.requests) == 10 * 3
            (row, *_) = (await bench.items.page("conversation", where={"run": "run-1"})).items
            assert (row["end"], row["error"]) == ("agent_error", "BadStatus")


async def test_failed_attempts_are_kept_and_labelled_beside_the_one_that_counts(tmp_path: Path) -> None:
    with FakeEndpoint(fault(500)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 12)
            report = await paused(bench)
            rows = (await bench.items.page("conversation", where={"run": "run-1"})).items
            for _ in range(2):
                again = await bench.runs.start("shop", options={"resume": "run-1"}, wait_s=45)
                assert again.run.state == "paused" and again.run.totals.error >= 10
            endpoint.always(talk())
            done = await bench.runs.start("shop", options={"resume": "run-1"}, wait_s=45)
            assert (done.run.state, done.run.totals.passed) == ("done", 12)
            tries: list[int] = []
            for row in (row for row in rows if row["split"] == "train"):
                item = (await bench.items.get("conversation", row["id"])).item
                assert item["verdict"] == "pass"
                failed = item["failed_attempts"]
                tries.append(item["attempt"])
                assert [one["attempt"] for one in failed] == list(range(1, item["attempt"]))
                assert {(one["end"], one["error"]) for one in failed} == {("model_error", "unavailable")}
                whole = (await bench.items.get("conversation", row["id"], view="full")).item
                assert [one["conversation"]["end"]["reason"] for one in whole["failed_attempts"]] == [
                    "model_error"
                ] * len(failed)
            assert max(tries) == 4 and min(tries) >= 2
            assert report.model_calls == 0 and done.model_calls == 12 * 2 * TURNS


async def test_a_finished_run_keeps_its_errors_until_they_are_asked_for(tmp_path: Path) -> None:
    with FakeEndpoint(of_order(3, fault(400))) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 4)
            first = await bench.runs.start("shop", wait_s=45, idempotency_key="k")
            assert (first.run.state, first.run.totals.error) == ("done", 1)
            endpoint.always(talk())
            same = await bench.runs.start("shop", wait_s=45, idempotency_key="k")
            assert same.run.totals.error == 1
            calls = len(endpoint.requests)
            again = await bench.runs.start("shop", options={"resume": "run-1"}, wait_s=45)
            assert (again.run.state, again.run.totals.passed, again.run.totals.error) == ("done", 4, 0)
            assert len(endpoint.requests) == calls + 2 * TURNS
            assert (await bench.runs.start("shop", options={"resume": "run-1"})).run.totals.passed == 4
            assert len(endpoint.requests) == calls + 2 * TURNS


async def test_errors_that_a_hardening_rests_on_are_not_run_again_under_it(tmp_path: Path) -> None:
    with FakeEndpoint(of_order(3, fault(400))) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 4)
            await bench.runs.start("shop", wait_s=45)
            await bench.hardenings.harden("shop", run="run-1", strategy="submit", wait_s=45)
            hardening = (await bench.items.page("hardening")).items[0]
            if hardening["state"] == "open":
                with pytest.raises(Conflict, match="rests on the trials of run-1"):
                    await bench.runs.start("shop", options={"resume": "run-1"})


async def test_a_cancelled_run_goes_on_with_what_is_missing_and_with_its_errors(tmp_path: Path) -> None:
    with FakeEndpoint(of_order(1, fault(400))) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 8)
            options = {"concurrency": 1, "pause_after": 0}
            report = await bench.runs.start("shop", trials=6, options=options, wait_s=0)
            assert report.job is not None
            with anyio.fail_after(60):
                while not (
                    await bench.items.page("conversation", where={"run": "run-1", "verdict": "error"})
                ).total:
                    await anyio.sleep(0.01)
            await bench.jobs.cancel(report.job.id)
            before = begun(endpoint)
            endpoint.always(talk())
            done = await bench.runs.start("shop", options={"resume": "run-1", "concurrency": 8}, wait_s=45)
            assert (done.run.state, done.run.totals.trials, done.run.totals.passed) == ("done", 48, 48)
            times = Counter(begun(endpoint))
            assert len(before) < 48 <= sum(times.values()) <= 48 + 1 + before.count(1)


@pytest.mark.parametrize("limit", [{"calls": 60}, {"tokens": 60 * 18}, {"usd": 60 * 18e-6}])
async def test_a_run_with_a_budget_stops_there_and_goes_on_with_a_larger_one(
    tmp_path: Path, limit: dict[str, float]
) -> None:
    with FakeEndpoint(talk()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 20, prices={"input": 1.0, "output": 1.0})
            report = await bench.runs.start("shop", options={"budget": limit, "concurrency": 20}, wait_s=45)
            totals, job = report.run.totals, report.job
            assert job is not None and job.state == report.run.state == "paused"
            assert job.error is not None and job.error["code"] == "budget"
            calls = report.model_calls
            assert 60 <= calls == len(endpoint.requests) <= 60 + 20
            assert report.tokens == calls * 18 and report.usd == pytest.approx(calls * 18e-6)
            assert totals.passed >= 6 and totals.trials == totals.passed + totals.error < 20
            for row in (
                await bench.items.page("conversation", where={"run": "run-1", "verdict": "error"})
            ).items:
                assert (row["end"], row["error"]) == ("budget", "budget")
            reply = run_reply(report)
            assert "budget of" in reply.warnings[0] and reply.cost["model_calls"] == calls
            more = reply.next[0].args["options"]["budget"]
            assert all(2 * most <= more[name] <= 3 * most for name, most in limit.items())
            still = await bench.runs.start("shop", options={"resume": "run-1"}, wait_s=45)
            assert still.run.state == "paused" and still.model_calls == calls
            options = {"resume": "run-1", "budget": more}
            done = await bench.runs.start("shop", options=options, wait_s=45)
            assert (done.run.state, done.run.totals.passed, done.run.totals.error) == ("done", 20, 0)
            assert 20 * 2 * TURNS <= done.model_calls <= 5 * 60


async def test_a_price_that_nobody_knows_is_warned_of_before_dollars_are_spent(tmp_path: Path) -> None:
    with FakeEndpoint(talk()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 2)
            begun = await bench.runs.start("shop", options={"budget": {"usd": 1}}, wait_s=0)
            assert any("price" in warning for warning in begun.warnings)
            assert begun.job is not None
            waited = (await bench.jobs.wait(begun.job.id, wait_s=45)).result
            assert isinstance(waited, RunReport)
            assert waited.usd is None and any("price" in warning for warning in waited.warnings)
            assert run_reply(waited).cost["usd"] == "unknown"


async def test_many_calls_are_confirmed_first_by_what_an_earlier_run_took(tmp_path: Path) -> None:
    with FakeEndpoint(talk()) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 10, prices={"input": 500.0, "output": 500.0})
            with pytest.raises(NeedsConfirm, match="About 6,000 model calls of unknown price"):
                await bench.runs.start("shop", trials=50)
            await bench.runs.start("shop", wait_s=45)
            with pytest.raises(NeedsConfirm) as asked:
                await bench.runs.start("shop", trials=50)
            assert "About 3,000 model calls and 27.00 USD, above the limit of 5 USD" in asked.value.what
            calls = [(call.tool, dict(call.args)) for call in asked.value.next]
            assert ("run_simulations", {"environment": "shop", "trials": 1}) in calls
            assert ("run_simulations", {"environment": "shop", "options": {"confirm": True}}) in calls
            few = await bench.runs.start("shop", trials=50, options={"budget": {"calls": 10}}, wait_s=45)
            assert few.run.state == "paused" and 10 <= few.model_calls <= 10 + 8


async def test_a_hardening_pauses_too_and_its_failures_count_in_no_comparison(tmp_path: Path) -> None:
    with FakeEndpoint(fault(500)) as endpoint:
        async with bench_at(tmp_path) as bench:
            await shop(bench, endpoint, 14)
            report = await bench.hardenings.harden(
                "shop", strategy="submit", options={"concurrency": 2}, wait_s=45, idempotency_key="k"
            )
            assert report.job is not None and report.job.state == report.hardening.state == "paused"
            assert any("is paused: The last 1" in warning for warning in report.warnings)
            asked = len(endpoint.requests)
            assert asked < 14 * 5
            endpoint.always(talk())
            again = await bench.hardenings.harden(
                "shop", strategy="submit", options={"concurrency": 2}, wait_s=45, idempotency_key="k"
            )
            assert again.hardening.id == report.hardening.id
            assert again.hardening.outcome == "nothing_to_fix"


async def test_a_client_is_led_from_a_pause_to_the_end_by_the_calls_in_next(tmp_path: Path) -> None:
    with FakeEndpoint(fault(503)) as endpoint:
        async with desk(tmp_path / "data") as at:
            models = models_at(endpoint)
            await at.ok("create_environment", id="shop", instructions="You help.", models=models)
            await at.ok("create_scenarios", environment="shop", scenarios=scenarios(12))
            options = {"concurrency": 1}
            reply = await at.ok("run_simulations", environment="shop", options=options, wait_s=45)
            assert reply["job"]["state"] == "paused" and reply["summary"].startswith("run-1: paused: 0 of 12")
            assert reply["cost"]["model_calls"] == 0
            assert (await at.ok("wait_job", job="job-1"))["next"] == reply["next"]
            listed = await at.follow(reply, 1)
            assert {row["error"] for row in listed["items"]} == {"unavailable"}
            overview = await at.ok("list_items", kind="overview")
            assert "job-1" in str(overview["items"])
            endpoint.always(talk())
            done = await at.follow(reply)
            assert (done["totals"]["passed"], done["totals"]["error"]) == (12, 0)
            assert done["cost"]["tokens"] == 18 * done["cost"]["model_calls"] == 18 * 12 * 2 * TURNS
            short = await at.ok(
                "run_simulations", environment="shop", options={"budget": {"calls": 12}}, wait_s=45
            )
            assert (
                short["job"]["state"] == "paused"
                and "The budget of 12 calls is spent." in short["warnings"][0]
            )
            cancelled = await at.ok("cancel_job", job=short["job"]["id"])
            assert cancelled["job"]["state"] == "cancelled"
            assert (await at.ok("get_item", kind="run", id="run-2"))["item"]["state"] == "cancelled"
