"""The judge: a model that answers questions code cannot decide, each with the turns that show it."""

from __future__ import annotations

from .answers import FINDINGS_OF_CLAIMS
from .asking import Judge, ask, block_of, judge_chars
from .rendering import Entry, Shown, entries_of, shown

__all__ = [
    "FINDINGS_OF_CLAIMS",
    "Entry",
    "Judge",
    "Shown",
    "ask",
    "block_of",
    "entries_of",
    "judge_chars",
    "shown",
]
