"""Faults of tools and noise: drawn from the seed, marked in the record, and nobody's doing in any check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.seeds import draw
from caseharden.engine.workbench.results import Item
from caseharden.tests.played_desk import TALK, WAITING_DESK, Line, Seen, agent, call, made, seen, user
from caseharden.tests.small_desk import DESK, Script, a_case, calling, calls_of, tried
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
STOP = "###STOP###"
NOTHING: list[Any] = []
LOOKS = [user("look"), *(call("look", book_id="b1") for _ in range(40)), agent("It is in.")]


def hit(found: Seen, trial: int = 1) -> list[int]:
    """The numbers of the calls that were hit."""
    calls = [e for e in found.conversations[trial - 1]["log"] if "tool" in e]
    return [number for number, e in enumerate(calls, 1) if e.get("injected")]


@pytest.mark.requirement("ARE-8")
async def test_faults_by_probability_hit_the_calls_that_their_draws_say(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"faults": [{"tool": "look", "p": 0.2}], "seed": 7}
    found = await seen(tmp_path / "a", LOOKS, trials=2, **fields)
    again = await seen(tmp_path / "b", LOOKS, trials=2, **fields)
    for trial in (1, 2):
        drawn = [n for n in range(1, 41) if draw(7, "s", trial, "fault:0:look", n) < 0.2]
        assert hit(found, trial) == hit(again, trial) == drawn
        assert 2 <= len(drawn) <= 20
    assert hit(found, 1) != hit(found, 2)
    failed = [e for e in found.log if e.get("injected")]
    assert {(e["ok"], e["error"], e["injected"]) for e in failed} == {(False, "injected", "error")}
    assert "Try again later" in failed[0]["result"]


async def test_a_scenario_without_faults_has_none_whatever_is_called(tmp_path: Path) -> None:
    assert hit(await seen(tmp_path, LOOKS)) == []


async def test_other_instructions_and_other_calls_meet_the_same_faults() -> None:
    """Both arms of a comparison: whether a call fails depends on its number among those of its tool alone."""
    case = a_case(faults=[{"tool": "*", "p": 0.5}], limits={"max_tool_calls": 200})
    look: list[tuple[str, Any]] = [("look", {"book_id": "b1"})]
    more: list[tuple[str, Any]] = [("think", {"thought": "hm"}), ("open_vault", {})]
    plain = await tried(case, Script(calling(*look * 30)), Script("hi", STOP))
    both = Script(calling(*[*look, *more] * 30))
    chatty = await tried(case, both, Script("hi", STOP), instructions="X")
    alike, other = (
        [call.injected for call in calls_of(done) if call.tool == "look"] for done in (plain, chatty)
    )
    assert alike == other
    assert {c.injected for c in calls_of(chatty) if c.tool == "think"} == {None}


@pytest.mark.requirement("ARE-9")
@pytest.mark.parametrize(
    ("then", "outcome"),
    [
        ([call("lend", book_id="b1"), agent("Dune is yours.")], "retried"),
        ([agent("Sorry, I could not lend it: the system has a problem.")], "gave_up"),
        ([agent("Shall I note that it was lent?")], "gave_up"),
        ([agent("I will try again later.")], "gave_up"),
        ([agent("I have lent you Dune.")], "claimed"),
        ([agent("Sorry for the wait. All done!")], "claimed"),
    ],
)
async def test_a_fault_of_the_first_call_hits_just_that_and_what_came_of_it_is_told(
    tmp_path: Path, then: list[Line], outcome: str
) -> None:
    fault = {"tool": "lend", "on_calls": [1], "error": "503 upstream timeout"}
    lines = [user("b1"), call("lend", book_id="b1"), *then]
    async with bench_at(tmp_path) as bench:
        await made(bench, lines, faults=[fault], success=[{"tool": "lend", "ok": "any", "count": {"max": 1}}])
        run = (await bench.runs.start("desk", wait_s=45)).run
        full, checks = [
            await bench.items.get("conversation", f"{run.id}/s/1", view=view) for view in ("full", "checks")
        ]
    calls = [e for e in full.item["conversation"]["log"] if e.get("tool") == "lend"]
    assert [e.get("injected") for e in calls] == ["error", *[None] * (len(calls) - 1)]
    assert calls[0]["result"] == "503 upstream timeout"
    assert [(f["tool"], f["mode"], f["then"]) for f in checks.item["faults"]] == [("lend", "error", outcome)]
    assert told(full) == "pass"


def told(item: Item) -> str:
    return item.item["verdict"]["verdict"]


async def test_each_mode_spoils_a_call_in_its_own_way(tmp_path: Path) -> None:
    faults = [
        {"tool": "lend", "on_calls": [1], "mode": "timeout", "delay_s": 60},
        {"tool": "lend", "on_calls": [2], "mode": "malformed"},
        {"tool": "lend", "on_calls": [1, 2, 3], "mode": "empty"},
    ]
    lines = [user("b1"), *(call("lend", book_id="b1") for _ in range(4)), agent("Hm.")]
    found = await seen(tmp_path, lines, faults=faults)
    calls = [e for e in found.log if "tool" in e]
    assert [(e["ok"], e.get("injected"), e["result"], e["t"]) for e in calls] == [
        (False, "timeout", "lend timed out after 60 s.", 63),
        (True, "malformed", "le", 66),
        (False, "empty", "", 69),
        (False, None, "Dune is out", 72),
    ]
    assert [bool(e.get("patches")) for e in calls] == [False, True, False, False]


async def test_a_fault_hits_no_more_calls_than_its_most(tmp_path: Path) -> None:
    found = await seen(tmp_path, LOOKS, faults=[{"tool": "l*k", "p": 1, "max": 3}])
    assert hit(found) == [1, 2, 3]


@pytest.mark.requirement("ARE-8")
async def test_calls_that_were_hit_count_in_no_check(tmp_path: Path) -> None:
    world = {**DESK, "rules": [{"id": "once", "at_most_once": "lend"}, {"id": "look", "never": "vault"}]}
    fault = {"tool": "lend", "on_calls": [1]}
    lines = [user("b1"), call("lend", book_id="b1"), call("lend", book_id="b1"), agent("Lent.")]
    success = [
        {"id": "count", "tool": "lend", "ok": "any", "count": 1},
        {"id": "calls", "tool_calls": "expected", "match": "strict"},
        {"id": "world", "world": "expected"},
    ]
    expected = [{"tool": "lend", "args": {"book_id": "b1"}}, {"say": "Lent."}]
    found = await seen(tmp_path, lines, world_data=world, faults=[fault], success=success, expected=expected)
    assert (found.verdict, found.verdicts[0]["reward"]) == ("pass", 1)
    assert found.run.totals.passed == 1


async def test_faults_name_the_tool_as_the_agent_knows_it() -> None:
    case = a_case(options={"rename_tools": {"lend": "hand_out"}}, faults=[{"tool": "lend", "on_calls": [1]}])
    script = Script(calling(("hand_out", {"book_id": "b1"})))
    done = await tried(case, script, Script("hi", STOP))
    assert calls_of(done)[0].tool == "lend"
    assert calls_of(done)[0].result == "hand_out failed: internal error. Try again later."


@pytest.mark.parametrize(
    ("fields", "where", "told_so"),
    [
        ({"faults": [{"tool": "lnd", "on_calls": [1]}]}, "faults[0].tool", "Did you mean `lend`?"),
        ({"faults": [{"tool": "thin*", "p": 0.5}]}, "faults[0].tool", "No tool matches"),
        ({"faults": [{"tool": "lend"}]}, "faults[0]", "either `on_calls` or `p`"),
        ({"faults": [{"tool": "lend", "on_calls": [0]}]}, "faults[0]", "counts from 1"),
        ({"faults": [{"tool": "lend", "p": 1.5}]}, "faults[0].p", "less than or equal to 1"),
        ({"faults": [{"tool": "lend", "p": 0.5, "mode": "emty"}]}, "faults[0].mode", "Did you mean `empty`?"),
        ({"faults": [{"tool": "lend", "p": 0.5, "delay_s": 3}]}, "faults[0]", "mode timeout"),
        ({"noise": {"per_turn": 1, "pool": NOTHING}}, "noise", "pool of the noise is empty"),
        ({"noise": {"per_turn": 1}}, "noise", "pool of the noise is empty"),
        ({"noise": {}}, "noise", "pool of the noise is empty"),
        ({"noise": {"pool": [{"do": {"notify": "x"}}]}}, "noise", "either `per_minute` or `per_turn`"),
        ({"noise": {"per_turn": 1, "pool": [{"do": NOTHING}]}}, "noise", "does nothing"),
        (
            {"noise": {"per_turn": 1, "pool": [{"do": {"say": "x"}}]}},
            "noise.pool[0].do[0].say",
            "not for the steps of noise",
        ),
    ],
)
@pytest.mark.requirement("ARE-10")
async def test_faults_and_noise_that_cannot_happen_are_refused(
    tmp_path: Path, fields: dict[str, Any], where: str, told_so: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Be kind.", world_data=DESK)
        with pytest.raises(InvalidArgument) as refused:
            await bench.scenarios.create("desk", [{"id": "s", "goal": "Borrow a book", **fields}])
    assert refused.value.where == f"scenarios[0].{where}"
    assert told_so in str(refused.value)


NOISE: dict[str, Any] = {
    "per_minute": 5,
    "pool": [{"do": {"notify": "20% off shoes"}}, {"do": {"set": {"db.desk.lucky": "db.desk.lucky + 1"}}}],
}
WAITS = [user("hi"), *(call("wait", seconds=60) for _ in range(10)), agent("Done.")]


@pytest.mark.requirement("ARE-10")
async def test_noise_has_a_schedule_of_its_own_that_its_rate_and_seed_decide(tmp_path: Path) -> None:
    found = await seen(tmp_path / "a", WAITS, trials=2, noise=NOISE, seed=3)
    again = await seen(tmp_path / "b", WAITS, trials=2, noise=NOISE, seed=3)
    other = await seen(tmp_path / "c", WAITS, trials=2, noise=NOISE, seed=4)
    moments = [[entry[3] for entry in run.fired(trial)] for run in (found, again, other) for trial in (1, 2)]
    assert moments[0] == moments[2] and moments[1] == moments[3]
    assert len({tuple(m) for m in moments}) == 4
    assert all(25 <= len(m) <= 80 for m in moments)
    assert {status for _, status, *_ in found.fired()} == {"noise"}
    assert {e["by"] for e in found.log if "notify" in e} == {"noise"}


@pytest.mark.requirement("ARE-10")
async def test_noise_counts_in_no_check(tmp_path: Path) -> None:
    pool = [
        {
            "do": [
                {"set": {"db.desk.lucky": "1"}},
                {"emit": "rain"},
                {"call": "look", "args": {"book_id": "b1"}},
            ]
        },
        {"do": {"call": "draw_lot", "by": "agent"}},
        {"do": {"call": "show_card", "by": "user"}},
    ]
    success = [
        {"id": "world", "world": "expected"},
        {"id": "kept", "state": "db.desk", "unchanged": True},
        {"id": "calls", "tool_calls": NOTHING, "match": "strict"},
        {"id": "card", "tool": "show_card", "by": "user", "count": 0},
        {"id": "lots", "kind": "minefield", "tool": "draw_lot"},
    ]
    expected = [{"tool": "look", "args": {"book_id": "b1"}}, {"say": "It is in."}]
    noise = {"per_turn": 5, "pool": pool}
    found = await seen(tmp_path, TALK, noise=noise, success=success, expected=expected)
    assert [e["tool"] for e in found.log if e.get("cause") == "noise"]
    assert (found.verdict, found.end) == ("pass", "user_stop"), found.verdicts[0]["checks"]


async def test_noise_of_a_turn_comes_with_turns_and_not_with_time(tmp_path: Path) -> None:
    noise = {"per_turn": 2, "pool": [{"do": {"notify": "Rain"}}]}
    found = await seen(tmp_path, WAITS, noise=noise)
    assert {turn for _, _, turn, _ in found.fired()} <= {1, 2}
    assert len(found.fired()) < 12


async def test_noise_is_quiet_after_a_thousand_things(tmp_path: Path) -> None:
    noise = {"per_minute": 60, "pool": [{"do": {"emit": "drop"}}]}
    lines = [user("hi"), call("wait", seconds=31_536_000), agent("Done.")]
    found = await seen(tmp_path, lines, noise=noise)
    assert len(found.fired()) == 1000


@pytest.mark.requirement("ARE-14")
async def test_checks_faults_and_events_keep_the_original_names_of_renamed_tools(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "world": {"rename_tools": {"look": "find"}, "describe_tools": {"look": "Find a book"}},
        "events": [{"id": "looked", "when": {"tool": "look"}, "do": []}],
        "faults": [{"tool": "look", "on_calls": [1]}],
        "success": [{"tool": "look"}],
    }
    lines = [user("b1"), call("look", book_id="b1"), call("look", book_id="b1"), agent("It is in.")]
    found = await seen(tmp_path, lines, world_data=WAITING_DESK, **fields)
    assert [(e["tool"], e["ok"]) for e in found.log if "tool" in e] == [("look", False), ("look", True)]
    assert found.verdict == "pass"
    script = Script(calling(("find", {"book_id": "b1"})), calling(("find", {"book_id": "b1"})))
    options = fields.pop("world")
    await tried(a_case(options=options, **fields), script, Script("hi", STOP))
    shown = {tool.name: tool.description for tool in script.requests[0].tools}
    assert shown["find"] == "Find a book" and "look" not in shown
