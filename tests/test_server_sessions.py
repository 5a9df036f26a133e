"""Sessions as a client plays them: in memory in both eras, and as the example does, over stdio."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from threading import get_ident
from typing import Any

import anyio
import pytest
from mcp.types import TextContent

from caseharden.engine.net import Redactor
from caseharden.mcp_server.binding import reply_result
from caseharden.tests.server_desk import MODES, Mode, desk
from caseharden.tools.replies import Item

pytestmark = pytest.mark.anyio
EXAMPLE = Path(__file__).parents[1] / "examples" / "played_session" / "play_session.py"


@pytest.mark.requirement("SG-1", "SG-2", "SG-3")
@pytest.mark.parametrize("mode", MODES)
async def test_a_client_plays_the_agent_loses_goes_back_and_wins(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path, mode) as at:
        await at.ok("create_environment", id="support", world="shop")
        opened = await at.ok("start_session", environment="support", start="refund-broken-lamp")
        assert opened["summary"].startswith("session-1: you are the agent in refund-broken-lamp.")
        assert (opened["role"], opened["turn"]) == ("agent", 1)
        assert [one["from"] for one in opened["messages"]] == ["user"]
        assert {"name": "verify_customer", "args": "order_id, email, zip"} in opened["tools"]
        assert opened["untrusted"] == ["messages"]
        assert opened["links"][0]["uri"] == "caseharden://environment/support/policy"
        policy = await at.follow(opened, 2)
        assert "policy" in policy["item"]
        id = opened["session"]
        paid = await at.ok(
            "step_session", session=id, action="call", tool="refund_order", arguments={"order_id": "W10432"}
        )
        assert paid["result"]["ok"]
        assert paid["changes"][0] == {
            "path": "db.orders.W10432.status",
            "old": "delivered",
            "new": "refunded",
        }
        ended = await at.ok("step_session", session=id, action="end")
        assert ended["done"]
        assert ended["reward"]["value"] == 0
        failed = [one for one in ended["reward"]["components"] if one["verdict"] == "fail"]
        assert {one["check"] for one in failed} == {"told", "rule.verified-first"}
        assert all(one["why"] for one in failed)
        back = await at.follow(ended, 0)
        assert back["turn"] == 1
        assert back["messages"] == opened["messages"]
        said = await at.ok("step_session", session=id, text="May I have your email and your zip?")
        assert said["turn"] == 2
        known = {"email": "anjali.raghunathan@example.com", "zip": "01609"}
        for tool, more in (("verify_customer", known), ("refund_order", {})):
            arguments = {"order_id": "W10432", **more}
            await at.ok("step_session", session=id, action="call", tool=tool, arguments=arguments)
        won = await at.ok("step_session", session=id, text="I have refunded 154.90 dollars.")
        assert won["reward"]["value"] == 1
        assert won["summary"].startswith("Ended (user_stop). Reward 1: every check passed.")
        await at.follow(won, 1)
        assert (await at.follow(won, 2))["records"] == 2


@pytest.mark.requirement("SG-1", "SG-5")
async def test_a_client_is_told_what_it_may_do_instead(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="support", world="shop")
        far = await at.error("start_session", environment="support", start="#131")
        assert far["what"] == "#131 is out of range."
        assert far["where"] == "start_session.start"
        assert far["allowed"].startswith("#1 to #")
        wrong = await at.error("start_session", environment="support", role="judge")
        assert wrong["code"] == "invalid_argument"
        id = (await at.ok("start_session", environment="support", start="#1"))["session"]
        no = await at.error("step_session", session=id, action="call", tool="refund")
        assert no["what"] == "No tool `refund`. Did you mean `refund_order`?"
        assert no["next"][0]["args"] == {"session": id, "action": "look"}
        assert (await at.error("step_session", session=id, action="undo", turn=7))[
            "where"
        ] == "step_session.turn"
        await at.ok("step_session", session=id, action="end")
        over = await at.error("step_session", session=id, text="Hello?")
        assert over["code"] == "conflict"
        assert over["what"] == f"{id} has ended; only undo and look go on."
        assert over["next"][0]["args"]["action"] == "undo"
        assert (await at.error("step_session", session="session-9"))["code"] == "not_found"


@pytest.mark.requirement("LW-14")
async def test_a_client_plays_the_user_turn_by_turn(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="support", world="shop")
        opened = await at.ok("start_session", environment="support", role="user", start="refund-broken-lamp")
        assert "W10432" in json.dumps(opened["result"]["sheet"])
        id = opened["session"]
        answered = await at.ok(
            "step_session", session=id, text="Please refund order W10432, the lamp is broken."
        )
        assert [one["from"] for one in answered["messages"]] == ["agent"]
        again = await at.ok("step_session", session=id, action="regenerate", text="be shorter")
        assert again["turn"] == 2
        ended = await at.ok("step_session", session=id, text="Bye. ###STOP###")
        assert ended["done"]


async def test_sessions_are_listed_read_and_deleted_like_everything_else(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.ok("create_environment", id="support", world="shop")
        id = (await at.ok("start_session", environment="support", start="blank"))["session"]
        page = await at.ok("list_items", kind="session", where={"state": "open"})
        assert [row["id"] for row in page["items"]] == [id]
        full = await at.ok("list_items", kind="session", detail="full")
        assert "items[].tape" in full["untrusted"]
        await at.follow(page)
        item = await at.ok("get_item", kind="session", id=id, view="full")
        assert item["item"]["state"] == "open"
        running = await at.error("export_run", source=id, format="csv")
        assert running["code"] == "conflict"
        await at.ok("step_session", session=id, action="end")
        told = await at.ok("delete_items", kind="session", ids=[id])
        await at.follow(told)
        assert (await at.error("get_item", kind="session", id=id))["code"] == "not_found"


@pytest.mark.requirement("SG-1")
@pytest.mark.parametrize("mode", MODES)
async def test_the_prompt_says_how_to_play_with_what_is_there(tmp_path: Path, mode: Mode) -> None:
    async with desk(tmp_path, mode) as at:
        await at.ok("create_environment", id="support", world="shop")

        async def told(**arguments: str) -> str:
            (message,) = (await at.client.get_prompt("play_the_agent", arguments)).messages
            assert isinstance(message.content, TextContent)
            return message.content.text

        assert '"environment": "support", "role": "agent", "start": "random"' in await told()
        assert '"start": "#3"' in await told(environment="support", start="#3")
        await at.ok("start_session", environment="support", start="#1")
        assert "to go on with session-1" in await told()


@pytest.mark.requirement("CH-17")
async def test_a_tool_of_a_world_that_returns_thousands_of_records_is_answered_within_the_cap(
    tmp_path: Path,
) -> None:
    rows = {f"W{n}": {"items": ["a", "b"], "total": n} for n in range(3000)}
    steps = [{"return": "db.rows"}]
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    tool: dict[str, Any] = {
        "name": "all_rows",
        "description": "All rows.",
        "parameters": parameters,
        "steps": steps,
    }
    async with desk(tmp_path) as at:
        await at.ok(
            "create_environment", id="e", world_data={"name": "w", "db": {"rows": rows}, "tools": [tool]}
        )
        scenario = {"id": "x", "goal": "see all rows", "success": [{"tool": "all_rows"}]}
        await at.ok("create_scenarios", environment="e", scenarios=[scenario])
        await at.ok("create_simulations", environment="e")
        opened = await at.ok("start_session", environment="e", start="x")
        with anyio.fail_after(20):
            called = await at.ok(
                "step_session", session=opened["session"], action="call", tool="all_rows", arguments={}
            )
    assert called["result"]["left_out"].endswith(" characters")


async def test_a_reply_that_is_long_to_cut_is_cut_beside_the_event_loop() -> None:
    class Watched(Redactor):
        def hide_all(self, value: Any, places: list[str] | None = None, at: str = "") -> Any:
            threads.append(get_ident())
            return super().hide_all(value, places, at)

    threads: list[int] = []
    for text in ("short", "long " * 100_000):
        item = Item(summary="s", kind="guide", id="g", view="text", item={"text": text})
        assert not (await reply_result(item, {}, Watched())).is_error
    assert threads[0] == get_ident() != threads[1]


@pytest.mark.requirement("SG-1", "SG-2", "SG-3")
def test_the_example_plays_a_session_over_stdio_and_gets_its_reward(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--home", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    ends = [line for line in lines if line.startswith("Ended")]
    assert ends[0].startswith("Ended (session_end). Reward 0: told, rule.verified-first failed.")
    assert ends[1].startswith("Ended (user_stop). Reward 1: every check passed.")
    assert sum(line.startswith("  pass") for line in lines) == 12
