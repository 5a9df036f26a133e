"""Solutions played without a model: proven or not, why not, and the baselines that must not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from caseharden.engine.evaluate import grade
from caseharden.engine.records.scenario import ExpectedStep, Limits, SolutionReport
from caseharden.engine.simulate import STOP, ExpectedWorlds, check_solution, play_solution, solution_turns
from caseharden.tests.small_desk import (
    DESK,
    Script,
    a_case,
    calling,
    calls_of,
    graded,
    names,
    one_text,
    says_of,
    the_desk,
    tried,
)

pytestmark = pytest.mark.anyio
LEND = {"tool": "lend", "args": {"book_id": "b1"}}
LENT = [{"state": "db.books['b1'].out", "eq": True}]


async def report_of(**fields: Any) -> SolutionReport:
    return await check_solution(a_case(**fields), 3)


async def test_a_solution_that_passes_is_proven() -> None:
    report = await report_of(expected=[{"say": "Which?"}, LEND, {"say": "Lent."}], success=LENT)
    assert report == SolutionReport(status="proven")


@pytest.mark.requirement("CH-9")
async def test_without_a_solution_it_is_unproven_and_the_baselines_are_still_played() -> None:
    report = await report_of(success=[{"id": "kept", "state": "db.books['b1'].out", "eq": False}])
    assert (report.status, report.why) == ("unproven", "it has no expected solution")
    assert report.lets_through == [
        "passes when the agent does nothing: kept",
        "passes when the agent transfers at once: kept",
    ]
    assert report.do_nothing_passes and report.transfer_passes


async def test_what_only_a_judge_could_tell_is_unproven() -> None:
    report = await report_of(expected=[{"say": "Hello."}])
    assert (report.status, report.why) == ("unproven", "no checks")


async def test_the_step_that_fails_is_named() -> None:
    steps = [{"say": "Which?"}, LEND, {"tool": "lend", "args": {"book_id": "b2"}}, {"say": "Lent."}]
    report = await report_of(expected=steps, success=LENT)
    assert (report.status, report.failed_step, report.why) == ("failed", 2, "lend says: Emma is out")


async def test_a_step_behind_the_end_is_named() -> None:
    report = await report_of(expected=[{"tool": "close"}, LEND], success=LENT)
    assert (report.status, report.failed_step) == ("failed", 1)
    assert report.why == "the trial ended (terminal: close) before this step"


async def test_a_step_that_the_limits_cut_off_is_named() -> None:
    report = await report_of(
        expected=[{"say": "a"}, {"say": "b"}, LEND], success=LENT, limits={"max_turns": 2}
    )
    assert (report.status, report.failed_step) == ("failed", 2)
    assert "max_turns" in report.why


async def test_the_check_that_fails_is_named() -> None:
    success = [*LENT, {"id": "told", "said": "good bye"}]
    report = await report_of(expected=[LEND, {"say": "Lent."}], success=success)
    assert (report.status, report.failed_checks) == ("failed", ["told"])
    assert report.why.startswith("check told: ")


async def test_a_write_without_effect_is_named() -> None:
    world = the_desk(
        tools=[
            *DESK["tools"],
            {"name": "tidy", "steps": [{"if": "db.desk.lucky", "then": [{"set": {"db.desk.lucky": "0"}}]}]},
        ]
    )
    report = await check_solution(
        a_case(world, expected=[{"tool": "tidy"}, LEND, {"tool": "tidy"}], success=LENT), 3
    )
    assert (report.status, report.no_effect) == ("proven", [0, 2])


async def test_a_world_that_does_not_start_has_no_solution() -> None:
    report = await report_of(
        expected=[LEND], success=LENT, init=[{"call": "lend", "args": {"book_id": "b2"}}]
    )
    assert report.status == "failed"
    assert report.why.startswith("the world does not start: ")


async def test_a_world_that_fails_on_the_way_names_the_step() -> None:
    world = the_desk(sync=[{"if": "db.books['b1'].out", "then": [{"set": {"db.desk.lucky": "1 / 0"}}]}])
    report = await check_solution(a_case(world, expected=[{"say": "Hm?"}, LEND], success=LENT), 3)
    assert (report.status, report.failed_step) == ("failed", 1)
    assert "world_error" in report.why


async def test_calls_of_the_history_are_no_steps_of_the_solution() -> None:
    history = [{"by": "agent", "tool": "look", "args": {"book_id": "b1"}}]
    steps = [{"say": "Hm?"}, {"tool": "lend", "args": {"book_id": "b9"}}]
    report = await report_of(expected=steps, success=LENT, history=history)
    assert (report.status, report.failed_step) == ("failed", 1)


async def test_a_solution_uses_the_worlds_names_whatever_the_agent_is_shown() -> None:
    options = {"rename_tools": {"lend": "hand_out", "close": "shut"}}
    report = await report_of(expected=[LEND], success=LENT, options=options)
    assert report == SolutionReport(status="proven")


async def test_both_sides_act_in_a_solution() -> None:
    world = the_desk(sync=[{"if": "user_db.bag.card", "then": [{"set": {"db.desk.lucky": "7"}}]}])
    steps = [
        {"by": "user", "say": "hello"},
        {"say": "Please show your card."},
        {"by": "user", "tool": "show_card"},
        {"by": "user", "say": "here it is"},
        LEND,
        {"say": "Lent."},
        {"by": "user", "tool": "show_card"},
        {"say": "You did already."},
    ]
    success = [
        {"world": "expected"},
        {"tool": "show_card", "by": "user"},
        {"state": "db.desk.lucky", "eq": 7},
    ]
    case = a_case(world, expected=steps, success=success)
    tried = await play_solution(case, 3, 1)
    assert says_of(tried) == [
        ("user", "hello"),
        ("agent", "Please show your card."),
        ("user", "here it is"),
        ("agent", "Lent."),
        ("user", "yes, go ahead"),
        ("agent", "You did already."),
    ]
    assert names(calls_of(tried)) == ["show_card", "lend", "show_card"]
    report = await check_solution(case, 3)
    assert (report.status, report.no_effect) == ("proven", [])


async def test_a_step_of_the_user_that_fails_is_named_by_its_place() -> None:
    steps = [{"say": "Hm?"}, LEND, {"by": "user", "tool": "look", "args": {"book_id": "b1"}}, {"say": "Bye."}]
    report = await report_of(expected=steps, success=LENT)
    assert (report.status, report.failed_step) == ("failed", 2)


async def test_the_users_first_message_opens_its_solution() -> None:
    tried = await play_solution(a_case(user_input="Good day", expected=[LEND, {"say": "Lent."}]), 3, 1)
    assert says_of(tried)[0] == ("user", "Good day")


@pytest.mark.requirement("CH-9")
async def test_transferring_at_once_meets_the_tools_arguments() -> None:
    parameters = one_text("why")
    parameters["properties"]["why"]["minLength"] = 12
    close = {"name": "hand_over", "kind": "terminal", "parameters": parameters, "steps": [{"return": "'ok'"}]}
    world = the_desk(tools=[t for t in DESK["tools"] if t["name"] != "close"] + [close])
    report = await check_solution(a_case(world, success=[{"tool": "hand_over"}]), 3)
    assert report.transfer_passes
    assert not report.do_nothing_passes


def test_the_steps_of_a_solution_are_put_into_turns() -> None:
    steps = [
        {"tool": "a"},
        {"say": "one"},
        {"tool": "b"},
        {"by": "user", "tool": "c"},
        {"by": "user", "say": "two"},
        {"tool": "d"},
    ]
    turns = solution_turns([ExpectedStep.model_validate(step) for step in steps])
    told = [
        (
            [call.name for call in turn.user_calls],
            turn.user_says,
            [reply.text or reply.calls[0].name for reply in turn.replies],
        )
        for turn in turns
    ]
    assert told == [
        ([], "yes, go ahead", ["a", "one"]),
        ([], "yes, go ahead", ["b"]),
        (["c"], "two", ["d"]),
    ]


ASKED = [{"say": "Which?"}, LEND, {"say": "Lent."}]
AS_EXPECTED = [{"id": "world", "world": "expected"}]


@pytest.mark.parametrize(
    "limits", [{"max_turns": 1}, {"max_tool_calls": 1, "same_message": 2}, {"timeout_s": 1e-9}]
)
async def test_no_limit_of_a_trial_changes_what_is_expected_of_it(limits: dict[str, float]) -> None:
    steps = [{"tool": "look", "args": {"book_id": "b1"}}, {"say": "Hm"}, {"say": "Hm"}, *ASKED]
    case = a_case(expected=steps, success=AS_EXPECTED, limits=limits)
    world = await ExpectedWorlds().of(case, 3, 1)
    assert world is not None and world.error == ""
    assert world.root["db"]["books"]["b1"]["out"] is True
    idle = await tried(replace(case, limits=Limits()), Script("Sorry."), Script("hi", STOP))
    assert grade(idle.conversation, case.plan, case.world.base, world).verdict == "fail"


async def test_how_slow_the_machine_is_proves_nothing() -> None:
    report = await report_of(expected=ASKED, success=LENT, limits={"timeout_s": 1e-9})
    assert report.status == "proven"


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([{"tool": "close"}, LEND], "unsolvable: step 2 of its solution is not reached (terminal: close)"),
        ([{"tool": "lend", "args": {"book_id": "b2"}}], "unsolvable: lend: Emma is out"),
    ],
)
async def test_a_trial_without_an_expected_world_is_invalid_whatever_the_agent_does(
    steps: list[dict[str, Any]], why: str
) -> None:
    case = a_case(expected=steps, success=AS_EXPECTED)
    for agent in (Script("Sorry."), Script(calling(("lend", {"book_id": "b1"})), "Lent.")):
        verdict = await graded(case, await tried(case, agent, Script("hi", STOP)))
        assert (verdict.verdict, verdict.why, verdict.end) == ("invalid", why, "user_stop")
        assert (verdict.reward, verdict.score, verdict.failed()) == (None, None, [])
    report = await check_solution(case, 3)
    assert (report.status, report.failed_step is not None, report.lets_through) == ("failed", True, [])


async def test_an_expected_world_that_decides_nothing_may_be_missing() -> None:
    checks = [{"id": "world", "world": "expected", "counts": False}, *LENT]
    case = a_case(expected=[{"tool": "lend", "args": {"book_id": "b2"}}], success=checks)
    done = await tried(case, Script(calling(("lend", {"book_id": "b1"})), "Lent."), Script("hi", STOP))
    verdict = await graded(case, done)
    assert verdict.verdict == "pass"
    assert "there is no expected world" in verdict.checks[0].why
