"""Files of ARE: events, expected calls and hints come; conditions, validators and code do not, and it is said."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import CasehardenError, InvalidArgument
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import EnvironmentReport
from caseharden.tests.server_desk import desk as server
from caseharden.tests.workbench_cases import bench_at

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("ARE-15")]
START = 1760000000.0


def as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, list | dict) else repr(value)


def action(app: str | None, function: str, operation: str | None = None, **args: Any) -> dict[str, Any]:
    """An action as ARE exports it: each argument a text with the name of its type."""
    rows = [
        {"name": name, "value": as_text(value), "value_type": None if value is None else type(value).__name__}
        for name, value in args.items()
    ]
    return {"action_id": "a", "app": app, "function": function, "operation_type": operation, "args": rows}


def event(id: str, kind: str, *after: str, delay: float | None = None, **more: Any) -> dict[str, Any]:
    made = "OracleEvent" if kind == "AGENT" else "Event"
    row = {"class_name": made, "event_type": kind, "event_id": id, "dependencies": list(after)}
    return {**row, "event_time": None, "event_relative_time": delay, "action": None, **more}


TRACE: dict[str, Any] = {
    "world_logs": ["{}"],
    "apps": [
        {"name": "Mail App", "class_name": "EmailClientApp", "app_state": {"inbox": {"m1": {"from": "bo"}}}},
        {"name": "AgentUserInterface", "class_name": "AgentUserInterface", "app_state": None},
    ],
    "events": [
        event(
            "U1",
            "USER",
            delay=1.0,
            action=action("AgentUserInterface", "send_message_to_agent", content="Mail Bo."),
        ),
        event(
            "A1",
            "AGENT",
            "U1",
            delay=2.0,
            action=action(
                "Mail App", "send_email", recipients=["bo@x.org"], content="Hello Bo", urgent=True, tries=2
            ),
        ),
        event(
            "A2", "AGENT", "A1", action=action("AgentUserInterface", "send_message_to_user", content="Sent.")
        ),
        event(
            "E1", "ENV", "A1", delay=30.0, action=action("Mail App", "add_email", sender="bo", content="{no}")
        ),
        event(
            "U2",
            "USER",
            "A2",
            action=action("AgentUserInterface", "send_message_to_agent", content="Archive it."),
        ),
        event("A3", "AGENT", "U2", "E1", action=action("Mail App", "archive", email_id="{{A1.id}}")),
        event("C1", "CONDITION", "U1", class_name="ConditionCheckEvent", action=action(None, "is_late")),
        event("E2", "ENV", "C1", action=action("Mail App", "add_email", sender="x")),
        event("E3", "ENV", "E2", action=action("Mail App", "add_email", sender="y")),
        event("V1", "VALIDATION", "A3", class_name="AgentValidationEvent"),
    ],
    "completed_events": [
        {
            **event("D1", "AGENT", action=action("Mail App", "list_emails", "READ", folder="inbox")),
            "event_time": START + 3,
            "metadata": {"return_value": "[m1]", "return_value_type": "str", "exception": None},
        }
    ],
    "version": "are_simulation_v1",
    "context": None,
    "augmentation": None,
    "metadata": {
        "definition": {
            "scenario_id": "Scenario_Mail",
            "seed": 5,
            "start_time": START,
            "duration": 600,
            "hints": [
                {"hint_type": "TASK_HINT", "content": "Bo is in the contacts.", "associated_event_id": "E1"}
            ],
            "tags": ["Execution"],
            "has_tool_augmentation": True,
        },
        "annotation": {"annotator": "x"},
    },
}


def placed(folder: Path, value: Any, name: str = "trace.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder / name


async def taken(bench: Workbench, path: Path) -> EnvironmentReport:
    report = (await bench.imports.start(str(path), wait_s=45)).report
    assert report is not None
    return report


async def test_events_expected_calls_and_hints_come_and_what_does_not_is_said(tmp_path: Path) -> None:
    file = placed(tmp_path / "in", TRACE)
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, file)
        one = (await bench.items.get("scenario", "scenario_mail/scenario_mail", view="full")).item
        solution = (await bench.items.get("scenario", "scenario_mail/scenario_mail", view="solution")).item
    assert report.created and report.environment.id == "scenario_mail"
    assert report.taken == {
        "format": "are",
        "scenarios": 1,
        "events": 1,
        "expected": 3,
        "hints": 1,
        "tools": 3,
    }
    assert one["goal"] == "Mail Bo." and one["seed"] == 5 and one["tags"] == ["execution"]
    assert [step["user"] for step in one["script"] if "user" in step] == ["Mail Bo.", "Archive it."]
    first, say, last = one["expected"]
    assert first["tool"] == "Mail_App__send_email"
    assert first["args"] == {"recipients": ["bo@x.org"], "content": "Hello Bo", "urgent": True, "tries": 2}
    assert first["compare"] == {"content": {"judge": "It means the same as: Hello Bo"}}
    assert say == {"id": "a2", "say": "Sent."} and last["tool"] == "Mail_App__archive"
    (happens,) = one["events"]
    assert (happens["id"], happens["delay_s"]) == ("e1", 30)
    assert happens["when"]["tool"] == "Mail_App__send_email" and "content" not in happens["when"]["args"]
    assert happens["do"] == {"notify": 'Mail App: add email {{"sender": "bo", "content": "{{no}}"}}'}
    assert one["hints"] == [{"text": "Bo is in the contacts.", "for": "e1"}]
    lost = {row["what"]: row for row in report.lost}
    assert lost["tool"]["count"] == 3 and "Python" in lost["tool"]["why"]
    assert lost["condition"]["count"] == lost["validator"]["count"] == 1
    assert lost["event"]["count"] == 2, "what waits for the condition, and what waits for that"
    assert {"argument", "state change of an event", "tool augmentation", "duration", "recorded run"} <= set(
        lost
    )
    assert one["x_source"]["trace"]["events"] == TRACE["events"]
    assert solution["status"] != "failed", solution


async def test_the_expected_calls_and_the_events_happen_in_a_trial(tmp_path: Path) -> None:
    file = placed(tmp_path / "in", TRACE)
    send = {"recipients": ["bo@x.org"], "content": "Hi Bo!", "urgent": True, "tries": 2}
    log = [
        {"by": "agent", "tool": "Mail_App__list_emails", "args": {"folder": "inbox"}},
        {"by": "agent", "tool": "Mail_App__send_email", "args": send},
        {"by": "agent", "say": "Sent."},
        {"by": "agent", "tool": "Mail_App__archive", "args": {"email_id": "m1"}},
        {"by": "agent", "say": "Archived."},
    ]
    agent = {"kind": "recorded", "conversations": [{"scenario": "scenario_mail", "log": log}]}
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        await taken(bench, file)
        await bench.items.update("environment", "scenario_mail", {"agent": agent})
        await bench.runs.start("scenario_mail", wait_s=45)
        id = str((await bench.items.page("conversation", where={"run": "run-1"})).items[0]["id"])
        item = (await bench.items.get("conversation", id, view="full")).item
    entries = item["conversation"]["log"]
    calls = [(entry["tool"], entry["ok"], entry["result"]) for entry in entries if "tool" in entry]
    assert calls[0] == ("Mail_App__list_emails", True, "[m1]"), "as it was recorded"
    assert [ok for _, ok, _ in calls] == [True, True, True]
    assert [entry["status"] for entry in entries if "event" in entry] == ["fired"]
    assert any("add email" in entry.get("notify", "") for entry in entries)
    assert [entry["say"] for entry in entries if entry.get("by") == "user" and "say" in entry] == [
        "Mail Bo.",
        "Archive it.",
    ]
    # What the agent worded itself needs a judge; all else fits.
    assert {check["id"]: check["verdict"] for check in item["verdict"]["checks"]}["calls"] != "fail"


async def test_a_folder_of_several_is_told_apart_and_one_is_taken(tmp_path: Path) -> None:
    placed(tmp_path / "in", TRACE, "a.json")
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        assert (await taken(bench, tmp_path / "in")).created
        placed(tmp_path / "in", TRACE, "b.json")
        with pytest.raises(InvalidArgument, match="holds 2 scenarios of ARE") as refused:
            await taken(bench, tmp_path / "in")
        assert refused.value.next[0].tool == "import_environment"


def turned(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    value = copy.deepcopy(TRACE)
    change(value)
    return value


WRONG: dict[str, dict[str, Any]] = {
    "The events go round in a circle: ": turned(lambda t: t["events"][1]["dependencies"].append("A2")),
    "holds no message of the user": turned(
        lambda t: t.update(events=[e for e in t["events"] if e["event_type"] != "USER"])
    ),
    "holds no events": turned(lambda t: t.update(events={})),
}


@pytest.mark.parametrize("told", WRONG)
async def test_a_file_that_makes_no_scenario_is_refused_and_leaves_nothing(tmp_path: Path, told: str) -> None:
    file = placed(tmp_path / "in", WRONG[told])
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        with pytest.raises(InvalidArgument, match=told):
            await taken(bench, file)
        assert (await bench.items.page("environment")).total == 0


LOST: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "dependency": (lambda t: t["events"][3]["dependencies"].append("nobody"), "there is no such event"),
    "argument": (
        lambda t: t["events"][1]["action"]["args"].append({"name": "n", "value": "x", "value_type": "int"}),
        "it is no int",
    ),
    "event": (lambda t: t["events"].append(event("X", "MOOD", action=action("A", "b"))), "its type is MOOD"),
    "comparator of a time": (
        lambda t: t["events"][1].update(event_time_comparator="EQUAL"),
        "when an expected call is made is not checked",
    ),
}


@pytest.mark.parametrize("what", LOST)
async def test_a_part_that_cannot_be_taken_is_a_line_and_the_rest_comes(tmp_path: Path, what: str) -> None:
    change, why = LOST[what]
    file = placed(tmp_path / "in", turned(change))
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        report = await taken(bench, file)
        assert any(row["what"] == what and row["why"] == why and row["at"] for row in report.lost), (
            report.lost
        )
        assert report.counts["scenarios"] == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"event_id": 1, "events": [{"event_id": "a", "event_type": "USER", "action": {"function": 3, "args": {}}}]}',
        '{"world_logs": [], "events": [1, null, "x", {"event_id": {}}]}',
        '{"world_logs": [], "events": [' + "[" * 120 + "]" * 120 + "]}",
        '{"world_logs": [], "apps": 3, "metadata": [], "events": "x"}',
        '{"world_logs": [NaN]}',
    ],
)
async def test_hostile_files_are_refused_in_our_own_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.json").write_text(text, encoding="utf-8")
    async with bench_at(tmp_path / "home", [tmp_path]) as bench:
        with pytest.raises(CasehardenError):
            await taken(bench, tmp_path / "in" / "x.json")
        assert (await bench.items.page("environment")).total == 0


async def test_a_client_tries_an_import_before_it_is_stored(tmp_path: Path) -> None:
    file = placed(tmp_path / "in", TRACE)
    async with server(tmp_path / "home", roots=(tmp_path,)) as at:
        tried = await at.ok("import_environment", path=str(file), format="are", dry_run=True)
        assert tried["taken"]["expected"] == 3 and not tried.get("created")
        made = await at.follow(tried)
        assert made["created"] is True and made["counts"]["scenarios"] == 1
