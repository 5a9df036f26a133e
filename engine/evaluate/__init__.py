"""Scoring: what a conversation is worth, decided by code alone. A pure function of what is stored.

`compile_checks` turns a scenario's `success`, the world's rules, the conditions of its events, the checks of its
script and the reward into a `CheckPlan`, or refuses them. A live trial keeps a `Trace` (`trace.add(entry)` for each
log entry) and asks a `Watcher` at every evaluation point. `grade` replays the stored conversation with the same
watcher and gives the verdict.
`totals`, `thresholds` and `clusters` speak of a whole run, `comparison` of two.
"""

from __future__ import annotations

from .answers import Answer, Predicate
from .clusters import clusters
from .events import ROUNDING_S, START, PlannedEvent
from .grade import grade, see_turn, unsolvable
from .grounding import Grounding
from .plan import EXPECTED_OUTPUT, Check, CheckPlan, compile_checks, compile_rules
from .predicates import SUBJECTS
from .rates import EndedTrial, check_thresholds, thresholds, totals
from .rules import RuleCheck
from .script import ScriptCheck
from .texts import dates, has_date, has_number, has_words, numbers
from .trace import ExpectedWorld, Replay, Trace
from .watch import MinefieldHit, Watcher

__all__ = [
    "EXPECTED_OUTPUT",
    "ROUNDING_S",
    "START",
    "SUBJECTS",
    "Answer",
    "Check",
    "CheckPlan",
    "EndedTrial",
    "ExpectedWorld",
    "Grounding",
    "MinefieldHit",
    "PlannedEvent",
    "Predicate",
    "Replay",
    "RuleCheck",
    "ScriptCheck",
    "Trace",
    "Watcher",
    "check_thresholds",
    "clusters",
    "compile_checks",
    "compile_rules",
    "dates",
    "grade",
    "has_date",
    "has_number",
    "has_words",
    "numbers",
    "see_turn",
    "thresholds",
    "totals",
    "unsolvable",
]
