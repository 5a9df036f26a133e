"""What the agent says: results with their fields, failures with their reason, facts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from .history import Call, Field
from .language import Rule
from .requests import is_question
from .words import label, label_tokens, listed, token_set, tokens

MAX_TOLD: Final = 24
"""Most fields of a result that are reported."""
_MAX_VALUE: Final = 200


def report_call(call: Call, hidden: Sequence[Rule]) -> str:
    """One sentence about a call: done, with its fields except hidden ones, or failed, with the reason."""
    name = label(call.tool)
    if not call.result.ok:
        return f"I could not complete {name}: {call.result.error.rstrip('.')}."
    covered = [label_tokens(rule.what) for rule in hidden]
    parts = [
        _shown(item)
        for item in call.result.fields
        if not any(words <= item.path for words in covered if words)
    ]
    parts = [part for part in parts if part]
    more = len(parts) - MAX_TOLD
    text = "; ".join(parts[:MAX_TOLD]).rstrip(".") + (f"; and {more} more" if more > 0 else "")
    return f"I have completed {name}. {text[:1].upper()}{text[1:]}." if text else f"I have completed {name}."


def question(wanted: Sequence[str]) -> str:
    """One question for everything that is wanted."""
    return f"Could you please provide {listed(f'the {what}' for what in wanted)}?"


def asks_for(text: str, what: str) -> bool:
    """Whether one of the agent's texts asks for it."""
    named = f"the {what}".lower()
    text = text.lower()
    return text.endswith("?") and any(f"{named}{after}" in text for after in ("?", ",", " and the ", " ("))


def wanted_in(text: str) -> int:
    """How many things one of the agent's questions asks for; 0 if it is not a question."""
    start = text.rfind("Could you please provide the ")
    if start < 0 or not text.endswith("?"):
        return 0
    rest = text[start:]
    return 1 + rest.count(", the ") + rest.count(" and the ")


@lru_cache(maxsize=4096)
def best_fact(facts: tuple[str, ...], text: str) -> str | None:
    """The fact that shares the most words with a text: at least two, and half of a question's."""
    words = token_set(text)
    best = max(facts, key=lambda fact: len(words & token_set(fact)), default=None)
    if best is None:
        return None
    shared = len(words & token_set(best))
    enough = shared >= 2 and (shared * 2 >= len(words) if is_question(text) else shared * 4 >= len(words) * 3)
    return best if enough else None


def _shown(item: Field) -> str:
    value = item.value
    if value is None or value == [] or value == "":
        return ""
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, list):
        text = ", ".join(map(str, value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    else:
        text = str(value)
    return f"{item.label}: {text[:_MAX_VALUE]}" if item.label else text[:_MAX_VALUE].rstrip(".")


def fact_covers(facts: tuple[str, ...], clause: str) -> bool:
    """Whether a fact answers a question better than a call would."""
    fact = best_fact(facts, clause)
    return fact is not None and len(token_set(fact) & token_set(clause)) * 5 >= len(set(tokens(clause))) * 3
