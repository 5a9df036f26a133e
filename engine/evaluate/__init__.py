"""Scoring: what a conversation is worth. A pure function of what is stored: record, scenario, and judges' opinions.

`compile_checks` turns a scenario's `success`, the world's rules, the conditions of its events, the checks of its
script and the reward into a `CheckPlan`, or refuses them. A live trial keeps a `Trace` (`trace.add(entry)` for each
log entry) and asks a `Watcher` at every evaluation point. `grade` replays the stored conversation with the same
watcher and returns the verdict.

What code cannot decide is put to a judge (`ask`); `mark` derives verdict and metrics from the record and its opinions.
`totals`, `summaries`, `thresholds`, `agreement` and `clusters` are about a whole run, `comparison` about two.
"""

from __future__ import annotations

from .agreement import agreement, describe_agreement
from .answers import NEEDS_MODEL, Answer, Predicate
from .arksim_score import overall_of, parts_of
from .clusters import clusters, failure_keys
from .copies import NEAR_DUPLICATE, distinguishing_text, jaccard, near_copies, near_copies_warning, words_of
from .events import ROUNDING_S, START, PlannedEvent
from .grade import ERROR_ENDS, INVALID_ENDS, grade, see_turn, unsolvable
from .grounding import Grounding
from .judge import Judge, Shown, ask, block_of, entries_of, judge_chars, shown
from .knowledge import KnowledgeBase, passages_of
from .marking import MarkedCase, mark
from .metrics import (
    DEFAULT_METRICS,
    METRICS,
    NO_METRICS,
    Metric,
    choose_metrics,
    read_code_answer,
    summaries,
    unscored_by_code,
)
from .naming import MOST_NAMED, name_clusters
from .not_understood import not_understood, not_understood_warning, without_not_understood
from .opinions import Question
from .plan import EXPECTED_OUTPUT, Check, CheckPlan, compile_checks, compile_rules
from .predicates import SUBJECTS
from .rates import COUNTED, EndedTrial, totals
from .rules import RuleCheck
from .script import ScriptCheck
from .starting import before_turn_one
from .texts import dates, has_date, has_number, has_words, numbers
from .thresholds import CheckCounts, Reached, check_thresholds, named_metrics, thresholds
from .trace import ExpectedWorld, Replay, Trace
from .watch import MinefieldHit, Watcher
from .withstanding import REFUSED, must_succeed, withstanding

__all__ = [
    "COUNTED",
    "DEFAULT_METRICS",
    "ERROR_ENDS",
    "EXPECTED_OUTPUT",
    "INVALID_ENDS",
    "METRICS",
    "MOST_NAMED",
    "NEAR_DUPLICATE",
    "NEEDS_MODEL",
    "NO_METRICS",
    "REFUSED",
    "ROUNDING_S",
    "START",
    "SUBJECTS",
    "Answer",
    "Check",
    "CheckCounts",
    "CheckPlan",
    "EndedTrial",
    "ExpectedWorld",
    "Grounding",
    "Judge",
    "KnowledgeBase",
    "MarkedCase",
    "Metric",
    "MinefieldHit",
    "PlannedEvent",
    "Predicate",
    "Question",
    "Reached",
    "Replay",
    "RuleCheck",
    "ScriptCheck",
    "Shown",
    "Trace",
    "Watcher",
    "agreement",
    "ask",
    "before_turn_one",
    "block_of",
    "check_thresholds",
    "choose_metrics",
    "clusters",
    "compile_checks",
    "compile_rules",
    "dates",
    "describe_agreement",
    "distinguishing_text",
    "entries_of",
    "failure_keys",
    "grade",
    "has_date",
    "has_number",
    "has_words",
    "jaccard",
    "judge_chars",
    "mark",
    "must_succeed",
    "name_clusters",
    "named_metrics",
    "near_copies",
    "near_copies_warning",
    "not_understood",
    "not_understood_warning",
    "numbers",
    "overall_of",
    "parts_of",
    "passages_of",
    "read_code_answer",
    "see_turn",
    "shown",
    "summaries",
    "thresholds",
    "totals",
    "unscored_by_code",
    "unsolvable",
    "without_not_understood",
    "withstanding",
    "words_of",
]
