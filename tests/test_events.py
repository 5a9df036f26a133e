"""Events on the virtual clock: they fire when all before them really did, and the verdict tells those that did not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.records.world import World
from caseharden.engine.simulate import check_solution, prepare
from caseharden.engine.world import compile_world
from caseharden.tests.played_desk import TALK, WAITING_DESK, agent, call, made, seen, user
from caseharden.tests.server_desk import closing, desk, tiny
from caseharden.tests.small_desk import DESK, Script, a_case, calling, graded, tried
from caseharden.tests.workbench_cases import bench_at
from caseharden.tests.worked_example import RECORD, SCENARIO, SHOP

pytestmark = pytest.mark.anyio
STOP = "###STOP###"
OPEN: dict[str, Any] = {"set": {"db.desk.open": "false"}}


def event(id: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "do": [], **fields}


@pytest.mark.requirement("ARE-1")
async def test_events_fire_at_the_latest_of_their_predecessors_and_their_delay(tmp_path: Path) -> None:
    # t: turn 1 from 0 s, agent 2 s; turn 2 at 32 s, look at 35 s, words at 37 s; the user's stop at 67 s.
    events = [
        event("both", after=["early", "looked"], delay_s=1),
        event("early", delay_s=10),
        event("looked", when={"tool": "look"}),
        event("next", after=["early"], delay_turns=1),
        event("second", at_turn=2),
    ]
    found = await seen(tmp_path, TALK, events=events)
    assert found.fired() == [
        ("early", "fired", 2, 32),
        ("second", "fired", 2, 32),
        ("looked", "fired", 2, 35),
        ("both", "fired", 2, 37),
        ("next", "fired", 3, 67),
    ]
    assert found.never_fired == {}


@pytest.mark.requirement("ARE-1", "ARE-8", "ARE-10")
def test_events_faults_and_noise_are_the_same_in_every_process() -> None:
    printed: list[str] = []
    for hash_seed in ("1", "77"):
        run = subprocess.run(
            [sys.executable, "-m", "caseharden.tests.played_desk"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        printed.append(run.stdout)
    assert printed[0] == printed[1]
    for part in ('"late"', '"then"', '"noise"', '"injected": "error"', "Rain", "Sun"):
        assert part in printed[0]


@pytest.mark.requirement("ARE-2")
async def test_what_comes_after_a_condition_that_never_holds_does_not_fire(tmp_path: Path) -> None:
    events = [
        event("ordinary"),
        event("lent", when={"tool": "lend"}, timeout_s=30, on_timeout="skip"),
        event("after-both", after=["ordinary", "lent"], do=OPEN),
        event("after-that", after=["after-both"]),
    ]
    found = await seen(tmp_path, TALK, events=events, success=[{"state": "db.desk.open", "eq": True}])
    assert [(name, status) for name, status, *_ in found.fired()] == [
        ("ordinary", "fired"),
        ("lent", "timeout:skip"),
    ]
    assert found.never_fired == {
        "lent": "timeout in turn 2, at 32 s: lend did not come true within 30 s",
        "after-both": "comes after lent, which never fired",
        "after-that": "comes after after-both, which never fired",
    }
    assert found.verdict == "pass"


@pytest.mark.requirement("ARE-3")
@pytest.mark.parametrize(
    ("on_timeout", "status", "verdict", "is_open"),
    [
        (None, "timeout:fail", "fail", True),
        ("fail", "timeout:fail", "fail", True),
        ("skip", "timeout:skip", "pass", True),
        ("fire", "timeout:fire", "pass", False),
    ],
)
async def test_a_condition_that_is_late_fails_skips_or_fires(
    tmp_path: Path, on_timeout: str | None, status: str, verdict: str, is_open: bool
) -> None:
    late = event("lent", when={"tool": "lend"}, timeout_turns=1, do=OPEN)
    if on_timeout:
        late["on_timeout"] = on_timeout
    success = [{"state": "db.desk.open", "eq": is_open}]
    found = await seen(tmp_path, TALK, events=[late], success=success, check=False)
    assert found.fired() == [("lent", status, 2, 32)]
    assert found.verdict == verdict
    if verdict == "fail":
        assert found.check("event.lent") == ("fail", "lend did not come true in time (1 turns)")


async def test_a_condition_that_holds_in_time_passes_its_check(tmp_path: Path) -> None:
    events = [event("looked", when={"tool": "look"}, timeout_s=60)]
    found = await seen(tmp_path, TALK, events=events, reward={"of": ["event.looked"]}, check=False)
    assert found.check("event.looked") == ("pass", "fired in turn 2")
    assert found.verdicts[0]["reward"] == 1


@pytest.mark.requirement("ARE-4")
@pytest.mark.parametrize(
    ("events", "where", "told"),
    [
        ([event("a", after=["b"]), event("b", after=["a"])], "events", "Events cycle a -> b -> a."),
        ([event("a", after=["a"])], "events", "Events cycle a -> a."),
        (
            [event("a", after=["c"]), event("b", after=["start", "a"]), event("c", after=["b"])],
            "events",
            "a -> b -> c -> a",
        ),
        ([event("policy"), event("b", after=["polcy"])], "events[1].after[0]", "Did you mean `policy`?"),
        ([event("a"), event("a")], "events[1].id", "Two events are called `a`."),
        ([event("start")], "events[0].id", "no event can have"),
        ([event("a", when={"tool": "lnd"})], "events[0].when.tool", "Did you mean `lend`?"),
        ([event("a", when={"judge": "nice"})], "events[0].when.judge", "Judged"),
        ([event("a", timeout_s=3)], "events[0]", "without `when`"),
        ([event("a", when={"tool": "look"}, on_timeout="skip")], "events[0]", "timeout_s"),
        ([event("a", do={"return": 1})], "events[0].do.return", "not for the steps of an event"),
        ([event("a", do={"call": "lnd"})], "events[0].do.call", "Did you mean `lend`?"),
        ([event("a", dely_s=3)], "events[0].dely_s", "Did you mean `delay_s`?"),
    ],
)
async def test_events_that_cannot_happen_are_refused_when_they_are_created(
    tmp_path: Path, events: list[dict[str, Any]], where: str, told: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Be kind.", world_data=DESK)
        written = {"id": "s", "goal": "Borrow a book", "events": events}
        with pytest.raises(InvalidArgument) as refused:
            await bench.scenarios.create("desk", [written])
    assert refused.value.where == f"scenarios[0].{where}"
    assert told in str(refused.value)
    assert refused.value.allowed or "timeout" in told or "when" in told


@pytest.mark.requirement("ARE-6")
async def test_an_event_that_fails_in_the_world_is_the_authors_fault(tmp_path: Path) -> None:
    events = [
        event("bad", at_turn=2, do={"call": "lend", "args": {"book_id": "b2"}}),
        event("after-bad", after=["bad"], do=OPEN),
    ]
    success = [{"state": "db.desk.open", "eq": True}]
    found = await seen(tmp_path, TALK, events=events, success=success, check=False)
    assert (found.verdict, found.end) == ("invalid", "world_error")
    assert "event bad" in found.verdicts[0]["why"] and "Emma is out" in found.verdicts[0]["why"]
    assert found.never_fired["after-bad"] == "comes after bad, which never fired"
    assert (found.run.totals.invalid, found.run.totals.rate) == (1, None)


@pytest.mark.requirement("ARE-6")
async def test_a_scenario_whose_event_breaks_its_own_solution_is_refused(tmp_path: Path) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Be kind.", world_data=DESK)
        scenario = {
            "id": "s",
            "goal": "Borrow a book",
            "events": [event("bad", when={"tool": "look"}, do={"remove": "db.books['b1'].title"})],
            "expected": [{"tool": "look", "args": {"book_id": "b1"}}, {"say": "It is in."}],
            "success": [{"tool": "look"}],
        }
        with pytest.raises(InvalidArgument, match=r"own solution fails.*event bad"):
            await bench.scenarios.create("desk", [scenario])


@pytest.mark.requirement("ARE-11")
async def test_ten_simulated_minutes_take_no_wall_time(tmp_path: Path) -> None:
    lines = [user("hi"), call("wait", seconds=600), agent("I waited.")]
    with anyio.fail_after(30):
        found = await seen(tmp_path, lines, events=[event("late", delay_s=600)])
    assert found.fired() == [("late", "fired", 1, 600)]
    assert found.run.wall_s < 600


@pytest.mark.requirement("ARE-11")
@pytest.mark.parametrize("think", ["fixed", "measured"])
async def test_the_time_of_thinking_is_fixed_or_measured(tmp_path: Path, think: str) -> None:
    world = {**DESK, "clock": {**DESK["clock"], "think_s": 250, "think": think}}
    found = await seen(tmp_path, TALK, world_data=world, events=[event("late", delay_s=200)])
    assert found.fired() == ([("late", "fired", 1, 250)] if think == "fixed" else [])


@pytest.mark.requirement("ARE-18")
async def test_waiting_jumps_to_the_next_event_or_to_its_end(tmp_path: Path) -> None:
    lines = [user("hi"), *(call("wait", seconds=1000) for _ in range(3)), agent("Done.")]
    events = [event("a", delay_s=100), event("b", after=["a"], delay_s=50, do={"notify": "b came"})]
    found = await seen(tmp_path, lines, events=events)
    waits = [e for e in found.log if e.get("tool") == "wait"]
    assert [(w["t"], w["result"]) for w in waits] == [
        (100, "2026-03-01T09:01:40"),
        (150, "2026-03-01T09:02:30"),
        (1153, "2026-03-01T09:19:13"),
    ]
    assert found.fired() == [("a", "fired", 1, 100), ("b", "fired", 1, 150)]


async def test_waiting_ends_when_a_condition_times_out(tmp_path: Path) -> None:
    events = [event("lent", when={"tool": "lend"}, timeout_s=40, on_timeout="fire", do={"say": "Well?"})]
    found = await seen(tmp_path, [user("hi"), call("wait", seconds=500), agent("Hm.")], events=events)
    assert found.fired() == [("lent", "timeout:fire", 1, 40)]


@pytest.mark.requirement("ARE-18")
@pytest.mark.parametrize(("level", "told"), [("all", True), ("own", False), ("none", False)])
async def test_the_agent_is_told_of_events_as_far_as_the_scenario_lets_it(level: str, told: bool) -> None:
    case = a_case(options={"notifications": level}, events=[event("e", do={"notify": "The desk closes"})])
    script = Script("Hello.")
    await tried(case, script, Script("hi", STOP))
    assert any("The desk closes" in m.content for m in script.requests[0].messages) is told


async def test_an_event_gives_the_user_its_next_words(tmp_path: Path) -> None:
    events = [event("mind", when={"tool": "look"}, do={"say": "Give me {db.books['b2'].title} instead"})]
    found = await seen(tmp_path, TALK, events=events)
    assert [(e["by"], e["say"], e["source"]) for e in found.log if "say" in e][-1] == (
        "user",
        "Give me Emma instead",
        "event",
    )


@pytest.mark.parametrize(
    ("stop", "end", "verdict"),
    [("pass", "event_stop", "pass"), ("end", "event_stop", "inconclusive"), ("fail", "event_fail", "fail")],
)
async def test_an_event_ends_the_trial(tmp_path: Path, stop: str, end: str, verdict: str) -> None:
    events = [event("over", when={"tool": "look"}, do={"stop": stop, "reason": "enough"})]
    found = await seen(tmp_path, TALK, events=events)
    assert (found.end, found.verdict) == (end, verdict)
    assert [e["stop"] for e in found.log if "stop" in e] == [stop]
    assert not any(e.get("say") == "It is in." for e in found.log)


async def test_a_stop_as_passed_does_not_hide_a_failed_check(tmp_path: Path) -> None:
    events = [event("over", when={"tool": "look"}, do={"stop": "pass"})]
    found = await seen(tmp_path, TALK, events=events, success=[{"tool": "lend"}], check=False)
    assert (found.end, found.verdict) == ("event_stop", "fail")


async def test_calls_of_events_are_recorded_and_not_the_agents(tmp_path: Path) -> None:
    world = {**DESK, "rules": [{"id": "no-lending", "never": "lend"}]}
    events = [event("other", at_turn=1, do={"call": "lend", "args": {"book_id": "b1"}, "by": "agent"})]
    success = [
        {"tool": "lend", "count": 0},
        {"id": "mine", "kind": "minefield", "tool": "lend"},
        {"state": "db.books['b1']", "unchanged": True, "except": ["other"]},
    ]
    found = await seen(tmp_path, TALK, world_data=world, events=events, success=success)
    made_by_event = next(e for e in found.log if e.get("tool") == "lend")
    assert (made_by_event["cause"], made_by_event["by"]) == ("event:other", "agent")
    assert "patches" not in made_by_event
    assert found.verdict == "pass"
    assert [e["notify"] for e in found.log if "notify" in e] == ["Dune leaves the house"]


async def test_what_an_event_writes_is_left_out_of_the_expected_world_and_told(tmp_path: Path) -> None:
    scenario: dict[str, Any] = {
        "events": [event("luck", when={"tool": "look"}, do={"set": {"db.desk.lucky": "7"}})],
        "expected": [{"tool": "lend", "args": {"book_id": "b1"}}, {"say": "Lent."}],
        "success": [{"id": "world", "world": "expected"}],
    }
    lines = [user("b1"), call("look", book_id="b1"), call("lend", book_id="b1"), agent("Lent.")]
    found = await seen(tmp_path / "a", lines, **scenario)
    assert found.check("world") == (
        "pass",
        "equal (not compared, since events write there: db.desk.lucky)",
    )
    lazy = await seen(tmp_path / "b", lines[:2], **scenario)
    assert lazy.check("world")[0] == "fail"


async def test_an_event_may_write_what_the_solution_writes_too(tmp_path: Path) -> None:
    """A change by others than the named event is a change, whatever the event writes there."""
    events = [event("luck", do={"set": {"db.desk.lucky": "7"}}), event("shut", at_turn=2, do=OPEN)]
    success = [
        {"id": "both", "state": "db.desk", "unchanged": True, "except": ["luck", "shut"]},
        {"id": "one", "state": "db.desk", "unchanged": True, "except": ["luck"]},
    ]
    found = await seen(tmp_path, TALK, events=events, success=success, check=False)
    assert found.check("both") == ("pass", "0 changes")
    assert found.check("one") == ("fail", "1 change: db.desk.open: was true, is false")


async def test_a_long_chain_declared_backwards_goes_on_at_the_next_point(tmp_path: Path) -> None:
    chain = [event(f"e{k}", after=[f"e{k - 1}"] if k else ["start"]) for k in range(25)]
    found = await seen(tmp_path, TALK, events=chain[::-1])
    assert [name for name, *_ in found.fired()] == [f"e{k}" for k in range(25)]
    assert [t for *_, t in found.fired()] == [0] * 20 + [2] * 5


async def test_a_trial_with_events_is_played_back_and_read_by_turns(tmp_path: Path) -> None:
    events = [
        event("mind", when={"tool": "look"}, do=[{"say": "b2 then"}, {"notify": "The desk closes"}]),
        event("luck", after=["mind"], delay_s=5, do={"call": "draw_lot", "by": "agent"}),
    ]
    async with bench_at(tmp_path) as bench:
        await made(bench, TALK, events=events)
        first = (await bench.runs.start("desk", wait_s=45)).run
        turns = (await bench.items.get("conversation", f"{first.id}/s/1", view="turns")).item["turns"]
        await bench.environments.create(
            "again",
            instructions="Be kind.",
            world_data=WAITING_DESK,
            agent={"kind": "recorded", "run": first.id},
        )
        again = {"id": "s", "goal": "Borrow the book b1", "split": "train", "events": events}
        await bench.scenarios.create("again", [again])
        second = (await bench.runs.start("again", wait_s=45)).run
        hashes = [
            (await bench.items.get("conversation", f"{run.id}/s/1", view="full")).item["conversation"][
                "transcript_hash"
            ]
            for run in (first, second)
        ]
    assert hashes[0] == hashes[1]
    assert turns[1]["events"] == [
        {"event": "mind", "status": "fired", "t": 35},
        {"notify": "The desk closes", "to": "agent", "by": "event:mind"},
    ]
    assert turns[2]["user"] == "b2 then"
    assert [change["path"] for change in turns[2]["changes"]] == ["db.desk.lucky"]


async def test_the_solution_waits_for_what_happens_in_time(tmp_path: Path) -> None:
    scenario: dict[str, Any] = {
        "events": [
            event("back", delay_s=300, do={"set": {"db.books['b2'].out": "false"}}),
            event("mind", after=["back"], delay_turns=1, do={"say": "b2, please"}),
        ],
        "expected": [
            {"wait_s": 400},
            {"say": "It is back."},
            {"tool": "lend", "args": {"book_id": "b2"}},
            {"say": "Lent."},
            {"wait_s": 5},
        ],
        "success": [{"tool": "lend"}, {"event": "back"}, {"said": "b2, please", "by": "user"}],
    }
    async with bench_at(tmp_path) as bench:
        creation = await made(bench, [], **scenario)
    assert (creation.checked["proven"], creation.warnings) == (1, [])


async def test_the_worked_example_gives_its_record_to_the_letter() -> None:
    """With the fault that its draw decides, the events in their order, and every kind of check."""
    world = compile_world(load(World, SHOP, "world"))
    persona = load(Persona, {"id": "dana-terse", "profile": "Dana, 41, nurse, impatient"}, "persona")
    case = prepare(world, load(Scenario, SCENARIO, "scenario"), persona, simulation="refund-late-parcel")
    report = await check_solution(case, 7)
    assert (report.status, report.lets_through, report.deterministic) == ("proven", [], True)
    script = Script(
        "I am sorry. Which order is it?",
        calling(("get_order", {"order_id": "#W1"})),
        calling(("get_order", {"order_id": "#W1"})),
        "A card refund is limited to 50 dollars now. Store credit instead?",
        calling(("refund_order", {"order_id": "#W1", "to": "credit", "note": "late parcel"})),
        "Refunded $59.90 as store credit.",
    )
    done = await tried(case, script, Script(STOP), seed=7)
    ours = ("wall_s", "source", "usage", "message", "to", "id")
    log = [{k: v for k, v in entry.items() if k not in ours} for entry in done.document["log"]]
    wanted = [{k: v for k, v in entry.items() if k not in ours} for entry in RECORD["log"]]
    assert log[:-1] == wanted
    assert log[-1] == {"n": 14, "turn": 4, "t": 105, "by": "user", "stop": "user is done"}
    assert done.document["end"] == RECORD["end"]
    assert [{k: v for k, v in p.items() if k != "by"} for p in done.document["delta"]] == RECORD["delta"]
    verdict = await graded(case, done, seed=7)
    assert (verdict.verdict, verdict.reward, verdict.never_fired) == ("pass", 1, [])
    assert {c.id: c.verdict for c in verdict.checks if c.verdict != "pass"} == {"tone": "inconclusive"}
    assert [(f.tool, f.then) for f in verdict.faults] == [("get_order", "retried")]


async def test_a_client_of_the_server_sees_events_and_what_never_fired(tmp_path: Path) -> None:
    events = [
        event("closed", when={"tool": "close_ticket"}, do={"notify": "T1 was closed"}),
        event(
            "vip", when={"state": "db.tickets.T2.status", "eq": "closed"}, timeout_turns=0, on_timeout="skip"
        ),
        event("after-vip", after=["vip"]),
    ]
    async with desk(tmp_path / "data") as at:
        await tiny(at)
        ring = [event("courier", after=["policy"]), event("policy", after=["courier"])]
        error = await at.error(
            "create_scenarios", environment="support", scenarios=[{**closing("ring", "T1"), "events": ring}]
        )
        assert error["what"] == "Events cycle courier -> policy -> courier."
        assert error["where"] == "create_scenarios.scenarios[0].events"
        scenario = {**closing("told", "T1"), "events": events, "split": "train", "persona": "dana"}
        made = await at.ok("create_scenarios", environment="support", scenarios=[scenario])
        assert made["checked"]["proven"] == 1
        await at.ok("create_simulations", environment="support")
        run = await at.ok("run_simulations", environment="support", select=["told-dana"], wait_s=45)
        conversation = f"{run['run']}/told-dana/1"
        checks = await at.ok("get_item", kind="conversation", id=conversation, view="checks")
        assert checks["item"]["verdict"] == "pass"
        assert [row["event"] for row in checks["item"]["never_fired"]] == ["vip", "after-vip"]
        assert "timeout" in checks["item"]["never_fired"][0]["why"]
        turns = await at.ok("get_item", kind="conversation", id=conversation, view="turns")
        happened = [
            row.get("event") or row["notify"] for t in turns["item"]["turns"] for row in t.get("events", [])
        ]
        assert happened == ["vip", "closed", "T1 was closed"]


async def test_arguments_that_are_optional_are_offered_as_optional() -> None:
    case = prepare(compile_world(load(World, SHOP, "world")), load(Scenario, SCENARIO, "scenario"))
    script = Script("Hm.")
    await tried(case, script, Script(STOP))
    refund = next(tool for tool in script.requests[0].tools if tool.name == "refund_order")
    assert refund.parameters["required"] == ["order_id", "to"]


def test_the_guides_examples_of_events_script_faults_and_noise_can_be_read(checkout: Path) -> None:
    text = (checkout / "resources" / "guides" / "scenario-format.md").read_text(encoding="utf-8")
    written: dict[str, Any] = {
        "id": "x",
        "goal": "g",
        "events": json.loads(text.split("```json\n")[2].split("```")[0]),
    }
    shown = text[text.index("## Faults and noise") :]
    for name in ("faults", "noise"):
        (found,) = re.findall(rf'`"{name}": (.*?)`[,:]', shown)
        written[name] = json.loads(found)
    (script,) = re.findall(r"^`(\[.*\])`$", shown, re.MULTILINE)
    written["script"] = json.loads(script)
    scenario = load(Scenario, written, "guide")
    assert (len(scenario.events), len(scenario.faults), len(scenario.script)) == (3, 2, 6)
    assert scenario.noise is not None
