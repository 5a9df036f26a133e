"""What does not belong in instructions: commands of a transcript, role marks, addresses, secrets, hidden characters.

A candidate may be written by a model that read transcripts. What somebody said in them must not become an instruction
to the agent, nor may an address or a key leak through it. Only added lines are checked; anything in the base or in the
world's open texts is free.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

from ..net import HIDDEN, looks_secret
from ..records.hardening import GuardResult

_COMMAND: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.\n]{0,40}\b(?:previous|prior|above|earlier|all|any|other|your|these)\b"
    r"[^.\n]{0,40}\b(?:instructions?|rules?|prompts?|guidelines?|polic(?:y|ies))\b",
    re.IGNORECASE,
)
_MARK: Final = re.compile(
    r"<\|[^|\n]{1,40}\|>|\[/?(?:INST|SYS)\]|<</?SYS>>"
    r"|</?\s*(?:system|user|assistant|tool|instructions?|conversation|transcript|record)\b[^>\n]{0,40}>"
    r"|^\s*(?:system|assistant|human)\s*:|^-{3,} record\b",
    re.IGNORECASE,
)
_URL: Final = re.compile(
    r"\b(?:[a-z][a-z0-9+.-]{1,20}://|www\.|data:[a-z]+/|javascript:)[^\s<>\"'`)\]]*", re.IGNORECASE
)
_MAIL: Final = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_PACKED: Final = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")


def injection_guard(base: str, added: Sequence[tuple[int, str]], open_texts: Sequence[str]) -> GuardResult:
    """Refuse added lines (number, text) that hold any of these, saying what they hold and why it is refused."""
    free = "\n".join([base, *open_texts])
    for number, line in added:
        for rule, find in _KINDS:
            text = find(line, free)
            if text:
                return GuardResult(guard="injection", result="fail", line=number, text=text[:120], rule=rule)
    return GuardResult(guard="injection", result="pass")


def _foreign(pattern: re.Pattern[str]) -> Callable[[str, str], str]:
    """Find matches in a line that appear nowhere in the free texts."""

    def find(line: str, free: str) -> str:
        lowered = free.lower()
        return next((m[0] for m in pattern.finditer(line) if m[0].rstrip(".,;:").lower() not in lowered), "")

    return find


def _packed(line: str, free: str) -> str:
    """A long run of letters and digits mixed: packed data, not a word or a name."""
    found = (m[0] for m in _PACKED.finditer(line) if m[0] not in free)
    return next((run for run in found if any(map(str.isdigit, run)) and run.lower() != run), "")


def _secret(line: str, free: str) -> str:
    """Something that looks like a key is named by its kind, not repeated."""
    return HIDDEN if HIDDEN in line or looks_secret(line) else ""


def _unseen(line: str, free: str) -> str:
    """An invisible character: of format or private use, other than joiners within a script."""
    odd = next((c for c in line if unicodedata.category(c) in ("Cf", "Co") and c not in "\u200c\u200d"), "")
    return f"U+{ord(odd):04X}" if odd and odd not in free else ""


_KINDS: Final[Sequence[tuple[str, Callable[[str, str], str]]]] = (
    ("no secrets", _secret),
    ("no invisible characters", _unseen),
    ("no commands about instructions, as somebody in a transcript may give them", _foreign(_COMMAND)),
    ("no marks of roles or records", _foreign(_MARK)),
    ("no addresses of the web that the base or the policy does not have", _foreign(_URL)),
    ("no e-mail addresses that the base or the policy does not have", _foreign(_MAIL)),
    ("no packed data", _packed),
)
