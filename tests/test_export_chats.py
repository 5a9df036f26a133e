"""What is exported of a conversation is what its model was given and wrote: compared with the model's own requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.exchange.chats import Unfit, agent_chat, user_chat
from caseharden.engine.llm import ModelReply, ModelRequest
from caseharden.engine.llm.chat_format import messages_of, tools_of
from caseharden.engine.records.conversation import Conversation, SayEntry
from caseharden.engine.records.run import RunRecord
from caseharden.tests.small_desk import Script, a_case, calling, the_desk, tried
from caseharden.tests.workbench_cases import INSTRUCTIONS, bench_at, closing, tickets

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SG-9")]
TEXT = "Be kind. {policy}"


def run(**agent: Any) -> RunRecord:
    return RunRecord(
        id="run-1", environment="desk", instructions_text=TEXT, agent={"kind": "prompt", **agent}
    )


def plain(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages without ids and names of results, with arguments as objects and no content as an empty one."""
    made: list[dict[str, Any]] = []
    for message in messages:
        calls = [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", [])
        ]
        made.append({"role": message["role"], "content": message["content"] or "", "calls": calls})
    return made


def given(request: ModelRequest, reply: str) -> list[dict[str, Any]]:
    return plain([*messages_of(request.messages), {"role": "assistant", "content": reply}])


BUSY: dict[str, Any] = {
    "agent_context": "You stand at the desk of the town library.",
    "history": [
        {"by": "user", "say": "I was here yesterday."},
        {"by": "agent", "tool": "look", "args": {"book_id": "b2"}},
        {"by": "agent", "say": "Emma was out."},
    ],
    "events": [{"id": "rain", "at_turn": 2, "do": {"notify": "It rains"}}],
}


@pytest.mark.parametrize("options", [{}, {"rename_tools": {"look": "find_book"}}, {"notifications": "own"}])
async def test_the_messages_are_those_that_the_model_was_given_last_and_its_answer(
    options: dict[str, Any],
) -> None:
    look = options.get("rename_tools", {}).get("look", "look")
    fields: dict[str, Any] = {**BUSY}
    fields["history"] = [item for item in BUSY["history"] if "say" in item or look == "look"]
    agent = Script(
        calling((look, {"book_id": "b1"}), (look, {"book_id": "b9"}), text="Let me see."),
        "It is in. Shall I lend it?",
        calling(("open_vault", {})),
        calling(("vault", {})),
        calling(("lend", {"book_id": "b1"})),
        "Here it is.",
    )
    user = Script("Dune, please", "yes", "###STOP###")
    case = a_case(options=options, **fields)
    done = await tried(case, agent, user, instructions=TEXT)
    chat = agent_chat(run(), case, done.conversation)
    assert plain(chat.messages) == given(agent.requests[-1], "Here it is.")
    assert chat.messages[0]["content"] == "Be kind. Lend only what is in.\n\n" + BUSY["agent_context"]
    assert chat.tools == tools_of(agent.requests[-1].tools)
    assert chat.trained() == chat.messages and chat.messages[chat.begins]["role"] == "assistant"
    assert "Borrow" not in json.dumps(chat.messages), "the goal is the user's"


async def test_every_result_answers_a_call_before_it_by_an_id_of_nine_letters_and_digits() -> None:
    agent = Script(calling(("look", {"book_id": "b1"}), ("look", {"book_id": "b2"})), "Both looked up.")
    done = await tried(a_case(), agent, Script("Look", "###STOP###"))
    messages = agent_chat(run(), a_case(), done.conversation).messages
    asked = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert asked == answered == ["call00001", "call00002"]
    assert all(id.isalnum() and len(id) == 9 for id in asked)


async def test_the_users_side_is_what_the_simulated_user_was_given() -> None:
    agent = Script("Show me your card, please.", "Thank you.")
    user = Script("Dune, please", calling(("show_card", {})), "There.", "###STOP###")
    case = a_case()
    done = await tried(case, agent, user)
    chat = user_chat(case, done.conversation)
    assert plain(chat.messages) == plain(messages_of(user.requests[-1].messages))
    assert chat.trained()[-1]["content"] == "There."
    assert [tool["function"]["name"] for tool in chat.tools] == ["show_card"]


async def test_a_conversation_with_broken_arguments_or_unknown_tools_is_no_example() -> None:
    broken = Script(calling(("look", "{book")), "Sorry.")
    done = await tried(a_case(), broken, Script("Dune", "###STOP###"))
    with pytest.raises(Unfit, match="no JSON object"):
        agent_chat(run(), a_case(), done.conversation)
    unknown = Script(calling(("fly", {})), "Sorry.")
    done = await tried(a_case(), unknown, Script("Dune", "###STOP###"))
    with pytest.raises(Unfit, match="not offered"):
        agent_chat(run(), a_case(), done.conversation)


async def test_an_agent_that_is_shown_few_tools_is_told_of_those() -> None:
    done = await tried(a_case(), Script("Hello."), Script("Hi", "###STOP###"))
    some = agent_chat(run(tools=["look"]), a_case(), done.conversation)
    assert [tool["function"]["name"] for tool in some.tools] == ["look"]
    assert agent_chat(run(tools="none"), a_case(), done.conversation).tools == []


async def test_words_that_were_rejected_stand_apart_with_what_was_said_in_their_place() -> None:
    case = a_case(the_desk())
    done = await tried(case, Script("Which book?", "It is in."), Script("Hi", "Dune", "###STOP###"))
    record = Conversation.model_validate(done.document)
    agents = next(k for k, e in enumerate(record.log) if isinstance(e, SayEntry) and e.by == "agent")
    users = next(k for k, e in enumerate(record.log) if isinstance(e, SayEntry) and e.say == "Dune")
    record.log.insert(users, SayEntry(n=0, turn=1, t=0, by="user", say="Whatever.", rejected=True))
    record.log.insert(agents, SayEntry(n=0, turn=1, t=0, by="agent", say="No.", rejected=True))
    chat = agent_chat(run(), case, record)
    (unwanted,) = chat.unwanted
    assert unwanted.text == "No." and chat.messages[unwanted.place]["content"] == "Which book?"
    assert all("No." not in m["content"] and "Whatever." not in m["content"] for m in chat.messages)
    (unwanted,) = user_chat(case, record).unwanted
    assert unwanted.text == "Whatever."


async def test_a_text_that_is_no_text_is_made_one() -> None:
    agent = Script(ModelReply("It is \ud83d in."))
    done = await tried(a_case(), agent, Script("Hi \udc00", "###STOP###"))
    chat = agent_chat(run(), a_case(), done.conversation)
    json.dumps(chat.messages, ensure_ascii=False).encode()
    assert chat.messages[-1]["content"] == "It is \ufffd in."


@pytest.mark.parametrize("hints", [False, True])
async def test_the_prompt_of_training_data_has_the_hints_and_descriptions_that_the_model_was_given(
    tmp_path: Path, hints: bool
) -> None:
    rule = "Before calling close_ticket, call look_up_ticket."
    text = f"{INSTRUCTIONS} {'' if hints else rule}\n## Tool descriptions\n- close_ticket: Close it for good."
    async with bench_at(tmp_path) as bench:
        await bench.environments.create("desk", instructions=text, world_data=tickets(1))
        await bench.scenarios.create("desk", [closing(1, split="train", hints=[{"text": rule}])])
        run = (await bench.runs.start("desk", wait_s=45, options={"hints": hints})).run
        assert run.totals.passed == 1
        report = await bench.exports.export(run.id, "sft")
    row = json.loads(report.path.read_text(encoding="utf-8"))
    system = row["messages"][0]["content"]
    assert "Tool descriptions" not in system and rule in system
    assert ("## Hints" in system) == hints
    described = {
        tool["function"]["name"]: tool["function"]["description"] for tool in json.loads(row["tools"])
    }
    assert described == {"look_up_ticket": "Look up a ticket.", "close_ticket": "Close it for good."}
