"""Marking: verdict and metrics of a conversation, a pure function of what is stored and of judges' answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..records.conversation import Conversation
from ..records.opinion import CODE, MetricValue, Opinion
from ..records.verdict import Verdict
from .grade import ERROR_ENDS, INVALID_ENDS, grade
from .metrics import METRICS, Metric, after_checks, before_checks
from .opinions import Opinions, Question, book_of
from .plan import CheckPlan
from .trace import ExpectedWorld


@dataclass(frozen=True)
class MarkedCase:
    """What a conversation is marked against. `about`: texts by name for each of goal, policy, knowledge."""

    plan: CheckPlan
    base_root: dict[str, Any]
    expected: ExpectedWorld | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    about: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    @property
    def wanted(self) -> dict[str, Metric]:
        """The requested metrics, and those that the checks use."""
        named = [METRICS[name] for name in self.plan.metrics if name in METRICS and name not in self.metrics]
        with_parts = [METRICS[part] for metric in named for part in (*metric.parts, metric.name)]
        return {**{metric.name: metric for metric in with_parts}, **self.metrics}


def mark(
    conversation: Conversation, case: MarkedCase, opinions: Sequence[Opinion], judge: str
) -> tuple[Verdict, list[Question]]:
    """The verdict with its metrics, and the questions that this judge, or the code of metrics, has not answered yet.

    Only opinions of `judge` (a model's name in reports) and of code about this very record count. A trial that ended
    in an error, or was invalid, is not measured.
    """
    record = conversation.transcript_hash
    book = Opinions(book_of(opinions, judge, record))
    if conversation.end.reason in (*ERROR_ENDS, *INVALID_ENDS):
        return _graded(conversation, case, Opinions()), []
    wanted = case.wanted
    values = before_checks(wanted, conversation, book, case.about)
    book.metrics = values
    verdict = _graded(conversation, case, book)
    verdict.metrics = _all_values(wanted, after_checks(wanted, verdict, values))
    verdict.opinions = list(opinions)
    questions = list(book.open.values())
    judged = any(not question.code for question in questions) or any(
        o.judge != CODE for o in book.said.values()
    )
    verdict.judge = judge if judged else ""
    return verdict, questions


def _graded(conversation: Conversation, case: MarkedCase, book: Opinions) -> Verdict:
    return grade(conversation, case.plan, case.base_root, case.expected, book)


def _all_values(wanted: Mapping[str, Metric], values: Sequence[MetricValue]) -> list[MetricValue]:
    """The values, and for each metric without one an unscored value."""
    found = {value.metric: value for value in values}
    return [
        found.get(name) or MetricValue(metric=name, unscored=_unasked(one)) for name, one in wanted.items()
    ]


def _unasked(metric: Metric) -> str:
    return "its code was not run" if metric.code else "the judge was not asked"
