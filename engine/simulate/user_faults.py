"""Faults of a simulated user, found by code in what it is about to say.

A model that plays a user sometimes drops its role: it speaks as the agent, reveals its sheet or its instructions,
handles the stop word as text, or leaves before the agent is asked. The agent can do nothing about it, so the trial is
invalid and is run once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from .user_phrases import TAGS, of_agents, reveals

Sort = Literal["role_flip", "leak", "stop_word", "left_at_once"]
USER_FAULTS: Final[tuple[Sort, ...]] = ("role_flip", "leak", "stop_word", "left_at_once")
STOP: Final = "###STOP###"
_MOST_READ: Final = 20_000
_RUN: Final = 10
"""Consecutive words of its rules that count as revealing them."""
_ECHO: Final = 8
"""Number of words from which a text that repeats the agent's is an echo and not an answer."""
_MANGLED: Final = re.compile(
    r"(?<!#)#+[ \t]*STOP\b|\bSTOP[ \t]*#|(?:^|[\[<(*_])[ \t]*STOP[ \t]*(?:$|[\]>)*_])", re.MULTILINE
)
_SPOKEN_STOP: Final = re.compile(r"(?<!#)#+[ \t]*STOP\b[ \t]*#*|\bSTOP[ \t]*#+")
_TAG: Final = re.compile(rf"^\W*(?:{'|'.join(TAGS)})\s*:", re.IGNORECASE)
_QUOTES: Final = ('"', "'", "`", "\u201c", "\u201d", "\u2018", "\u2019", "(", ")")
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class UserFault:
    """What is wrong with a text, and the words that show it."""

    sort: Sort
    told: str

    @property
    def why(self) -> str:
        """The fault as a sentence."""
        what = {
            "role_flip": "the simulated user spoke as the agent",
            "leak": "the simulated user told its sheet or its rules",
            "stop_word": "the simulated user said the stop word instead of stopping",
            "left_at_once": "the simulated user left before the agent was asked",
        }[self.sort]
        return f"{what}: {self.told[:200]!r}"


def user_fault(
    text: str, heard: str, rules: str, *, plays: bool = False, begins: bool = False
) -> UserFault | None:
    """The fault in what a user's model has said, unedited; None if there is none.

    `heard`: the agent's last words. `rules`: what the user is told to do, apart from its sheet. `plays`: it is to
    claim untrue things, and may sound like anybody. `begins`: the agent has said nothing yet.
    """
    text = text[:_MOST_READ]
    found = _stop_word(text) or _leak(text, rules) or _role_flip(text, heard, plays)
    return found or (UserFault("left_at_once", text) if begins and STOP in text else None)


def without_stop(text: str) -> str:
    """What an agent has said, as its user hears it: without the stop word, so that no agent can have it repeated."""
    return _SPOKEN_STOP.sub("(stop)", text)


def _stop_word(text: str) -> UserFault | None:
    """A stop must be the last word. Within a text, quoted or misspelled it does not count."""
    before, found, after = text.partition(STOP)
    if found:
        quoted = before[-1:] in _QUOTES and after[:1] in _QUOTES
        spoken = quoted or (before.strip() and after.strip(" \n."))
        if spoken or _names_it(before):
            return UserFault("stop_word", text)
        return None
    mangled = _MANGLED.search(text)
    return UserFault("stop_word", text) if mangled else None


def _names_it(before: str) -> bool:
    """Whether the words before a stop talk about it."""
    return (
        re.search(r"\b(?:write|say|send|type|output|reply|respond|answer)(?: with)?:?\W*$", before, re.I)
        is not None
    )


def _leak(text: str, rules: str) -> UserFault | None:
    told = reveals().search(text)
    if told is not None:
        return UserFault("leak", text[max(0, told.start() - 40) : told.end() + 120])
    words = _words(text)
    known = _runs(rules)
    for at in range(len(words) - _RUN + 1):
        run = " ".join(words[at : at + _RUN])
        if run in known:
            return UserFault("leak", run)
    return None


def _role_flip(text: str, heard: str, plays: bool) -> UserFault | None:
    words = _words(text)
    if len(words) >= _ECHO and words == _words(heard[:_MOST_READ]):
        return UserFault("role_flip", text)
    found = None if plays else _TAG.search(text) or of_agents().search(text)
    return UserFault("role_flip", text[max(0, found.start() - 40) : found.end() + 120]) if found else None


@lru_cache(maxsize=64)
def _runs(rules: str) -> frozenset[str]:
    """All sequences of _RUN consecutive words of a text."""
    words = _words(rules)
    return frozenset(" ".join(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
