"""Sessions: one side is played by the caller; going back restores everything, and every process can go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import Conflict, InvalidArgument, NotFound, UnknownTool
from caseharden.engine.records.conversation import Conversation, SayEntry, ToolEntry
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import SessionReport
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat
from caseharden.tests.workbench_cases import bench_at, desk

pytestmark = pytest.mark.anyio
Move = dict[str, Any]
WORLDS = ("shop", "airline", "clinic")


async def stored(bench: Workbench, id: str) -> Conversation:
    item = await bench.items.get("conversation", id, view="full")
    return Conversation.model_validate(item.item["conversation"])


def moves(conversation: Conversation, by: str = "agent") -> list[Move]:
    """What one side did in a conversation, as steps of a session."""
    found: list[Move] = []
    for entry in conversation.log:
        if isinstance(entry, SayEntry) and entry.by == by:
            found.append({"text": entry.say, "at": entry.turn})
        elif isinstance(entry, ToolEntry) and entry.by == by and entry.cause is None:
            found.append({"action": "call", "tool": entry.tool, "arguments": entry.args, "at": entry.turn})
    return found


async def take(bench: Workbench, session: str, move: Move) -> SessionReport:
    return await bench.sessions.step(session, **{k: v for k, v in move.items() if k != "at"})


async def standing(bench: Workbench, session: str) -> dict[str, Any]:
    """All that a session is: log, world, clock, tools, whose turn; without what tells how it came there."""
    sessions = bench.sessions
    record, run = sessions._read(session)  # pyright: ignore[reportPrivateUsage]
    found = await sessions._stage.stand(record, run)  # pyright: ignore[reportPrivateUsage]
    document = found.tried.document
    unlike = ("wall_s", "usage", "id", "message")
    return {
        "log": [{k: v for k, v in entry.items() if k not in unlike} for entry in document["log"]],
        "world": found.tried.final,
        "t": document["end"]["t"],
        "turn": document["end"]["turn"],
        "waits": found.waits.side if found.waits else None,
        "tools": {side: [tool.name for tool in tools] for side, tools in found.offered.items()},
    }


@pytest.mark.requirement("SG-3", "SG-1", "SG-2")
@pytest.mark.parametrize("world", WORLDS)
async def test_undone_to_any_turn_a_session_is_a_fresh_one_played_that_far(
    tmp_path: Path, world: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("e", world=world)
        run = (await bench.runs.start("e")).run
        for slug in run.simulations[::8]:
            before = await stored(bench, f"{run.id}/{slug}/1")
            steps = moves(before)
            whole = await bench.sessions.start("e", start=slug)
            id, told = whole.session.id, dict[int, list[Any]]()
            for move in steps:
                told.setdefault(move["at"], []).append((await take(bench, id, move)).messages)
            record = (await bench.items.get("session", id)).item
            assert record["state"] == "ended"
            ended = await stored(bench, record["ends"][-1])
            assert ended.transcript_hash == before.transcript_hash
            trial = (await bench.items.get("conversation", f"{run.id}/{slug}/1")).item
            assert record["verdict"] == trial["verdict"]
            for turn in reversed(sorted({move["at"] for move in steps})):
                await bench.sessions.step(id, action="undo", turn=turn)
                fresh = (await bench.sessions.start("e", start=slug)).session.id
                for move in steps:
                    if move["at"] < turn:
                        await take(bench, fresh, move)
                assert await standing(bench, id) == await standing(bench, fresh)
                again = [(await take(bench, id, m)).messages for m in steps if m["at"] == turn]
                assert again == told[turn]
                await bench.sessions.step(id, action="undo", turn=turn)
                await bench.items.delete("session", [fresh], confirm=True)


@pytest.mark.requirement("SG-1", "SG-2")
async def test_the_end_gives_the_reward_with_every_check_explained_and_is_kept(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        opened = await bench.sessions.start("desk", start="close-1")
        assert opened.turn == 1
        assert opened.messages[0]["from"] == "user"
        assert "T1" in opened.messages[0]["text"]
        assert [tool.name for tool in opened.tools] == ["look_up_ticket", "close_ticket"]
        id = opened.session.id
        closed = await bench.sessions.step(
            id, action="call", tool="close_ticket", arguments={"ticket_id": "T1"}
        )
        assert closed.result["result"] == {"ticket_id": "T1", "status": "closed"}
        assert closed.changes == [{"path": "db.tickets.T1.status", "old": "open", "new": "closed"}]
        ended = await bench.sessions.step(id, action="end")
        assert ended.done
        assert ended.reward["value"] == 0
        by_check = {one["check"]: one for one in ended.reward["components"]}
        assert by_check["world"]["verdict"] == "pass"
        assert by_check["rule.looked-up"]["verdict"] == "fail"
        assert "look_up_ticket" in by_check["rule.looked-up"]["why"]
        assert ended.changes == closed.changes
        kept = await stored(bench, ended.conversation)
        assert (kept.end.reason, kept.run, kept.instructions) == ("session_end", id, "desk@1")
        page = await bench.items.page("conversation", where={"run": id})
        assert [row["verdict"] for row in page.items] == ["fail"]
        assert [row["id"] for row in (await bench.items.page("run")).items] == []
        file = await bench.exports.export(id)
        assert file.records == 1


async def test_after_the_end_only_undo_and_look_go_on_and_the_next_end_is_kept_beside_it(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        id = (await bench.sessions.start("desk", start="#1")).session.id
        await bench.sessions.step(id, action="call", tool="close_ticket", arguments={"ticket_id": "T1"})
        first = await bench.sessions.step(id, action="end")
        for action in ("reply", "call", "regenerate"):
            with pytest.raises(Conflict, match="has ended; only undo and look go on"):
                await bench.sessions.step(id, action=action, text="x", tool="close_ticket")
        for action in ("look", "end"):
            assert (await bench.sessions.step(id, action=action)).reward == first.reward
        await bench.sessions.step(id, action="undo", turn=1)
        for tool in ("look_up_ticket", "close_ticket"):
            await bench.sessions.step(id, action="call", tool=tool, arguments={"ticket_id": "T1"})
        second = await bench.sessions.step(id, action="end")
        assert second.reward["value"] == 1
        assert second.conversation != first.conversation
        verdicts = [
            row["verdict"] for row in (await bench.items.page("conversation", where={"run": id})).items
        ]
        assert sorted(verdicts) == ["fail", "pass"]
        branch = (await stored(bench, second.conversation)).branch
        assert branch is not None
        assert branch.trial == 1


@pytest.mark.requirement("SG-4")
async def test_a_regenerated_turn_is_said_anew_and_the_rejected_one_is_kept(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        id = (await bench.sessions.start("desk", start="#1")).session.id
        before = (await bench.sessions.step(id, text="What is your ticket id?")).messages[0]["text"]
        await bench.sessions.step(id, action="call", tool="look_up_ticket", arguments={"ticket_id": "T1"})
        wanted = 'Do not tell it yet. Say "I have to look for it."'
        again = await bench.sessions.step(id, action="regenerate", text=wanted)
        assert again.messages == [{"from": "user", "text": "I have to look for it."}]
        assert again.turn == 2
        assert "1 of your calls in turn 2 went with it." in again.warnings
        same = await bench.sessions.step(id, action="regenerate", text="louder")
        assert same.messages == [{"from": "user", "text": before}]
        await bench.sessions.step(id, text="And your ticket id?")
        ended = await bench.sessions.step(id, action="end")
        log = (await stored(bench, ended.conversation)).log
        says = [(e.say, e.rejected, e.feedback) for e in log if isinstance(e, SayEntry) and e.turn == 2]
        assert says[:3] == [
            (before, True, wanted),
            ("I have to look for it.", True, "louder"),
            (before, False, ""),
        ]
        assert not [e for e in log if isinstance(e, ToolEntry)]
        turns = (await bench.items.get("conversation", ended.conversation, view="turns")).item["turns"]
        assert [one["text"] for one in turns[1]["rejected"]] == [before, "I have to look for it."]
        assert turns[1]["user"] == before
        record = (await bench.items.get("session", id)).item
        assert [one["feedback"] for one in record["rejected"]] == [wanted, "louder"]


async def test_words_that_a_script_gave_cannot_be_had_anew(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        script = [{"user": "hello there"}, {"agent": None}, {"proceed": None}]
        await bench.scenarios.create("desk", [{"id": "told", "goal": "get help", "script": script}])
        opened = await bench.sessions.start("desk", start="told")
        assert opened.messages[0]["text"] == "hello there"
        with pytest.raises(Conflict, match="the script or an event gave them"):
            await bench.sessions.step(opened.session.id, action="regenerate")


@pytest.mark.requirement("LW-14")
async def test_the_caller_plays_the_user_and_the_agent_answers(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        opened = await bench.sessions.start("desk", role="user", start="close-2")
        assert opened.messages == []
        assert opened.result["sheet"]["goal"] == "Get ticket T2 closed."
        id = opened.session.id
        first = await bench.sessions.step(id, text="Please close ticket T2.")
        assert [one["from"] for one in first.messages] == ["agent"]
        assert {"path": "db.tickets.T2.status", "old": "open", "new": "closed"} in first.changes
        back = await bench.sessions.step(id, action="undo", turn=1)
        assert (back.turn, back.messages) == (1, [])
        assert (await bench.sessions.step(id, action="look")).changes == []
        await bench.sessions.step(id, text="Please close ticket T2.")
        ended = await bench.sessions.step(id, text="Thanks. ###STOP###")
        assert ended.done
        kept = await stored(bench, ended.conversation)
        assert kept.end.reason == "user_stop"
        assert [e.source for e in kept.log if isinstance(e, SayEntry) and e.by == "user"] == [
            "caller",
            "caller",
        ]


async def test_a_regenerated_agent_is_asked_again_with_the_feedback_and_its_world_is_taken_back(
    tmp_path: Path,
) -> None:
    def answer(seen: Seen) -> Answer:
        return chat(f"Sorry. {seen.last_text[-9:]}" if "rejected" in seen.last_text else "Hm.")

    with FakeEndpoint(answer) as endpoint:
        async with bench_at(tmp_path) as bench:
            await desk(bench, 1)
            models = {"agent": {"model": "a", "base_url": endpoint.base_url}}
            opened = await bench.sessions.start("desk", role="user", start="#1", models=models)
            id = opened.session.id
            first = await bench.sessions.step(id, text="Hello.")
            assert first.messages == [{"from": "agent", "text": "Hm."}]
            again = await bench.sessions.step(id, action="regenerate", text="be sorry.")
            assert again.messages == [{"from": "agent", "text": "Sorry. be sorry."}]


@pytest.mark.requirement("SG-1")
async def test_a_blank_session_tries_the_tools_of_a_world(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("shop", world="shop")
        opened = await bench.sessions.start("shop", start="blank")
        assert len(opened.tools) > 10
        id = opened.session.id
        found = await bench.sessions.step(
            id, action="call", tool="look_up_order", arguments={"order_id": "W10432"}
        )
        assert found.result["ok"]
        broken = await bench.sessions.step(id, action="call", tool="look_up_order", arguments={"ordr": 1})
        assert (broken.result["ok"], broken.result["error"]) == (False, "arguments")
        await bench.sessions.step(id, action="call", tool="cancel_order", arguments={"order_id": "W10432"})
        assert (await bench.sessions.step(id, action="undo", turn=1)).turn == 1
        assert (await bench.sessions.step(id, action="look")).changes == []
        ended = await bench.sessions.step(id, action="end")
        assert ended.reward["verdict"] in ("inconclusive", "pass", "fail")
        with pytest.raises(InvalidArgument, match="no user to play"):
            await bench.sessions.start("shop", role="user", start="blank")


@pytest.mark.requirement("CH-8", "LW-12")
async def test_a_session_goes_on_from_a_turn_of_a_stored_conversation(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 3)
        run = (await bench.runs.start("desk")).run
        see = run.clusters[0].see
        opened = await bench.sessions.start("desk", start=see)
        assert opened.session.place == see
        before = await stored(bench, see.partition("@")[0])
        assert opened.messages[-1] == {
            "from": "user",
            "text": next(
                e.say
                for e in before.log
                if isinstance(e, SayEntry) and e.by == "user" and e.turn == opened.turn
            ),
        }
        for tool in ("look_up_ticket", "close_ticket"):
            ticket = before.scenario.replace("close-", "T")
            await bench.sessions.step(
                opened.session.id, action="call", tool=tool, arguments={"ticket_id": ticket}
            )
        ended = await bench.sessions.step(opened.session.id, action="end")
        assert ended.reward["value"] == 1
        kept = await stored(bench, ended.conversation)
        assert kept.branch is not None
        assert kept.branch.place == see
        as_user = await bench.sessions.start("desk", role="user", start=see)
        assert as_user.turn == opened.turn
        with pytest.raises(InvalidArgument, match="no turn 77"):
            await bench.sessions.start("desk", start=see.partition("@")[0] + "@77")


@pytest.mark.requirement("SG-5")
async def test_a_case_is_chosen_by_its_number_by_id_or_drawn_from_a_seed(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("shop", world="shop")
        listed = (await bench.items.page("scenario", environment="shop", limit=100)).items
        order = [row["id"].partition("/")[2] for row in reversed(listed)]
        third = await bench.sessions.start("shop", start="#3")
        assert third.session.scenario == order[2]
        drawn = [(await bench.sessions.start("shop", start="random", seed=5)).session for _ in range(2)]
        assert drawn[0].scenario == drawn[1].scenario
        assert drawn[0].seed == 5
        others = {(await bench.sessions.start("shop")).session.scenario for _ in range(6)}
        assert len(others) > 1
        train = {row["id"].partition("/")[2] for row in listed if row["split"] == "train"}
        assert others <= train
        with pytest.raises(InvalidArgument, match="#31 is out of range") as caught:
            await bench.sessions.start("shop", start="#31")
        assert f"#1 to #{len(order)}" in caught.value.allowed
        with pytest.raises(NotFound, match=f"nearest `{order[0]}") as missing:
            await bench.sessions.start("shop", start=order[0] + "x")
        assert "blank" in missing.value.allowed


async def test_playing_a_held_out_scenario_spends_it_and_says_so(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("shop", world="shop")
        listed = (await bench.items.page("scenario", environment="shop", limit=100)).items
        hidden = next(row["id"] for row in listed if row["split"] == "held_out")
        opened = await bench.sessions.start("shop", start=hidden)
        assert any("held out" in one for one in opened.warnings)
        assert (await bench.items.get("scenario", hidden)).item["spent"]


async def test_what_cannot_be_done_is_refused_with_what_can(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        id = (await bench.sessions.start("desk", start="#1")).session.id
        step: Callable[..., Any] = bench.sessions.step
        with pytest.raises(UnknownTool, match=r"No tool `close_tiket`\. Did you mean `close_ticket`"):
            await step(id, action="call", tool="close_tiket")
        with pytest.raises(UnknownTool, match="Which tool"):
            await step(id, action="call")
        with pytest.raises(InvalidArgument, match="There is nothing to say"):
            await step(id, text="  ")
        with pytest.raises(InvalidArgument, match="no turn 9") as beyond:
            await step(id, action="undo", turn=9)
        assert beyond.value.allowed == "1"
        with pytest.raises(InvalidArgument, match="nothing has been done"):
            await step(id, action="undo")
        with pytest.raises(InvalidArgument, match="Did you mean `reply`"):
            await step(id, action="repl")
        with pytest.raises(InvalidArgument, match="characters"):
            await step(id, text="x" * 30_000)
        with pytest.raises(NotFound, match="session-1"):
            await step("session-11", action="look")
        with pytest.raises(InvalidArgument, match="no role"):
            await bench.sessions.start("desk", role="judge")


@pytest.mark.requirement("SG-1")
async def test_a_session_goes_on_in_another_process_and_two_do_not_step_on_each_other(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as first, bench_at(tmp_path) as second:
        await desk(first, 1)
        id = (await first.sessions.start("desk", start="#1")).session.id
        await second.sessions.step(id, action="call", tool="look_up_ticket", arguments={"ticket_id": "T1"})
        await first.sessions.step(id, text="What is your ticket id?")
        looked = await second.sessions.step(id, action="look")
        assert looked.turn == 2
        assert [one["from"] for one in looked.messages] == ["user", "agent", "agent", "user"]
        outcomes: list[str] = []

        async def say(bench: Workbench) -> None:
            try:
                await bench.sessions.step(id, text="Anything else?")
            except Conflict as error:
                outcomes.append(error.what)
            else:
                outcomes.append("")

        async with anyio.create_task_group() as group:
            group.start_soon(say, first)
            group.start_soon(say, second)
        assert sorted(outcomes)[0] == ""
        whole = await first.sessions.step(id, action="look")
        assert sum(one.get("text") == "Anything else?" for one in whole.messages) == outcomes.count("")
    async with bench_at(tmp_path) as later:
        assert (await later.sessions.step(id, action="look")).messages == whole.messages


async def test_deleting_a_session_or_its_environment_takes_all_of_it(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 1)
        id = (await bench.sessions.start("desk", start="#1")).session.id
        await bench.sessions.step(id, action="end")
        with pytest.raises(Conflict, match="is a session"):
            await bench.items.delete("run", [id], confirm=True)
        told = await bench.items.delete("session", [id])
        assert told.goes_with == {"conversation": 1}
        await bench.items.delete("session", [id], confirm=True)
        assert (await bench.items.page("session")).items == []
        with pytest.raises(NotFound):
            await bench.items.get("run", id)
        other = (await bench.sessions.start("desk", start="#1")).session.id
        gone = await bench.items.delete("environment", ["desk"], confirm=True)
        assert gone.goes_with["session"] == 1
        with pytest.raises(NotFound):
            await bench.sessions.step(other, action="look")
        assert not list((tmp_path / "runs").glob("session-*"))


async def test_a_session_is_no_run_to_go_on_with_or_to_harden_from(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        id = (await bench.sessions.start("desk", start="#1")).session.id
        await bench.sessions.step(id, action="end")
        for refused in (
            lambda: bench.runs.start("desk", continue_run=id),
            lambda: bench.runs.start("desk", options={"resume": id}),
            lambda: bench.hardenings.harden("desk", run=id),
        ):
            with pytest.raises(InvalidArgument, match="is a session"):
                await refused()
