"""The offline agent: eager, obedient, truthful, never stuck."""

from __future__ import annotations

from typing import Any

import pytest

from caseharden.engine.llm import Message, ModelRequest, ToolCall, open_model
from caseharden.tests.offline_talk import Talk, play, reply, tool

pytestmark = pytest.mark.anyio

ROLE = "You work for a library. Loans last 21 days for members."
TOOLS = [
    tool("find_loan", "Look up a loan: title, due day, fee", ["loan_id"], loan_id="string"),
    tool("renew_loan", "Extend a loan", ["loan_id", "days"], loan_id="string", days="integer", note="string"),
    tool("waive_fee", "Waive the late fee of a loan", ["loan_id"], loan_id="string"),
    tool("check_member", "Check the card of a member", ["card_number"],
         card_number={"type": "string", "pattern": "^C-\\d{3}$"}),
    tool("hold_room", "Reserve a reading room", ["day", "size"], day={"type": "string", "format": "date"},
         size={"type": "string", "enum": ["small", "large"]}),
    tool("transfer_to_human", "Transfer to a human colleague", ["summary"], summary="string"),
]  # fmt: skip
LOANS = {
    "L-1": {"title": "Emma", "fee": 12.5, "state": "late"},
    "L-2": {"title": "Ulysses", "fee": 0, "state": "open"},
}


def execute(name: str, args: dict[str, Any]) -> Any:
    loan = LOANS.get(args.get("loan_id", ""))
    if "loan_id" in args and loan is None:
        return f"there is no loan {args['loan_id']}"
    if name == "find_loan":
        return {"loan_id": args["loan_id"], **(loan or {})}
    if name == "check_member":
        return {"member": "Ann Lee", "secret_pin": "4711"}
    return {"done": True, **args}


async def say(*texts: str, rules: str = "", model: str = "offline") -> Talk:
    return await reply(f"{ROLE}\n{rules}", TOOLS, *texts, execute=execute, model=model)


async def test_agent_calls_the_tool_that_the_words_point_at_as_soon_as_it_can() -> None:
    talk = await say("Please waive the fee of loan L-1.")
    assert talk.calls == [("waive_fee", {"loan_id": "L-1"})]
    assert "done: yes" in talk.agent[-1].lower()


async def test_agent_asks_once_for_all_that_is_missing() -> None:
    talk = await say("I want to reserve a room.", "My day is 2026-12-01. My size is large.")
    assert talk.agent[0] == "Could you please provide the day and the size (small or large)?"
    assert talk.calls == [("hold_room", {"day": "2026-12-01", "size": "large"})]


async def test_agent_tells_amounts_and_texts_of_results() -> None:
    talk = await say("What is the fee of loan L-1?")
    assert talk.called == ["find_loan"]
    assert "12.5" in talk.agent[-1] and "Emma" in talk.agent[-1] and "?" not in talk.agent[-1]


async def test_agent_tells_a_failure_as_it_is() -> None:
    talk = await say("Renew loan L-9 by 7 days.")
    assert talk.agent[-1].startswith("I could not complete renew loan: there is no loan L-9.")


async def test_agent_tries_again_when_the_user_corrects_a_value_after_a_failure() -> None:
    talk = await say("Waive the fee of loan L-9.", "Sorry, the loan id is L-2.")
    assert talk.calls == [("waive_fee", {"loan_id": "L-9"}), ("waive_fee", {"loan_id": "L-2"})]


async def test_agent_asks_for_the_tool_that_a_rule_wants_first_and_runs_it_first() -> None:
    rule = "Before calling waive_fee, call check_member."
    talk = await say("Waive the fee of loan L-1.", "My card number is C-123.", rules=rule)
    assert talk.agent[0] == "Could you please provide the card number?"
    assert talk.called == ["check_member", "waive_fee"]


async def test_agent_does_not_repeat_a_prerequisite_for_the_same_arguments() -> None:
    rule = "Before calling waive_fee, call find_loan. Before calling renew_loan, call find_loan."
    talk = await say(
        "Waive the fee of loan L-1.", "Now renew loan L-1 by 7 days.", "Renew loan L-2 by 7 days.", rules=rule
    )
    assert talk.called == ["find_loan", "waive_fee", "renew_loan", "find_loan", "renew_loan"]


async def test_agent_stops_when_a_prerequisite_fails() -> None:
    talk = await say("Waive the fee of loan L-9.", rules="Before calling waive_fee, call find_loan.")
    assert talk.called == ["find_loan"]
    assert talk.agent[-1].startswith(
        "I am sorry, I cannot waive fee: find loan did not work, there is no loan L-9."
    )


@pytest.mark.parametrize(
    ("rule", "loan", "forbidden"),
    [
        ("Never call waive_fee.", "L-1", True),
        ("Never call waive_fee if fee exceeds 10.", "L-1", True),
        ("Never call waive_fee if fee exceeds 10.", "L-2", False),
        ("Never call waive_fee if fee is below 1.", "L-2", True),
        ("Never call waive_fee if the state is not late.", "L-2", True),
        ("Never call waive_fee if the state is late.", "L-2", False),
        ("Only call waive_fee if the state is late.", "L-2", True),
        ("Never call waive_fee unless the state is late.", "L-1", False),
    ],
)
async def test_agent_obeys_prohibitions(rule: str, loan: str, forbidden: bool) -> None:
    talk = await say(
        f"Waive the fee of loan {loan}.", rules=f"Before calling waive_fee, call find_loan.\n- {rule}"
    )
    assert ("waive_fee" not in talk.called) is forbidden
    assert ("I am sorry, I cannot waive fee" in talk.agent[-1]) is forbidden


async def test_a_condition_looks_only_at_results_about_the_same_thing() -> None:
    rules = "Never call waive_fee if fee exceeds 10."
    talk = await say("Find loan L-1.", "Waive the fee of loan L-2.", rules=rules)
    assert talk.called == ["find_loan", "waive_fee"]


async def test_agent_asks_for_confirmation_and_acts_on_yes_and_refrains_on_no() -> None:
    rule = "Before calling waive_fee, ask the user to confirm."
    yes = await say("Waive the fee of loan L-1.", "Yes, please go ahead.", rules=rule)
    assert yes.agent[0] == "I am about to waive fee (loan id L-1). Do you confirm?" and yes.called == [
        "waive_fee"
    ]
    no = await say("Waive the fee of loan L-1.", "No, stop.", rules=rule)
    assert no.called == [] and no.agent[-1].startswith("Understood, I will not waive fee.")


async def test_agent_gives_up_after_two_unclear_answers_to_a_confirmation() -> None:
    rule = "Before calling waive_fee, ask the user to confirm."
    talk = await say("Waive the fee of loan L-1.", "Hm.", "Purple.", "Purple.", rules=rule)
    assert talk.called == [] and sum("Do you confirm?" in text for text in talk.agent) == 2


async def test_agent_asks_for_what_a_rule_wants_before_a_call() -> None:
    rule = "Before calling waive_fee, ask the user for the date of birth."
    talk = await say("Waive the fee of loan L-1.", "My date of birth is 1990-01-01.", rules=rule)
    assert talk.agent[0] == "Could you please provide the date of birth?" and talk.called == ["waive_fee"]


async def test_agent_calls_once_at_most_when_told_so_and_again_when_not() -> None:
    twice = ("Waive the fee of loan L-1.", "Waive the fee of loan L-1.")
    assert (await say(*twice)).called == ["waive_fee", "waive_fee"]
    talk = await say(*twice, rules="Call waive_fee at most once.")
    assert talk.called == ["waive_fee"] and "already done once" in talk.agent[-1]


async def test_agent_calls_what_must_follow_a_call() -> None:
    talk = await say("Renew loan L-1 by 7 days.", rules="After calling renew_loan, call find_loan.")
    assert talk.calls == [("renew_loan", {"loan_id": "L-1", "days": 7}), ("find_loan", {"loan_id": "L-1"})]


async def test_agent_says_and_hides_what_it_is_told_to() -> None:
    rules = 'Never reveal the secret pin. Always say "Happy reading".'
    rules += ' If the user mentions noise, say "We are sorry. Truly."'
    talk = await say("Check my member card C-123.", "There was noise in the hall.", rules=rules)
    assert "Ann Lee" in talk.agent[0] and "4711" not in talk.agent[0]
    assert all("Happy reading" in text for text in talk.agent) and "We are sorry. Truly." in talk.agent[1]
    bare = await say("Check my member card C-123.")
    assert "4711" in bare.agent[0]


async def test_agent_calls_a_tool_when_a_topic_comes_up() -> None:
    talk = await say("I have a complaint.", rules="If the user mentions a complaint, call transfer_to_human.")
    assert talk.called == ["transfer_to_human"]


async def test_agent_never_transfers_unless_the_user_asks_for_a_human() -> None:
    assert (await say("Transfer my loan L-1 please.", "I want a pony.")).called in ([], ["find_loan"])
    assert (await say("Let me talk to a real person.")).called == ["transfer_to_human"]


async def test_agent_answers_from_facts_and_says_when_it_cannot_help() -> None:
    talk = await say("How many days do loans last for members?", "Paint my house blue.")
    assert talk.agent[0] == "Loans last 21 days for members." and talk.called == []
    assert talk.agent[1].startswith("I am sorry, I cannot help with that.")


async def test_agent_handles_two_requests_in_one_text_and_one_later() -> None:
    talk = await say(
        "Waive the fee of loan L-1 and renew loan L-1 by 3 days.",
        "Please reserve a small room on May 20, 2027.",
    )
    assert talk.called == ["waive_fee", "renew_loan", "hold_room"]
    assert talk.calls[2][1] == {"day": "2027-05-20", "size": "small"}
    assert "waive fee" in talk.agent[0] and "renew loan" in talk.agent[0]


async def test_optional_parameters_are_given_only_when_the_user_names_them() -> None:
    bare = await say("Renew loan L-1 by 7 days because I am ill.")
    assert bare.calls == [("renew_loan", {"loan_id": "L-1", "days": 7})]
    named = await say('Renew loan L-1 by 7 days, the note is "call me".')
    assert named.calls == [("renew_loan", {"loan_id": "L-1", "days": 7, "note": "call me"})]


async def test_agent_never_asks_the_same_more_than_twice() -> None:
    talk = await say("I want to reserve a large room.", "Hm.", "Well.", "Well.")
    assert sum("provide the day" in text for text in talk.agent) == 2
    assert any("I cannot go on without the day" in text for text in talk.agent)


async def test_thanks_and_questions_about_the_past_do_not_repeat_a_write() -> None:
    talk = await say("Waive the fee of loan L-1.", "Thanks for waiving the fee!", "Did you waive the fee?")
    assert talk.called.count("waive_fee") == 1


async def test_a_failed_call_is_tried_again_only_when_told_so() -> None:
    results = iter(["503 upstream timeout", {"done": True}])
    talk = await reply(
        "When a call fails, try again.",
        TOOLS,
        "Waive the fee of loan L-1.",
        execute=lambda name, args: next(results),
    )
    assert talk.called == ["waive_fee", "waive_fee"] and talk.agent[-1].startswith(
        "I have completed waive fee."
    )


async def test_slips_depend_on_seed_and_rule_alone() -> None:
    rule = "Never call waive_fee."

    async def slipped(seed: int, more: str = "") -> bool:
        messages = (Message("system", f"{ROLE}\n{more}{rule}"), Message("user", "Waive the fee of loan L-1."))
        request = ModelRequest("agent", messages, tuple(TOOLS), seed=seed)
        return bool((await open_model("offline:slip=0.3").complete(request)).tool_calls)

    first = [await slipped(seed) for seed in range(200)]
    assert 35 <= sum(first) <= 85
    assert first == [await slipped(seed, "Call find_loan at most once.\n") for seed in range(200)]
    assert not any([(await say("Waive the fee of loan L-1.", rules=rule, model="offline:slip=0")).called])


async def test_agent_survives_broken_and_hostile_input() -> None:
    broken = (
        Message("system", "Before calling " + "a" * 5000 + ', "' * 2000),
        Message("user", "(" * 3000 + "renew loan " + '"' * 999),
        Message("assistant", "", (ToolCall("x", "find_loan", "{not json"),)),
        Message("tool", '{"cut": ', tool_call_id="x"),
        Message("tool", "orphan", tool_call_id="nobody"),
        Message("user", "\x00\ud800 what?"),
        Message("user", "loan" + " " * 1_000_000 + "x is " * 100_000),
    )
    odd = [tool("odd", "", ["a"], a={"type": ["string", "null"], "pattern": "(a+)+$("}), tool("plain", "")]
    for end in range(len(broken) + 1):
        answer = await open_model("offline").complete(ModelRequest("agent", broken[:end], (*TOOLS, *odd)))
        assert answer.text or answer.tool_calls


@pytest.mark.parametrize("trait", ["terse", "polite", "angry", "talkative", "upfront", "forgetful"])
async def test_every_manner_of_user_reaches_his_goal(trait: str) -> None:
    sheet = {
        "goal": "Get loan L-1 renewed by 7 days. Then have the fee of loan L-1 waived.",
        "knowledge": [{"fact": "card number", "value": "C-123"}],
        "traits": [trait],
    }
    talk = await play(f"{ROLE} Before calling renew_loan, call check_member.", TOOLS, execute, sheet)
    assert talk.stopped and talk.called == ["check_member", "renew_loan", "waive_fee"], talk.shown()


async def test_a_pattern_never_finds_a_piece_of_a_longer_word() -> None:
    pin = {"type": "string", "pattern": "^\\d{3}$"}
    talk = await reply(
        "", [tool("open_gate", "Open a gate", ["pin"], pin=pin)], "Open the gate for G123 now."
    )
    assert talk.called == [] and talk.agent == ["Could you please provide the pin?"]


async def test_a_question_is_answered_from_knowledge_before_a_tool_that_writes() -> None:
    talk = await say("How long can members renew loans?", rules="Members can renew loans twice.")
    assert talk.called == [] and talk.agent == ["Members can renew loans twice."]


async def test_what_the_user_does_not_know_is_looked_up() -> None:
    tools = [
        tool("block_card", "Block a card", ["member_id"], member_id="string"),
        tool("find_member", "Find a member by email", ["email"], email="string"),
    ]
    talk = await reply(
        "", tools, "Block my card.", "I do not know the member id.", "My email is a@b.org.",
        execute=lambda name, args: {"member_id": "m7"} if name == "find_member" else {"blocked": True},
    )  # fmt: skip
    assert talk.calls == [("find_member", {"email": "a@b.org"}), ("block_card", {"member_id": "m7"})]


async def test_a_reference_is_looked_up_in_the_list_of_what_it_refers_to() -> None:
    tools = [
        tool("cancel_permit", "Cancel a permit", ["permit_reference"], permit_reference="string"),
        tool("get_prices", "Get the prices of all rooms", []),
        tool("list_permits", "List what an account holds", ["email"], email="string"),
    ]
    talk = await reply(
        "", tools, "Cancel my permit.", "I do not know the permit reference.", "My email is a@b.org.",
        execute=lambda name, args: (
            {"permits": [{"permit_reference": "R7"}]} if name == "list_permits" else {"cancelled": True}
        ),
    )  # fmt: skip
    assert talk.calls == [
        ("list_permits", {"email": "a@b.org"}),
        ("cancel_permit", {"permit_reference": "R7"}),
    ]


async def test_id_number_code_and_reference_are_the_same_word_in_what_users_write() -> None:
    tools = [
        tool("move_stall", "Move a stall", ["stall_reference", "market_code"],
             stall_reference="string", market_code="string"),
    ]  # fmt: skip
    talk = await reply("", tools, "Move a stall. My market reference is B9 and my stall number is A4.")
    assert talk.calls == [("move_stall", {"stall_reference": "A4", "market_code": "B9"})]
    headed = await reply("", tools, "Move the stall with stall reference A4 to market code B9.")
    assert headed.calls == talk.calls


async def test_thanks_for_what_was_refused_are_answered_with_a_goodbye() -> None:
    tools = [tool("cancel_order", "Cancel an order", ["order_id"], order_id="string")]
    rules = "Before calling cancel_order, ask the user to confirm."
    talk = await reply(rules, tools, "Cancel order W1.", "No, please don't.", "No, that is all. Thank you.")
    assert talk.calls == [] and talk.agent[-1] == "You are welcome. Goodbye."
