"""Metric: a number or a label for a conversation, with a scale and a direction; and the registry of them.

A judged metric is a rubric; a coded one is a function in a user's file, asked like a judge; a measured one is a
function, registered by decorator, of the conversation, of its verdict, or of other metrics' values. Every metric says
which direction is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ...records.conversation import Conversation
from ...records.opinion import Direction, MetricValue, Opinion
from ...records.verdict import Verdict
from ..opinions import Answering, Question

About = Literal["goal", "policy", "knowledge"]
"""What a judge is shown besides the record: the user's goal, the world's policy, passages of the knowledge base."""
Measured = Callable[[Conversation], MetricValue]
OfVerdict = Callable[[Verdict], MetricValue]
Composed = Callable[[Conversation, Mapping[str, MetricValue]], MetricValue]


@dataclass(frozen=True)
class Metric:
    """How a conversation is measured, by exactly one of `rubric`, `code`, `measure`, `of_verdict`, `compose`."""

    name: str
    told: str
    """What it shows, in one sentence."""
    direction: Direction
    scale: tuple[float, float | None] = (0, 1)
    """Least and most; None: no limit."""
    labels: tuple[str, ...] = ()
    """For a metric with labels: the first means that nothing is wrong, the last is the worst."""
    severities: Mapping[str, str] = field(default_factory=dict[str, str])
    """The severity of each label: low, medium, high, critical."""
    rubric: str = ""
    code: str = ""
    """`FILE.py:name` of the function that answers."""
    code_hash: str = ""
    """SHA-256 of its file; "": not computed yet."""
    answer: Answering = "score"
    whole: bool = False
    about: tuple[About, ...] = ()
    measure: Measured | None = None
    of_verdict: OfVerdict | None = None
    compose: Composed | None = None
    parts: tuple[str, ...] = ()
    """The metrics that a composed one is made of."""

    @property
    def judged(self) -> bool:
        """Whether a judge is asked."""
        return bool(self.rubric)

    @property
    def asked(self) -> bool:
        """Whether a judge or a user's code is asked."""
        return self.judged or bool(self.code)

    def question(self, about: Mapping[str, Mapping[str, str]]) -> Question:
        """The question for a judge or the code. `about`: texts by name for each of goal, policy, knowledge."""
        parts = [pair for name in self.about for pair in about.get(name, {}).items()]
        least, most = self.scale
        return Question(
            asks=self.rubric,
            answer=self.answer,
            metric=self.name,
            scale=(least, least if most is None else most),
            whole=self.whole,
            labels=self.labels,
            about=tuple(parts),
            code=self.code,
            code_hash=self.code_hash,
        )

    def said(self, opinion: Opinion) -> MetricValue:
        """The value that an opinion gives."""
        return MetricValue(
            metric=self.name,
            value=opinion.score,
            label=opinion.label,
            severity=self.severities.get(opinion.label, ""),
            why=opinion.why,
            fix=opinion.fix,
            turns=opinion.turns,
            findings=[
                found.model_copy(update={"severity": self.severities.get(found.label, "")})
                for found in opinion.findings
            ],
            unscored=opinion.unscored,
        )


METRICS: Final[dict[str, Metric]] = {}
"""Every built-in metric, by name."""


def enter(metric: Metric) -> Metric:
    """Register a metric."""
    METRICS[metric.name] = metric
    return metric


def measured(
    name: str, told: str, direction: Direction, scale: tuple[float, float | None] = (0, None)
) -> Callable[[Measured], Measured]:
    """Register a function of the conversation."""

    def entered(function: Measured) -> Measured:
        enter(Metric(name, told, direction, scale, measure=function))
        return function

    return entered


def of_verdict(
    name: str, told: str, direction: Direction, scale: tuple[float, float | None] = (0, 1)
) -> Callable[[OfVerdict], OfVerdict]:
    """Register a function of the verdict, which no check can use."""

    def entered(function: OfVerdict) -> OfVerdict:
        enter(Metric(name, told, direction, scale, of_verdict=function))
        return function

    return entered


def composed(
    name: str,
    told: str,
    direction: Direction,
    parts: tuple[str, ...],
    scale: tuple[float, float | None] = (0, 1),
) -> Callable[[Composed], Composed]:
    """Register a function of other metrics."""

    def entered(function: Composed) -> Composed:
        enter(Metric(name, told, direction, scale, compose=function, parts=parts))
        return function

    return entered
