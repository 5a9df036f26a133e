"""Questions for a judge or for a metric's code, and the collected answers to them about one conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from ..canonical import digest
from ..records.opinion import CODE, JUDGING, MetricValue, Opinion

MOST_VOTES: Final = 9
DID_NOT_RUN: Final = "did not run"
Answering = Literal["verdict", "score", "label", "turns", "claims"]
"""How a question is answered: pass or fail, a number, one label, labels by turn, claims against a knowledge base."""


@dataclass(frozen=True)
class Question:
    """One question to a judge, or a metric's code, about a conversation."""

    asks: str
    """The criterion, or the rubric of a metric."""
    answer: Answering = "verdict"
    metric: str = ""
    """The metric's name; "": it is a criterion."""
    scale: tuple[float, float] = (0, 1)
    whole: bool = False
    """Whether only whole numbers of the scale are valid."""
    labels: tuple[str, ...] = ()
    about: tuple[tuple[str, str], ...] = ()
    """What the judge is shown besides the record: the user's goal, the policy, passages; by name."""
    votes: int = 1
    code: str = ""
    """`FILE.py:name` of the function that answers instead of a judge."""
    code_hash: str = ""
    """SHA-256 of its file."""

    @cached_property
    def id(self) -> str:
        """Hash of what is asked."""
        parts: list[Any] = [self.asks, self.answer, self.metric, self.scale, self.whole]
        code = [self.code, self.code_hash] if self.code else []
        return digest([*parts, self.labels, [list(pair) for pair in self.about], self.votes, *code])


@dataclass
class Opinions:
    """What is known about one conversation besides its record. Grading reads it, and leaves open questions in it.

    `metrics`: values by name, for predicates on metrics.
    """

    said: Mapping[str, Opinion] = field(default_factory=dict[str, Opinion])
    """By the id of the question."""
    metrics: Mapping[str, MetricValue] = field(default_factory=dict[str, MetricValue])
    open: dict[str, Question] = field(default_factory=dict[str, Question])

    def of(self, question: Question) -> Opinion | None:
        """The answer to a question; None, and the question is noted as open, if there is none."""
        found = self.said.get(question.id)
        if found is None:
            self.open.setdefault(question.id, question)
        return found


def book_of(opinions: Iterable[Opinion], judge: str, record: str) -> dict[str, Opinion]:
    """The stored opinions of one judge, and of code, about one record, by question; a later one replaces an earlier."""
    return {
        said.question: said
        for said in opinions
        if said.judge in (judge, CODE) and (said.record, said.judging) == (record, JUDGING)
    }
