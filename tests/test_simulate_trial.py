"""The trial: what both sides may do, what is recorded of it, and how it ends."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from caseharden.engine.agents import AgentInput, AgentReply, PromptAgent
from caseharden.engine.errors import InvalidArgument, Unavailable
from caseharden.engine.llm import ModelReply, ModelRequest
from caseharden.engine.records.conversation import NotifyEntry
from caseharden.engine.simulate.trial import WAITING
from caseharden.engine.simulate.user import waits_for_user
from caseharden.tests.small_desk import Script, a_case, calling, calls_of, graded, names, says_of, tried

pytestmark = pytest.mark.anyio
STOP = "###STOP###"


async def test_all_calls_of_one_reply_are_executed_in_their_order() -> None:
    agent = Script(
        calling(("look", {"book_id": "b1"}), ("lend", {"book_id": "b1"}), ("look", {"book_id": "b1"}))
    )
    done = await tried(a_case(), agent, Script("hi", STOP))
    calls = calls_of(done)
    assert names(calls) == ["look", "lend", "look"]
    assert [call.result for call in calls] == [
        {"title": "Dune", "out": False},
        "lent",
        {"title": "Dune", "out": True},
    ]
    assert [call.message for call in calls] == [1, 1, 1]
    assert [call.id for call in calls] == ["k1", "k2", "k3"]
    results = [m for m in agent.requests[1].messages if m.role == "tool"]
    assert [m.tool_call_id for m in results] == ["c0", "c1", "c2"]


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ('{"book_id": ', "not JSON"),
        ('["b1"]', "a list, not an object"),
        ('"b1"', "not an object"),
        ('{"book_id": 7}', "book_id"),
        ('{"book": "b1"}', "book_id"),
        ('{"book_id": NaN}', ""),
        ("[" * 100_000, ""),
        ("", "book_id"),
    ],
)
async def test_broken_arguments_are_the_agents_error_and_the_trial_goes_on(written: str, part: str) -> None:
    done = await tried(a_case(), Script(calling(("look", written)), "Sorry."), Script("hi", STOP))
    call = calls_of(done)[0]
    assert (call.ok, call.error) == (False, "arguments")
    assert part in call.result
    assert call.raw == written or call.raw is None
    assert says_of(done)[-1] == ("agent", "Sorry.")
    assert done.conversation.end.reason == "user_stop"


async def test_a_tool_that_is_not_there_is_recorded_with_its_name_and_answered() -> None:
    agent = Script(calling(("lok", {"book_id": "b1"}), ("x" * 5000, {})))
    done = await tried(a_case(), agent, Script("hi", STOP))
    first, second = calls_of(done)
    assert (first.tool, first.kind, first.error, first.args) == (
        "lok",
        "unknown",
        "arguments",
        {"book_id": "b1"},
    )
    assert "Did you mean `look`?" in first.result
    assert len(second.tool) == 200


async def test_a_tools_own_mistake_is_shown_and_the_trial_is_graded() -> None:
    case = a_case(success=[{"tool": "look"}])
    agent = Script(calling(("divide", {})), calling(("look", {"book_id": "b1"})))
    done = await tried(case, agent, Script("hi", STOP))
    assert calls_of(done)[0].error == "runtime"
    assert done.conversation.runtime_errors == 1
    assert (await graded(case, done)).verdict == "pass"


async def test_text_beside_calls_is_recorded_and_does_not_end_the_turn() -> None:
    agent = Script(calling(("look", {"book_id": "b1"}), text="One moment."), "It is in.")
    user = Script("hi", STOP)
    done = await tried(a_case(), agent, user)
    assert says_of(done) == [("user", "hi"), ("agent", "One moment."), ("agent", "It is in.")]
    assert [entry.turn for entry in done.conversation.log] == [1, 1, 1, 1, 2]
    assert [m.content for m in user.requests[1].messages[2:]] == ["hi", "One moment.", "It is in."]


async def test_ten_thousand_unknown_calls_stop_at_the_limit() -> None:
    case = a_case(success=[{"tool": "look"}])
    agent = Script(then=calling(*[("nothing", "{}")] * 10_000))
    done = await tried(case, agent, Script("hi"))
    assert len(calls_of(done)) == 50
    assert done.conversation.end.reason == "max_tool_calls"
    verdict = await graded(case, done)
    assert verdict.verdict == "fail"
    assert verdict.failed() == ["c1", "end.max_tool_calls"]


async def test_thoughts_are_recorded_and_not_limited() -> None:
    agent = Script(*[calling(("think", {"thought": "hm"}))] * 8, calling(("look", {"book_id": "b1"})))
    done = await tried(a_case(limits={"max_tool_calls": 1}), agent, Script("hi", STOP))
    assert len(calls_of(done)) == 9
    assert done.conversation.end.reason == "user_stop"


async def test_equal_texts_in_a_row_are_a_loop() -> None:
    case = a_case(limits={"same_message": 3})
    done = await tried(case, Script("Hm.", "So.", then="What?"), Script(then="again"))
    assert done.conversation.end.reason == "loop"
    assert [text for by, text in says_of(done) if by == "agent"] == ["Hm.", "So.", "What?", "What?", "What?"]
    assert "end.loop" in (await graded(case, done)).failed()


async def test_the_turns_are_limited() -> None:
    counted = iter(range(99))
    case = a_case(limits={"max_turns": 4}, success=[{"not": {"tool": "lend"}}])
    done = await tried(case, Script(then=lambda _: f"text {next(counted)}"), Script(then="go on"))
    assert (done.conversation.end.reason, done.conversation.end.turn) == ("max_turns", 4)
    assert (await graded(case, done)).verdict == "pass"


async def test_a_stop_before_the_least_number_of_turns_is_answered_by_one_more() -> None:
    done = await tried(a_case(limits={"min_turns": 3}), Script(then="Fine."), Script("hi", then=STOP))
    assert [text for by, text in says_of(done) if by == "user"] == ["hi", WAITING, WAITING]
    assert (done.conversation.end.reason, done.conversation.end.turn) == ("user_stop", 4)


@pytest.mark.parametrize("text", ["Shall I lend it?", "I will lend it to you now."])
async def test_a_stop_in_answer_to_a_question_or_an_announced_action_is_held_back_once(text: str) -> None:
    agent = Script(text, calling(("lend", {"book_id": "b1"})), text)
    done = await tried(a_case(), agent, Script("hi", then=STOP))
    assert says_of(done) == [("user", "hi"), ("agent", text), ("user", WAITING), ("agent", text)]
    assert names(calls_of(done)) == ["lend"]
    assert (done.conversation.end.reason, done.conversation.end.turn) == ("user_stop", 3)


async def test_words_beside_a_stop_that_is_held_back_are_said() -> None:
    done = await tried(a_case(), Script("Is it b1?", "Fine."), Script("hi", f"Yes, b1. {STOP}", STOP))
    assert ("user", "Yes, b1.") in says_of(done)
    assert done.conversation.end.turn == 3


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("Done. Is there anything else I can help with?", False),
        ("Let me know if you need more.", False),
        ("Let me check that.", True),
        ("One moment, please.", True),
        ("Understood, I will not lend it.", False),
        ("I will not lend it, but I will reserve it.", True),
        ("You can ask why? Because it is late.", False),
        ("Anything else aside: do you confirm the refund?", False),
        ("There is nothing else to do. Do you confirm the refund?", True),
        ("a" * 100_000 + ".", False),
        ("?" * 100_000, True),
    ],
)
def test_what_keeps_a_user_from_leaving(text: str, waits: bool) -> None:
    assert waits_for_user(text) is waits


async def test_a_terminal_tool_ends_the_trial_and_what_stands_behind_it_is_not_done() -> None:
    agent = Script(calling(("close", {}), ("lend", {"book_id": "b1"})))
    done = await tried(a_case(), agent, Script("hi"))
    assert names(calls_of(done)) == ["close"]
    assert (done.conversation.end.reason, done.conversation.end.detail) == ("terminal", "close")


async def test_a_minefield_ends_the_trial_at_once() -> None:
    case = a_case(success=[{"id": "no-lending", "kind": "minefield", "tool": "lend"}])
    agent = Script(calling(("lend", {"book_id": "b2"}), ("look", {"book_id": "b2"})))
    done = await tried(case, agent, Script("hi"))
    assert names(calls_of(done)) == ["lend"]
    assert done.conversation.end.reason == "minefield"
    assert (await graded(case, done)).verdict == "fail"


class Crashing:
    """An agent that fails with this error, or gives this instead of a reply."""

    name = "crashing"

    def __init__(self, what: Any) -> None:
        self._what = what

    async def reply(self, turn: AgentInput) -> AgentReply:
        if isinstance(self._what, Exception):
            raise self._what
        return self._what


@pytest.mark.requirement("ARE-17")
@pytest.mark.parametrize(
    ("what", "part"),
    [
        (ValueError("no luck"), "ValueError: no luck"),
        (ExceptionGroup("both", [KeyError("a")]), "ExceptionGroup"),
        (TimeoutError(), "TimeoutError"),
        (None, "TypeError: an agent's reply is an AgentReply, not NoneType"),
        ({"text": "hi"}, "not dict"),
    ],
)
async def test_an_agent_that_crashes_is_an_error_and_never_a_score(what: Any, part: str) -> None:
    case = a_case(success=[{"not": {"tool": "lend"}}])
    done = await tried(case, Crashing(what), Script("hi"))
    assert done.conversation.end.reason == "agent_error"
    assert part in done.conversation.end.detail
    verdict = await graded(case, done)
    assert (verdict.verdict, verdict.reward, verdict.score) == ("error", None, None)
    assert part in verdict.why


@pytest.mark.requirement("ARE-17")
async def test_an_agent_whose_model_is_away_is_an_error() -> None:
    case = a_case()
    done = await tried(case, Script(Unavailable("The model is away.")), Script("hi"))
    assert done.conversation.end.reason == "agent_error"
    assert "The model is away." in done.conversation.end.detail
    assert (await graded(case, done)).verdict == "error"


@pytest.mark.parametrize("error", [Unavailable("The model is away."), RuntimeError("The model is away.")])
async def test_a_user_whose_model_fails_is_a_model_error(error: Exception) -> None:
    case = a_case()
    done = await tried(case, Script(), Script("hi", error))
    assert done.conversation.end.reason == "model_error"
    assert "The model is away." in done.conversation.end.detail
    assert (await graded(case, done)).verdict == "error"


async def test_a_user_that_says_nothing_is_the_simulators_fault() -> None:
    case = a_case()
    done = await tried(case, Script(), Script(""))
    assert done.conversation.end.reason == "user_fault"
    assert (await graded(case, done)).verdict == "invalid"


async def test_a_user_that_only_calls_its_tools_is_stopped() -> None:
    done = await tried(a_case(), Script(), Script(then=calling(("show_card", {}))))
    assert done.conversation.end.reason == "user_fault"
    assert len(calls_of(done)) == 11


class Waiting:
    """A model that never answers."""

    name = "waiting"

    async def complete(self, request: ModelRequest) -> ModelReply:
        await anyio.sleep_forever()
        raise AssertionError


async def test_a_trial_has_only_so_much_wall_time() -> None:
    case = a_case(limits={"timeout_s": 0.05})
    with anyio.fail_after(5):
        done = await tried(case, PromptAgent(Waiting()), Script("hi"))
    assert done.conversation.end.reason == "timeout"
    assert (await graded(case, done)).verdict == "error"
    assert says_of(done) == [("user", "hi")]


@pytest.mark.parametrize(
    ("fields", "persona", "part"),
    [
        ({"init": [{"set": {"db.books['b9'].out": "true"}}]}, None, "b9"),
        ({"init": [{"set": {"db.books['b1'].out": "'maybe'"}}]}, None, "must be boolean"),
        ({"init": [{"call": "lend", "args": {"book_id": "b2"}}]}, None, "Emma is out"),
        ({"history": [{"by": "agent", "tool": "lend", "args": {"book_id": "b2"}}]}, None, "Emma is out"),
        ({}, {"id": "p", "data": {"db": {"books": {"b1": {"out": 3}}}}}, "must be boolean"),
    ],
)
async def test_a_world_that_does_not_start_is_invalid(
    fields: dict[str, Any], persona: dict[str, Any] | None, part: str
) -> None:
    case = a_case(persona=persona, **fields)
    agent = Script()
    done = await tried(case, agent, Script("hi"))
    assert done.conversation.end.reason == "world_error"
    assert part in done.conversation.end.detail
    assert (await graded(case, done)).verdict == "invalid"
    assert agent.requests == []


async def test_what_persona_init_and_history_wrote_is_the_initial_state() -> None:
    case = a_case(
        persona={"id": "p", "data": {"db": {"books": {"b3": {"title": "Ulysses", "out": False}}}}},
        init=[{"set": {"db.desk.open": "false"}}],
        history=[
            {"by": "user", "say": "hello"},
            {"by": "agent", "tool": "lend", "args": {"book_id": "b3"}},
            {"by": "agent", "say": "Lent."},
        ],
        success=[{"state": "db.books['b3'].out", "eq": True}, {"not": {"tool": "lend"}}],
    )
    agent, user = Script(), Script("hi", STOP)
    done = await tried(case, agent, user)
    assert [patch.by for patch in done.conversation.setup] == ["persona", "init", "agent"]
    assert [(e.turn, e.t) for e in done.conversation.log[:3]] == [(0, 0), (0, 0), (0, 0)]
    assert [m.role for m in agent.requests[0].messages[1:]] == [
        "user", "assistant", "tool", "assistant", "user", "system",
    ]  # fmt: skip
    assert [m.content for m in user.requests[0].messages[2:]] == ["hello", "Lent."]
    assert (await graded(case, done)).verdict == "pass"


async def test_a_notice_comes_with_the_next_model_call_of_its_side() -> None:
    agent = Script(calling(("lend", {"book_id": "b1"})))
    done = await tried(a_case(), agent, Script(calling(("show_card", {})), "hi", STOP))
    first, second = ([m.content for m in r.messages] for r in agent.requests[:2])
    assert "Notice: The card was shown" in first
    assert "Notice: Dune leaves the house" in second
    assert "Notice: Dune leaves the house" not in first
    assert [e.notify for e in done.conversation.log if isinstance(e, NotifyEntry)] == [
        "The card was shown",
        "Dune leaves the house",
    ]


@pytest.mark.parametrize(("level", "told"), [("all", 2), ("own", 1), ("none", 0)])
async def test_a_scenario_says_which_notices_the_agent_gets(level: str, told: int) -> None:
    agent = Script(calling(("lend", {"book_id": "b1"})))
    case = a_case(options={"notifications": level})
    await tried(case, agent, Script(calling(("show_card", {})), "hi", STOP))
    assert sum(m.content.startswith("Notice: ") for m in agent.requests[1].messages[1:]) == told


async def test_a_hidden_tool_is_offered_once_it_is_unlocked() -> None:
    agent = Script(calling(("vault", {})), calling(("open_vault", {})), calling(("vault", {})))
    done = await tried(a_case(), agent, Script("hi", STOP))
    assert [call.ok for call in calls_of(done)] == [False, True, True]
    offered = [{tool.name for tool in request.tools} for request in agent.requests]
    assert ["vault" in tools for tools in offered] == [False, False, True, True]


async def test_renamed_tools_are_shown_so_and_checked_by_their_own_names() -> None:
    options = {
        "rename_tools": {"lend": "hand_out"},
        "describe_tools": {"look": "See a book"},
        "hide_tools": ["close"],
    }
    case = a_case(
        success=[{"tool_calls": "expected"}, {"world": "expected"}],
        expected=[{"tool": "lend", "args": {"book_id": "b1"}}, {"say": "Lent."}],
        options=options,
    )
    agent = Script(
        calling(("lend", {"book_id": "b1"})), calling(("close", {})), calling(("hand_out", {"book_id": "b1"}))
    )
    done = await tried(case, agent, Script("hi", STOP))
    assert [(call.tool, call.ok) for call in calls_of(done)] == [
        ("lend", False),
        ("close", False),
        ("lend", True),
    ]
    shown = {tool.name: tool.description for tool in agent.requests[0].tools}
    assert "hand_out" in shown and "lend" not in shown and "close" not in shown
    assert shown["look"] == "See a book"
    assert (await graded(case, done)).verdict == "pass"


async def test_calls_of_the_history_are_shown_under_the_names_that_the_agent_knows() -> None:
    case = a_case(
        options={"rename_tools": {"lend": "hand_out"}},
        history=[
            {"by": "user", "say": "b1, please"},
            {"by": "agent", "tool": "lend", "args": {"book_id": "b1"}},
            {"by": "agent", "say": "Lent."},
        ],
    )
    agent = Script()
    done = await tried(case, agent, Script("thanks", STOP))
    assert [call.tool for call in calls_of(done)] == ["lend"]
    called = [call.name for message in agent.requests[0].messages for call in message.tool_calls]
    assert called == ["hand_out"]
    assert called[0] in {tool.name for tool in agent.requests[0].tools}


async def test_alone_the_agent_gets_the_tools_of_both_sides() -> None:
    agent, user = Script(calling(("show_card", {}))), Script("hi", STOP)
    done = await tried(a_case(options={"solo": True}), agent, user)
    assert calls_of(done)[0].ok
    assert done.final["user_db"]["bag"]["card"] is True
    assert list(user.requests[0].tools) == []


async def test_the_users_tools_are_executed_on_its_own_side() -> None:
    user = Script(calling(("show_card", {}), ("lend", {"book_id": "b1"})), "hi", STOP)
    done = await tried(a_case(), Script(), user)
    card, lend = calls_of(done)
    assert (card.by, card.ok, card.message) == ("user", True, 0)
    assert (lend.ok, lend.error) == (False, "arguments")
    assert [tool.name for tool in user.requests[0].tools] == ["show_card"]
    assert done.final["user_db"]["bag"]["card"] is True


@pytest.mark.parametrize(
    ("options", "where", "part"),
    [
        ({"rename_tools": {"lnd": "x"}}, "world.rename_tools", "Did you mean `lend`?"),
        ({"rename_tools": {"lend": "look"}}, "world.rename_tools", "Two tools would be called `look`"),
        ({"describe_tools": {"nope": "x"}}, "world.describe_tools", "nope"),
        ({"hide_tools": ["nope"]}, "world.hide_tools", "nope"),
        ({"user_tools": ["nope"]}, "world.user_tools", "nope"),
        ({"now": "soon"}, "world.now", "not a moment"),
    ],
)
def test_options_that_do_not_fit_the_world_are_refused_with_their_path(
    options: dict[str, Any], where: str, part: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        a_case(options=options)
    assert refused.value.where == where
    assert part in refused.value.what


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({"by": "agent", "tool": "lnd"}, "history[0].tool"),
        ({"by": "agent"}, "history[0]"),
        ({"by": "agent", "say": "a", "tool": "look"}, "history[0]"),
    ],
)
def test_a_history_that_cannot_have_happened_is_refused(item: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        a_case(history=[item])
    assert refused.value.where == where


async def test_the_agents_system_text_is_instructions_policy_and_context() -> None:
    agent = Script()
    case = a_case(agent_context="Web chat.")
    await tried(case, agent, Script("hi", STOP), instructions="Rules: {policy}")
    assert agent.requests[0].messages[0].content == "Rules: Lend only what is in.\n\nWeb chat."


async def test_time_passes_only_by_turns_calls_and_thinking() -> None:
    agent = Script(calling(("look", {"book_id": "b1"})), "It is in.", "Bye.")
    done = await tried(a_case(), agent, Script("hi", "ok", STOP))
    assert [entry.t for entry in done.conversation.log] == [0, 3, 5, 35, 37, 67]
    assert done.conversation.end.t == 67


async def test_what_models_cost_is_counted_by_role() -> None:
    done = await tried(a_case(), Script("a", "b"), Script("hi", "ok", STOP))
    assert (done.conversation.models["agent"].calls, done.conversation.models["user"].calls) == (2, 3)
    assert done.conversation.models["agent"].cost_usd is None


async def test_the_first_message_of_a_simulation_is_said_verbatim() -> None:
    done = await tried(a_case(user_input="Hello there"), Script("Hi."), Script(STOP))
    assert says_of(done)[0] == ("user", "Hello there")
