"""Trials are deterministic, can be played back, leave others their time, stop at once and share the world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from typing import Any

import anyio
import pytest

from caseharden.engine.agents import PlayedAgent, RecordedAgent, Recording, played_turns
from caseharden.engine.evaluate import grade
from caseharden.engine.llm import open_model
from caseharden.engine.records.conversation import Conversation
from caseharden.engine.simulate import Case, ExpectedWorlds, ModelUser, PlayedUser, Tried, run_trial
from caseharden.tests.shipped_worlds import SHOP, transcripts
from caseharden.tests.small_desk import (
    DESK,
    Script,
    a_case,
    calling,
    calls_of,
    graded,
    names,
    says_of,
    the_desk,
    tried,
)

pytestmark = pytest.mark.anyio
STOP = "###STOP###"


async def test_the_same_seed_gives_the_same_conversation_in_every_process() -> None:
    here = await transcripts()
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") == "77" else "77"
    run = subprocess.run(
        [sys.executable, "-m", "caseharden.tests.shipped_worlds"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert here == json.loads(run.stdout)
    assert len(set(here.values())) == len(here) > 90


async def test_a_record_read_back_from_json_is_graded_as_the_live_one() -> None:
    expected = ExpectedWorlds()
    for case in SHOP.cases():
        done = await SHOP.played(case)
        world = await expected.of(case, 7, 1)
        text = json.dumps(done.document)
        again = Conversation.model_validate(json.loads(text))
        live = grade(done.conversation, case.plan, case.world.base, world)
        assert grade(again, case.plan, case.world.base, world) == live
        assert again.dumped() == json.loads(text)


async def test_what_is_drawn_differs_with_seed_and_trial_and_with_nothing_else() -> None:
    async def lucky(case: Case, seed: int, trial: int, instructions: str = "") -> Any:
        agent = Script(calling(("draw_lot", {})))
        done = await tried(case, agent, Script("hi", STOP), seed=seed, trial=trial, instructions=instructions)
        assert done.drew
        return done.final["db"]["desk"]["lucky"]

    case = a_case()
    drawn = [await lucky(case, seed, trial) for seed in (1, 2) for trial in (1, 2)]
    assert len(set(drawn)) == 4
    assert await lucky(case, 1, 1, "Other instructions.") == drawn[0]


async def test_expected_worlds_are_computed_anew_only_where_something_is_drawn() -> None:
    check: list[dict[str, Any]] = [{"world": "expected"}]
    plain = a_case(success=check, expected=[{"tool": "lend", "args": {"book_id": "b1"}}])
    drawing = a_case(success=check, expected=[{"tool": "draw_lot"}])
    worlds = ExpectedWorlds()
    assert await worlds.of(plain, 1, 1) is await worlds.of(plain, 2, 5)
    first, other = await worlds.of(drawing, 1, 1), await worlds.of(drawing, 1, 2)
    assert first is not None and other is not None
    assert first.root["db"]["desk"] != other.root["db"]["desk"]
    assert await worlds.of(drawing, 1, 1) is first
    done = await tried(drawing, Script(calling(("draw_lot", {}))), Script("hi", STOP), seed=1, trial=2)
    assert grade(done.conversation, drawing.plan, drawing.world.base, other).verdict == "pass"
    assert grade(done.conversation, drawing.plan, drawing.world.base, first).verdict == "fail"


# Playing back


async def played_back(case: Case, recording: Any, seed: int = 3) -> Tried:
    read = Recording.model_validate(recording)
    user = PlayedUser(played_turns(read))
    return await run_trial(case, RecordedAgent(read), user, seed=seed, trial=1)


async def test_a_stored_conversation_is_played_back_to_the_same_transcript() -> None:
    for case in SHOP.cases():
        done = await SHOP.played(case)
        stored = json.loads(json.dumps(done.document))
        for entry in stored["log"]:
            if "tool" in entry:
                entry["result"] = "results are not read"
        again = await played_back(case, stored, 7)
        assert again.conversation.transcript_hash == done.conversation.transcript_hash
        assert [e["result"] for e in again.document["log"] if "tool" in e] == [
            e["result"] for e in done.document["log"] if "tool" in e
        ]


@pytest.mark.parametrize("level", [{}, {"max_tool_calls": 6}, {"max_turns": 2}])
async def test_all_that_can_happen_in_a_trial_is_played_back(level: dict[str, int]) -> None:
    case = a_case(
        limits=level,
        options={"rename_tools": {"lend": "hand_out"}},
        history=[{"by": "user", "say": "hm"}, {"by": "agent", "tool": "look", "args": {"book_id": "b1"}}],
    )
    agent = Script(
        calling(("look", {"book_id": "b1"}), ("look", "[1]"), ("nope", {"a": 1}), text="One moment."),
        calling(("think", {"thought": "hm"})),
        calling(("look", '{"book_id": 1}')),
        "Shall I lend it?",
        calling(("hand_out", {"book_id": "b1"}), ("divide", {})),
        "",
        "Is that all?",
    )
    user = Script(
        "hi", calling(("show_card", {}), ("nope", {})), STOP, f"Please. {STOP}", f"Thanks, bye. {STOP}"
    )
    done = await tried(case, agent, user)
    again = await played_back(case, done.document)
    assert went(again) == went(done)
    assert again.conversation.transcript_hash == done.conversation.transcript_hash


def went(done: Tried) -> list[dict[str, Any]]:
    """The log without what depends on who played, and how fast."""
    apart = ("usage", "wall_s", "source", "held_back")
    return [{k: v for k, v in entry.items() if k not in apart} for entry in done.document["log"]]


async def test_the_least_form_of_a_recording_is_played_on_a_real_world() -> None:
    case = a_case(success=[{"state": "db.books['b1'].out", "eq": True}])
    done = await played_back(
        case,
        {
            "scenario": "s",
            "log": [
                {"by": "agent", "say": "Welcome!"},
                {"by": "user", "say": "b1 please"},
                {"by": "agent", "tool": "look", "args": {"book_id": "b1"}},
                {"by": "agent", "tool": "lend", "args": {"book_id": "b1"}},
                {"by": "agent", "say": "Here it is."},
                {"by": "user", "say": "thanks"},
            ],
        },
    )
    assert says_of(done) == [("user", "b1 please"), ("agent", "Here it is."), ("user", "thanks")]
    assert names(calls_of(done)) == ["look", "lend"]
    assert done.conversation.end.reason == "user_stop"
    assert (await graded(case, done)).verdict == "pass"


async def test_a_recording_of_the_agent_alone_meets_a_user_of_the_model() -> None:
    log = [
        {"by": "agent", "say": "Which book?"},
        {"by": "agent", "tool": "lend", "args": {"book_id": "b1"}},
        {"by": "agent", "say": "Lent."},
    ]
    turns = played_turns(Recording.model_validate({"scenario": "s", "log": log}))
    done = await tried(a_case(), PlayedAgent(turns), Script("hi", "b1", STOP))
    assert says_of(done) == [("user", "hi"), ("agent", "Which book?"), ("user", "b1"), ("agent", "Lent.")]


@pytest.mark.parametrize(
    "line",
    [{"by": "agent", "tool": "look", "args": [1]}, {"by": "agent", "say": 7}, {"by": "user", "say": {}}],
)
def test_a_line_that_is_none_is_refused_when_the_recording_is_read(line: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="log"):
        Recording.model_validate({"scenario": "s", "log": [line]})


# Others' time, and stopping


async def test_a_long_offline_trial_leaves_others_their_time() -> None:
    ticks: list[int] = []
    case = a_case(limits={"max_tool_calls": 10_000})
    agent = Script(then=calling(("look", {"book_id": "b1"}), ("nope", {})))

    async def tick() -> None:
        while True:
            ticks.append(1)
            await anyio.lowlevel.checkpoint()

    done: list[Tried] = []
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick)
            done.append(await tried(case, agent, Script("hi")))
            tasks.cancel_scope.cancel()
    assert len(calls_of(done[0])) == 10_000
    assert len(ticks) > 9_000


async def test_a_cancelled_trial_stops_at_once() -> None:
    case = a_case(limits={"max_tool_calls": 10_000, "max_turns": 1000, "same_message": 1000})
    finished = False

    async def run() -> None:
        nonlocal finished
        await tried(case, Script(then=calling(*[("look", {"book_id": "b1"})] * 100)), Script(then="more"))
        finished = True

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert not finished


# Memory


async def test_a_hundred_trials_on_a_large_world_do_not_copy_it() -> None:
    books = {f"x{n}": {"title": f"Title {n} " + "x" * 900, "out": False} for n in range(5000)}
    world = the_desk(db={**DESK["db"], "books": {**DESK["db"]["books"], **books}})
    case = a_case(world)
    finals: list[Tried] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for trial in range(1, 101):
            agent = Script(calling(("lend", {"book_id": f"x{trial}"})))
            finals.append(await tried(case, agent, Script("hi", STOP), trial=trial))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert all(done.final["db"]["books"][f"x{k}"]["out"] for k, done in enumerate(finals, 1))
    assert grown < 5_000_000, "less than one copy of the world for a hundred trials that are all kept"


async def test_the_offline_model_plays_both_sides_of_a_world_that_it_does_not_know() -> None:
    case = a_case(goal="Lend me the book b1", success=[{"state": "db.books['b1'].out", "eq": True}])
    user = ModelUser(open_model("offline"), case)
    done = await tried(case, None, user)
    assert done.conversation.end.reason == "user_stop"
    assert (await graded(case, done)).verdict == "pass"
