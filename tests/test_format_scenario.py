"""The scenario format, sentence by sentence: defaults, refusals and subjects that no other test holds."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.records.authored import load
from caseharden.engine.records.persona import Persona
from caseharden.engine.records.scenario import Scenario
from caseharden.engine.simulate import check_solution, prepare, trial
from caseharden.engine.world.paths import parse_path
from caseharden.engine.world.state import State
from caseharden.tests.played_desk import TALK, call, seen, user
from caseharden.tests.small_desk import DESK, WORLD, Script, a_case, calling, graded, the_desk, tried
from caseharden.tests.workbench_cases import bench_at, closing, tickets

pytestmark = pytest.mark.anyio
NOISE: dict[str, Any] = {"per_minute": 60, "pool": [{"do": {"set": {"db.desk.rain": "rand()"}}}]}
KEPT = {"what": ["an importer", 1, None]}


def test_the_least_scenario_has_the_defaults_of_the_format() -> None:
    least = load(Scenario, {"id": "x", "goal": "get help"}, "scenario")
    limits = least.limits
    assert (limits.max_turns, limits.min_turns, limits.max_tool_calls) == (20, 0, 50)
    assert (limits.timeout_s, limits.same_message) == (300, 5)
    assert (least.trials, least.seed, least.reveal, least.reward.combine) == (1, 0, "on_request", "product")
    assert (least.world.notifications, least.world.solo, least.world.user_tools) == ("all", False, None)
    assert (least.persona, least.split, least.noise, least.profile) == (None, None, None, None)
    case = prepare(WORLD, least)
    assert [(check.id, check.predicate.judged) for check in case.plan.checks] == [("goal", True)]


def test_every_record_of_a_scenario_and_a_persona_keeps_what_an_importer_could_not_map() -> None:
    kept = {"x_source": KEPT}
    written: dict[str, Any] = {
        "id": "x",
        "goal": "g",
        **kept,
        "knowledge": [{"fact": "a", "value": 1, **kept}],
        "world": {"solo": False, **kept},
        "history": [{"by": "user", "say": "hi", **kept}],
        "script": [
            {"user": None, **kept},
            {"message": {"by": "agent", "say": "x", **kept}},
            {"proceed": None},
        ],
        "events": [{"id": "e", "do": [], **kept}],
        "faults": [{"tool": "look", "on_calls": [1], **kept}],
        "noise": {"per_turn": 1, "pool": [{"do": {"emit": "x"}, **kept}], **kept},
        "expected": [{"say": "x", **kept}],
        "success": [
            {"tool_calls": [{"tool": "lend", **kept}], **kept},
            {"all": [{"tool": "look", **kept}]},
            {"not": {"said": "never", **kept}},
        ],
        "reward": {"combine": "min", **kept},
        "hints": [{"text": "h", **kept}],
        "limits": {"max_turns": 3, **kept},
    }
    scenario = load(Scenario, written, "scenario")
    prepare(WORLD, scenario)
    assert scenario.model_dump(mode="json", by_alias=True, exclude_unset=True) == written
    person = {"id": "p", "knowledge": [{"fact": "a", "value": 1, **kept}], "data": {"db": {}, **kept}, **kept}
    persona = load(Persona, person, "persona")
    assert persona.model_dump(mode="json", by_alias=True, exclude_unset=True) == person
    assert prepare(WORLD, scenario, persona).data is None


def test_all_mistakes_of_a_scenario_are_told_at_once_with_path_and_nearest() -> None:
    with pytest.raises(InvalidArgument) as refused:
        a_case(
            options={"hide_tools": ["lok"], "skip_rules": ["none"]},
            history=[{"by": "user"}],
            init=[{"set": {"db.desk.open": "opened"}}],
            expected=[{"tool": "lendd"}, {"say": "x", "wait_s": 1}],
        )
    told = str(refused.value)
    assert refused.value.where == "world.hide_tools" and "Did you mean `look`" in told
    for place in (
        "5 more",
        "history[0]",
        "init[0].set",
        "expected[0].tool",
        "Did you mean `lend`",
        "expected[1]",
    ):
        assert place in told, place
    with pytest.raises(InvalidArgument) as refused:
        a_case(
            success=[{"tool": "lendd"}, {"tool_calls": "expected"}],
            expected=[{"tool": "lend", "args": {"book_id": "b1"}}],
            events=[
                {"id": "a", "after": ["b1"], "do": {"set": {"db.desk": "1 +"}}},
                {"id": "b", "when": {"tol": "look"}},
            ],
            faults=[{"tool": "no_*", "on_calls": [1]}, {"tool": "lok", "on_calls": [1]}],
            noise={"per_turn": 1, "pool": [{"do": {"emitt": "x"}}]},
        )
    told = str(refused.value)
    assert refused.value.where == "success[0].tool"
    for place in ("events[0].after[0]", "events[1].when", "events[0].do", "faults[0].tool", "and 1 others"):
        assert place in told, place
    with pytest.raises(InvalidArgument) as refused:
        a_case(success=[{"tool": "look", "id": "a"}, {"tool": "look", "id": "a"}], reward={"of": ["b", "c"]})
    assert all(place in str(refused.value) for place in ("success[1].id", "reward.of[0]", "reward.of[1]"))
    with pytest.raises(InvalidArgument) as refused:
        load(Scenario, {"id": 1, "gaol": "x", "limits": {"max_turn": 2}, "trials": 0}, "scenario")
    assert all(
        place in str(refused.value) for place in ("scenario.gaol", "scenario.id", "max_turn", "trials")
    )


def test_a_reward_that_names_nothing_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="named but empty"):
        a_case(success=[{"tool": "look"}], reward={"of": []})


MISSING = {"state": "db.books.b9.title"}
COMPARED: list[tuple[dict[str, Any], bool]] = [
    ({"eq": 5.0}, True),
    ({"eq": True}, False),
    ({"ne": 4}, True),
    ({"one_of": [1, 5]}, True),
    ({"min": 5, "max": 5}, True),
    ({"min": 5.1}, False),
    ({"eq": 5.2, "tolerance": 0.25}, True),
    ({"matches": "^5$"}, True),
    ({"exists": True}, True),
]


@pytest.mark.parametrize(("terms", "holds"), COMPARED)
async def test_a_comparator_of_a_state(terms: dict[str, Any], holds: bool) -> None:
    world = the_desk(db={**DESK["db"], "n": {"five": 5}})
    case = a_case(world, success=[{"state": "db.n.five", **terms}])
    done = await tried(case, Script(then="x"), Script("hi", "###STOP###"))
    assert (await graded(case, done)).checks[0].verdict == ("pass" if holds else "fail")


@pytest.mark.parametrize("terms", [terms for terms, _ in COMPARED] + [{"contains": "a"}, {"exists": False}])
async def test_a_missing_path_satisfies_only_that_it_is_missing(terms: dict[str, Any]) -> None:
    case = a_case(success=[{**MISSING, **terms}])
    done = await tried(case, Script(then="x"), Script("hi", "###STOP###"))
    verdict = (await graded(case, done)).checks[0].verdict
    assert verdict == ("pass" if terms == {"exists": False} else "fail")


async def test_lists_and_objects_are_compared_by_contains_and_as_multisets() -> None:
    world = the_desk(db={**DESK["db"], "n": {"list": [1, {"a": [1, 2]}], "o": {"k": 1}}})
    success = [
        {"state": "db.n.list", "contains": {"a": [1.0, 2]}},
        {"state": "db.n.list", "eq": [{"a": [2, 1]}, 1], "unordered": True},
        {"state": "db.n.list", "eq": [{"a": [1, 2]}, 1], "unordered": True},
        {"state": "db.n.o", "contains": "k"},
        {"state": "db.n['list'][1].a[-1]", "eq": 2},
    ]
    case = a_case(world, success=success)
    done = await tried(case, Script(then="x"), Script("hi", "###STOP###"))
    assert [c.verdict for c in (await graded(case, done)).checks] == ["pass", "fail", "pass", "pass", "pass"]


async def test_a_history_is_heard_by_both_sides_and_its_calls_are_done() -> None:
    history = [
        {"by": "user", "say": "I was here yesterday."},
        {"by": "agent", "tool": "lend", "args": {"book_id": "b1"}},
        {"by": "agent", "say": "You have it."},
    ]
    case = a_case(
        history=history, success=[{"state": "db.books.b1", "unchanged": True}, {"tool": "lend", "count": 0}]
    )
    agent, person = Script(then="Good."), Script("And now?", "###STOP###")
    done = await tried(case, agent, person)
    told = [(m.role, m.content) for m in agent.requests[0].messages[1:]]
    assert told[:1] == [("user", "I was here yesterday.")]
    assert [role for role, _ in told] == ["user", "assistant", "tool", "assistant", "user", "system"]
    heard = [m.content for m in person.requests[0].messages if m.role == "user"]
    assert heard[-1] == "You have it."
    assert (await graded(case, done)).verdict == "pass"


async def test_a_hidden_tool_is_unknown_and_one_with_a_new_name_answers_to_it_alone() -> None:
    options = {
        "hide_tools": ["draw_lot"],
        "rename_tools": {"lend": "give_out"},
        "describe_tools": {"lend": "Hand a book over"},
    }
    agent = Script(
        calling(("draw_lot", {}), ("lend", {"book_id": "b1"}), ("give_out", {"book_id": "b1"})), then="Done."
    )
    case = a_case(options=options, success=[{"tool": "lend", "args": {"book_id": "b1"}, "count": 1}])
    done = await tried(case, agent, Script("hi", "###STOP###"))
    offered = {tool.name: tool.description for tool in agent.requests[0].tools}
    assert offered["give_out"] == "Hand a book over" and not {"lend", "draw_lot"} & set(offered)
    calls = [e for e in done.document["log"] if "tool" in e]
    assert [(c["tool"], c["ok"]) for c in calls] == [("draw_lot", False), ("lend", False), ("lend", True)]
    assert (await graded(case, done)).verdict == "pass"


async def test_a_measured_clock_does_not_make_a_solution_unsteady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock of this machine is made to jump: what is played without a model does not see it."""
    ticks = count(0, 0.7)
    monkeypatch.setattr(trial.time, "perf_counter", lambda: next(ticks))
    world = the_desk(clock={**DESK["clock"], "think": "measured"})
    case = a_case(
        world,
        expected=[{"tool": "lend", "args": {"book_id": "b1"}}, {"say": "Lent."}],
        success=[{"id": "world", "world": "expected"}],
    )
    report = await check_solution(case, 1)
    assert (report.status, report.deterministic) == ("proven", True)


@pytest.mark.requirement("CH-9")
async def test_a_scenario_that_nothing_passes_is_stored_with_a_warning_that_names_the_checks(
    tmp_path: Path,
) -> None:
    kept = {"id": "kept", "state": "db.tickets.T1", "unchanged": True}
    weak = {"id": "weak", "goal": "g", "expected": [{"say": "No."}], "success": [kept]}
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="x", world_data=tickets(1))
        made = await bench.scenarios.create("desk", [weak, closing(1)])
        solution = (await bench.items.get("scenario", "desk/weak", view="solution")).item
    assert made.checked["do_nothing_passes"] == ["desk/weak"] and made.checked["proven"] == 2
    assert any("desk/weak" in w and "does nothing" in w and "kept" in w for w in made.warnings)
    assert "passes when the agent does nothing: kept" in str(solution)


@given(st.lists(st.sampled_from(("b1", "b2", "b9")), max_size=6), st.integers(0, 3))
def test_the_state_at_any_entry_is_the_initial_state_and_the_patches_up_to_it(
    books: list[str], seed: int
) -> None:
    """And at the end base and delta: the record alone says all that was ever in the world."""
    calls = [calling(("lend", {"book_id": book}), ("draw_lot", {})) for book in books]
    events = [{"id": "late", "delay_s": 3, "do": {"set": {"db.desk.open": "not db.desk.open"}}}]
    case = a_case(events=events, init=[{"set": {"db.desk.lucky": "5"}}], noise=NOISE)
    done = anyio.run(partial(tried, case, Script(*calls, then="x"), Script("hi", "###STOP###"), seed=seed))
    state = State(WORLD.base)
    patches = [
        *done.conversation.setup,
        *(p for e in done.conversation.log for p in getattr(e, "patches", ())),
    ]
    for patch in patches:
        state.write(patch.op, parse_path(patch.path, ""), patch.new, patch.by)
    assert state.root == done.final
    other = State(WORLD.base)
    for patch in done.conversation.delta:
        other.write(patch.op, parse_path(patch.path, ""), patch.new, patch.by)
    assert other.root == done.final


async def test_the_mistakes_of_the_worlds_own_tools_are_told_with_the_run(tmp_path: Path) -> None:
    found = await seen(
        tmp_path, [user("hi"), call("divide"), call("divide")], success=[{"tool": "divide", "ok": "any"}]
    )
    assert found.verdict == "pass"
    told = [warning for warning in found.run.warnings if "runtime" in warning]
    assert told == [
        "2 calls in 1 of 1 trial failed by a mistake in the world's own tools (error `runtime`); the first: run-1/s/1"
    ]
    assert not [w for w in (await seen(tmp_path / "2", TALK)).run.warnings if "runtime" in w]
