"""Calls that an agent makes on tools of its own: recorded with their results, usable in checks, never executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.agents import AgentInput, AgentReply
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.llm import ToolCall
from caseharden.tests.played_desk import WAITING_DESK, Line, agent, call, seen, user
from caseharden.tests.small_desk import Script, a_case, calls_of, graded, tried
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio


def own(tool: str, result: Any = None, **args: Any) -> Line:
    return {"by": "agent", "tool": tool, "args": args, "kind": "own", "result": result}


NOTED = [
    user("hi"),
    own("crm_find", {"customer": "c7"}, name="Ann"),
    agent("Which book?"),
    user("b1"),
    own("crm_note", customer="c7", text="wants b1"),
    call("lend", book_id="b1"),
    agent("Lent."),
]


class Clerk:
    """An agent with a register of its own beside the world's tools."""

    name = "clerk"

    async def reply(self, turn: AgentInput) -> AgentReply:
        if any(message.role == "tool" for message in turn.messages):
            return AgentReply("Lent.")
        kept = ToolCall("x1", "crm_note", '{"text": "wants b1"}')
        return AgentReply(
            "", (ToolCall("x2", "lend", '{"book_id": "b1"}'),), None, False, (kept,), {"x1": [7]}
        )


@pytest.mark.requirement("LW-10")
async def test_calls_on_own_tools_are_recorded_by_turn_with_their_results_and_checked(tmp_path: Path) -> None:
    success = [
        {"id": "found", "tool": "crm_find", "own": True, "args": {"name": "Ann"}},
        {"id": "once", "tool": "crm_*", "own": True, "args": {"customer": "c7"}, "count": 1},
        {
            "id": "noted-first",
            "tool_calls": [{"tool": "crm_note", "own": True}, {"tool": "lend"}],
            "match": "strict",
        },
        {"id": "never", "kind": "minefield", "tool": "crm_delete", "own": True},
    ]
    found = await seen(tmp_path, NOTED, success=success)
    assert (found.verdict, [c["verdict"] for c in found.verdicts[0]["checks"]]) == ("pass", ["pass"] * 4)
    calls = [(e["turn"], e["tool"], e["kind"], e["ok"], e["result"]) for e in found.log if "tool" in e]
    assert calls == [
        (1, "crm_find", "own", True, {"customer": "c7"}),
        (2, "crm_note", "own", True, None),
        (2, "lend", "write", True, "lent"),
    ]
    async with bench_at(tmp_path) as bench:
        turns = (await bench.items.get("conversation", f"{found.run.id}/s/1", view="turns")).item["turns"]
        rows = [
            (row["tool"], row.get("own", False), row["result"]) for t in turns for row in t.get("calls", [])
        ]
        assert rows == [
            ("crm_find", True, {"customer": "c7"}),
            ("crm_note", True, None),
            ("lend", False, "lent"),
        ]


@pytest.mark.requirement("LW-10")
async def test_a_call_on_an_own_tool_counts_only_where_a_check_names_it() -> None:
    """It is no surplus of a list that does not name it, and no call on the world that `own` asks for."""
    success: list[dict[str, Any]] = [
        {"id": "strict", "tool_calls": [{"tool": "lend"}], "match": "strict", "reads": "count"},
        {"id": "within", "tool_calls": [{"tool": "l*"}], "match": "within"},
        {"id": "not-own", "tool": "lend", "own": True, "count": 0},
        {"id": "missing", "tool": "crm_note", "own": True, "args": {"text": "wants b2"}, "counts": False},
    ]
    case = a_case(success=success)
    done = await tried(case, Clerk(), Script("b1", then="###STOP###"))
    assert [(c.tool, c.kind, c.result) for c in calls_of(done)] == [
        ("crm_note", "own", [7]),
        ("lend", "write", "lent"),
    ]
    verdict = await graded(case, done)
    assert [c.verdict for c in verdict.checks] == ["pass", "pass", "pass", "fail"]
    assert 'nearest is crm_note in turn 1: text is "wants b1", expected "wants b2"' in verdict.checks[3].why


async def test_a_tool_that_is_nobodys_is_refused_with_the_way_to_name_an_own_one() -> None:
    with pytest.raises(InvalidArgument, match=r"No tool matches `lent`.*lend") as refused:
        a_case(success=[{"tool": "lent"}])
    assert refused.value.where == "success[0].tool"
    assert "own: true" in str(refused.value)
    with pytest.raises(InvalidArgument, match="Only the agent has tools of its own"):
        a_case(success=[{"tool": "crm", "own": True, "by": "user"}])


async def test_own_calls_are_played_back_to_the_same_transcript(tmp_path: Path) -> None:
    found = await seen(tmp_path, NOTED, success=[{"tool": "lend"}])
    async with bench_at(tmp_path) as bench:
        spec = {"kind": "recorded", "run": found.run.id}
        await bench.environments.create("again", instructions="Be kind.", world_data=WAITING_DESK, agent=spec)
        scenario = {"id": "s", "goal": "Borrow the book b1", "success": [{"tool": "lend"}]}
        assert (await bench.scenarios.create("again", [scenario])).refused == []
        again = (await bench.runs.start("again", wait_s=45)).run
        item = (await bench.items.get("conversation", f"{again.id}/s/1", view="full")).item
        assert item["conversation"]["transcript_hash"] == found.conversations[0]["transcript_hash"]
