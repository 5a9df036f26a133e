"""Hardening: better instructions, searched on train scenarios and proven on held-out ones.

`Hardener` is the loop; everything else is a pure function that it, a tool or a test can call.
"""

from __future__ import annotations

from .brief import write_brief
from .edits import apply_edits, line_changes, unified_diff
from .guards import GUARDS, Hidden, Known, check_guards
from .hidden import hidden_texts, known_of
from .lint import lint_cases
from .looks_told import LEAST_HELD_OUT, NO_HELD_OUT, look_terms, no_held_out_left
from .loop import PLACEHOLDERS, Hardener, proven_before, submitted_text
from .promotion import check_promotion
from .proof import (
    CONFIRMATION_MISSING,
    LEFT_OUT_MISSING,
    TRIALS_A_LOOK,
    Arms,
    compare_arms,
    decide_outcome,
    find_regressions,
    proof_trials,
)
from .reflect import RECORD_CHARS, ReflectWriter
from .rounds import standing_candidate
from .rules import RulesWriter, rule_sentences
from .split import assign_split, count_looks, held_out_set, split_scenarios
from .trials import Case, Purpose, TrialOutcome, Trials
from .writers import InstructionWriter, Proposal

__all__ = [
    "CONFIRMATION_MISSING",
    "GUARDS",
    "LEAST_HELD_OUT",
    "LEFT_OUT_MISSING",
    "NO_HELD_OUT",
    "PLACEHOLDERS",
    "RECORD_CHARS",
    "TRIALS_A_LOOK",
    "Arms",
    "Case",
    "Hardener",
    "Hidden",
    "InstructionWriter",
    "Known",
    "Proposal",
    "Purpose",
    "ReflectWriter",
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
    "lint_cases",
    "look_terms",
    "no_held_out_left",
    "proof_trials",
    "proven_before",
    "rule_sentences",
    "split_scenarios",
    "standing_candidate",
    "submitted_text",
    "unified_diff",
    "write_brief",
]
