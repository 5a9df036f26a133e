"""The judge: a model that answers questions which code cannot decide, each with the turns that show it."""

from __future__ import annotations

from .answers import FINDINGS_OF_CLAIMS
from .asking import Judge, ask
from .rendering import JUDGE_CHARS, Entry, entries_of

__all__ = ["FINDINGS_OF_CLAIMS", "JUDGE_CHARS", "Entry", "Judge", "ask", "entries_of"]
