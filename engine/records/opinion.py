"""Opinion: a judge's answer to one question about one conversation; metric values, labels by people, agreement."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored

Direction = Literal["higher", "lower", "none"]
"""Which direction of a metric is better."""
CODE = "code"
"""Stands for the judge if a metric's own code has answered."""
JUDGING = 1
"""Version of how judges are asked and read; part of every opinion's identity."""


class Finding(Stored):
    """One finding in a turn: a failure with its label, or a claim with what the knowledge base says about it."""

    turn: int = 0
    label: str
    severity: str = ""
    """The severity of such a failure: low, medium, high, critical; "": none."""
    why: str = ""
    passage: str = ""
    """The passage of the knowledge base that shows it, as named to the judge: p1, p2 ..."""
    quote: str = ""
    """The beginning of that passage."""


class Opinion(Stored):
    """An answer that was read and is within what was asked; or why there is none (`unscored`)."""

    question: str
    """Hash of what was asked."""
    record: str
    """Hash of the transcript it refers to."""
    judge: str
    """The model's name in reports, or `code`."""
    judging: int = JUDGING
    asked: str = ""
    """The criterion, or the metric's name."""
    verdict: Literal["pass", "fail", "inconclusive"] | None = None
    """For a criterion."""
    score: float | None = None
    """For a metric with a numeric scale."""
    label: str = ""
    """For a metric with labels."""
    why: str = ""
    fix: str = ""
    """What would fix it, in one sentence; "": nothing needs fixing."""
    turns: list[int] = Field(default_factory=list[int])
    """The turns that show it; all of them exist."""
    findings: list[Finding] = Field(default_factory=list[Finding])
    votes: dict[str, int] = Field(default_factory=dict[str, int])
    """How often each answer was given, if several were asked for."""
    unscored: str = ""
    """Why there is no answer: it was broken, or out of range, twice."""


class MetricValue(Stored):
    """A metric of one conversation. With neither value nor label it is unscored, or does not apply."""

    metric: str
    value: float | None = None
    label: str = ""
    severity: str = ""
    """Of the label: low, medium, high, critical; "": none."""
    why: str = ""
    fix: str = ""
    turns: list[int] = Field(default_factory=list[int])
    findings: list[Finding] = Field(default_factory=list[Finding])
    parts: dict[str, float] = Field(default_factory=dict[str, float])
    """For a composed metric: its components."""
    unscored: str = ""
    """Why it could not be measured; "" with no value: it does not apply here."""

    @property
    def measured(self) -> bool:
        """Whether there is a number or a label."""
        return self.value is not None or bool(self.label)


class MetricSummary(Stored):
    """A metric over the conversations of a run that count: pass, fail and inconclusive ones."""

    mean: float | None = None
    interval: tuple[float, float] | None = None
    """95%, of the mean, clustered by scenario."""
    scale: list[Any] = Field(default_factory=list[Any])
    """[least, most] or the labels."""
    direction: Direction = "none"
    judged: bool = False
    scored: int = 0
    unscored: int = 0
    does_not_apply: int = 0
    labels: dict[str, int] = Field(default_factory=dict[str, int])
    """How many conversations have each label."""
    components: dict[str, float] = Field(default_factory=dict[str, float])
    """Means of the parts of a composed metric."""


class HumanLabel(Stored):
    """A person's answer to one check, criterion or metric of one conversation."""

    format: Literal["label/1"] = "label/1"
    conversation: str
    """simulation/trial"""
    check: str
    label: str | float
    by: str = ""
    at: str = ""


class CheckAgreement(Stored):
    """How well a judge agrees with people on one check or metric."""

    labels: int = 0
    agree: int = 0
    kappa: float | None = None
    """Cohen's; for numbers quadratically weighted. None: undefined, for example if everyone always says the same."""
    confusion: dict[str, dict[str, int]] = Field(default_factory=dict[str, dict[str, int]])
    """By the person's label, then by the judge's."""


class Agreement(Stored):
    """How well a judge agrees with people over a run."""

    judge: str = ""
    labels: int = 0
    compared: int = 0
    """Labels for which the judge has an answer."""
    agree: int = 0
    verdicts: int = 0
    """How many of them are for checks and criteria; the others are for metrics."""
    kappa: float | None = None
    """Over all of these together; that of each metric is in `by_check`."""
    by_check: dict[str, CheckAgreement] = Field(default_factory=dict[str, CheckAgreement])
    disagree: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """conversation, check, label, judge, why; all of them."""
    without: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """Labels for which the judge has no answer, and why."""
