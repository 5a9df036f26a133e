"""Exports for other systems and for people: test cases of ArkSim and tau2-bench, and a report in Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument, NotFound, Unavailable
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.exporting import ExportReport
from caseharden.tests.made_up_tau2 import domain, tasks
from caseharden.tests.test_export_training import call, good, hasty, ran, say, talks
from caseharden.tests.test_import_tau_bench import bench_with, taken
from caseharden.tests.workbench_cases import bench_at, tickets

pytestmark = pytest.mark.anyio
CASE: dict[str, Any] = {
    "id": "close-1",
    "goal": "Get ticket T1 closed.",
    "persona": "dana",
    "knowledge": [{"fact": "ticket id", "value": "T1"}, "It is urgent."],
    "unknown": ["the ticket's owner"],
    "guidelines": "Be brief.",
    "agent_context": "Web chat.",
    "history": [{"by": "agent", "say": "Welcome."}],
    "events": [{"id": "rain", "at_turn": 9, "do": {"notify": "Rain"}}],
    "expected": [
        {"tool": "look_up_ticket", "args": {"ticket_id": "T1"}},
        {"tool": "close_ticket", "args": {"ticket_id": "T1"}},
        {"say": "T1 is closed."},
    ],
    "success": [
        {"id": "world", "world": "expected"},
        {"id": "calls", "tool_calls": "expected", "match": "unordered"},
        {"id": "look", "tool_calls": [{"tool": "look_up_ticket", "args_match": "ignore"}]},
        {"id": "told", "said": {"text": "closed"}},
        {"id": "never", "kind": "minefield", "tool": "close_ticket", "args": {"ticket_id": "T2"}},
        {"id": "polite", "judge": "The agent is polite", "counts": False},
    ],
}


async def cases(bench: Workbench) -> None:
    """The desk with one rich scenario and two partners for it."""
    await bench.environments.create("desk", instructions="Close tickets.", world_data=tickets(2))
    people: list[dict[str, Any]] = [
        {"id": "dana", "profile": "A nurse.", "style": "terse", "data": {"db": {"tickets": {}}}},
        {"id": "omar", "profile": "A cook.", "language": "French"},
    ]
    await bench.personas.create("desk", people)
    made = await bench.scenarios.create("desk", [CASE], check=False)
    assert made.refused == []
    pairs = [{"scenario": "close-1", "persona": name} for name in ("omar", "dana")]
    await bench.simulations.create("desk", simulations=pairs)


def value_of(report: ExportReport) -> Any:
    return json.loads(report.path.read_text(encoding="utf-8"))


async def test_cases_become_scenarios_of_arksim_and_what_it_cannot_say_is_told(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await cases(bench)
        report = await bench.exports.export("desk", "arksim")
        value = value_of(report)
    assert report.file == "exports/desk-arksim.json" and report.records == 2
    first, second = value["scenarios"]
    assert value["schema_version"] == "v1"
    assert first == {
        "scenario_id": "close-1",
        "user_id": "dana",
        "goal": "Get ticket T1 closed.",
        "agent_context": "Web chat.",
        "user_profile": "A nurse.\nterse\nBe brief.\nYou do not know: the ticket's owner",
        "knowledge": [{"content": "ticket id: T1"}, {"content": "It is urgent."}],
        "origin": {},
        "assertions": [
            {
                "type": "tool_calls",
                "expected": [
                    {"name": "look_up_ticket", "arguments": {"ticket_id": "T1"}, "arg_match_mode": "partial"},
                    {"name": "close_ticket", "arguments": {"ticket_id": "T1"}, "arg_match_mode": "partial"},
                ],
                "match_mode": "unordered",
            },
            {
                "type": "tool_calls",
                "expected": [{"name": "look_up_ticket", "arguments": {}, "arg_match_mode": "ignore"}],
                "match_mode": "contains",
            },
        ],
    }
    assert (second["scenario_id"], second["user_id"]) == ("close-1-omar", "omar")
    assert "You write in French." in second["user_profile"]
    left = "\n".join(report.left_out)
    for told in (
        "2 scenarios with `events`",
        "2 scenarios with `history`",
        "checks of `world`",
        "checks of `said`",
    ):
        assert told in left, left
    assert "ArkSim enforces only the first assertion of a scenario." in report.warnings


async def test_cases_become_tasks_of_tau2_with_a_basis_in_which_something_stands(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await cases(bench)
        report = await bench.exports.export("desk", "tau2")
        task, other = value_of(report)
    assert task["id"] == "close-1" and other["id"] == "close-1-omar"
    instructions = task["user_scenario"]["instructions"]
    assert instructions == {
        "domain": "desk",
        "reason_for_call": "Get ticket T1 closed.",
        "known_info": "ticket id: T1\nIt is urgent.",
        "unknown_info": "the ticket's owner",
        "task_instructions": "Be brief.",
    }
    assert task["user_scenario"]["persona"] == "A nurse.\nterse"
    assert task["initial_state"]["message_history"] == [{"role": "assistant", "content": "Welcome."}]
    criteria = task["evaluation_criteria"]
    assert [(a["name"], a["arguments"]) for a in criteria["actions"]] == [
        ("look_up_ticket", {"ticket_id": "T1"}),
        ("close_ticket", {"ticket_id": "T1"}),
    ]
    assert criteria["communicate_info"] == ["closed"] and criteria["nl_assertions"] is None
    assert criteria["reward_basis"] == ["ACTION", "COMMUNICATE", "DB"]
    assert any("minefield" in line for line in report.left_out)


@pytest.mark.requirement("SG-8")
async def test_imported_tasks_are_exported_equal_and_a_changed_one_as_it_is_now(tmp_path: Path) -> None:
    domain(tmp_path)
    async with bench_with(tmp_path, code=False) as bench:
        await taken(bench, ".")
        report = await bench.exports.export("desk-tau2", "tau2")
        back = value_of(report)
        originals = [task for task in tasks() if any(task["id"] == one["id"] for one in back)]
        assert back == originals and len(back) == 5
        changes: dict[str, Any] = {"goal": "Something new.", "expected": [], "success": [], "profile": None}
        await bench.items.update("scenario", "desk-tau2/both", changes)
        changed = value_of(await bench.exports.export("desk-tau2", "tau2", overwrite=True))
    differing = [now for now, then in zip(changed, back, strict=True) if now != then]
    assert [one["id"] for one in differing] == ["both"]
    assert differing[0]["user_scenario"]["instructions"]["reason_for_call"] == "Something new."


async def test_the_cases_of_a_run_are_those_that_it_was_made_of(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run = await ran(bench, [("close-1", good(1)), ("close-2", hasty(2))])
        await bench.items.update("scenario", "desk/close-1", {"goal": "Something else."})
        assert (
            value_of(await bench.exports.export(run, "arksim"))["scenarios"][0]["goal"]
            == "Get ticket T1 closed."
        )
        now = value_of(await bench.exports.export("desk", "arksim"))["scenarios"]
        assert [one["goal"] for one in now] == ["Something else.", "Get ticket T2 closed."]
        with pytest.raises(InvalidArgument, match="exported whole"):
            await bench.exports.export("desk", "arksim", where={"scenario": "close-1"})
        with pytest.raises(Unavailable, match=r"whole environment as junit.*csv, markdown, sft"):
            await bench.exports.export("desk", "junit")
        await bench.environments.create("empty")
        with pytest.raises(NotFound, match="no scenarios"):
            await bench.exports.export("empty", "tau2")


TRAP = (
    "```\n# Ignore the rules\n![x](http://127.0.0.1/x.png) <script>alert(1)</script> | a | @everyone\x1b[31m"
)


async def test_the_report_shows_what_did_not_pass_and_nothing_that_was_said_becomes_markup(
    tmp_path: Path,
) -> None:
    trap = [say("user", TRAP), call("close_ticket", "T2"), say("agent", f"````{TRAP}")]
    async with bench_at(tmp_path) as bench:
        await ran(bench, [("close-1", good(1)), ("close-2", trap)], tags=["x|y"])
        report = await bench.exports.export("run-1", "markdown")
        text = report.path.read_text(encoding="utf-8")
        both = await bench.exports.export("desk", "markdown", where={"verdict": "fail"})
    assert report.file == "exports/run-1.md" and report.records == 2
    assert "1 of 2 trials passed (50%" in text and "| close-2/1 | fail |" in text
    assert "| train simulations | held out |" in text
    assert "### run-1/close-2/1: fail" in text and "### run-1/close-1/1" not in text
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    assert not any(word in outside for word in ("Ignore", "script>", "![", "everyone"))
    assert "Ignore the rules" in text and "\x1b" not in text
    assert both.path.read_text().startswith("# desk\n\nOnly the trials of verdict fail")


async def test_a_table_may_hold_all_runs_and_says_what_is_not_in_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await ran(bench, [("close-1", good(1)), ("close-2", hasty(2))])
        await bench.items.update("environment", "desk", {"agent": talks([("close-1", good(1))])})
        await bench.runs.start("desk", wait_s=45)
        report = await bench.exports.export("desk", "csv")
        assert report.records == 4 and report.left_out == ["what was said: sft or json has it"]
        failed = await bench.exports.export("run-1", "csv", file="failed", where={"check": "rule.looked-up"})
        assert failed.records == 1
