"""Questions that the offline user did not understand: what fails after one may not be the agent's fault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..llm.offline.user import NOT_UNDERSTOOD
from ..plural import plural
from ..records.conversation import Conversation, SayEntry

_BEGINS: Final = "The offline user did not understand"
_USE: Final = "a language model as the user understands more"


def not_understood(conversation: Conversation) -> list[int]:
    """The turns in which the agent asked what the offline user has no rule for."""
    user = conversation.models.get("user")
    if user is None or not user.name.startswith("offline"):
        return []
    said = (entry for entry in conversation.log if isinstance(entry, SayEntry) and entry.by == "user")
    return [
        max(entry.turn - 1, 1) for entry in said if entry.source == "model" and entry.say == NOT_UNDERSTOOD
    ]


def without_not_understood(warnings: Iterable[str]) -> list[str]:
    """The warnings without one of these, which counts more each time."""
    return [one for one in warnings if not one.startswith(_BEGINS)]


def not_understood_warning(failed: Iterable[tuple[str, int]]) -> list[str]:
    """The warning for failed trials with such a question: (the place of the first, or "" if hidden; how many)."""
    places = list(failed)
    if not places:
        return []
    first = next((f", for example at {place}" for place, _ in places if place), "")
    questions = plural(sum(count for _, count in places), "question")
    where = plural(len(places), "trial that failed", "trials that failed")
    return [f"{_BEGINS} {questions} in {where}{first}: not surely the agent's fault; {_USE}."]
