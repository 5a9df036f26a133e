"""The offline user: asks for its goal, answers from its sheet, stops when it is done; it invents nothing.

In its chat the roles are swapped: its own texts are the assistant's, the agent's are the user's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from ..client import Message, ModelRequest, ToolCall
from .own_tools import asked_call, report_results, since_asked
from .proposals import Asked, asked_in, proposes
from .proposals_abroad import LANGUAGES
from .recall import answer_from, ended, matched, stated
from .sheet import Fact, Sheet, first_person, read_sheet
from .values import dates_in
from .wishes import completes, opposed, unwanted, wanted
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
_EITHER: Final = "either is fine with me."
_HERE: Final = "Yes, I am here."
_ANY: Final = "Any of them is fine with me."
_HELPED: Final = "Yes, thank you. That is all."
_ALL: Final = "No, that is all. Thank you."
_TOLD: Final = "I have told you all I know."
_REFUSED: Final = re.compile(
    r"\b(?:cannot|can't|could not|couldn't|unable|not able|not allowed|not possible|will not|won't|refuse|sorry)\b",
    re.IGNORECASE,
)
_WAITING: Final = re.compile(
    r"\b(?:(?:one|a|just a) (?:moment|second|sec|minute|min)|let me (?!know)|please wait|hang on|hold on|bear with me|"
    r"i(?:'m| am) (?:about|going) to|i(?:'ll| will) (?:now|go ahead))\b",
    re.IGNORECASE,
)
_PICK: Final = re.compile(
    r"\bwhich (?:one|of|option|would|do|you)\b|\bwhat would you prefer\b|\b(?:choose|pick|select)\b",
    re.IGNORECASE,
)
_ITEM: Final = re.compile(
    r"^[ \t]*(?:[-*+\u2022]|\w[.)]|[*_]*option \w+[*_]*[:.)])[ \t]+(.+)$", re.MULTILINE | re.IGNORECASE
)
_SENTENCE: Final = re.compile(r"[.!?](?:\s|$)")
_STARS: Final = re.compile(r"[*_`]+")
_INLINE: Final = re.compile(r"(?<=\S)[ \t]+(?=[1-9][.)][ \t]|which\b[^?\n]{0,80}\?\s*$)", re.IGNORECASE)
_DETAIL: Final = re.compile(r"\s[-\u2013\u2014]\s|:\s|\(")
_UNDERSTANDS: Final = re.compile(
    r"^(?:so |and )?(?:is|was) (?:it|this|that)\b|\b"
    r"(?:mean|understood|understand|talking about|referring to|asking about|want|wish|need|like|looking for)\b",
    re.IGNORECASE,
)
_WHEN: Final = re.compile(r"\b(?:when|dates?|days?|weeks?)\b", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\b(?:number|id|code|reference)\b", re.IGNORECASE)
_WANTED: Final = re.compile(
    r'^Your last answer was rejected: .*\. Answer anew\.[^"]*"([^"]+)"[^"]*$', re.DOTALL
)
_HOW_TO_HELP: Final = re.compile(r"\bhow (?:can|may|could) i\b", re.IGNORECASE)
_OR: Final = re.compile(r",?\s+or\s+", re.IGNORECASE)
_NO_CHOICE: Final = re.compile(
    r"^(?:not?|should|shall|would|do|does|is|are|can|may|could|wait|keep|leave|stop|something|anything)\b",
    re.IGNORECASE,
)
_WHETHER: Final = re.compile(r"\b(?:yes|whether)\b", re.IGNORECASE)
_PHRASE: Final = re.compile(
    r"\b(?:to|as|by|with|via|on|into|for|a|an|the|your|want|like|prefer|use)\s+", re.IGNORECASE
)
_IS_IT: Final = re.compile(r"^(?:is|was|are|were) (?:it|this|that|they|these|those) ", re.IGNORECASE)
_YOU_WANT: Final = re.compile(r",? (?:that |which )?(?:you|i|we|should|shall)\b.*", re.IGNORECASE | re.DOTALL)


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
        return f"{report_results(done)} {_from_sheet(sheet, talk, text)}".strip()
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
    question = "\n".join(one.action for one in others)
    facts = bool(question and matched(sheet, question)[0])
    if proposed and not (facts and not any(one.sure for one in proposed)):
        answer = _agreed(sheet, proposed[-1], text)
        return f"{answer} {_from_sheet(sheet, talk, question)}" if facts else answer
    told = _from_sheet(sheet, talk, question)
    if told:
        repeated = talk.agent.count(text) > 3 and told in talk.own
        return _TOLD if repeated else f"{_whether(sheet, others)}{told}"
    return _otherwise(sheet, talk, text, asked)


def _otherwise(sheet: Sheet, talk: _Talk, text: str, asked: Sequence[Asked]) -> str:
    """The answer to what neither the sheet's facts nor a yes answer."""
    sorts = {one.sort for one in asked}
    if "there" in sorts:
        return f"{_HERE} {ended(first_person(_current(sheet, talk)))}" if sheet.goals else _HERE
    if "wish" in sorts:
        return _wished(sheet, talk, text)
    if "helped" in sorts:
        return _more(sheet, talk, text, _HELPED)
    if "more" in sorts:
        return _more(sheet, talk, text)
    for one in asked:
        picked = _picked(sheet, text, one) or _chosen(sheet, one)
        answer = f"{picked[0].upper()}{picked[1:]}" if picked else _again(sheet, talk, one)
        answer = answer or (_checked(sheet, one) if one.sort == "check" else "")
        if answer:
            return answer
    unknown = NOT_UNDERSTOOD if "check" in sorts else NOT_KNOWN
    return unknown if unknown not in talk.own[-2:] else _TOLD


def _agreed(sheet: Sheet, one: Asked, text: str) -> str:
    """Yes or no to a proposal; a no says what the user wants instead."""
    chosen = _chosen(sheet, one)
    if _declines(sheet, text):
        answer = _NO
    elif unwanted(sheet, one.action, one.before, offered=one.sort == "offer" and not chosen):
        answer = _ALL if completes(sheet, one.before) else _refused(sheet, one)
    else:
        answer = f"Yes, {chosen}" if chosen else _YES
    if not one.language:
        return answer
    known = LANGUAGES[one.language]
    return f"{answer} ({(known.no if answer.startswith('No') else known.yes).rstrip('.')}.)"


def _refused(sheet: Sheet, one: Asked) -> str:
    want = wanted(sheet, f"{one.before} {one.action}")
    return f"No, {want}" if want.startswith("I ") else f"No. {want}"


def _chosen(sheet: Sheet, one: Asked) -> str:
    """Which of two things it is: the one that the sheet speaks of; "" if it is no choice."""
    found = _OR.search(one.action)
    left, right = (one.action[: found.start()], one.action[found.end() :].strip(" ?.")) if found else ("", "")
    if not left or not right or _NO_CHOICE.match(right) or _WHETHER.search(left):
        return ""
    left = _IS_IT.sub("", _PHRASE.split(left)[-1].rpartition(":")[2].strip())
    right = _YOU_WANT.sub("", _SENTENCE.split(right)[0])
    known = _spoken_of(sheet)
    first, second = token_set(left) - token_set(right), token_set(right) - token_set(left)
    pairs = [(not opposed(sheet, left), not opposed(sheet, right))]
    pairs.append((bool(_with_digits(first) & known), bool(_with_digits(second) & known)))
    pairs.append((bool(first & known), bool(second & known)))
    mine = next((one for one, other in pairs if one is not other), None)
    return _EITHER if mine is None else _please(left if mine else right)


def _picked(sheet: Sheet, text: str, one: Asked) -> str:
    """Which of the things in a list it is: the one that shares most words with the sheet."""
    if not _PICK.search(one.action):
        return ""
    named = next((f for f in sheet.facts if f.label and f.reveal != "never" and _names(text, f.value)), None)
    listed = _ITEM.findall(_INLINE.sub("\n", text))
    items = [name for item in listed if (name := _DETAIL.split(_STARS.sub("", item))[0].strip(" ."))]
    if named is not None and sum(_names(item, named.value) for item in items) < 2:
        return stated(named)
    if len(items) < 2:
        return _chosen(sheet, replace(one, action=one.before))
    items = [item for item in items if not opposed(sheet, item)] or items
    shared = [len(token_set(item) & _spoken_of(sheet)) for item in items]
    best = max(shared)
    return _ANY if shared.count(best) > 1 else _please(items[shared.index(best)])


def _names(text: str, value: str) -> bool:
    """Whether a text has a value with a digit as a word of its own: an id, an hour."""
    found = rf"(?<!\w){re.escape(value)}(?!\w)"
    return any(map(str.isdigit, value)) and re.search(found, text, re.IGNORECASE) is not None


def _with_digits(words: frozenset[str]) -> set[str]:
    return {word for word in words if any(map(str.isdigit, word))}


def _spoken_of(sheet: Sheet) -> frozenset[str]:
    return token_set(" ".join([*sheet.goals, *(fact.value for fact in sheet.facts)]))


def _please(choice: str) -> str:
    return f"{choice}, please."


def _again(sheet: Sheet, talk: _Talk, one: Asked) -> str:
    """The goal once more, if it may hold what is asked for: it speaks of the same, or it has a number."""
    goal = _current(sheet, talk)
    text = ended(first_person(goal)) if goal else ""
    same = token_set(one.action) & token_set(goal)
    named = _NUMBER.search(one.action) and any(char.isdigit() for char in goal)
    named = named or (_WHEN.search(one.action) and dates_in(goal))
    return text if one.sort == "fact" and (same or named) and text not in talk.own else ""


def _whether(sheet: Sheet, asked: Sequence[Asked]) -> str:
    """Yes or no, if a question states a value that the sheet has, before the value itself is told."""
    text = " ".join(one.action for one in asked if one.sort != "fact").casefold()
    if not any(char.isdigit() or char == "@" for char in text) or _OR.search(text):
        return ""
    values = [re.escape(fact.value.casefold()) for fact in matched(sheet, text)[0]]
    same = all(re.search(rf"(?<!\w){value}(?!\w)", text) for value in values)
    return ("Yes. " if same else "No. ") if values else ""


def _checked(sheet: Sheet, one: Asked) -> str:
    """Whether what the agent understood is what the user wants; "" if that cannot be told."""
    if unwanted(sheet, one.action, one.before):
        return _refused(sheet, one)
    words = {word for word in token_set(one.action) if word.isalnum()}
    alike = len(words & token_set(" ".join(sheet.goals))) * 2 >= len(words)
    return _RIGHT if words and alike and _UNDERSTANDS.search(one.action) else ""


def _wished(sheet: Sheet, talk: _Talk, text: str) -> str:
    """What it is about: the goal once more."""
    if not sheet.goals or (_HOW_TO_HELP.search(text) and (len(talk.own) > 1 or _REFUSED.search(text))):
        return _more(sheet, talk, text)
    goal = ended(first_person(_current(sheet, talk)))
    return goal if talk.own.count(goal) < 2 else _more(sheet, talk, text)


def _more(sheet: Sheet, talk: _Talk, text: str, last: str = _ALL) -> str:
    """What else it wants; if nothing, that this was all, and then it leaves."""
    if talk.own == (sheet.opening,) and sheet.goals:
        return ended(first_person(sheet.goals[0]))
    return _insisted(sheet, talk, text) or _next_goal(sheet, talk) or (STOP if last in talk.own else last)


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
    row = answer_from(sheet, question) if question else ""
    forgets = "forgetful" in sheet.manner and not any(said.startswith(_LATER) for said in talk.own)
    return _LATER if row and forgets and matched(sheet, question)[0] else row


def _insisted(sheet: Sheet, talk: _Talk, text: str) -> str:
    """The last goal once more, if it was refused and the user is one who insists."""
    if "insists" not in sheet.manner or not _REFUSED.search(text) or not sheet.goals:
        return ""
    goal = _current(sheet, talk)
    insisting = f"I understand, but I really need this. Please {goal[0].lower()}{goal[1:]}"
    return "" if insisting in talk.own else insisting


def _current(sheet: Sheet, talk: _Talk) -> str:
    """The goal that was asked for last; "" if there is none."""
    done = sum(_asked(sheet, goal) in talk.own for goal in sheet.goals[1:])
    return sheet.goals[min(done, len(sheet.goals) - 1)] if sheet.goals else ""


def _next_goal(sheet: Sheet, talk: _Talk) -> str:
    return next((text for goal in sheet.goals[1:] if (text := _asked(sheet, goal)) not in talk.own), "")


@lru_cache(maxsize=4096)
def _asked(sheet: Sheet, goal: str) -> str:
    return ended(first_person(goal) if "terse" not in sheet.manner else goal)


def _upfront(sheet: Sheet, fact: Fact) -> bool:
    return fact.reveal == "upfront" or ("upfront" in sheet.manner and fact.reveal == "on_request")
