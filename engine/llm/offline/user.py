"""The offline user: asks for its goal, answers from its sheet, stops when it is done; it invents nothing.

In its chat the roles are swapped: its own texts are the assistant's, the agent's are the user's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..client import Message, ModelRequest, ToolCall
from .own_tools import asked_call, since_asked, told
from .proposals import Asked, asked_in, proposes
from .proposals_abroad import LANGUAGES
from .recall import ended, matched, stated, told_of
from .sheet import Fact, Sheet, first_person, read_sheet
from .wishes import unwanted, wanted
from .words import clipped, token_set

STOP: Final = "###STOP###"
"""The whole text with which the user ends the conversation."""
NOT_KNOWN: Final = "I do not know that."
NOT_UNDERSTOOD: Final = "I am not sure what you mean."
"""Its answer to a question that it has no rule for."""
_LATER: Final = "I do not remember that right now, let me look."
_YES: Final = "Yes, please go ahead."
_NO: Final = "No, please do not do that."
_RIGHT: Final = "Yes, that is right."
_EITHER: Final = "Yes, either is fine with me."
_ALL: Final = "No, that is all. Thank you."
_TOLD: Final = "I have told you all I know."
_REFUSED: Final = re.compile(
    r"\b(?:cannot|can't|could not|couldn't|unable|not able|not allowed|not possible|will not|won't|refuse|sorry)\b",
    re.IGNORECASE,
)
_WAITING: Final = re.compile(
    r"\b(?:one moment|a moment|let me (?:check|look|see|find)|please wait|hold on)\b", re.IGNORECASE
)
_WANTED: Final = re.compile(
    r'^Your last answer was rejected: .*\. Answer anew\.[^"]*"([^"]+)"[^"]*$', re.DOTALL
)
_HOW_TO_HELP: Final = re.compile(r"\bhow (?:can|may|could) i\b", re.IGNORECASE)
_OR: Final = re.compile(r",?\s+or\s+", re.IGNORECASE)
_NO_CHOICE: Final = re.compile(
    r"^(?:not?|should|shall|would|do|does|is|are|can|may|could|wait|keep|leave|stop|something|anything)\b",
    re.IGNORECASE,
)
_PHRASE: Final = re.compile(
    r"\b(?:to|as|by|with|via|on|into|for|a|an|the|your|want|like|prefer|use)\s+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Talk:
    own: tuple[str, ...]
    agent: tuple[str, ...]

    @property
    def last(self) -> str:
        return self.agent[-1] if self.agent else ""


def act(request: ModelRequest) -> tuple[str, ToolCall | None]:
    """The user's next text, or the call that the agent asks it to make first.

    If its last text was rejected with words in double quotes, it says those.
    """
    wanted = _WANTED.search(request.messages[-1].content) if request.messages[-1].role == "system" else None
    if wanted is not None:
        return wanted[1], None
    call = asked_call(request, _sheet_of(request)) if request.tools else None
    return ("", call) if call else (speak(request), None)


def speak(request: ModelRequest) -> str:
    """The user's next text, or `###STOP###`; never a stop in answer to a question."""
    sheet = _sheet_of(request)
    talk = _talk(request.messages)
    if not talk.own:
        return sheet.opening or (sheet.moves[0] if sheet.moves else opening(sheet))
    text = talk.last
    if sheet.moves:
        return _moved(sheet, talk, text)
    _, done = since_asked(request.messages)
    if done:
        return f"{told(done)} {_from_sheet(sheet, talk, text)}".strip()
    if text and is_asking(text):
        return _answered(sheet, talk, text)
    if _WAITING.search(text) and len(text) < 200 and not _REFUSED.search(text) and talk.own[-1] != "Okay.":
        return "Okay."
    return _insisted(sheet, talk, text) or _next_goal(sheet, talk) or STOP


def _sheet_of(request: ModelRequest) -> Sheet:
    return read_sheet("\n".join(message.content for message in request.messages if message.role == "system"))


@lru_cache(maxsize=512)
def opening(sheet: Sheet) -> str:
    """The first text: the goal in the first person, in the sheet's manner."""
    goal = first_person(sheet.goals[0]) if sheet.goals else "I would like some help."
    facts = [stated(fact) for fact in sheet.facts if _upfront(sheet, fact)]
    parts = [_greeting(sheet.manner), ended(goal), *facts]
    return " ".join(part for part in parts if part)


def is_asking(text: str) -> bool:
    return bool(asked_in(text))


def _talk(messages: Sequence[Message]) -> _Talk:
    own = tuple(m.content for m in messages if m.role == "assistant" and m.content)
    return _Talk(own, tuple(clipped(m.content) for m in messages if m.role == "user" and m.content))


def _greeting(manner: frozenset[str]) -> str:
    if "terse" in manner:
        return ""
    if "angry" in manner:
        return "Listen, I am really annoyed."
    if "talkative" in manner:
        return "Hello there! I hope you are doing well, it has been quite a day over here."
    return "Hello, I hope you can help me, please." if "polite" in manner else "Hi."


def _answered(sheet: Sheet, talk: _Talk, text: str) -> str:
    """The answer to everything that a text asks: yes or no to what it proposes, and the facts that it wants."""
    asked = asked_in(text)
    proposed = [one for one in asked if one.sort in ("act", "offer")]
    others = [one for one in asked if one not in proposed or not one.sure]
    question = " ".join(one.action for one in others)
    facts = bool(question and matched(sheet, question)[0])
    if proposed and not (facts and not any(one.sure for one in proposed)):
        answer = _agreed(sheet, proposed[-1], text)
        return f"{answer} {_from_sheet(sheet, talk, question)}" if facts else answer
    told = _from_sheet(sheet, talk, question)
    if told:
        repeated = talk.agent.count(text) > 3 and told in talk.own
        return _TOLD if repeated else f"{_whether(sheet, others)}{told}"
    for sort, answer in (("wish", _wished), ("more", _more)):
        one = next((one for one in asked if one.sort == sort), None)
        if one is not None:
            return answer(sheet, talk, text)
    checked = next((_checked(sheet, one) for one in asked if one.sort == "check"), "")
    if checked:
        return checked
    unknown = NOT_UNDERSTOOD if any(one.sort == "check" for one in asked) else NOT_KNOWN
    return unknown if unknown not in talk.own[-2:] else _TOLD


def _agreed(sheet: Sheet, one: Asked, text: str) -> str:
    """Yes or no to a proposal; a no says what the user wants instead."""
    if _declines(sheet, text):
        answer = _NO
    elif unwanted(sheet, one.action, one.before, offered=one.sort == "offer"):
        want = wanted(sheet, f"{one.before} {one.action}")
        answer = f"No, {want}" if want.startswith("I ") else f"No. {want}"
    else:
        answer = _chosen(sheet, one) or _YES
    if not one.language:
        return answer
    known = LANGUAGES[one.language]
    return f"{answer} ({(known.no if answer.startswith('No') else known.yes).rstrip('.')}.)"


def _chosen(sheet: Sheet, one: Asked) -> str:
    """Which of two things it is: the one that the sheet speaks of."""
    left, found, right = _OR.split(one.action, 1)[0], _OR.search(one.action), ""
    right = one.action[found.end() :].strip(" ?.") if found else ""
    if not right or _NO_CHOICE.match(right):
        return ""
    left = _PHRASE.split(left)[-1].strip()
    known = token_set(" ".join([*sheet.goals, *(fact.value for fact in sheet.facts)]))
    first, second = token_set(left) - token_set(right), token_set(right) - token_set(left)
    if bool(first & known) is bool(second & known):
        return _EITHER
    return f"Yes, {left if first & known else right}, please."


def _whether(sheet: Sheet, asked: Sequence[Asked]) -> str:
    """Yes or no, if a question states a value that the sheet has, before the value itself is told."""
    stated = " ".join(one.action for one in asked if one.sort != "fact")
    if not any(char.isdigit() or char == "@" for char in stated):
        return ""
    words = set(stated.casefold().replace("?", " ").replace(",", " ").split())
    values = {fact.value.casefold() for fact in matched(sheet, stated)[0]}
    if not values:
        return ""
    return "Yes. " if values <= words | {word.rstrip(".!") for word in words} else "No. "


def _checked(sheet: Sheet, one: Asked) -> str:
    """Whether what the agent understood is what the user wants; "" if that cannot be told."""
    if unwanted(sheet, one.action, one.before):
        return f"No, {wanted(sheet, one.action)}"
    words = token_set(one.action)
    return _RIGHT if words and len(words & token_set(" ".join(sheet.goals))) * 2 >= len(words) else ""


def _wished(sheet: Sheet, talk: _Talk, text: str) -> str:
    """What it is about: the goal once more."""
    if not sheet.goals or (_HOW_TO_HELP.search(text) and (len(talk.own) > 1 or _REFUSED.search(text))):
        return _more(sheet, talk, text)
    done = sum(_asked(sheet, goal) in talk.own for goal in sheet.goals[1:])
    goal = ended(first_person(sheet.goals[min(done, len(sheet.goals) - 1)]))
    return goal if talk.own.count(goal) < 2 else _more(sheet, talk, text)


def _more(sheet: Sheet, talk: _Talk, text: str) -> str:
    if talk.own == (sheet.opening,) and sheet.goals:
        return ended(first_person(sheet.goals[0]))
    return _insisted(sheet, talk, text) or _next_goal(sheet, talk) or (STOP if _ALL in talk.own else _ALL)


def _moved(sheet: Sheet, talk: _Talk, text: str) -> str:
    """The next move of a user with a method; a stop once it has what it wants, or has made all its moves."""
    if is_asking(text):
        told = _from_sheet(sheet, talk, text)
        if (told and told not in talk.own) or proposes(text):
            return told or _YES
    elif _WAITING.search(text) and len(text) < 200 and talk.own[-1] != "Okay.":
        return "Okay."
    elif any(sheet.wish in said for said in talk.own) and not _REFUSED.search(text):
        return STOP
    return next((move for move in sheet.moves if move not in talk.own), STOP)


def _declines(sheet: Sheet, text: str) -> bool:
    return sheet.declines and (not sheet.declines_only or sheet.declines_only <= token_set(text))


def _from_sheet(sheet: Sheet, talk: _Talk, question: str) -> str:
    """What the sheet tells about a question; a forgetful user tells it at the second one."""
    told = told_of(sheet, question) if question else ""
    forgets = "forgetful" in sheet.manner and not any(said.startswith(_LATER) for said in talk.own)
    return _LATER if told and forgets and matched(sheet, question)[0] else told


def _insisted(sheet: Sheet, talk: _Talk, text: str) -> str:
    """The last goal once more, if it was refused and the user is one who insists."""
    if "insists" not in sheet.manner or not _REFUSED.search(text) or not sheet.goals:
        return ""
    done = sum(_asked(sheet, goal) in talk.own for goal in sheet.goals[1:])
    goal = sheet.goals[min(done, len(sheet.goals) - 1)]
    insisting = f"I understand, but I really need this. Please {goal[0].lower()}{goal[1:]}"
    return "" if insisting in talk.own else insisting


def _next_goal(sheet: Sheet, talk: _Talk) -> str:
    return next((text for goal in sheet.goals[1:] if (text := _asked(sheet, goal)) not in talk.own), "")


@lru_cache(maxsize=4096)
def _asked(sheet: Sheet, goal: str) -> str:
    return ended(first_person(goal) if "terse" not in sheet.manner else goal)


def _upfront(sheet: Sheet, fact: Fact) -> bool:
    return fact.reveal == "upfront" or ("upfront" in sheet.manner and fact.reveal == "on_request")
