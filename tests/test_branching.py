"""Going on from a turn of a stored conversation: everything before it is as it was, and the rest is up to the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.agents import PromptAgent
from caseharden.engine.errors import Conflict, InvalidArgument
from caseharden.engine.ids import parse_place
from caseharden.engine.llm import ModelClient, ModelReply, ModelRequest, open_model
from caseharden.engine.records.conversation import Conversation, SayEntry, ToolEntry
from caseharden.engine.simulate import (
    STOP,
    Case,
    ModelUser,
    Tape,
    TapedAgent,
    TapedUser,
    Tried,
    answered_turns,
    run_trial,
    taped,
)
from caseharden.engine.workbench import Workbench
from caseharden.tests.server_desk import desk as served
from caseharden.tests.shipped_worlds import SHIPPED, SHOP, ShippedWorld
from caseharden.tests.small_desk import Script, a_case, calling, tried
from caseharden.tests.workbench_cases import bench_at, desk

pytestmark = pytest.mark.anyio
RULE = "Before calling close_ticket, call look_up_ticket."


async def gone_on(
    case: Case,
    stored: Conversation,
    turn: int,
    instructions: str,
    models: tuple[ModelClient, ModelClient] | None = None,
) -> Tried:
    """The models of agent and user, offline unless others are given, go on from a turn."""
    tape = Tape(taped(stored, turn))
    of_agent, of_user = models or (open_model("offline"), open_model("offline"))
    agent = TapedAgent(tape, PromptAgent(of_agent))
    user = TapedUser(tape, ModelUser(of_user, case))
    return await run_trial(
        case, agent, user, seed=stored.seed, trial=9, drawn=stored.trial, instructions=instructions
    )


def looks(request: ModelRequest) -> ModelReply:
    """An agent that looks twice, says something beside it, and answers."""
    since = [m for m in request.messages if m.role in ("user", "tool")]
    results = sum(m.role == "tool" for m in since[-3:]) if since[-1].role == "tool" else 0
    if not results:
        return calling(("look", {"book_id": "b1"}), ("look", {"book_id": "b2"}), text="Let me see.")
    return calling(("lend", {"book_id": "b1"})) if results == 2 else ModelReply(f"That is {len(since)}.")


def shows(request: ModelRequest) -> ModelReply:
    """A user that shows its card before it speaks, and leaves where it may not."""
    if request.messages[-1].role != "tool":
        return calling(("show_card", {}))
    said = sum(m.role == "assistant" and bool(m.content) for m in request.messages)
    return ModelReply(f"This is my {said}. message" + (f" {STOP}" if said > 3 else ""))


@pytest.mark.requirement("CH-8", "LW-12")
@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda one: one.name)
async def test_from_any_turn_the_same_sides_say_and_do_the_same_again(shipped: ShippedWorld) -> None:
    turns = 0
    for case in shipped.cases():
        done = await shipped.played(case)
        for turn in answered_turns(done.conversation):
            again = await gone_on(case, done.conversation, turn, shipped.instructions)
            assert again.conversation.transcript_hash == done.conversation.transcript_hash, case.simulation
            assert again.final == done.final
            turns += 1
    assert turns > len(shipped.scenarios)


@pytest.mark.requirement("CH-8")
async def test_events_noise_faults_user_tools_and_history_are_restored_too() -> None:
    case = a_case(
        history=[
            {"by": "user", "say": "I was here before"},
            {"by": "agent", "tool": "look", "args": {"book_id": "b1"}},
        ],
        events=[
            {
                "id": "late",
                "delay_turns": 1,
                "do": [{"set": {"db.desk.open": "false"}}, {"notify": "We close"}],
            },
            {"id": "told", "after": ["late"], "delay_turns": 1, "do": {"say": "And what about b2?"}},
        ],
        faults=[{"tool": "look", "p": 0.5}],
        noise={"per_turn": 1, "pool": [{"do": [{"set": {"db.desk.lucky": "db.desk.lucky + 1"}}]}]},
        limits={"max_turns": 5},
    )
    models = Script(then=looks), Script(then=shows)
    done = await tried(case, *models, seed=11)
    kinds = {
        kind
        for entry in done.conversation.log
        for kind in ("event", "notify", "tool")
        if hasattr(entry, kind)
    }
    assert kinds == {"event", "notify", "tool"}
    assert len(answered_turns(done.conversation)) > 2
    for turn in answered_turns(done.conversation):
        again = await gone_on(case, done.conversation, turn, "Be kind.", models)
        assert again.conversation.transcript_hash == done.conversation.transcript_hash
        assert again.final == done.final


async def failed_once(bench: Workbench, count: int = 4) -> tuple[str, str]:
    """A run of the desk in which closing without a look fails, and the place where that shows."""
    await desk(bench, count)
    report = await bench.runs.start("desk")
    see = report.run.clusters[0].see
    assert report.run.totals.failed
    return report.run.id, see


async def stored(bench: Workbench, id: str) -> Conversation:
    item = await bench.items.get("conversation", id, view="full")
    return Conversation.model_validate(item.item["conversation"])


def said(conversation: Conversation, before: int) -> list[Any]:
    """What both sides said and did before a turn, and the user in it."""
    return [
        (e.turn, e.by, e.say if isinstance(e, SayEntry) else (e.tool, e.args), e.t)
        for e in conversation.log
        if isinstance(e, SayEntry | ToolEntry) and (e.turn < before or (e.turn == before and e.by == "user"))
    ]


@pytest.mark.requirement("CH-8", "LW-12")
async def test_another_text_goes_on_from_the_turn_that_failed(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        _, see = await failed_once(bench)
        place = parse_place(see, "see")
        before = await stored(bench, place.conversation)
        text = f"You close tickets. Do what the customer asks. {RULE}"
        await bench.items.update("environment", "desk", {"instructions": text})
        report = await bench.runs.start("desk", select=[see])
        assert report.run.instructions == "desk@2"
        assert report.run.simulations == [place.simulation]
        after = await stored(bench, f"{report.run.id}/{place.simulation}/1")
        assert after.branch is not None
        assert (after.branch.place, after.branch.trial) == (see, 1)
        assert said(after, place.turn) == said(before, place.turn)
        assert (before.seed, after.instructions) == (after.seed, "desk@2")
        assert report.run.totals.passed == 1
        item = await bench.items.get("conversation", f"{report.run.id}/{place.simulation}/1")
        assert item.item["branched_from"] == see


async def test_a_branch_of_a_branch_and_repeated_trials_meet_the_same_chance(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        _, see = await failed_once(bench)
        slug = parse_place(see, "see").simulation
        twice = await bench.runs.start("desk", select=[see], trials=2)
        assert twice.run.totals.trials == 2
        again = await bench.runs.start("desk", select=[f"{twice.run.id}/{slug}/2@1"])
        end = await stored(bench, f"{again.run.id}/{slug}/1")
        assert end.branch is not None
        assert end.branch.trial == 1
        assert (
            end.transcript_hash == (await stored(bench, parse_place(see, "see").conversation)).transcript_hash
        )


async def test_a_branch_has_the_cases_of_its_run_whatever_was_changed_since(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        _, see = await failed_once(bench)
        slug = parse_place(see, "see").simulation
        scenario = (await bench.items.get("simulation", f"desk/{slug}")).item["scenario"]
        await bench.items.update("scenario", f"desk/{scenario}", {"goal": "Get ticket T99 closed."})
        report = await bench.runs.start("desk", select=[see])
        same = await stored(bench, f"{report.run.id}/{slug}/1")
        before = await stored(bench, parse_place(see, "see").conversation)
        assert same.transcript_hash == before.transcript_hash


async def test_what_cannot_be_gone_on_from_is_refused_with_the_turns_that_can(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        run, see = await failed_once(bench)
        place = parse_place(see, "see")

        async def refused(*select: str) -> InvalidArgument:
            with pytest.raises(InvalidArgument) as caught:
                await bench.runs.start("desk", select=list(select))
            return caught.value

        beyond = await refused(f"{place.conversation}@40")
        assert "no turn 40" in beyond.what
        assert f"{place.conversation} with @1" in beyond.allowed
        assert "Which turn" in (await refused(place.conversation)).what
        assert "do not go together" in (await refused("all", see)).what
        assert "one simulation" in (await refused(see, f"{place.conversation}@1")).what
        assert "does not name a conversation" in (await refused(f"{run}@2")).what
        await bench.environments.create("other", instructions="x", world="shop")
        with pytest.raises(InvalidArgument, match="is of desk"):
            await bench.runs.start("other", select=[see])


async def test_a_conversation_that_goes_another_way_today_is_refused_with_the_difference(
    tmp_path: Path,
) -> None:
    async with bench_at(tmp_path) as bench:
        await desk(bench, 2)
        await bench.environments.create(
            "told",
            instructions="x",
            world_data={
                "format": "world/1",
                "name": "w",
                "tools": [{"name": "ping", "steps": [{"return": "'pong'"}]}],
            },
            agent={
                "kind": "recorded",
                "conversations": [
                    {"scenario": "s", "log": [{"by": "user", "say": "hi"}, {"by": "agent", "say": "ho"}]}
                ],
            },
        )
        await bench.scenarios.create("told", [{"id": "s", "goal": "get help"}])
        report = await bench.runs.start("told")
        slug = report.run.simulations[0]
        archive = bench.runs._archive  # pyright: ignore[reportPrivateUsage]
        table = archive.trials(report.run.id).table
        whole = archive.store.segments.read(str(table.fetch(f"{slug}/1")["pointer"]["at"]))
        whole["log"][0]["t"] = 99
        pointer = archive.keep_conversation(report.run.id, whole)
        table.change(f"{slug}/1", lambda row: {**row, "pointer": {**row["pointer"], "at": str(pointer)}})
        with pytest.raises(Conflict, match="cannot be restored: entry 1 is"):
            await bench.runs.start("told", select=[f"{report.run.id}/{slug}/1@1"])


@pytest.mark.requirement("CH-8")
async def test_a_client_asks_what_if_from_the_turn_that_a_cluster_names(tmp_path: Path) -> None:
    async with served(tmp_path) as at:
        await at.ok("create_environment", id="shop", world="shop")
        run = await at.ok("run_simulations", environment="shop", wait_s=45)
        see = next(one["see"] for one in run["clusters"] if one["check"].startswith("rule."))
        mended = f"{SHOP.instructions}\n" + "\n".join(SHOP.mending)
        await at.ok("update_item", kind="environment", id="shop", changes={"instructions": mended})
        branch = await at.ok("run_simulations", environment="shop", select=[see], wait_s=45)
        assert branch["totals"]["trials"] == 1
        assert branch["totals"]["passed"] == 1
