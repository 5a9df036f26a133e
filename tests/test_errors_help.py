"""Every wrong call names its place, and what would do instead: what is allowed, or the next call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caseharden.tests.server_desk import Desk, desk, tiny
from caseharden.tools import ORDER

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-17")]
Wrong = tuple[str, Mapping[str, Any]]
WRONG: tuple[Wrong, ...] = (
    ("import_environment", {"path": ""}),
    ("import_environment", {"path": "nowhere"}),
    ("import_environment", {"path": "empty"}),
    ("create_personas", {"environment": "support"}),
    ("create_personas", {"environment": "support", "personas": [{"id": "a"}], "file": "x.json"}),
    ("create_personas", {"environment": "support", "file": "nothing.json"}),
    ("create_personas", {"environment": "support", "personas": []}),
    ("create_personas", {"environment": "", "personas": [{"id": "a"}]}),
    ("generate_personas", {"environment": "support", "kinds": ["cheerful"]}),
    ("generate_personas", {"environment": "support", "brief": "x" * 30_000}),
    ("generate_personas", {"environment": "support", "idempotency_key": "k" * 300}),
    ("generate_scenarios", {"environment": "support", "kinds": ["impossible"]}),
    ("generate_scenarios", {"environment": "nowhere"}),
    ("create_simulations", {"environment": "support", "scenarios": ["close-on"]}),
    ("create_simulations", {"environment": "support", "personas": ["danna"]}),
    ("create_simulations", {"environment": "support", "simulations": [{"id": "x"}]}),
    ("create_simulations", {"environment": "empty"}),
    ("list_items", {"kind": "conversation"}),
    ("list_items", {"kind": "run", "cursor": "zzz"}),
    ("list_items", {"kind": "run", "where": {"state": "finished"}}),
    ("list_items", {"kind": "persona", "environment": "suport"}),
    ("list_items", {"kind": "scenario", "where": {"verdict": "fail"}}),
    ("get_item", {"kind": "conversation", "id": "run-1"}),
    ("get_item", {"kind": "conversation", "id": "run-1/close-one-dana/9"}),
    ("get_item", {"kind": "conversation", "id": "run-1/close-one-dana/1@99"}),
    ("get_item", {"kind": "instructions", "id": "support"}),
    ("get_item", {"kind": "guide", "id": "nonsense"}),
    ("get_item", {"kind": "world", "id": "moon"}),
    ("get_item", {"kind": "run", "id": ""}),
    ("get_item", {"kind": "candidate", "id": "hard-1/c1"}),
    ("get_item", {"kind": "run", "id": "run-1", "view": "clusters", "cursor": "zzz"}),
    ("get_item", {"kind": "job", "id": "job-99"}),
    ("update_item", {"kind": "environment", "id": "support", "changes": {}}),
    ("update_item", {"kind": "environment", "id": "support", "changes": {"id": "other"}}),
    ("update_item", {"kind": "environment", "id": "support", "changes": {"settings": {"trails": 2}}}),
    ("update_item", {"kind": "persona", "id": "support/dana", "changes": {"style": 3}, "version": 1}),
    ("update_item", {"kind": "persona", "id": "support/dana", "changes": {"style": "brief"}, "version": 9}),
    ("update_item", {"kind": "scenario", "id": "support/close-one", "changes": {"goal": ""}}),
    ("update_item", {"kind": "run", "id": "run-1", "changes": {"state": "done"}}),
    ("delete_items", {"kind": "run", "ids": []}),
    ("delete_items", {"kind": "run", "ids": ["run-1", "run-77"]}),
    ("delete_items", {"kind": "persona", "ids": ["dana"]}),
    ("run_simulations", {"environment": "support", "select": []}),
    ("run_simulations", {"environment": "support", "select": ["tag:nothing"]}),
    ("run_simulations", {"environment": "support", "select": ["failed:run-99"]}),
    ("run_simulations", {"environment": "support", "trials": 500}),
    ("run_simulations", {"environment": "support", "instructions": "99"}),
    ("run_simulations", {"environment": "support", "models": {"agent": "nobody/x"}}),
    ("run_simulations", {"environment": "support", "models": {"agnet": "offline"}}),
    ("run_simulations", {"environment": "support", "options": {"budgt": {"usd": 1}}}),
    ("run_simulations", {"environment": "support", "options": {"budget": {"usd": -1}}}),
    ("run_simulations", {"environment": "support", "options": {"resume": "run-99"}}),
    ("run_simulations", {"environment": "support", "options": {"cassette": {"file": "../x.jsonl"}}}),
    ("run_simulations", {"environment": "support", "continue_run": "run-99"}),
    ("run_simulations", {"environment": "support", "metrics": ["helpfullness"]}),
    ("run_simulations", {"environment": "empty"}),
    ("score_run", {"run": "run-99"}),
    ("score_run", {"run": "run-1", "metrics": ["nonsense"]}),
    ("score_run", {"run": "run-1", "thresholds": {"pass_rat": 0.5}}),
    (
        "score_run",
        {"run": "run-1", "labels": [{"conversation": "run-1/none/1", "check": "x", "label": "pass"}]},
    ),
    ("compare_runs", {"base": "run-1", "run": "run-99"}),
    ("compare_runs", {"base": "run-1", "run": "run-1"}),
    ("compare_runs", {"base": "", "run": "run-1"}),
    ("wait_job", {"job": "job-99"}),
    ("wait_job", {"job": "run-1"}),
    ("cancel_job", {"job": "job-1"}),
    ("cancel_job", {"job": ""}),
    ("harden_agent", {"environment": "suport"}),
    ("harden_agent", {"environment": "support", "strategy": "luck"}),
    ("harden_agent", {"environment": "support", "run": "run-99"}),
    ("harden_agent", {"environment": "support", "options": {"rouds": 2}}),
    ("harden_agent", {"environment": "support", "hardening": "hard-9"}),
    ("submit_candidate", {"hardening": "hard-9", "text": "Be kind."}),
    ("submit_candidate", {"hardening": "", "text": ""}),
    ("decide_candidate", {"candidate": "hard-9/c1", "decision": "promote"}),
    ("decide_candidate", {"candidate": "support@9", "decision": "roll_back"}),
    ("decide_candidate", {"candidate": "nonsense", "decision": "promote"}),
    ("take_model_calls", {}),
    ("take_model_calls", {"job": "job-99"}),
    ("take_model_calls", {"roles": ["clown"]}),
    ("answer_model_calls", {"answers": []}),
    ("answer_model_calls", {"answers": [3]}),
    ("start_session", {"environment": "support", "start": "close-nothing"}),
    ("start_session", {"environment": "support", "start": "#99"}),
    ("start_session", {"environment": "support", "start": "run-99/x/1@2"}),
    ("start_session", {"environment": "empty"}),
    ("step_session", {"session": "session-99", "text": "Hello."}),
    ("step_session", {"session": "session-1", "text": ""}),
    ("step_session", {"session": "session-1", "action": "call", "tool": "close_tiket"}),
    ("step_session", {"session": "session-1", "action": "undo", "turn": 40}),
    ("export_run", {"source": ""}),
    ("export_run", {"source": "run-99"}),
    ("export_run", {"source": "support", "format": "junit"}),
    ("export_run", {"source": "run-1", "format": "html", "where": {"verdict": "fail"}}),
    ("export_run", {"source": "run-1", "format": "json", "file": "a/b.json"}),
    ("export_run", {"source": "run-1", "format": "csv", "where": {"colour": "red"}}),
    ("export_run", {"source": "run-1", "format": "sft", "where": {"verdict": "error"}}),
)


@pytest.fixture
async def at(tmp_path: Path) -> Any:
    (tmp_path / "in" / "empty").mkdir(parents=True)
    async with desk(tmp_path / "data", roots=(tmp_path / "in",)) as made:
        await tiny(made)
        await made.ok("create_environment", id="empty")
        await made.ok("run_simulations", environment="support", wait_s=45)
        await made.ok("start_session", environment="support", start="close-one")
        yield made


async def test_each_wrong_call_is_told_with_its_place_and_with_what_would_do(at: Desk) -> None:
    unhelpful: list[str] = []
    for tool, args in WRONG:
        error = await at.error(tool, **args)
        head = str(error.get("where", "")).partition(".")[0].partition("[")[0]
        if not head or not (error.get("allowed") or error.get("next")):
            unhelpful.append(f"{tool} {str(args)[:100]}: {error}")
    assert unhelpful == []


def test_the_wrong_calls_are_of_every_tool() -> None:
    left = {"create_environment", "create_scenarios"}
    assert {tool for tool, _ in WRONG} == set(ORDER) - left
