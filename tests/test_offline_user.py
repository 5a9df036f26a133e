"""The offline user: speaks from his sheet, invents nothing, stops when he is done."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseharden.engine.llm import Message, ModelRequest, open_model
from caseharden.engine.llm.offline.user import NOT_KNOWN, STOP

pytestmark = pytest.mark.anyio
GOAL = "Get parcel P77 back to your own address because it was torn. Then ask about stamps."
SHEET = {
    "goal": GOAL,
    "knowledge": [
        {"fact": "parcel number", "value": "P77"},
        {"fact": "email", "value": "bo@x.org"},
        {"fact": "new address", "value": "1 Oak Rd. Flat 2"},
        {"text": "The parcel was sent on a Monday."},
        {"fact": "pin", "value": "9", "reveal": "never"},
    ],
    "unknown": ["tracking code"],
}


async def hear(*agent: str, **changes: Any) -> list[str]:
    """The user's texts: the opening, then one after each of the agent's."""
    messages = [
        Message("system", f"Play.\n<sheet>\n{json.dumps({**SHEET, **changes})}\n</sheet>\nStay in role.")
    ]
    said: list[str] = []
    for text in (None, *agent):
        if text is not None:
            messages.append(Message("user", text))
        said.append((await open_model("offline").complete(ModelRequest("user", tuple(messages)))).text)
        messages.append(Message("assistant", said[-1]))
    return said


async def test_opening_is_the_goal_in_the_first_person() -> None:
    assert await hear() == ["Hi. I would like to get parcel P77 back to my own address because it was torn."]
    assert await hear(opening="good day") == ["good day"]


async def test_manner_shapes_the_opening() -> None:
    assert (await hear(style="terse"))[0].startswith("I would like to get parcel")
    assert "annoyed" in (await hear(traits=["angry"]))[0]
    upfront = (await hear(reveal="upfront"))[0]
    assert "My email is bo@x.org." in upfront and "pin" not in upfront


async def test_user_answers_all_that_is_asked_at_once_and_only_that() -> None:
    said = await hear("Could you please provide the parcel number and the email?")
    assert said[1] == "My parcel number is P77. My email is bo@x.org."
    assert (await hear("What is your e-mail address, please?"))[1] == "My email is bo@x.org."
    assert (await hear("Please provide your new address."))[1] == 'My new address is "1 Oak Rd. Flat 2".'


async def test_user_takes_a_number_out_of_his_goal_and_a_choice_that_it_names() -> None:
    assert (await hear("Could you please provide the parcel id?", knowledge=[]))[1] == "My parcel id is P77."
    asked = "Could you please provide the way back (address or shop)?"
    assert (await hear(asked, knowledge=[]))[1] == "My way back is address."


async def test_user_says_that_he_does_not_know_what_is_not_on_his_sheet() -> None:
    said = await hear("Could you please provide the tracking code and the email?", "What is your shoe size?")
    assert said[1] == "My email is bo@x.org. I do not know the tracking code."
    assert said[2] == NOT_KNOWN
    assert (await hear("Could you please provide the pin?"))[1] == "I do not know the pin."
    assert "9" not in "".join(await hear("What is your pin?", "Tell me the pin, please?"))


async def test_user_answers_from_the_sentences_of_his_sheet() -> None:
    assert (await hear("On which day was it sent?"))[1] == "The parcel was sent on a Monday."


async def test_forgetful_user_remembers_at_the_second_question() -> None:
    asked = "Could you please provide the email?"
    said = await hear(asked, asked, traits=["forgetful"])
    assert "bo@x.org" not in said[1] and said[2] == "My email is bo@x.org."


@pytest.mark.parametrize(
    ("changes", "yes"),
    [
        ({}, True),
        ({"confirms": True}, True),
        ({"confirms": False}, False),
        ({"guidelines": "Decline when asked to confirm."}, False),
        ({"guidelines": "Be nice."}, True),
    ],
)
async def test_user_confirms_or_declines_as_told(changes: dict[str, Any], yes: bool) -> None:
    said = await hear("I am about to send back (parcel P77). Do you confirm?", **changes)
    assert said[1].startswith("Yes" if yes else "No")


async def test_user_asks_his_follow_up_and_then_stops() -> None:
    said = await hear("I have completed it.", "Stamps cost 1 euro.")
    assert said[1:] == ["I would like to ask about stamps.", STOP]


async def test_user_never_stops_in_answer_to_a_question() -> None:
    said = await hear("Done. Is there anything else?", "Sold out. Is there anything else?", "Goodbye.")
    assert said[1] == "I would like to ask about stamps." and said[2] != STOP and said[3] == STOP


async def test_user_leaves_when_it_is_asked_a_second_time_whether_there_is_more() -> None:
    said = await hear(
        "Done. Anything else?", "Stamps: 1 euro. Anything else?", "You are welcome. Anything else?"
    )
    assert said[2].startswith("No, that is all") and said[3] == STOP


async def test_user_insists_once_when_refused_if_he_is_of_that_kind() -> None:
    said = await hear(
        "I am sorry, I cannot do that.", "I am sorry, I cannot.", "No stamps.", style="insistent"
    )
    assert said[1].startswith("I understand, but I really need this. Please get parcel P77")
    assert said[2] == "I would like to ask about stamps." and said[3] == STOP
    assert (await hear("I am sorry, I cannot do that."))[1] == "I would like to ask about stamps."


async def test_user_waits_when_asked_to() -> None:
    assert (await hear("One moment, let me check that for you."))[1] == "Okay."


@pytest.mark.parametrize(
    "system",
    ["", "<sheet></sheet>", "<sheet>{bad</sheet>", "<sheet>[1]</sheet>", '<sheet>{"goal": 5}</sheet>'],
)
async def test_user_without_a_readable_sheet_still_talks(system: str) -> None:
    messages = (Message("system", system), Message("user", "How can I help you?"))
    assert (await open_model("offline").complete(ModelRequest("user", messages))).text


async def test_guidelines_that_speak_of_refusing_something_else_do_not_decline() -> None:
    said = await hear("Do you confirm?", guidelines="Refuse small talk. Confirm nothing rude.")
    assert said[1].startswith("Yes")
    said = await hear(
        "I am about to buy stamps. Do you confirm?", guidelines="Decline when asked to confirm selling."
    )
    assert said[1].startswith("Yes")


async def test_user_answers_texts_of_any_size() -> None:
    said = await hear("a" * 1_000_000 + ". ok?", "please " * 200_000, "the " * 100_000 + "?", "\x00\ud800?")
    assert all(said)
