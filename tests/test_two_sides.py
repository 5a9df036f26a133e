"""Worlds with two sides: the user has tools of its own, and the offline user does with them what the agent asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.llm import Message, ModelRequest, ToolCall, ToolSignature, open_model
from caseharden.tests.small_desk import a_case, calls_of, graded, says_of, the_desk, tried
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio

PHONE: dict[str, Any] = {
    "format": "world/1",
    "name": "phone",
    "db": {"lines": {"L1": {"seen": False, "fixed": False}}},
    "user_db": {"phone": {"signal": "none", "mode": "flight"}},
    "sync": [
        {"set": {"db.lines['L1'].seen": "user_db.phone.mode == 'normal'"}},
        {"if": "db.lines['L1'].fixed", "then": [{"set": {"user_db.phone.signal": "'full'"}}]},
    ],
    "tools": [
        {
            "name": "fix_line",
            "description": "Fix a line that the network can see.",
            "parameters": {
                "type": "object",
                "required": ["line_id"],
                "properties": {"line_id": {"type": "string", "description": "such as L1"}},
            },
            "steps": [
                {"require": "line_id in db.lines", "error": "no line {line_id}"},
                {"require": "db.lines[line_id].seen", "error": "line {line_id} is not seen by the network"},
                {"set": {"db.lines[line_id].fixed": "true"}},
                {"return": "{'line_id': line_id, 'status': 'fixed'}"},
            ],
        },
        {
            "name": "set_flight_mode",
            "for": "user",
            "parameters": {
                "type": "object",
                "required": ["mode"],
                "properties": {"mode": {"type": "string", "enum": ["flight", "normal"]}},
            },
            "steps": [{"set": {"user_db.phone.mode": "mode"}}, {"return": "{'mode': mode}"}],
        },
        {"name": "read_signal", "for": "user", "steps": [{"return": "user_db.phone.signal"}]},
    ],
}
SCENARIO: dict[str, Any] = {
    "id": "s",
    "goal": "Fix line L1.",
    "knowledge": [{"fact": "mode", "value": "normal"}],
    "expected": [
        {"say": "Please set the flight mode to normal."},
        {"by": "user", "tool": "set_flight_mode", "args": {"mode": "normal"}},
        {"tool": "fix_line", "args": {"line_id": "L1"}},
        {"say": "Line L1 is fixed."},
    ],
    "success": [
        {"id": "world", "world": "expected"},
        {"id": "user-did", "tool": "set_flight_mode", "by": "user"},
        {"id": "both", "tool_calls": "expected", "by": "user", "match": "unordered"},
    ],
}
RULE = "Before calling fix_line, ask the user for the set flight mode."


async def test_the_offline_user_does_what_the_agent_asks_and_the_world_keeps_both_sides_in_step(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("phone", instructions=RULE, world_data=PHONE)
        made = await bench.scenarios.create("phone", [{**SCENARIO, "split": "train"}])
        assert (made.refused, made.checked["proven"]) == ([], 1)
        run = (await bench.runs.start("phone", wait_s=45)).run
        item = (await bench.items.get("conversation", f"{run.id}/s/1", view="turns")).item
    calls = [
        (row.get("by", "agent"), row["tool"], row["ok"]) for t in item["turns"] for row in t.get("calls", [])
    ]
    assert calls == [("user", "set_flight_mode", True), ("agent", "fix_line", True)]
    assert item["verdict"] == "pass"


async def test_users_tools_are_executed_on_their_own_side_and_sync_follows() -> None:
    case = a_case(the_desk(**PHONE, schema={}), **SCENARIO)
    done = await tried(case, instructions=RULE)
    first, second = calls_of(done)
    assert [patch.path for patch in first.patches] == ["user_db.phone.mode", "db.lines.L1.seen"]
    assert [patch.by for patch in first.patches] == ["user", "sync"]
    assert [patch.path for patch in second.patches][-1] == "user_db.phone.signal"
    said = [words for by, words in says_of(done) if by == "user"]
    assert said[1].startswith("I did that (set flight mode). It says: mode is normal.")
    assert (await graded(case, done)).verdict == "pass"


SHOW = ToolSignature("show_card", "", {"type": "object", "properties": {}})
SEND = ToolSignature(
    "send_photo",
    "",
    {
        "type": "object",
        "required": ["order_id", "copies"],
        "properties": {"order_id": {"type": "string"}, "copies": {"type": "integer"}},
    },
)


ASKED: dict[str, Any] = {
    "Could you show me your card, please?": ("show_card", {}),
    "Please send a photo of it.": ("send_photo", {"order_id": "W1", "copies": 2}),
    "Could you send the card?": None,
    "I will show your card to nobody.": None,
    "Your card? Please show it.": None,
    "Hello!": None,
}


@pytest.mark.parametrize(("text", "called"), ASKED.items())
async def test_a_tool_is_called_when_all_words_of_its_name_are_asked_for(text: str, called: Any) -> None:
    sheet = {
        "goal": "Get help.",
        "knowledge": [{"fact": "order id", "value": "W1"}, {"fact": "copies", "value": 2}],
    }
    reply = await spoken(sheet, Message("assistant", "Hi."), Message("user", text))
    made = [(call.name, json.loads(call.arguments)) for call in reply.tool_calls]
    assert made == ([called] if called else [])


async def test_no_tool_is_called_twice_for_one_text_nor_without_what_it_needs() -> None:
    asked = Message("user", "Show me your card. And what is your zip?")
    call = ToolCall("u2", "show_card", "{}")
    done = [
        Message("assistant", "Hi."),
        asked,
        Message("assistant", "", (call,)),
        Message("tool", "gold", tool_call_id="u2"),
    ]
    reply = await spoken({"goal": "Get help.", "knowledge": [{"fact": "zip", "value": "10001"}]}, *done)
    assert (reply.tool_calls, reply.text) == ((), "I did that (show card). It says: gold. My zip is 10001.")
    lacking = await spoken({"goal": "Get help."}, Message("user", "Send me a photo, please."))
    assert lacking.tool_calls == ()


async def spoken(sheet: dict[str, Any], *messages: Message) -> Any:
    system = Message("system", f"You play a user.\n<sheet>{json.dumps(sheet)}</sheet>")
    return await open_model("offline").complete(ModelRequest("user", (system, *messages), tools=(SHOW, SEND)))
