"""Grading stored runs anew through the tools: what an older version decided, beside what ours finds, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.records.run import TrialRecord
from caseharden.engine.records.verdict import GRADING, Verdict
from caseharden.engine.store import Store
from caseharden.engine.workbench.archive import Archive
from caseharden.tests.fake_endpoint import FakeEndpoint, fault
from caseharden.tests.judge_desk import judged_by, says, verdict
from caseharden.tests.server_desk import MODES, Desk, Mode, desk
from caseharden.tests.workbench_cases import INSTRUCTIONS, closing, tickets

pytestmark = pytest.mark.anyio
OLDER = GRADING - 1


def said(by: str, text: str) -> dict[str, Any]:
    return {"by": by, "say": text}


def closed(ticket: str) -> list[dict[str, Any]]:
    args = {"ticket_id": ticket}
    return [{"by": "agent", "tool": tool, "args": args} for tool in ("look_up_ticket", "close_ticket")]


TALKS: dict[str, Sequence[Mapping[str, Any]]] = {
    "close-1": [said("user", "Close T1."), *closed("T1"), said("agent", "Done.")],
    "close-2": [said("user", "Close T2."), said("agent", "Done.")],
    "close-3": [said("user", "Close T3."), *closed("T4"), said("agent", "Done.")],
}
"""One that passes, one in which nothing is done, and one in which another ticket is closed."""


async def recorded_desk(at: Desk, *success: Mapping[str, Any]) -> None:
    talks = [{"scenario": id, "log": [dict(line) for line in log]} for id, log in TALKS.items()]
    agent = {"kind": "recorded", "conversations": talks}
    await at.ok(
        "create_environment", id="desk", instructions=INSTRUCTIONS, world_data=tickets(4), agent=agent
    )
    cases = [closing(n, split="train") for n in (1, 2, 3)]
    for case in cases:
        case["success"] = [*case["success"], *success]
    await at.ok("create_scenarios", environment="desk", scenarios=cases, check=False)


def graded_before(home: Path, changes: Mapping[str, Mapping[str, Any]], run: str = "run-1") -> None:
    """Make the store what an older version left: its verdicts, by its rules, and none of ours."""
    with Store(home) as store:
        archive = Archive(store)
        shelf = archive.trials(run)
        for record in shelf.where():
            fields = {"grading": OLDER, **changes.get(record.scenario, {})}
            old = Verdict.model_validate({**record.graded.model_dump(mode="json"), **fields})
            shelf.put(record.id, _as_first(record, old))
        archive.runs.change(run, lambda r: r.model_copy(update={"grading": OLDER}))


def _as_first(record: TrialRecord, old: Verdict) -> TrialRecord:
    """A trial that has had this verdict only."""
    fields = {"graded": old, "verdict": old.verdict, "failed_checks": old.failed()}
    return record.model_copy(update={**fields, "pointer": {"at": record.pointer["at"]}})


OLD_RULES: dict[str, dict[str, Any]] = {
    "close-2": {"verdict": "pass", "reward": 1.0, "checks": []},
    "close-3": {"verdict": "invalid", "reward": None, "score": None, "why": "user_fault: another ticket"},
}
"""An older version overlooked what fails in one trial, and blamed the user in another."""


@pytest.mark.requirement("CH-10")
@pytest.mark.parametrize("mode", MODES)
async def test_a_run_of_an_older_grading_is_graded_anew_and_tells_what_changed(
    tmp_path: Path, mode: Mode
) -> None:
    home = tmp_path / "data"
    async with desk(home, mode) as at:
        await recorded_desk(at)
        first = await at.ok("run_simulations", environment="desk", wait_s=45)
    assert [first["totals"][word] for word in ("passed", "failed")] == [1, 2]
    graded_before(home, OLD_RULES)
    async with desk(home, mode) as at:
        old = await at.ok("get_item", kind="run", id="run-1")
        await at.ok("run_simulations", environment="desk", wait_s=45)
        apart = await at.ok("compare_runs", base="run-1", run="run-2")
        assert apart["differs"]["grading"].startswith(f"version {OLDER} -> {GRADING}")
        assert f"graded by version {OLDER}" in old["warnings"][0]
        again = await at.ok("score_run", run="run-1", wait_s=45)
        second = await at.ok("score_run", run="run-1", wait_s=45)
        run = (await at.ok("get_item", kind="run", id="run-1", view="full"))["item"]
        checks = (await at.ok("get_item", kind="conversation", id="run-1/close-3/1", view="checks"))["item"]
        jobs = (await at.ok("list_items", kind="job"))["items"]
        scored = next(row["id"] for row in jobs if row["kind"] == "score")
        waited = await at.ok("wait_job", job=scored)
    assert again["changed"] == {
        "compared": 3,
        "pass_to_fail": 1,
        "fail_to_pass": 0,
        "other": 1,
        "other_reward": 0,
        "grading": {"before": [OLDER], "now": [GRADING]},
        "first": [
            {"conversation": "run-1/close-2/1", "was": "pass", "now": "fail"},
            {"conversation": "run-1/close-3/1", "was": "invalid", "now": "fail"},
        ],
    }
    assert f"by grading {GRADING} (was {OLDER})" in again["summary"]
    assert "2 of 3 trials (1 pass to fail, 0 fail to pass, 1 other)" in again["summary"]
    assert again["totals"] == first["totals"] and again["cost"]["model_calls"] == first["cost"]["model_calls"]
    assert waited["result"]["changed"] == again["changed"]
    assert "job" not in second and "changed" not in second
    assert ([one["grading"] for one in run["score_sets"]], run["grading"]) == ([OLDER], GRADING)
    assert checks["grading"] == GRADING
    assert checks["earlier"] == [
        {"grading": OLDER, "verdict": "invalid", "reward": None, "failed_checks": ["world"]}
    ]


async def test_grading_anew_asks_no_judge_and_keeps_what_one_said(tmp_path: Path) -> None:
    home = tmp_path / "data"
    with FakeEndpoint(says({"c1": verdict()})) as endpoint:
        async with desk(home) as at:
            await recorded_desk(at, {"id": "polite", "judge": "The agent is polite."})
            first = await at.ok(
                "run_simulations", environment="desk", models=judged_by(endpoint), metrics=["none"], wait_s=45
            )
        asked = len(endpoint.requests)
        graded_before(home, {})
        async with desk(home) as at:
            again = await at.ok("score_run", run="run-1", thresholds={"pass_rate": 0.9}, wait_s=45)
        assert len(endpoint.requests) == asked > 0
    assert again["changed"]["compared"] == 3 and again["changed"]["pass_to_fail"] == 0
    assert again["totals"] == first["totals"]
    assert "fail" in [one["result"] for one in again["thresholds"]]


async def test_what_could_not_be_judged_stays_an_error_when_it_is_graded_anew(tmp_path: Path) -> None:
    home = tmp_path / "data"
    with FakeEndpoint(fault(400)) as endpoint:
        async with desk(home) as at:
            await recorded_desk(at, {"id": "polite", "judge": "The agent is polite."})
            first = await at.ok(
                "run_simulations", environment="desk", models=judged_by(endpoint), metrics=["none"], wait_s=45
            )
        assert first["totals"]["error"] == 1
        graded_before(home, {})
        async with desk(home) as at:
            again = await at.ok("score_run", run="run-1", wait_s=45)
            told = await at.ok("get_item", kind="conversation", id="run-1/close-1/1", view="checks")
    assert again["totals"] == first["totals"]
    assert (told["item"]["verdict"], told["item"]["grading"]) == ("error", GRADING)


async def test_another_judge_tells_whose_verdict_changed(tmp_path: Path) -> None:
    home = tmp_path / "data"
    with FakeEndpoint(says({"c1": verdict()})) as kind:
        async with desk(home) as at:
            await recorded_desk(at, {"id": "polite", "judge": "The agent is polite."})
            models = judged_by(kind)
            await at.ok("run_simulations", environment="desk", models=models, metrics=["none"], wait_s=45)
            again = await at.ok("score_run", run="run-1", metrics=["turns"], judge="offline", wait_s=45)
    changed = again["changed"]
    assert changed["grading"] == {"before": [GRADING], "now": [GRADING]}
    assert changed["other"] == 1
    assert changed["first"] == [{"conversation": "run-1/close-1/1", "was": "pass", "now": "inconclusive"}]
