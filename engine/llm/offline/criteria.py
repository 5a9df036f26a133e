"""Criteria in controlled English: what a judge can decide, each tied to the rule that would fix a failure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from .language import Rule, read_rule

_AGENT = r"(?:the agent|it)\s+"
_MUST = _AGENT + r"(?:must|should|has to|always)\s+"
_MUST_NOT = _AGENT + r"(?:must not|should not|must never|should never|never|may not)\s+"
_NAME = r"`?([A-Za-z_][\w-]{0,63})`?(?:\(\))?"
_THEIR = r"(?:the user(?:'s)?\s+|their\s+|the\s+|an?\s+)?"
_CALLING = r"(?:calling|using|it calls|call)?\s*"

MUST_CALL: Final = re.compile(rf"{_MUST}(?:call|use)s?\s+{_NAME}", re.IGNORECASE)
_FORMS: Final = (
    (
        re.compile(rf"{_MUST}(?:call|use)s?\s+{_NAME}\s+before\s+{_CALLING}{_NAME}", re.IGNORECASE),
        "Before calling {1}, call {0}",
    ),
    (
        re.compile(rf"{_MUST}(?:call|use)s?\s+{_NAME}\s+after\s+{_CALLING}{_NAME}", re.IGNORECASE),
        "After calling {1}, call {0}",
    ),
    (
        re.compile(
            rf"{_MUST}asks?\s+(?:the user\s+)?"
            rf"(?:for\s+(?:explicit\s+)?confirmation|to\s+confirm)\s+before\s+{_CALLING}{_NAME}",
            re.IGNORECASE,
        ),
        "Before calling {0}, ask the user to confirm",
    ),
    (
        re.compile(
            rf"{_MUST}asks?\s+(?:the user\s+)?for\s+{_THEIR}(.+?)\s+before\s+{_CALLING}{_NAME}", re.IGNORECASE
        ),
        "Before calling {1}, ask the user for the {0}",
    ),
    (
        re.compile(rf"{_MUST_NOT}(?:call|use)s?\s+{_NAME}\s+(?:more than once|twice)", re.IGNORECASE),
        "Call {0} at most once",
    ),
    (
        re.compile(rf"{_MUST_NOT}(?:call|use)s?\s+{_NAME}\s+(?:if|when)\s+(.+)", re.IGNORECASE),
        "Never call {0} if {1}",
    ),
    (re.compile(rf"{_MUST_NOT}(?:call|use)s?\s+{_NAME}", re.IGNORECASE), "Never call {0}"),
    (
        re.compile(rf"{_MUST}(?:mention|say)s?\s+(?:that\s+)?[\"'“](.+)[\"'”]", re.IGNORECASE),
        'Always say "{0}"',
    ),
    (
        re.compile(rf"{_MUST_NOT}(?:reveal|mention|disclose|share)s?\s+{_THEIR}(.+)", re.IGNORECASE),
        "Never reveal the {0}",
    ),
)


@lru_cache(maxsize=1024)
def rule_for(criterion: str) -> Rule | None:
    """The rule that an agent must obey to satisfy a criterion; None if it is outside the language."""
    plain = criterion.strip().rstrip(".! ")
    if len(plain) > 1000:
        return None
    for pattern, sentence in _FORMS:
        found = pattern.fullmatch(plain)
        if found:
            return read_rule(sentence.format(*found.groups()))
    return None


def tool_to_call(criterion: str) -> str:
    """The tool of `The agent must call T.`, else ""."""
    found = MUST_CALL.fullmatch(criterion.strip().rstrip(".! "))
    return found[1] if found else ""
