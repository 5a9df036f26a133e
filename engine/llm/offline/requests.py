"""What a user asks for: sentences matched with the tools' vocabulary."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .params import Tool, Toolbox
from .values import value_in
from .words import says_no, says_yes, stem, tokens

STRONG: Final = 2.5
"""A score that a word of the tool's own name reaches if few other tools have that word."""
WEAK: Final = 1.0
_MAX_TEXT: Final = 4000

_CLAUSE: Final = re.compile(
    r"(?<=[.!?;])\s+|\n+|,?\s+(?:and\s+then|then|and\s+also)\s+|,?\s+and\s+(?=please\b|i\s)", re.I
)
_REASON: Final = re.compile(r"\b(?:because|since|due to|although|even though|after all)\b", re.IGNORECASE)
_NOT_THIS: Final = re.compile(
    r"\b(?:do not|don't|not|never|without|instead of|rather than)\s+[\w#-]+(?:\s+[\w#-]+)?", re.I
)
_TELLING: Final = re.compile(
    r"^\W*(?:(?:and|sure|yes|well|ok|sorry|oh|no|actually)[,. ]+)*"
    r"(?:(?:my|the)\s+[\w' -]{1,60}?\s+(?:is|are|was|were|arrived|came)\b|it is\b|it's\b|here is\b|here are\b|"
    r"i do not know|i don't know|i do not remember)",
    re.IGNORECASE,
)
_THANKING: Final = re.compile(
    r"^\W*(?:(?:great|perfect|ok|okay|many)[,! ]+)*(?:thanks|thank you|cheers|bye|goodbye)\b", re.I
)
_ASKING: Final = re.compile(
    r"^\W*(?:(?:hi|hello|hey|and|also|so|please|there)\W+)*"
    r"(?:what|when|where|which|who|why|how|is|are|was|were|does|did|do|has|have (?:you|i|they|we|my)|"
    r"tell me|let me know|"
    r"i (?:would like|want|need) to (?:know|ask|see|check|look|find|hear|learn)|i wonder|(?:can|could) you tell)\b|"
    r"\bstatus of\b",
    re.IGNORECASE,
)
_LOOKING_WORDS: Final = "find look lookup check show list search see view fetch ask tell"
_LOOKING: Final = frozenset(map(stem, _LOOKING_WORDS.split()))
"""Verbs of looking that do not point at any tool in particular."""
_WANTING: Final = re.compile(
    r"\b(?:possible to|able to|can i|could i|may i|can you|could you) (?!tell\b)", re.IGNORECASE
)
_HUMAN: Final = re.compile(
    r"\b(?:human|(?:real |actual )?person|representative|supervisor|manager|operator|live agent|human agent|"
    r"someone else|a colleague)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """A clause and the tool its words point at; `asking`: it is a question, not an order."""

    clause: str
    tool: Tool
    score: float
    asking: bool


@lru_cache(maxsize=8192)
def requests_in(box: Toolbox, text: str) -> tuple[Request, ...]:
    """The requests of one message, in order: all strong ones, else the best weak one."""
    clauses = [clause for clause in _CLAUSE.split(text[:_MAX_TEXT]) if clause and clause.strip()]
    found: list[Request] = []
    for clause in clauses:
        if not is_remark(clause):
            found += _halves(box, clause)
    strong = [request for request in found if request.score >= STRONG]
    if strong:
        return tuple(strong)
    best = max(found, key=lambda request: request.score, default=None)
    return (best,) if best is not None and best.score >= WEAK else ()


def is_question(text: str) -> bool:
    """Whether a text wants to know something; `is it possible to …` wants it done."""
    return _ASKING.search(text) is not None and _WANTING.search(text) is None


def is_remark(clause: str) -> bool:
    """Whether a clause states, thanks or answers rather than asks for something."""
    return bool(_TELLING.match(clause) or _THANKING.match(clause)) or (
        (says_yes(clause) or says_no(clause)) and len(tokens(clause)) < 3
    )


def _halves(box: Toolbox, clause: str) -> list[Request]:
    """`cancel A and update B` is two requests if each half names its own tool."""
    left, joint, right = clause.partition(" and ")
    if joint:
        first, second = _best(box, left), _best(box, right)
        if first and second and first.tool is not second.tool and min(first.score, second.score) >= STRONG:
            return [first, *_halves(box, right)]
    whole = _best(box, clause)
    return [whole] if whole else []


def _best(box: Toolbox, clause: str) -> Request | None:
    words = _emphasis(clause)
    asking = is_question(clause)
    ranked: list[tuple[float, Tool]] = []
    for tool in box.tools.values():
        score = 0.0 if tool.ends else box.score(tool, words)
        if score > 0:
            score += 1.0 if asking and tool.reads else 0.0
            score += 0.2 * sum(value_in(param, clause) is not None for param in tool.required)
            ranked.append((score, tool))
    if ranked:
        looking = asking or any(word in _LOOKING for word in _plain_stems(clause))
        reads = [pair for pair in ranked if pair[1].reads and pair[0] >= WEAK] if asking else []
        score, tool = max(reads or ranked, key=lambda pair: (pair[0], pair[1].reads == looking))
        if score >= WEAK:
            return Request(clause, tool, score, asking)
    if _HUMAN.search(clause):
        ending = next((tool for tool in box.tools.values() if tool.ends), None)
        return Request(clause, ending, STRONG, False) if ending else None
    return None


def _plain_stems(clause: str) -> list[str]:
    return [stem(word) for word in re.findall(r"[a-z]+", clause.lower())]


def _emphasis(clause: str) -> dict[str, float]:
    reason = _REASON.search(clause)
    main, rest = (clause[: reason.start()], clause[reason.start() :]) if reason else (clause, "")
    words = dict.fromkeys(tokens(rest), 0.4)
    words.update(dict.fromkeys(tokens(_NOT_THIS.sub(" ", main)), 1.0))
    return {word: emphasis for word, emphasis in words.items() if word not in _LOOKING}
