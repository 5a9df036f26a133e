"""The judge: a model that answers questions which code cannot decide, each with the turns that show it."""

from __future__ import annotations

from .answers import FINDINGS_OF_CLAIMS
from .asking import Judge, ask, judge_chars
from .rendering import Entry, entries_of

__all__ = ["FINDINGS_OF_CLAIMS", "Entry", "Judge", "ask", "entries_of", "judge_chars"]
