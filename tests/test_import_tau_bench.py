"""tau-bench comes in without its code being run, its rewards come out exactly, and ours stand beside them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument, NotFound
from caseharden.engine.processes import AllowedCode
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import EnvironmentReport
from caseharden.tests import made_up_tau
from caseharden.tests.made_up_tau import checkout

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def bench_with(tmp_path: Path, *, code: bool, home: str = "home") -> AsyncGenerator[Workbench]:
    """A workbench whose root is the folder of the test; with `code` its tools may run."""
    allowed = AllowedCode([tmp_path] if code else [])
    async with Workbench(tmp_path / home, roots=[tmp_path], code=allowed) as bench:
        yield bench


async def taken(bench: Workbench, path: str, id: str = "", **more: Any) -> EnvironmentReport:
    report = (await bench.imports.start(path, id, wait_s=45, **more)).report
    assert report is not None
    return report


def results(place: Path, rows: list[dict[str, Any]] | None = None) -> str:
    (place / "results.json").write_text(json.dumps(made_up_tau.results() if rows is None else rows))
    return "results.json"


@pytest.mark.requirement("SG-8")
async def test_an_environment_is_read_without_running_any_of_its_files(tmp_path: Path) -> None:
    checkout(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        report = await taken(bench, ".")
        assert report.environment.id == "desk-tau" and report.counts["scenarios"] == 3
        assert report.taken["split"] == "test" and report.taken["profile"] == "tau1"
        lost = {row["what"]: row for row in report.lost}
        assert "Not a literal" not in str(report.taken) and "line 12: this is no literal" in str(lost["task"])
        assert lost["tasks of another split"]["at"] == ["tasks_train.py"]
        tools = (await bench.items.get("environment", "desk-tau", view="full")).item["tools"]
        assert [(t["name"], t["kind"]) for t in tools] == [
            ("cancel_order", "write"),
            ("get_order", "read"),
            ("transfer_to_human_agents", "terminal"),
        ]
        scenario = (await bench.items.get("scenario", "desk-tau/test-0", view="full")).item
        assert scenario["x_source"]["task"]["annotator"] == "a"
        assert scenario["x_source"]["task"]["actions"][1]["kwargs"]["reason"] == "no longer needed"


@pytest.mark.requirement("SG-8")
async def test_without_allowed_code_a_call_says_why_and_no_solution_is_taken_for_proven(
    tmp_path: Path,
) -> None:
    checkout(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        report = await taken(bench, "tau_bench/envs/desk")
        assert report.proven == 1  # the task that asks for nothing
        assert any("Code is not run here" in w and "--allow-code" in w for w in report.warnings)


@pytest.mark.requirement("SG-8")
@pytest.mark.requirement("SG-13")
@pytest.mark.requirement("CH-10")
async def test_recorded_rewards_are_reproduced_from_what_the_calls_leave_and_ours_stand_beside(
    tmp_path: Path,
) -> None:
    checkout(tmp_path)
    file = results(tmp_path)
    async with bench_with(tmp_path, code=True) as bench:
        made = await taken(bench, "tau_bench/envs/desk", "desk")
        assert made.proven == 2 and any("test-2 is unproven" in w for w in made.warnings)
        report = await taken(bench, file, "desk")
        compared = report.taken["compared"]
        assert compared["original_reward"] == {
            **compared["recorded"],
            "as_recorded": 6,
            "other": [],
            "unknown": 0,
        }
        assert compared["recorded"] == {"trials": 6, "rewarded": 3, "pass^1": 0.5, "pass^2": 0.0}
        assert compared["calls"] == {"made": 4, "other_result": 0}
        trial = (await bench.items.get("conversation", "run-1/test-0/1", view="full")).item["conversation"]
        assert trial["origin"]["reward"] == 1.0 and trial["origin"]["file"] == "results.json"
        assert {p["path"]: p["new"] for p in trial["delta"]} == {
            "db.orders['#W1'].history[0]": {"refund": 1250.0},
            "db.orders['#W1'].status": "cancelled",
            "db.users.u1.credit": 1250,
        }
        checks = (await bench.items.get("conversation", "run-1/test-0/2", view="checks")).item
        assert checks["original_reward"] == {"reward": 0.0, "end": 1.0, "db": 1.0, "outputs": 0.0}
        again = await taken(bench, file, "desk")
        assert again.taken["unchanged"] and again.counts["runs"] == 1


@pytest.mark.requirement("SG-13")
async def test_recorded_runs_come_in_without_code_and_what_rests_on_the_state_is_undecided(
    tmp_path: Path,
) -> None:
    checkout(tmp_path)
    file = results(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        await taken(bench, "tau_bench/envs/desk", "desk")
        report = await taken(bench, file, "desk")
        compared = report.taken["compared"]
        assert compared["recorded"]["rewarded"] == 3 and compared["original_reward"]["other"] == []
        lost = next(row for row in report.lost if row["what"] == "state after the calls")
        assert lost["count"] == 4 and "--allow-code" in lost["why"]
        said = (await bench.items.get("conversation", "run-1/test-0/2", view="full")).item["conversation"]
        assert said["state_known"] is False and "delta" in said
        row = (await bench.items.page("conversation", where={"run": "run-1"}, limit=100)).items
        verdicts = {r["id"]: r["verdict"] for r in row}
        assert verdicts["run-1/test-0/1"] == "inconclusive" and verdicts["run-1/test-0/2"] == "fail"


@pytest.mark.requirement("SG-13")
async def test_results_without_their_environment_say_what_to_import_first(tmp_path: Path) -> None:
    checkout(tmp_path)
    file = results(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        with pytest.raises(NotFound, match="Results belong to an environment") as caught:
            await bench.imports.start(file)
        assert caught.value.next[0].tool == "import_environment"
        await bench.environments.create("other")
        with pytest.raises(InvalidArgument, match="none of the scenarios of these results"):
            await bench.imports.start(file, "other")


@pytest.mark.requirement("SG-8")
async def test_several_environments_are_told_apart(tmp_path: Path) -> None:
    desk = checkout(tmp_path)
    desk.rename(desk.with_name("shop"))
    checkout(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        with pytest.raises(InvalidArgument, match="holds 2 tau-bench environments") as caught:
            await bench.imports.start(".")
        assert [str(call.args["path"]).rpartition("/")[2] for call in caught.value.next] == ["desk", "shop"]
        with pytest.raises(NotFound, match="nothing of tau-bench"):
            await bench.imports.start("tau_bench/envs/desk/data", format="tau-bench")


async def test_another_split_is_imported_by_the_path_of_its_file(tmp_path: Path) -> None:
    desk = checkout(tmp_path)
    text = made_up_tau.TASKS.replace("TASKS_TEST", "TASKS_TRAIN")
    (desk / "tasks_train.py").write_text(text, encoding="utf-8")
    async with bench_with(tmp_path, code=False) as bench:
        report = await taken(bench, "tau_bench/envs/desk/tasks_train.py")
        assert report.environment.id == "desk-tau-train"
        assert (await bench.items.get("scenario", "desk-tau-train/train-1")).id


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tasks_test.py", "TASKS = [" + "[" * 5000, "holds no tasks"),
        ("tasks_test.py", "TASKS = 7", "no list is assigned"),
        ("tasks_test.py", "\0", "holds no tasks"),
        ("data/orders.json", "[" * 100_000, "nested too deep"),
        ("data/orders.json", '{"#W1": NaN}', "NaN is not a JSON number"),
        ("data/orders.json", "version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        ("tools/get_order.py", "def broken(:\n", "this is no Python"),
        ("tools/get_order.py", "class A:\n def get_info(): return f()\n def invoke(): 0\n", "no literal"),
        (
            "tasks_test.py",
            "TASKS = [5, Task(instruction=3), Task(instruction='x', actions=[7, {'name': 1}])]",
            "no call",
        ),
    ],
)
@pytest.mark.requirement("SG-8")
async def test_what_is_broken_is_told_and_the_rest_is_taken_or_refused_whole(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    desk = checkout(tmp_path)
    (desk / name).write_text(text, encoding="utf-8")
    async with bench_with(tmp_path, code=False) as bench:
        try:
            report = await taken(bench, "tau_bench/envs/desk", "desk")
        except InvalidArgument as error:
            assert told in str(error)
            assert (await bench.items.page("environment")).total == 0
        else:
            assert told in str(report.lost)


@pytest.mark.requirement("SG-8")
async def test_links_that_lead_out_of_the_allowed_roots_are_not_read(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    desk = checkout(inside)
    (tmp_path / "secret.md").write_text("secret", encoding="utf-8")
    (desk / "wiki.md").unlink()
    (desk / "wiki.md").symlink_to(tmp_path / "secret.md")
    async with Workbench(tmp_path / "home", roots=[inside]) as bench:
        report = await taken(bench, "tau_bench/envs/desk", "desk")
        row = next(row for row in report.lost if row["what"] == "policy")
        assert "outside the allowed roots" in row["why"]
        assert "secret" not in (await bench.items.get("environment", "desk", view="text")).item["policy"]


async def test_a_dry_run_of_results_stores_nothing(tmp_path: Path) -> None:
    checkout(tmp_path)
    file = results(tmp_path)
    async with bench_with(tmp_path, code=True) as bench:
        await taken(bench, "tau_bench/envs/desk", "desk")
        report = await taken(bench, file, "desk", dry_run=True)
        assert not report.stored and report.taken["conversations"] == 6 and report.counts["runs"] == 0
