"""What the offline user tells of its sheet when it is asked: facts by their labels, values in its goal, sentences."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .report import best_fact
from .sheet import Fact, Sheet
from .values import labelled
from .words import label_tokens, token_set

_CHOICES: Final = re.compile(r"\s*\(([^()]*)\)")
_PIECES: Final = re.compile(r",| and | or |;|\n")
_WHICH: Final = re.compile(
    r"\b(?:which|what) (?!is |are |was |would |do |should |shall |can |time of )((?:[\w-]+ ){0,2}?[\w-]+)"
    r"(?= (?:is|are|was|shall|should|do|does|did|would|can|may|must|will|you)\b|[?,.])",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(
    r"(?:\b(?:the|your)\s+|^\W*(?=(?:\w+\s+){1,2}(?:id|number|code|reference)\W*$))(\w.*)", re.I
)
_RELATIVE: Final = re.compile(
    r"\s(?:so|to|for|that|you|please|first|again|in|on|from|which|with)\b", re.IGNORECASE
)
_OF: Final = re.compile(r"\bof (?:the|your)\b.*", re.IGNORECASE)
_WHY: Final = re.compile(r"\b(?:why|reasons?)\b", re.IGNORECASE)
_BECAUSE: Final = re.compile(r"\b(because\b.+?)(?=[.;!?](?:\s|$)|$)", re.IGNORECASE)


def answer_from(sheet: Sheet, question: str) -> str:
    """Everything on the sheet that the question asks for; other things asked for with it are named as unknown."""
    facts, unknown = matched(sheet, question)
    if not facts and not unknown:
        return _from_sentences(sheet, question) or _reason(sheet, question)
    parts = [stated(fact) for fact in facts if fact.reveal != "never"]
    hidden = [fact.label for fact in facts if fact.reveal == "never"]
    parts += [f"I do not know the {name}." for name in (*unknown, *hidden)]
    return " ".join(parts)


@lru_cache(maxsize=4096)
def matched(sheet: Sheet, question: str) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """The facts that a question's parts ask for, and the parts that ask for something not on the sheet."""
    facts: dict[Fact, None] = {}
    unknown: dict[str, None] = {}
    for piece in _PIECES.split(_CHOICES.sub(" ", question)):
        words = label_tokens(piece)
        if not words:
            continue
        fact = _nearest(sheet, words) or _in_goal(sheet, piece) or _which(sheet, piece)
        if fact is not None and not any(
            words >= other and not fact.tokens > other for other in sheet.unknown if other
        ):
            facts[fact] = None
        elif " the " in f" {piece}" and "provide" in question:
            unknown[piece.rsplit("the ", 1)[1].strip(" ?.")] = None
        else:
            pairs = zip(sheet.unknown, sheet.unknown_names, strict=True)
            unknown.update(dict.fromkeys(name for tokens, name in pairs if tokens and tokens <= words))
    if unknown:
        _choose(sheet, question, facts, unknown)
    return tuple(facts), tuple(unknown)


def stated(fact: Fact) -> str:
    """A fact as a sentence, in quotes if its value could be read as more than one."""
    if not fact.label:
        return ended(fact.value)
    value = (
        f'"{fact.value}"'
        if re.search(r"[.;!?\n]\s|, (?:my|i|please|can|could|the) ", fact.value, re.I)
        else fact.value
    )
    return f"My {fact.label} is {value}."


def ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


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
    named = list(_NAMED.finditer(_OF.sub(" ", piece)))
    if not named:
        return None
    name = _RELATIVE.split(named[-1][1])[0].strip(" ?.")
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


def _which(sheet: Sheet, piece: str) -> Fact | None:
    """`Which ticket should I close?` asks for the ticket's id."""
    found = _WHICH.search(piece)
    words = label_tokens(found[1]) if found else frozenset[str]()
    if not found or not words:
        return None
    return _nearest(sheet, words) or _in_goal(sheet, f"the {found[1]} id")


def _reason(sheet: Sheet, question: str) -> str:
    """The reason that the goal gives."""
    found = _BECAUSE.search(" ".join(sheet.goals)) if _WHY.search(question) else None
    return ended(found[1][0].upper() + found[1][1:]) if found else ""


def _from_sentences(sheet: Sheet, question: str) -> str:
    said = tuple(fact.value for fact in sheet.facts if not fact.label and fact.reveal != "never")
    words = token_set(question)
    return best_fact(said, question) or next((text for text in said if words & token_set(text)), "")
