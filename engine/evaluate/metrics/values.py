"""Metric values of one conversation: a pure function of its record, of judges' answers and of its verdict."""

from __future__ import annotations

from collections.abc import Mapping

from ...records.conversation import Conversation
from ...records.opinion import MetricValue
from ...records.verdict import Verdict
from ..opinions import Opinions
from .metric import Metric

About = Mapping[str, Mapping[str, str]]
"""Texts by name for each of goal, policy, knowledge."""


def before_checks(
    metrics: Mapping[str, Metric], conversation: Conversation, book: Opinions, about: About
) -> dict[str, MetricValue]:
    """The values that checks may use. A question nobody has answered yet is left open in the book, and has no value."""
    values: dict[str, MetricValue] = {}
    for name, metric in metrics.items():
        if metric.measure is not None:
            values[name] = metric.measure(conversation)
        elif metric.asked:
            value = _asked(metric, book, about)
            if value is not None:
                values[name] = value
    for name, metric in metrics.items():
        if metric.compose is not None and all(part in values for part in metric.parts):
            values[name] = metric.compose(conversation, values)
    return values


def after_checks(
    metrics: Mapping[str, Metric], verdict: Verdict, values: Mapping[str, MetricValue]
) -> list[MetricValue]:
    """All values, including those made from the verdict, in the order of the metrics."""
    found = dict(values)
    for name, metric in metrics.items():
        if metric.of_verdict is not None:
            found[name] = metric.of_verdict(verdict)
    return [found[name] for name in metrics if name in found]


def _asked(metric: Metric, book: Opinions, about: About) -> MetricValue | None:
    if "knowledge" in metric.about and not about.get("knowledge"):
        why = "no passage of the knowledge base deals with this conversation"
        return MetricValue(metric=metric.name, why=why)
    said = book.of(metric.question(about))
    return None if said is None else metric.said(said)
