"""Agent adapters: what a prompt agent asks its model, and how recordings are read into turns."""

from __future__ import annotations

from typing import Any

import pytest

from caseharden.engine.agents import (
    AgentError,
    AgentInput,
    NoRecording,
    PlayedAgent,
    PlayedTurn,
    PromptAgent,
    Recording,
    played_turns,
)
from caseharden.engine.errors import Unavailable
from caseharden.engine.llm import Message, ModelReply, ToolCall, ToolSignature, Usage
from caseharden.engine.records.environment import agent_name
from caseharden.tests.small_desk import Script, calling

pytestmark = pytest.mark.anyio
TOOLS = [ToolSignature(name, "", {"type": "object"}) for name in ("look", "lend")]


def asked(turn: int = 1, tools: Any = TOOLS) -> AgentInput:
    return AgentInput("key", "Be kind.", [Message("user", "hi")], 1, tools, 42, turn)


async def test_the_model_gets_instructions_messages_tools_and_seed() -> None:
    model = Script(ModelReply("Hello.", usage=Usage(10, 2), cost_usd=0.5))
    reply = await PromptAgent(model, temperature=0.3).reply(asked())
    request = model.requests[0]
    assert [(m.role, m.content) for m in request.messages] == [("system", "Be kind."), ("user", "hi")]
    assert (request.role, request.seed, request.temperature) == ("agent", 42, 0.3)
    assert list(request.tools) == TOOLS
    assert reply.usage is not None
    assert (reply.text, reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cost_usd) == (
        "Hello.", 10, 2, 0.5,
    )  # fmt: skip


async def test_only_the_chosen_tools_are_shown() -> None:
    model = Script()
    await PromptAgent(model, tools=["lend"]).reply(asked())
    assert [tool.name for tool in model.requests[0].tools] == ["lend"]


async def test_parallel_calls_come_as_the_model_wrote_them() -> None:
    reply = await PromptAgent(Script(calling(("look", "{broken"), ("lend", {"a": 1}), text="So."))).reply(
        asked()
    )
    assert reply.text == "So."
    assert reply.calls == (ToolCall("c0", "look", "{broken"), ToolCall("c1", "lend", '{"a": 1}'))
    assert not reply.own_names


async def test_a_model_that_cannot_answer_is_an_agent_error() -> None:
    with pytest.raises(AgentError, match=r"The model is away\."):
        await PromptAgent(Script(Unavailable("The model is away."))).reply(asked())


async def test_a_played_agent_gives_the_replies_of_the_turn_that_is_asked_for() -> None:
    turns = turns_of(
        {"by": "user", "say": "a"},
        {"by": "agent", "tool": "look", "args": {"book_id": "b1"}},
        {"by": "agent", "say": "one"},
        {"by": "user", "say": "b"},
        {"by": "agent", "say": "two"},
    )
    agent = PlayedAgent(turns)
    first = await agent.reply(asked(1))
    assert first.calls[0].arguments == '{"book_id": "b1"}'
    assert first.own_names
    assert (await agent.reply(asked(1))).text == "one"
    assert (await agent.reply(asked(1))).text is None
    assert (await agent.reply(asked(2))).text == "two"
    assert (await agent.reply(asked(9))).text is None


@pytest.mark.parametrize("tail", ["?token=abc", "/path?token=abc", "#token", "/a@b?token=abc", ""])
def test_an_agent_is_named_by_host_and_port_alone(tail: str) -> None:
    for spec in (
        {"kind": "mcp", "url": f"http://me:pw@h:1{tail}"},
        {"kind": "a2a", "card_url": f"http://h:1{tail}"},
    ):
        assert agent_name(spec) == "agent at h:1"


async def test_a_missing_recording_is_an_error_of_its_trial() -> None:
    with pytest.raises(AgentError, match="no recorded conversation of s-dana, trial 2"):
        await NoRecording("there is no recorded conversation of s-dana, trial 2").reply(asked())


def turns_of(*log: Any) -> list[PlayedTurn]:
    return played_turns(Recording.model_validate({"scenario": "s", "log": list(log)}))


def told(turns: list[PlayedTurn]) -> list[Any]:
    return [
        (turn.user_says, turn.stops, [(r.text, [c.name for c in r.calls]) for r in turn.replies])
        for turn in turns
    ]


def test_history_notices_and_rejected_texts_are_not_played() -> None:
    turns = turns_of(
        {"n": 1, "turn": 0, "by": "user", "say": "before"},
        {"n": 2, "turn": 1, "by": "user", "say": "no", "rejected": True},
        {"n": 3, "turn": 1, "by": "user", "say": "yes"},
        {"n": 4, "turn": 1, "by": "sync", "notify": "psst", "to": "agent"},
        {"n": 5, "turn": 1, "by": "world", "tool": "look"},
        {"n": 6, "turn": 1, "event": "e", "status": "fired"},
        {"n": 7, "turn": 1, "by": "agent", "say": "fine"},
        {"by": "somebody", "say": "x"},
    )
    assert told(turns) == [("yes", False, [("fine", [])])]


def test_calls_with_one_message_number_are_one_reply_and_text_before_them_stands_beside() -> None:
    turns = turns_of(
        {"by": "user", "say": "a"},
        {"by": "agent", "say": "So."},
        {"by": "agent", "tool": "look", "message": 1},
        {"by": "agent", "tool": "lend", "message": 1},
        {"by": "agent", "tool": "look", "message": 2},
        {"by": "agent", "tool": "look"},
        {"by": "agent", "tool": "look"},
        {"by": "agent", "say": "one"},
        {"by": "agent", "say": "two"},
    )
    assert told(turns) == [
        (
            "a",
            False,
            [
                ("So.", ["look", "lend"]),
                (None, ["look"]),
                (None, ["look"]),
                (None, ["look"]),
                ("one\ntwo", []),
            ],
        )
    ]
    ids = [call.id for reply in turns[0].replies for call in reply.calls]
    assert len(set(ids)) == len(ids)


def test_a_stop_is_in_the_turn_that_it_was_made_in() -> None:
    line = {"by": "user", "say": "bye", "turn": 2}
    assert told(turns_of(line, {"by": "user", "stop": "done", "turn": 2})) == [("bye", True, [])]
    assert told(turns_of(line, {"by": "user", "stop": "done", "turn": 3})) == [
        ("bye", False, []),
        (None, True, []),
    ]


def test_words_of_the_agent_before_the_users_first_are_nobodys_turn_but_its_calls_are_made() -> None:
    turns = turns_of(
        {"by": "agent", "say": "Welcome"},
        {"by": "agent", "tool": "look"},
        {"by": "user", "say": "a"},
        {"by": "agent", "say": "b"},
    )
    assert told(turns) == [("a", False, [(None, ["look"]), ("b", [])])]
