"""Metrics: how good a conversation is, besides its verdict; judged, measured or code, each with scale and direction."""

from __future__ import annotations

from .choice import DEFAULT_METRICS, NO_METRICS, choose_metrics, made_of_checks
from .coded import read_code_answer, unscored_by_code
from .judged import NOTHING_WRONG
from .measured import agent_turns
from .metric import METRICS, Metric
from .summary import summaries
from .values import after_checks, before_checks

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "NOTHING_WRONG",
    "NO_METRICS",
    "Metric",
    "after_checks",
    "agent_turns",
    "before_checks",
    "choose_metrics",
    "made_of_checks",
    "read_code_answer",
    "summaries",
    "unscored_by_code",
]
