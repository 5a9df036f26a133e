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
from .report import best_fact
from .sheet import Fact, Sheet, first_person, read_sheet
from .values import labelled
from .words import clipped, label_tokens, token_set

STOP: Final = "###STOP###"
"""The whole text with which the user ends the conversation."""
NOT_KNOWN: Final = "I do not know that."
_LATER: Final = "I do not remember that right now, let me look."
_YES: Final = "Yes, please go ahead."
_NO: Final = "No, please do not do that."
_ALL: Final = "No, that is all. Thank you."
_TOLD: Final = "I have told you all I know."
_CONFIRMING: Final = re.compile(
    r"\bconfirm|\b(?:shall|should|may|can) i (?:go|proceed|continue|do)|\bwould you like me to|\bdo you want me to|"
    r"\bproceed\b|\bgo ahead\b|\bis (?:that|this) (?:right|correct|ok|okay|fine)|\bare you sure",
    re.IGNORECASE,
)
_MORE: Final = re.compile(
    r"\b(?:anything|something) else\b|\bhow (?:can|may) i help\b|\bfurther (?:help|questions)", re.IGNORECASE
)
_REFUSED: Final = re.compile(
    r"\b(?:cannot|can't|could not|couldn't|unable|not able|not allowed|not possible|will not|won't|refuse|sorry)\b",
    re.IGNORECASE,
)
_WAITING: Final = re.compile(
    r"\b(?:one moment|a moment|let me (?:check|look|see|find)|please wait|hold on)\b", re.IGNORECASE
)
_REQUESTING: Final = re.compile(
    r"\b(?:please|could you|can you|kindly)\b[^.?!]{0,200}?\b(?:provide|give|tell|share|send|specify)\b", re.I
)
_WANTED: Final = re.compile(
    r'^Your last answer was rejected: .*\. Answer anew\.[^"]*"([^"]+)"[^"]*$', re.DOTALL
)
_SENTENCES: Final = re.compile(r"(?<=[.!?\n])")
_CHOICES: Final = re.compile(r"\s*\(([^()]*)\)")
_PIECES: Final = re.compile(r",| and | or |;|\n")


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
    facts = [_stated(fact) for fact in sheet.facts if _upfront(sheet, fact)]
    parts = [_greeting(sheet.manner), _ended(goal), *facts]
    return " ".join(part for part in parts if part)


def is_asking(text: str) -> bool:
    return "?" in text or _REQUESTING.search(text) is not None


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
    question = " ".join(part for part in _SENTENCES.split(text) if part.endswith("?")) or text
    if _CONFIRMING.search(question) and "provide" not in question:
        return _NO if _declines(sheet, text) else _YES
    told = _from_sheet(sheet, talk, question)
    if told:
        repeated = talk.agent.count(text) > 3 and told in talk.own
        return _TOLD if repeated else told
    if _MORE.search(question):
        if talk.own == (sheet.opening,) or (
            len(talk.own) == 1 and not _REFUSED.search(text) and "else" not in question
        ):
            return _ended(first_person(sheet.goals[0])) if sheet.goals else _ALL
        return _insisted(sheet, talk, text) or _next_goal(sheet, talk) or _ALL
    return NOT_KNOWN if NOT_KNOWN not in talk.own[-2:] else _TOLD


def _moved(sheet: Sheet, talk: _Talk, text: str) -> str:
    """The next move of a user with a method; a stop once it has what it wants, or has made all its moves."""
    if is_asking(text):
        told = _from_sheet(sheet, talk, text)
        if (told and told not in talk.own) or _CONFIRMING.search(text):
            return told or _YES
    elif _WAITING.search(text) and len(text) < 200 and talk.own[-1] != "Okay.":
        return "Okay."
    elif any(sheet.wish in said for said in talk.own) and not _REFUSED.search(text):
        return STOP
    return next((move for move in sheet.moves if move not in talk.own), STOP)


def _declines(sheet: Sheet, text: str) -> bool:
    return sheet.declines and (not sheet.declines_only or sheet.declines_only <= token_set(text))


def _from_sheet(sheet: Sheet, talk: _Talk, question: str) -> str:
    """Everything on the sheet that the question asks for; other things asked for along with it are named as unknown."""
    facts, unknown = _matched(sheet, question)
    if not facts and not unknown:
        return _from_sentences(sheet, question)
    if "forgetful" in sheet.manner and facts and not any(said.startswith(_LATER) for said in talk.own):
        return _LATER
    parts = [_stated(fact) for fact in facts if fact.reveal != "never"]
    hidden = [fact.label for fact in facts if fact.reveal == "never"]
    parts += [f"I do not know the {name}." for name in (*unknown, *hidden)]
    return " ".join(parts)


@lru_cache(maxsize=4096)
def _matched(sheet: Sheet, question: str) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """The facts that a question's parts ask for, and the parts that ask for something not on the sheet."""
    facts: dict[Fact, None] = {}
    unknown: dict[str, None] = {}
    for piece in _PIECES.split(_CHOICES.sub(" ", question)):
        words = label_tokens(piece)
        if not words:
            continue
        fact = _nearest(sheet, words) or _in_goal(sheet, piece)
        if fact is not None and not any(
            words >= other and not fact.tokens > other for other in sheet.unknown if other
        ):
            facts[fact] = None
        elif " the " in f" {piece}" and "provide" in question:
            unknown[piece.rsplit("the ", 1)[1].strip(" ?.")] = None
        else:
            unknown.update(dict.fromkeys(" ".join(sorted(o)) for o in sheet.unknown if o and o <= words))
    if unknown:
        _choose(sheet, question, facts, unknown)
    return tuple(facts), tuple(unknown)


def _choose(sheet: Sheet, question: str, facts: dict[Fact, None], unknown: dict[str, None]) -> None:
    """Answer a question with choices, such as `the size (small or large)`, if a value of the sheet is one of them."""
    for name, choices in re.findall(r"the ([\w -]+?) \(([^()]*)\)", question):
        values = choices.split(" or ")
        known = [value for value in values if any(fact.value == value for fact in sheet.facts)]
        text = f" {' '.join(sheet.goals).lower()} "
        known = known or [
            v for v in values if re.search(rf"\b{re.escape(v.replace('_', ' ').lower())}\b", text)
        ]
        if name in unknown and len(known) == 1:
            del unknown[name]
            facts[Fact(name, label_tokens(name), known[0], "on_request")] = None


def _nearest(sheet: Sheet, words: frozenset[str]) -> Fact | None:
    best: tuple[float, Fact] | None = None
    for fact in sheet.facts:
        if not fact.label or not fact.tokens:
            continue
        shared = len(fact.tokens & words)
        if shared and (fact.tokens <= words or words <= fact.tokens or shared * 3 >= len(fact.tokens) * 2):
            score = shared + shared / len(fact.tokens)
            if best is None or score > best[0]:
                best = (score, fact)
    return best[1] if best else None


def _in_goal(sheet: Sheet, piece: str) -> Fact | None:
    """A value that the goal itself names: the order's number in `Get order W1 refunded`."""
    if "the " not in piece:
        return None
    name = piece.rsplit("the ", 1)[1].strip(" ?.")
    words = name.split()
    text = " ".join(sheet.goals)
    value = labelled(name, text) if name else None
    if value is None and len(words) > 1 and words[-1] in ("id", "number", "code", "reference"):
        head = r"\s+".join(re.escape(word) for word in words[:-1])
        found = re.search(
            rf"\b{head}\s+(?:id\s+|number\s+|code\s+|reference\s+)?(#?[\w/-]*\d[\w/-]*)", text, re.IGNORECASE
        )
        value = found[1] if found else None
    if value is None and words[-1:] == ["email"]:
        found = re.search(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", text)
        value = found[0] if found else None
    return Fact(name, label_tokens(name), value, "on_request") if value else None


def _from_sentences(sheet: Sheet, question: str) -> str:
    said = tuple(fact.value for fact in sheet.facts if not fact.label and fact.reveal != "never")
    words = token_set(question)
    return best_fact(said, question) or next((text for text in said if words & token_set(text)), "")


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
    return _ended(first_person(goal) if "terse" not in sheet.manner else goal)


def _upfront(sheet: Sheet, fact: Fact) -> bool:
    return fact.reveal == "upfront" or ("upfront" in sheet.manner and fact.reveal == "on_request")


def _stated(fact: Fact) -> str:
    if not fact.label:
        return _ended(fact.value)
    value = (
        f'"{fact.value}"'
        if re.search(r"[.;!?\n]\s|, (?:my|i|please|can|could|the) ", fact.value, re.I)
        else fact.value
    )
    return f"My {fact.label} is {value}."


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
