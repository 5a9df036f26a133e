"""Scripts: whose turn it is, step by step; checks on the way; what stands in them is said as it is."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.agents import PlayedAgent, Recording, played_turns
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.llm import ModelReply, ModelRequest
from caseharden.engine.simulate import PlayedUser, run_trial
from caseharden.tests.played_desk import TALK, agent, call, made, seen, user
from caseharden.tests.small_desk import DESK, Script, a_case, calling, graded, says_of, tried
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
STOP = "###STOP###"
EMPTY: dict[str, Any] = {}
ANY: dict[str, Any] = {"proceed": None}
IS_IN: dict[str, Any] = {"state": "db.books['b1'].out", "eq": False}


def numbered() -> Script:
    """A model whose n-th text is n."""
    counted = count(1)
    return Script(then=lambda _: f"text {next(counted)}")


@pytest.mark.requirement("LW-1")
async def test_the_steps_of_a_script_are_played_in_their_order(tmp_path: Path) -> None:
    script = [
        {"message": {"by": "agent", "say": "Welcome to the desk."}},
        {"user": "hello"},
        {"agent": None},
        {"check": {"said": "which book"}},
        {"message": {"by": "user", "say": "(the line is bad)"}},
        {"user": "b1"},
        {"agent": "One moment, please."},
        {"proceed": 1},
        {"check": {"tool": "look"}},
        {"succeed": "both were asked"},
    ]
    lines = [*TALK[:3], agent("?"), user("and?"), *TALK[3:]]
    found = await seen(tmp_path, lines, script=script)
    told = [(e["turn"], e.get("say") or e.get("tool") or e.get("check")) for e in found.log]
    assert told == [
        (0, "Welcome to the desk."),
        (1, "hello"),
        (1, "Which book?"),
        (1, "script.4"),
        (1, "(the line is bad)"),
        (2, "b1"),
        (2, "One moment, please."),
        (3, "and?"),
        (3, "look"),
        (3, "It is in."),
        (3, "script.9"),
    ]
    assert (found.end, found.verdict) == ("script_succeed", "pass")
    assert found.check("script.4") == ("pass", "said in turn 1")


@pytest.mark.requirement("LW-1")
@pytest.mark.parametrize(
    ("script", "where", "told"),
    [
        ([{"usr": "hi"}], "script[0].usr", "Did you mean `user`?"),
        ([{"shout": "hi"}], "script[0].shout", "user, agent, message, proceed, check, judge, succeed, fail"),
        ([{"user": "hi", "agent": None}], "script[0]", "exactly one of"),
        ([EMPTY], "script[0]", "exactly one of"),
        ([{"user": "hi"}, {"judge": [1]}], "script[1].judge", "A criterion is a text"),
        ([{"user": "hi"}, {"user": "there"}], "script[1].user", "has not answered"),
        ([{"agent": None}], "script[0].agent", "answers the user"),
        ([{"proceed": None}, {"user": "hi"}], "script[1]", "never reached"),
        ([{"succeed": "ok"}, {"proceed": 1}], "script[1]", "never reached"),
        ([{"proceed": 0}], "script[0].proceed", "greater than or equal to 1"),
        ([{"user": " "}], "script[0]", "not empty"),
        ([{"check": {"tool": "lnd"}}], "script[0].check.tool", "Did you mean `lend`?"),
        ([{"check": {"judge": "kind"}}], "script[0].check.judge", "without a model"),
        ([{"message": {"by": "judge", "say": "x"}}], "script[0].message.by", "none of the allowed"),
    ],
)
async def test_a_script_that_cannot_be_played_is_refused(
    tmp_path: Path, script: list[dict[str, Any]], where: str, told: str
) -> None:
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Be kind.", world_data=DESK)
        with pytest.raises(InvalidArgument) as refused:
            await bench.scenarios.create("desk", [{"id": "s", "goal": "Borrow a book", "script": script}])
    assert refused.value.where == f"scenarios[0].{where}"
    assert told in str(refused.value)


async def test_all_that_is_wrong_in_a_script_is_told_at_once(tmp_path: Path) -> None:
    script = [
        {"agent": None},
        {"user": "hi"},
        {"user": "there"},
        {"check": {"tool": "lnd"}},
        {"judge": [""]},
        {"check": {"state": "db.boks['b1'].out", "eq": True}},
        {"fail": "no"},
        {"proceed": 1},
    ]
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions="Be kind.", world_data=DESK)
        with pytest.raises(InvalidArgument) as refused:
            await bench.scenarios.create("desk", [{"id": "s", "goal": "Borrow a book", "script": script}])
    told = str(refused.value)
    assert refused.value.where == "scenarios[0].script[0].agent"
    for place in ("[2].user", "[3].check.tool", "[4].judge", "[5].check", "[7]"):
        assert f"script{place}" in told, told
    assert "Did you mean `lend`?" in told and "`books`" in told


@pytest.mark.requirement("LW-2")
async def test_null_is_generated_and_a_text_is_said_without_a_model_call() -> None:
    script = [{"user": "hi"}, {"agent": "Which {book}?"}, {"user": None}, {"agent": None}]
    agents, users = numbered(), numbered()
    done = await tried(a_case(script=script), agents, users)
    assert says_of(done) == [
        ("user", "hi"),
        ("agent", "Which {book}?"),
        ("user", "text 1"),
        ("agent", "text 1"),
    ]
    assert (len(agents.requests), len(users.requests)) == (1, 1)
    assert [m.content for m in agents.requests[0].messages[1:]] == ["hi", "Which {book}?", "text 1"]
    assert [m.content for m in users.requests[0].messages[2:]] == ["hi", "Which {book}?"]
    assert done.conversation.end.reason == "script_end"
    assert set(done.conversation.models) == {"agent", "user"}


async def test_the_first_message_of_a_simulation_gives_way_to_the_script() -> None:
    users = Script(STOP)
    done = await tried(a_case(user_input="Good day", script=[{"user": "hi"}, ANY]), Script("Hm."), users)
    assert says_of(done) == [("user", "hi"), ("agent", "Hm.")]
    assert len(users.requests) == 1


@pytest.mark.requirement("LW-3")
async def test_an_inline_check_that_fails_ends_the_trial_and_earlier_passes_stay(tmp_path: Path) -> None:
    script = [
        {"user": "hi"},
        {"agent": None},
        {"check": {"said": "which book"}},
        {"check": {"tool": "look"}},
        {"proceed": 1},
        {"check": {"tool": "lend", "count": 0}},
    ]
    found = await seen(tmp_path, TALK, script=script, success=[IS_IN], check=False)
    assert (found.end, found.verdict) == ("script_fail", "fail")
    assert [e.get("say") for e in found.log if "say" in e] == ["hi", "Which book?"]
    assert [(e["check"], e["ok"]) for e in found.log if "check" in e] == [
        ("script.3", True),
        ("script.4", False),
    ]
    assert found.check("script.3")[0] == "pass"
    assert found.check("script.4") == ("fail", "no calls of look, expected at least 1")
    assert found.check("c1")[0] == "pass"
    assert not any(c["id"].startswith("end.") for c in found.verdicts[0]["checks"])
    assert found.run.totals.failed == 1


async def test_a_check_that_the_trial_did_not_come_to_is_decided_at_its_end(tmp_path: Path) -> None:
    """An agent that ends the trial early does not get around a check that way."""
    script = [{"proceed": 2}, {"check": {"tool": "look"}}, {"check": {"not": {"tool": "lend"}}}]
    found = await seen(tmp_path, [user("hi"), call("close")], script=script, check=False)
    assert (found.end, found.verdict) == ("terminal", "fail")
    assert found.check("script.2")[1].startswith("the trial ended before it")
    assert found.check("script.3")[0] == "pass"


async def test_a_script_may_fail_the_trial_and_what_succeeds_still_has_to_pass(tmp_path: Path) -> None:
    failing = await seen(tmp_path / "a", TALK, script=[{"proceed": 1}, {"fail": "no"}], check=False)
    assert (failing.end, failing.verdict) == ("script_fail", "fail")
    assert failing.check("end.script_fail") == ("fail", "no")
    lend = [{"tool": "lend"}]
    wrong = await seen(
        tmp_path / "b", TALK, script=[{"proceed": 1}, {"succeed": "ok"}], success=lend, check=False
    )
    assert (wrong.end, wrong.verdict) == ("script_succeed", "fail")


async def test_a_script_that_runs_out_leaves_the_verdict_to_the_checks(tmp_path: Path) -> None:
    nothing = await seen(tmp_path / "a", TALK, script=[{"proceed": 1}])
    assert (nothing.end, nothing.verdict) == ("script_end", "inconclusive")
    checked = await seen(tmp_path / "b", TALK, script=[{"proceed": 1}], success=[IS_IN])
    assert (checked.end, checked.verdict) == ("script_end", "pass")


@pytest.mark.requirement("LW-4")
@pytest.mark.parametrize(
    ("script", "replies", "says"),
    [
        ([{"proceed": 3}], 3, 6),
        ([{"user": "hi"}, {"proceed": 2}], 2, 4),
        ([{"user": "hi"}, {"agent": None}, {"proceed": 2}], 3, 6),
        ([{"proceed": 1}, {"user": "so"}, {"proceed": 1}, {"proceed": 1}], 3, 6),
    ],
)
async def test_proceed_is_exactly_so_many_replies_of_the_agent(
    script: list[dict[str, Any]], replies: int, says: int
) -> None:
    agents = numbered()
    done = await tried(a_case(script=script), agents, numbered())
    assert len(agents.requests) == replies
    assert len(says_of(done)) == says
    assert done.conversation.end.reason == "script_end"


async def test_calls_of_tools_do_not_count_as_replies_of_a_proceed() -> None:
    agents = Script(calling(("look", {"book_id": "b1"})), "It is in.", "More?", "never")
    done = await tried(a_case(script=[{"proceed": 2}]), agents, numbered())
    assert [text for by, text in says_of(done) if by == "agent"] == ["It is in.", "More?"]


@pytest.mark.requirement("LW-4")
async def test_the_last_turn_forces_a_verdict(tmp_path: Path) -> None:
    found = await seen(
        tmp_path,
        [line for k in range(9) for line in (user(f"u{k}"), agent(f"a{k}"))],
        script=[ANY],
        limits={"max_turns": 4},
        success=[{"tool": "look"}],
        check=False,
    )
    assert (found.end, found.verdict) == ("max_turns", "fail")
    assert sum(e.get("by") == "agent" for e in found.log) == 4


async def test_the_turns_of_a_script_are_limited_too() -> None:
    script = [step for _ in range(9) for step in ({"user": "hi"}, {"agent": None})]
    done = await tried(a_case(script=script, limits={"max_turns": 3}), numbered(), Script())
    assert (done.conversation.end.reason, done.conversation.end.turn) == ("max_turns", 3)


def test_least_turns_above_the_most_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="`min_turns` 5 is above `max_turns` 3"):
        a_case(limits={"min_turns": 5, "max_turns": 3})


async def test_words_of_an_event_come_before_those_of_the_script() -> None:
    events = [{"id": "mind", "at_turn": 2, "do": {"say": "wait, b2!"}}]
    script = [{"user": "b1"}, {"agent": None}, {"user": "thanks"}, {"agent": None}]
    done = await tried(a_case(script=script, events=events), Script("ok"), Script())
    assert says_of(done) == [
        ("user", "b1"),
        ("agent", "ok"),
        ("user", "wait, b2!"),
        ("user", "thanks"),
        ("agent", "Done."),
    ]


async def test_the_user_may_stop_within_a_script() -> None:
    done = await tried(
        a_case(script=[{"proceed": 3}, {"user": "still there"}, ANY]), Script(), Script("hi", STOP)
    )
    assert done.conversation.end.reason == "user_stop"
    assert says_of(done) == [("user", "hi"), ("agent", "Done.")]


async def test_the_solution_is_played_around_the_words_of_the_script(tmp_path: Path) -> None:
    scenario: dict[str, Any] = {
        "script": [{"user": "hi"}, {"agent": "Welcome."}, {"user": "b1, please"}, {"agent": None}, ANY],
        "expected": [
            {"say": "Shall I lend it?"},
            {"by": "user", "tool": "show_card"},
            {"tool": "lend", "args": {"book_id": "b1"}},
            {"say": "Lent."},
        ],
        "success": [{"world": "expected"}, {"said": "b1, please", "by": "user"}, {"said": "Welcome"}],
    }
    async with bench_at(tmp_path) as bench:
        creation = await made(bench, [], **scenario)
    assert (creation.checked["proven"], creation.warnings) == (1, [])


async def test_a_minefield_ends_a_script_before_its_next_step() -> None:
    case = a_case(
        script=[{"user": "hi"}, {"agent": None}, {"check": IS_IN}],
        success=[{"id": "no", "kind": "minefield", "said": "done"}],
    )
    done = await tried(case, Script("Done."), Script())
    assert done.conversation.end.reason == "minefield"
    verdict = await graded(case, done)
    assert verdict.failed() == ["no"]


async def test_what_the_agent_hears_never_holds_the_scripts_later_steps() -> None:
    heard: list[str] = []

    def listening(request: ModelRequest) -> ModelReply:
        heard.append(str(request))
        return ModelReply("Hm.")

    script = [
        {"user": "hi"},
        {"agent": None},
        {"check": {"said": "sesame"}},
        {"user": "abracadabra"},
        {"agent": None},
    ]
    await tried(a_case(script=script), Script(then=listening), Script())
    assert heard and not any(word in text for text in heard for word in ("sesame", "abracadabra"))


async def test_a_trial_with_a_script_is_played_back_to_the_same_transcript() -> None:
    script = [
        {"message": {"by": "user", "say": "(dials)"}},
        {"user": "hi"},
        {"agent": "Welcome."},
        {"message": {"by": "agent", "say": "(music)"}},
        {"user": None},
        {"message": {"by": "user", "say": "(coughs)"}},
        {"proceed": 2},
        {"message": {"by": "user", "say": "(sneezes)"}},
        {"user": "thanks"},
        {"proceed": None},
    ]
    case = a_case(script=script, events=[{"id": "mind", "at_turn": 4, "do": {"say": "wait"}}])
    agents = Script("Which?", calling(("look", {"book_id": "b1"}), text="Let me see."), "It is in.", "Bye.")
    first = await tried(case, agents, Script("b1", "and?", STOP))
    turns = played_turns(Recording.model_validate(first.document))
    again = await run_trial(case, PlayedAgent(turns), PlayedUser(turns), seed=3, trial=1)
    assert again.conversation.transcript_hash == first.conversation.transcript_hash
    assert ("user", "wait") in says_of(again) and first.conversation.end.reason == "user_stop"
