"""The user's sheet: what the simulated user wants, knows and is like, read from its system text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ...shapes import as_list, as_object
from .words import label, label_tokens, token_set

_BLOCK: Final = re.compile(r"<sheet>\s*(\{.*\})\s*</sheet>", re.DOTALL)
_WISH: Final = "{wish}"
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+(?=[\"'(#]?[A-Z])")
_THEN: Final = re.compile(r"^(?:and\s+)?then,?\s+", re.IGNORECASE)
_DECLINE: Final = re.compile(
    r"\b(?:decline|refuse|say no|do not confirm|never confirm)\b"
    r"(?:[^.]*?\b(?:asked to confirm|confirm|confirmation|asked)\b"
    r"(?:\s+(?P<what>[^.]+))?)",
    re.IGNORECASE,
)
_REJECT: Final = re.compile(
    r"\b(?:never|do not|don't) (?:accept|take|agree to|settle for)\b([^.;,\n]*)", re.IGNORECASE
)
_OWN: Final = (
    (re.compile(r"\b(?:the user|the customer)'s\b|\byour\b|\btheir\b", re.IGNORECASE), "my"),
    (re.compile(r"\byou are\b", re.IGNORECASE), "I am"),
    (re.compile(r"\b(?:you|the user|the customer)\b", re.IGNORECASE), "I"),
)
_NOT_A_VERB: Final = frozenset(
    ["a", "an", "the", "my", "some", "any", "no", "one", "two", "three", "this", "that", "these", "those"]
)
STYLES: Final = {
    "terse": "terse short brief curt hurried rushed impatient laconic",
    "polite": "polite courteous formal friendly kind",
    "talkative": "talkative chatty verbose rambling",
    "angry": "angry annoyed furious rude upset irritated",
    "forgetful": "forgetful absent-minded confused distracted",
    "insists": "insistent insists persistent stubborn pushy demanding bargainer",
    "upfront": "upfront thorough organised organized",
}
"""Words of a style or a trait, and their effect."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that the user knows. A sentence has no `label`, and `value` is the sentence."""

    label: str
    tokens: frozenset[str]
    value: str
    reveal: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """`goals`: what is asked for in turn, each in the imperative; `manner`: keys of STYLES.

    `moves`: what a user who pursues an objective by a method says, in order; `wish`: the objective, in the user's
    words.
    """

    goals: tuple[str, ...]
    opening: str
    facts: tuple[Fact, ...]
    unknown: tuple[frozenset[str], ...]
    manner: frozenset[str]
    declines: bool
    declines_only: frozenset[str]
    moves: tuple[str, ...] = ()
    wish: str = ""
    unknown_names: tuple[str, ...] = ()
    """The names of `unknown`, in its order."""
    rejects: frozenset[str] = frozenset()
    """Words of what its guidelines say it must not accept."""


def read_sheet(system: str) -> Sheet:
    """The sheet between `<sheet>` and `</sheet>`; an empty sheet if there is none or it is broken."""
    return _read(system)


def first_person(text: str) -> str:
    """`Get order W1 refunded` becomes `I would like to get order W1 refunded`."""
    for pattern, word in _OWN:
        text = pattern.sub(word, text)
    head = text.split(maxsplit=1)[:1]
    if not head:
        return text
    if head[0] in ("I", "I'm", "I'd", "My") or text.endswith("?"):
        return text[0].upper() + text[1:]
    link = "I would like" if head[0].lower() in _NOT_A_VERB else "I would like to"
    return f"{link} {_lowered(text)}"


@lru_cache(maxsize=512)
def _read(system: str) -> Sheet:
    found = _BLOCK.search(system)
    try:
        data = as_object(json.loads(found[1])) if found else {}
    except (ValueError, RecursionError):
        data = {}
    reveal = str(data.get("reveal") or "on_request")
    traits = " ".join(map(str, as_list(data.get("traits"))))
    words = set(re.findall(r"[a-z-]+", f"{data.get('style') or ''} {traits}".lower()))
    manner = {key for key, names in STYLES.items() if words & {key, *names.split()}}
    guidelines = str(data.get("guidelines") or "")
    if reveal == "upfront":
        manner.add("upfront")
    if re.search(r"\binsist", guidelines, re.IGNORECASE):
        manner.add("insists")
    decline = _DECLINE.search(guidelines)
    only = (
        token_set(decline["what"])
        if decline and decline["what"] and data.get("confirms") is not False
        else frozenset[str]()
    )
    return Sheet(
        _goals(str(data.get("goal") or "")),
        str(data.get("opening") or ""),
        tuple(fact for item in as_list(data.get("knowledge")) if (fact := _fact(item, reveal))),
        tuple(label_tokens(str(item)) for item in as_list(data.get("unknown"))),
        frozenset(manner),
        data.get("confirms") is False or decline is not None,
        only,
        *_moves(as_object(data.get("method"))),
        tuple(label(str(item)) for item in as_list(data.get("unknown"))),
        frozenset(word for found in _REJECT.finditer(guidelines) for word in token_set(found[1])),
    )


def _moves(method: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    """(the moves with the objective inserted in the first person, the objective)."""
    wish = first_person(str(method.get("objective") or "get some help"))
    wish = wish if wish.endswith((".", "!", "?")) else f"{wish}."
    return tuple(str(move).replace(_WISH, wish) for move in as_list(method.get("moves"))), wish


def _goals(text: str) -> tuple[str, ...]:
    goals: list[str] = []
    for sentence in _SENTENCE_END.split(text.strip()):
        then = _THEN.match(sentence)
        if then or not goals:
            rest = sentence[then.end() :] if then else sentence
            goals.append(rest[:1].upper() + rest[1:])
        else:
            goals[-1] = f"{goals[-1]} {sentence}"
    return tuple(goal for goal in goals if goal)


def _fact(item: Any, reveal: str) -> Fact | None:
    if isinstance(item, str):
        return Fact("", token_set(item), item, reveal) if item else None
    data = as_object(item)
    own = str(data.get("reveal") or reveal)
    if "fact" in data:
        name = label(str(data["fact"]))
        value = data.get("value")
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return Fact(name, label_tokens(name), text, own)
    text = str(data.get("text") or "")
    return Fact("", token_set(text), text, own) if text else None


def _lowered(text: str) -> str:
    return text if len(text) > 1 and text[1].isupper() else text[0].lower() + text[1:]
