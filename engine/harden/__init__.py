"""Hardening: better instructions, searched on train scenarios and proven on held-out ones.

`Hardener` is the loop; everything else is a pure function that it, a tool or a test can call.
"""

from __future__ import annotations

from .brief import write_brief
from .edits import apply_edits, line_changes, unified_diff
from .guards import GUARDS, Hidden, Known, check_guards
from .hidden import hidden_texts, known_of
from .loop import Hardener
from .promotion import check_promotion
from .proof import Arms, compare_arms, decide_outcome, find_regressions
from .rules import RulesWriter, rule_sentences
from .split import assign_split, count_looks, held_out_set, split_scenarios
from .trials import Case, Purpose, TrialOutcome, Trials
from .writers import InstructionWriter, Proposal

__all__ = [
    "GUARDS",
    "Arms",
    "Case",
    "Hardener",
    "Hidden",
    "InstructionWriter",
    "Known",
    "Proposal",
    "Purpose",
    "RulesWriter",
    "TrialOutcome",
    "Trials",
    "apply_edits",
    "assign_split",
    "check_guards",
    "check_promotion",
    "compare_arms",
    "count_looks",
    "decide_outcome",
    "find_regressions",
    "held_out_set",
    "hidden_texts",
    "known_of",
    "line_changes",
    "rule_sentences",
    "split_scenarios",
    "unified_diff",
    "write_brief",
]
