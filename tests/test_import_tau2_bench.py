"""tau2-bench domains and Sigma's world folders come in; tools, both sides and the original rewards are as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.workbench import Workbench
from caseharden.tests.fake_endpoint import FakeEndpoint
from caseharden.tests.judge_desk import judged_by, says, verdict
from caseharden.tests.made_up_bank import SOLUTION, bank
from caseharden.tests.made_up_tau2 import DB, domain, task, tasks, world_folder
from caseharden.tests.test_import_tau_bench import bench_with, taken

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("SG-8")
async def test_a_domain_is_read_without_running_any_of_its_files(tmp_path: Path) -> None:
    domain(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        report = await taken(bench, ".")
        assert report.environment.id == "desk-tau2" and report.counts["scenarios"] == 5
        lost = {row["what"]: row for row in report.lost}
        assert lost["task"]["why"] == "it does not say what the user wants" and lost["document"]["count"] == 1
        whole = (await bench.items.get("environment", "desk-tau2", view="full")).item
        tools = {tool["name"]: tool for tool in whole["tools"]}
        assert {name: (t["for"], t["kind"]) for name, t in tools.items()} == {
            "get_ticket": ("agent", "read"),
            "set_status": ("agent", "write"),
            "transfer_to_human_agents": ("agent", "read"),
            "assert_status": ("agent", "write"),
            "open_ticket": ("agent", "write"),
            "look_at_phone": ("user", "read"),
            "switch": ("user", "write"),
        }
        parameters = tools["set_status"]["parameters"]
        assert parameters["required"] == ["ticket_id"]
        assert parameters["properties"]["status"] == {"enum": ["open", "closed"], "default": "closed"}
        told = tools["get_ticket"]["parameters"]["properties"]["ticket_id"]
        assert told == {"type": "string", "description": "The id, such as 't1'."}
        scenario = (await bench.items.get("scenario", "desk-tau2/both", view="full")).item
        assert scenario["tags"] == ["split-test"] and scenario["x_source"]["task"] == tasks()[1]
        assert scenario["knowledge"] == ["You are Dana.", "Your ticket is t1."]
        odd = [row["id"] for row in (await bench.items.page("scenario", environment="desk-tau2")).items]
        assert any(id.startswith("desk-tau2/odd-id-") for id in odd)


@pytest.mark.requirement("SG-8")
async def test_solutions_play_on_both_sides_and_what_keeps_them_in_step_runs(tmp_path: Path) -> None:
    domain(tmp_path)
    async with bench_with(tmp_path, code=True) as bench:
        report = await taken(bench, "data/tau2/domains/desk", "desk")
        assert report.proven == 4, report.warnings
        assert any(
            "desk/both is unproven" in w and "unexpected keyword argument 'why'" in w for w in report.warnings
        )
        solution = (await bench.items.get("scenario", "desk/close", view="solution")).item
        assert solution["status"] == "proven"


def message(role: str, content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def calls(name: str, requestor: str = "assistant", **arguments: Any) -> dict[str, Any]:
    call = {"id": name, "name": name, "arguments": arguments, "requestor": requestor}
    return message(requestor if requestor == "user" else "assistant", tool_calls=[call])


def result(name: str, content: str) -> dict[str, Any]:
    return message("tool", content, id=name)


CLOSED = '{"status": "closed", "note": null, "hours": 2.0}'


def simulation(task: str, reward: float, *messages: dict[str, Any], end: str = "user_stop") -> dict[str, Any]:
    """A recorded conversation."""
    opened = [message("assistant", "Hi! How can I help?"), message("user", "close it")]
    said = [*opened, *messages, message("user", "###STOP###")]
    return {
        "id": "x",
        "task_id": task,
        "trial": 0,
        "termination_reason": end,
        "reward_info": {"reward": reward},
        "messages": said,
    }


def results() -> dict[str, Any]:
    close = [calls("set_status", ticket_id="t1", hours=2.0), result("set_status", CLOSED)]
    look = [calls("look_at_phone", "user"), result("look_at_phone", "banner: all done")]
    switch = [calls("switch", "user", on=False), result("switch", "done")]
    seen = [calls("get_ticket", ticket_id="t1"), result("get_ticket", CLOSED)]
    wrong = [calls("set_status", ticket_id="t9"), result("set_status", "Error: 't9'")]
    rows = [
        simulation("close", 1.0, *close, message("assistant", "That was 1,2 hours: 12.")),
        simulation("close", 0.0, *close, message("assistant", "Done.")),
        simulation("close", 0.0, *wrong, message("assistant", "12")),
        simulation("close", 0.0, *close, message("assistant", "12"), end="max_steps"),
        simulation(
            "both",
            1.0,
            *close,
            *seen,
            message("assistant", "Look."),
            *look,
            *switch,
            message("user", "I did."),
        ),
        simulation("both", 0.0, *close, message("assistant", "Bye.")),
        simulation("[Odd] id!", 1.0, message("assistant", "Bye.")),
        simulation("empty", 1.0, message("assistant", "Bye.")),
        simulation("nothing", 0.0, *close, message("assistant", "Bye.")),
    ]
    info = {"agent_info": {"llm": "model-a"}, "user_info": {"llm": "model-u"}}
    return {"timestamp": "now", "info": info, "tasks": [], "simulations": rows}


@pytest.mark.requirement("SG-13")
@pytest.mark.requirement("CH-10")
async def test_recorded_rewards_of_tau2_are_reproduced_from_what_is_stored(tmp_path: Path) -> None:
    domain(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps(results()), encoding="utf-8")
    async with bench_with(tmp_path, code=True) as bench:
        await taken(bench, "data/tau2/domains/desk", "desk")
        report = await taken(bench, "results.json", "desk")
        compared = report.taken["compared"]
        assert compared["original_reward"]["other"] == [], (compared, report.warnings)
        assert compared["original_reward"]["as_recorded"] == 9
        assert compared["calls"]["other_result"] == 0, report.warnings
        checks = (await bench.items.get("conversation", "run-1/both/1", view="checks")).item
        assert checks["original_reward"] == {"reward": 1.0, "end": 1.0, "DB": 1.0, "ACTION": 1.0}
        whole = (await bench.items.get("conversation", "run-1/both/1", view="full")).item["conversation"]
        assert whole["models"]["agent"]["name"] == "model-a"
        changed = {patch["path"]: patch["new"] for patch in whole["delta"]}
        assert changed["user_db.phone.banner"] == "all done" and changed["user_db.phone.on"] is False
        assert changed["db.clerks[1]"] == {"name": "new"} and changed["db.tickets.t1.hours"] == 2.0
        assert "db.tickets.t2.hours" not in changed


@pytest.mark.requirement("SG-7")
async def test_a_world_folder_becomes_an_environment_without_touching_the_package(tmp_path: Path) -> None:
    world_folder(tmp_path / "shop")
    async with bench_with(tmp_path, code=True) as bench:
        report = await taken(bench, "shop")
        assert report.taken["format"] == "sigma" and report.environment.id == "shop"
        assert report.counts["scenarios"] == 2 and report.proven == 2, report.warnings
        assert report.environment.settings.user_guidelines == "Answer in one sentence."
        scenario = (await bench.items.get("scenario", "shop/cancel-two", view="full")).item
        assert scenario["profile"] == "tau1" and "You are Dana." in scenario["goal"]
        assert any(row["what"] == "task" for row in report.lost)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("tasks.json", "{}", "holds no tasks"),
        (
            "tasks.json",
            '[1, null, {"id": ["x"], "user_scenario": {"instructions": 5}}]',
            "what the user wants",
        ),
        (
            "tasks.json",
            '[{"user_scenario": {"instructions": "x"}, "evaluation_criteria": {"actions": [{"name": 1}]}}]',
            "there is no assistant tool 1",
        ),
        ("user_db.toml", "phone = [[[", "it is no TOML"),
        ("db.json", '{"tickets": ' + "[" * 200 + "]" * 200 + "}", "nested too deep"),
        ("split_tasks.json", '{"train": 5}', ""),
    ],
)
@pytest.mark.requirement("SG-8")
async def test_broken_parts_of_a_domain_are_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    desk = domain(tmp_path)
    (desk / name).write_text(text, encoding="utf-8")
    async with bench_with(tmp_path, code=False) as bench:
        try:
            report = await taken(bench, "data/tau2/domains/desk", "desk")
        except InvalidArgument as error:
            assert told in str(error)
        else:
            assert told in str(report.lost)


async def test_the_base_is_what_the_file_says_and_not_what_models_fill_in(tmp_path: Path) -> None:
    domain(tmp_path)
    async with bench_with(tmp_path, code=True) as bench:
        report = await taken(bench, "data/tau2/domains/desk", "desk")
        assert report.world["collections"] == {"tickets": len(DB["tickets"]), "clerks": 1, "phone": 1}


@pytest.mark.requirement("SG-8")
@pytest.mark.parametrize(("said", "reward"), [("pass", 1.0), ("fail", 0.0), ("inconclusive", None)])
async def test_assertions_in_words_are_a_judges_and_decide_nothing_without_one(
    tmp_path: Path, said: str, reward: float | None
) -> None:
    domain(tmp_path)
    words = ["The agent greets the user."]
    rows = [
        task("counted", [], ["DB", "NL_ASSERTION"], nl_assertions=words),
        task("shown", [], ["DB"], nl_assertions=words),
    ]
    file = tmp_path / "data/tau2/domains/desk/tasks.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    log = [{"by": "user", "say": "Hi."}, {"by": "agent", "say": "Hello."}]
    talks = [{"scenario": row["id"], "log": log} for row in rows]
    with FakeEndpoint(says({"c1": verdict(said)})) as endpoint:
        async with bench_with(tmp_path, code=False) as bench:
            report = await taken(bench, "data/tau2/domains/desk", "desk")
            told = next(row for row in report.lost if row["what"] == "assertion in words, without a judge")
            assert told["why"].endswith("it counts, as reward_basis says") and str(told["at"][0]).endswith(
                "task 0"
            )
            agent = {"kind": "recorded", "conversations": talks}
            await bench.items.update("environment", "desk", {"agent": agent})
            await bench.runs.start("desk", metrics=["none"], wait_s=45)
            assert await rewards(bench, "run-1") == {
                "counted": ("inconclusive", None),
                "shown": ("pass", 1.0),
            }
            await bench.scores.score("run-1", judge=judged_by(endpoint)["judge"], wait_s=45)
            after = await rewards(bench, "run-1")
    assert after == {"counted": (said, reward), "shown": ("pass", 1.0)}


async def rewards(bench: Workbench, run: str) -> dict[str, tuple[str, float | None]]:
    """Our verdict and the original reward of each scenario."""
    found: dict[str, tuple[str, float | None]] = {}
    for row in (await bench.items.page("conversation", where={"run": run})).items:
        item = (await bench.items.get("conversation", str(row["id"]), view="checks")).item
        found[str(row["id"]).split("/")[1].partition("-")[0]] = (
            item["verdict"],
            item["original_reward"]["reward"],
        )
    return found


@pytest.mark.requirement("SG-8")
async def test_kits_in_one_file_share_their_data_and_remember_what_was_unlocked(tmp_path: Path) -> None:
    bank(tmp_path)
    async with bench_with(tmp_path, code=True) as bench:
        report = await taken(bench, "data/tau2/domains/bank", "bank")
        assert report.proven == 3 and report.lost == [], (report.warnings, report.lost)
        whole = (await bench.items.get("environment", "bank", view="full")).item
        sides = {tool["name"]: tool["for"] for tool in whole["tools"]}
        assert sides["call_discoverable_user_tool"] == "user" and sides["unlock"] == "agent"
        calls = [{"by": step.get("requestor", "agent"), "tool": step["name"], **step} for step in SOLUTION]
        log = [
            {"by": "user", "say": "hi"},
            *(
                {"by": c["by"].replace("assistant", "agent"), "tool": c["tool"], "args": c["arguments"]}
                for c in calls
            ),
            {"by": "agent", "say": "Done."},
        ]
        only_unlocked = [log[0], log[1], log[-1]]
        for scenario, talk, reward in (
            ("dispute", log, 1.0),
            ("look", log, 0.0),
            ("idle", log, 0.0),
            ("idle", only_unlocked, 1.0),
        ):
            agent = {"kind": "recorded", "conversations": [{"scenario": scenario, "trial": 1, "log": talk}]}
            await bench.items.update("environment", "bank", {"agent": agent})
            run = (await bench.runs.start("bank", select=[f"scenario:{scenario}"], wait_s=45)).run
            item = (
                await bench.items.get("conversation", f"{run.id}/{run.simulations[0]}/1", view="full")
            ).item
            made = {e["tool"]: e["result"] for e in item["conversation"]["log"] if "tool" in e and e["turn"]}
            if talk is log:
                assert made["call_discoverable_agent_tool"] == "7"
                assert made["call_discoverable_user_tool"] == "disputed"
            assert item["verdict"]["original_reward"] == reward, scenario
