"""Metrics: what a conversation is worth beside its verdict, judged or measured; scales and directions are stated."""

from __future__ import annotations

from .choice import DEFAULT, choose_metrics, made_of_checks
from .judged import NOTHING_WRONG
from .measured import agent_turns
from .metric import METRICS, Metric
from .summary import summaries
from .values import after_checks, before_checks

__all__ = [
    "DEFAULT",
    "METRICS",
    "NOTHING_WRONG",
    "Metric",
    "after_checks",
    "agent_turns",
    "before_checks",
    "choose_metrics",
    "made_of_checks",
    "summaries",
]
