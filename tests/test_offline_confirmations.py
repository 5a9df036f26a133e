"""The offline user tells a question that wants a yes from one that wants a fact, in whatever words an agent asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from caseharden.engine.evaluate.consent import says_yes
from caseharden.engine.llm import Message, ModelRequest, open_model
from caseharden.engine.llm.offline.user import NOT_KNOWN, NOT_UNDERSTOOD, STOP

pytestmark = pytest.mark.anyio
CLOSE = {"goal": "Close ticket T2 because it is solved.", "knowledge": [{"fact": "ticket id", "value": "T2"}]}
MINE = {**CLOSE, "goal": "Close my ticket."}
CANCEL = {
    "goal": "Cancel booking B2 because the trip is off.",
    "knowledge": [{"fact": "booking id", "value": "B2"}, {"fact": "email", "value": "m@x.org"}],
}
ORDER = {
    "goal": "Get order W10432 refunded because the lamp arrived broken.",
    "knowledge": [{"fact": "email", "value": "ann@example.com"}, {"fact": "zip", "value": "01609"}],
}


async def answers(sheet: dict[str, Any], *agent: str) -> str:
    """The user's answer to the last of the agent's texts, after its opening."""
    said: list[Message] = [Message("system", f"Play.\n<sheet>{json.dumps(sheet)}</sheet>")]
    model = open_model("offline")
    for text in agent:
        said.append(Message("assistant", (await model.complete(ModelRequest("user", tuple(said)))).text))
        said.append(Message("user", text))
    return (await model.complete(ModelRequest("user", tuple(said)))).text


YES = (
    *(
        "Shall I close ticket T2?",
        "Shall I close it?",
        "Should I close T2?",
        "May I close ticket T2 for you?",
    ),
    *(
        "Can I close ticket T2?",
        "Can I go ahead and close it?",
        "Could I close the ticket now?",
        "May I proceed?",
    ),
    *(
        "Shall we proceed with closing the ticket?",
        "Shall I go on?",
        "Should I?",
        "Shall I?",
        "Must I close it now?",
    ),
    *("Is it ok if I close ticket T2?", "Is it okay for me to close ticket T2?", "Does that work for you?"),
    *("Would it be alright if I closed it?", "Are you OK with me closing T2?", "Is that correct?", "OK?"),
    *(
        "Is everything correct so far?",
        "Does that sound good?",
        "Sounds good?",
        "Good to go?",
        "Okay to close T2?",
    ),
    *(
        "I am about to close ticket T2. OK?",
        "I'm going to close ticket T2, okay?",
        "I'd close ticket T2. Agreed?",
    ),
    *(
        "I will close ticket T2 now - is that right?",
        "You want ticket T2 closed, right?",
        "You mean ticket T2?",
    ),
    *(
        "T2 is open, priority 2. Close it?",
        "Close it?",
        "Close ticket T2 now?",
        "Close ticket T2?",
        "Proceed?",
    ),
    *(
        "Please confirm: close ticket T2. (yes/no)",
        "Please confirm that I should close ticket T2.",
        "Confirm?",
    ),
    *(
        "Please confirm that you want me to close ticket T2.",
        "Could you please confirm the closing of ticket T2?",
    ),
    *(
        "Do you want me to close ticket T2?",
        "Would you like me to close ticket T2?",
        "Do you want it closed?",
    ),
    *(
        "Would you like to close ticket T2?",
        "Would you like ticket T2 closed?",
        "So you want me to close ticket T2?",
    ),
    *("Are you sure?", "Are you sure you want to close ticket T2?", "Do you confirm?", "Do you agree?"),
    *("Can you confirm that I should close ticket T2?", "You'd like me to close ticket T2, correct?"),
    *(
        "Can I have your permission to close ticket T2?",
        "Do I have your consent to close T2?",
        "Any objections?",
    ),
    *("I need your confirmation before I close ticket T2.", "May I ask you to confirm closing ticket T2?"),
    *("Reply YES to close ticket T2.", 'Type "yes" to proceed.', "I can close T2 for you. Yes or no?"),
    *("Let me know if you'd like me to close ticket T2.", "Let me know if I should close it."),
    *("How about I close ticket T2?", "Why don't I close ticket T2 for you?", "What if I close it now?"),
    *(
        "Do you mind if I close ticket T2?",
        "Would you mind if I closed it?",
        "Am I allowed to close ticket T2?",
    ),
    *("Am I right that you want ticket T2 closed?", "Ready to proceed?", "Ready for me to close ticket T2?"),
    *(
        "Do you authorize me to close the ticket?",
        "Before I close ticket T2, are you sure?",
        "Would you like that?",
    ),
    *(
        "Thanks! I found **ticket T2** (open).\n\nShall I **close it**?",
        "Since it is open, should I close it?",
    ),
    *(
        "- Ticket: T2\n- Action: close\n\nDo you confirm these changes?",
        "Shall I close it, or is there more?",
    ),
    *(
        "I looked at it first, as I must: open. Shall I look at the log before I close it?",
        "Can I check T2 first?",
    ),
    *("Shall I go ahead, or is there anything else you need?", "Shall I close T2? Is there anything else?"),
)
FACTS = (
    *(
        "What is your e-mail address?",
        "Can I have your email?",
        "Can I have your email, please?",
        "Your email?",
    ),
    *("May I ask your email?", "May I have the email on the order?", "Could you tell me your email?"),
    *("Can you please provide your email?", "Please provide your email.", "Could I get your email address?"),
    *("Would you mind telling me your email?", "Could you share the email?", "Let me know your email."),
    *(
        "I need your email.",
        "Can I take your email?",
        "Can you confirm your email?",
        "Please confirm your email.",
    ),
    *("Before I go on, may I have your email?", "Which email did you use?", "May I know your email?"),
    *("Would you like to tell me your email?", "To refund it I'd need your email address.", "E-mail?"),
)
NO = (
    *((CLOSE, "Shall I close ticket T3?"), (CLOSE, "T3 is open. Close it?"), (CLOSE, "I close T3 now, ok?")),
    *((CLOSE, "I am about to close ticket T3. OK?"), (CLOSE, "Please confirm: close ticket T3. (yes/no)")),
    *((CLOSE, "Shall I delete ticket T2?"), (CLOSE, "May I reopen ticket T2?"), (CLOSE, "Reopen it?")),
    *(
        (MINE, "Shall I close ticket T3?"),
        (MINE, "You mean ticket T3?"),
        (CLOSE, "You want T3 closed, right?"),
    ),
    *((ORDER, "Shall I cancel order W10432?"), (ORDER, "Is it ok if I exchange the lamp?")),
    *(
        (ORDER, "I cannot refund it. Would you like a store voucher instead?"),
        (ORDER, "Shall I refund W10433?"),
    ),
    *((ORDER, "Would you like to join our newsletter?"), (ORDER, "Do you want me to swap it for another?")),
    ({"goal": "Look up ticket T2 and then close ticket T1."}, "Shall I close ticket T2?"),
    ({"goal": "Add two bags for booking EV287T."}, "Shall I add three bags for booking EV287T?"),
    ({"goal": "Raise ticket T2 to priority 1."}, "Shall I set ticket T2 to priority 3?"),
    ({"goal": "Book a cleaning on 2026-09-23."}, "Shall I book a cleaning on September 24, 2026?"),
    ({"goal": "Move my appointment to Tuesday."}, "I'll move your appointment to Monday 09:00, correct?"),
    ({"goal": "Book a table at 18:00."}, "Shall I book the table at 19:30?"),
    ({"goal": "Book a table at 18:00."}, "We have a table at 19:30. Shall I book it?"),
    ({"goal": "Book a table at 18:00."}, "I could offer 17:00 or 19:30. Would either of those work?"),
    ({"goal": "Ask whether the gym opens on Sundays."}, "Shall I book a class?"),
    ({"goal": "Cancel order W1."}, "May I refund W2 first?"),
    ({"goal": "Cancel order W1, but not as a voucher."}, "May I cancel W1 and give you a voucher?"),
    ({**CLOSE, "guidelines": "Decline when asked to confirm."}, "Shall I close ticket T2?"),
)
ABROAD = (
    *(
        "Soll ich Ticket T2 schließen?",
        "Darf ich T2 jetzt schließen?",
        "Ist das in Ordnung?",
        "Einverstanden?",
    ),
    *("Möchten Sie, dass ich Ticket T2 schließe?", "Voulez-vous que je ferme le ticket T2 ?", "D'accord ?"),
    *("Puis-je fermer le ticket T2 ?", "Êtes-vous sûr de vouloir fermer le ticket T2 ?", "¿Está de acuerdo?"),
    *(
        "¿Quiere que cierre el ticket T2?",
        "¿Debo cerrar el ticket T2?",
        "Posso fechar o ticket T2?",
        "Va bene?",
    ),
    *(
        "Posso chiudere il ticket T2?",
        "Vuole che chiuda il ticket T2?",
        "Zal ik ticket T2 sluiten?",
        "Akkoord?",
    ),
)


@pytest.mark.parametrize("asked", YES)
async def test_user_says_yes_to_what_it_wants(asked: str) -> None:
    said = await answers(CLOSE, asked)
    assert said.startswith("Yes") and says_yes(said), said


@pytest.mark.parametrize("asked", FACTS)
async def test_a_question_for_a_fact_is_no_proposal(asked: str) -> None:
    said = await answers(ORDER, asked)
    assert "My email is ann@example.com." in said and not said.startswith(("Yes,", "No")), said


@pytest.mark.parametrize(("sheet", "asked"), NO)
async def test_user_says_no_and_what_it_wants_if_an_agent_wants_something_else(
    sheet: dict[str, Any], asked: str
) -> None:
    said = await answers(sheet, asked)
    wants = "please do not" if "guidelines" in sheet else "I would like to"
    assert said.startswith("No") and wants in said and not says_yes(said), said


@pytest.mark.parametrize("asked", ABROAD)
async def test_user_agrees_in_the_language_of_the_question_and_in_english(asked: str) -> None:
    said = await answers(CLOSE, asked)
    assert said.startswith("Yes, please go ahead. (") and says_yes(said), said


@pytest.mark.parametrize(
    "asked",
    ["Darf ich Ihre E-Mail-Adresse wissen?", "Puis-je avoir votre adresse e-mail ?", "Kann ich noch helfen?"],
)
async def test_a_foreign_question_for_a_fact_gets_no_yes(asked: str) -> None:
    assert not says_yes(await answers(CLOSE, asked))


async def test_user_names_its_own_record_if_the_goal_does_not() -> None:
    said = await answers(MINE, "Shall I close ticket T3?")
    assert said == "No, I would like to close my ticket. My ticket id is T2."


async def test_user_answers_a_proposal_and_a_question_in_one_text() -> None:
    said = await answers(ORDER, "Shall I refund order W10432? And what is your email?")
    assert said == "Yes, please go ahead. My email is ann@example.com."
    said = await answers(ORDER, "Is your email bob@example.com?")
    assert said == "No. My email is ann@example.com."
    assert (await answers(CLOSE, "The ticket id is T2, correct?")).startswith("Yes")


async def test_user_chooses_what_its_sheet_speaks_of() -> None:
    sheet = {**ORDER, "knowledge": [{"text": "The money shall go back to the card."}]}
    said = await answers(sheet, "Shall I refund it to your card or as store credit?")
    assert said == "Yes, card, please."
    assert (await answers(ORDER, "Shall I send it by post or by courier?")) == "Yes, either is fine with me."


async def test_user_names_the_goal_that_a_question_is_about_and_what_it_must_not_accept() -> None:
    sheet = {"goal": "Cancel order W1. Then get order W2 refunded.", "guidelines": "Never accept a voucher."}
    assert await answers(sheet, "Shall I cancel order W2?") == "No, I would like to get order W2 refunded."
    assert (await answers(sheet, "Would a voucher for order W2 be okay?")).startswith("No, ")
    said = await answers(MINE, "You have two tickets: T1 and T2. Which one shall I close?")
    assert said == "My ticket id is T2."


async def test_user_says_again_what_it_is_about_and_why() -> None:
    said = await answers(CLOSE, "What would you like me to do?")
    assert said == "I would like to close ticket T2 because it is solved."
    assert await answers(ORDER, "May I ask why?") == "Because the lamp arrived broken."
    assert await answers(CLOSE, "Which ticket should I close?") == "My ticket id is T2."
    assert "W10432" in await answers(ORDER, "What is your order number?")


async def test_a_question_without_a_rule_is_told_from_a_fact_that_is_not_on_the_sheet() -> None:
    assert await answers(CLOSE, "What is your shoe size?") == NOT_KNOWN
    assert await answers(CLOSE, "Have you tried a different browser?") == NOT_UNDERSTOOD


async def test_user_does_not_leave_before_what_it_was_asked_is_answered() -> None:
    for asked in (*YES, *FACTS):
        assert await answers(ORDER, asked) != STOP


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Which plan would you like to switch to?", "I would like to switch line L7 to the Premium plan."),
        ("Would you prefer the Basic or the Premium plan?", "Yes, the Premium plan, please."),
        ("We have:\n- **Basic** - $20\n- **Premium** - $40\nWhich would you like?", "Premium, please."),
        ("Free:\n* Monday 9:00 Basic\n* Tuesday 14:00 Premium\n\nWhich one?", "Tuesday 14:00 Premium, please."),
        ("We have:\n1. Gold\n2. Silver\n\nWhich one do you want?", "Any of them is fine with me."),
        ("You can have Gold or Premium. Which would you prefer?", "Premium, please."),
        ("Is it for line L7 or for another line?", "Line L7, please."),
        ("Once you confirm, I will switch it.", "Yes, please go ahead."),
        ("I can switch line L7 whenever you are ready.", "Yes, please go ahead."),
        ("The new rate is $40. Shall I switch line L7 at that rate?", "Yes, please go ahead."),
        ("Want me to switch it?", "Yes, please go ahead."),
        ("When you are ready, please send me your email.", "My email is ann@x.org."),
        ("Will that be all?", "Yes, thank you. That is all."),
        ("The switch has been processed. Do you want a receipt?", "No, that is all. Thank you."),
        ("Hello?", "Yes, I am here. I would like to switch line L7 to the Premium plan."),
        ("May I take a name and an e-mail address?", "My name is Ann Lee. My email is ann@x.org."),
        ("Please answer:\n1. What is your name?\n2. Your email?", "My name is Ann Lee. My email is ann@x.org."),
        ("It has been switched. Would you like me to order a new phone?", "No, that is all. Thank you."),
        ("Should I also unlock the phone?", "No, I would like to switch line L7 to the Premium plan."),
        ("Bear with me for a second.", "Okay."),
        ("Let me pull up your line.", "Okay."),
        ("Your line has Premium now. Does that answer your question?", "Yes, thank you. That is all."),
        ("I cannot do that myself. May I transfer you to a colleague?", "Yes, please go ahead."),
        ("I can't do that. I could give you a voucher. Would that be okay?", "No, I would like to switch line L7 "
         "to the Premium plan."),
        ("Is Ann Lee the right name?", "My name is Ann Lee."),
        ("Have you the phone with you?", NOT_UNDERSTOOD),
    ],
)  # fmt: skip
async def test_user_answers_what_agents_say_in_their_own_words(asked: str, said: str) -> None:
    facts = [{"fact": "name", "value": "Ann Lee"}, {"fact": "email", "value": "ann@x.org"}]
    assert await answers({"goal": "Switch line L7 to the Premium plan.", "knowledge": facts}, asked) == said


@pytest.mark.parametrize(
    "asked",
    [
        "Would you like to keep the booking instead?",
        "Would you rather keep booking B2?",
        "Shall I leave booking B2 as it is?",
        "If I cancel it, you lose the deposit. Shall I keep it?",
        "Would you rather change the dates than cancel?",
        "Shall I change the dates and keep the booking?",
        "Would you rather have a voucher than cancel it?",
        "I can cancel booking B2. Would you prefer to move it to August instead of cancelling?",
        "Shall I refund booking B2?",
        "Would you like B2 refunded?",
        "Do you want me to cancel B2 and B3?",
        "Shall I cancel bookings B3 and B2?",
        "I will cancel B2, B3. OK?",
    ],
)
async def test_user_says_no_to_what_leaves_its_record_as_it_is_or_touches_another(asked: str) -> None:
    said = await answers(CANCEL, asked)
    assert said == "No, I would like to cancel booking B2." and not says_yes(said), said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("Is your booking number B22?", "No. My booking id is B2."),
        ("Is your booking number B2?", "Yes. My booking id is B2."),
        ("Is it B2 or B3 you want cancelled?", "B2, please."),
        ("Is it B3 or B2 that you want to cancel?", "B2, please."),
        ("1. Cancel B2\n2. Keep B2\n\nWhich one?", "Cancel B2, please."),
        ("1. Keep B2 2. Cancel B2 Which one?", "Cancel B2, please."),
        ("You have:\n- B2 (2 nights)\n- B3 (1 night)\nWhich one?", "My booking id is B2."),
        ("Would you like to keep B2 or cancel it?", "Yes, cancel it, please."),
        ("To cancel B2 I need your OK.", "Yes, please go ahead."),
        ("Just let me know and I'll cancel B2.", "Yes, please go ahead."),
        ("You have B2 and B3. Shall I cancel B2?", "Yes, please go ahead."),
        ("The fee is $20. May I charge the cancellation fee and refund the rest?", "Yes, please go ahead."),
        ("Shall I process the refund for B2 to your card?", "Yes, please go ahead."),
        ("Can I keep you informed by email?", "Yes, please go ahead."),
        ("Do you own a swimming pool?", NOT_UNDERSTOOD),
    ],
)
async def test_user_chooses_and_agrees_in_what_it_wants_of_its_record(asked: str, said: str) -> None:
    assert await answers(CANCEL, asked) == said


@pytest.mark.parametrize(
    ("goal", "asked"),
    [
        ("Change the date of booking B2.", "Shall I keep the same room?"),
        ("Book a table for two.", "May I keep it under your name?"),
        ("Exchange item I1 for a bigger one.", "Shall I return item I1 first?"),
        ("Cancel booking B2.", "Shall I cancel booking B2 and keep the deposit as a fee?"),
    ],
)
async def test_user_agrees_to_what_is_part_of_its_wish(goal: str, asked: str) -> None:
    assert (await answers({**CANCEL, "goal": goal}, asked)).startswith("Yes")


async def test_user_agrees_to_all_its_records_if_it_speaks_of_several() -> None:
    for goal in ("Cancel both my bookings.", "Cancel my bookings.", "Cancel bookings B2 and B3."):
        assert (await answers({**CANCEL, "goal": goal}, "Shall I cancel B2 and B3?")).startswith("Yes"), goal
