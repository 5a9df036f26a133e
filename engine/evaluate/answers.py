"""The answers of predicates, and three-valued logic over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from .opinions import DID_NOT_RUN, Question
from .trace import Trace

NEEDS_MODEL = "needs a model"


@dataclass(frozen=True, slots=True)
class Answer:
    """True, False or None (inconclusive); why; the `n` of the log entries that show it; what would fix it."""

    value: bool | None
    why: str = ""
    evidence: tuple[int, ...] = ()
    fix: str = ""


class Predicate(Protocol):
    """A compiled predicate. Pure, may be evaluated at any moment of a trace, never raises."""

    @property
    def judged(self) -> bool:
        """Whether a model is needed to answer it."""
        ...

    @property
    def tools(self) -> tuple[str, ...]:
        """Globs of the tools it is about."""
        ...

    def describe(self) -> str:
        """What it asks, short, as part of a sentence: `get_order`, `db.orders.W1.status is "open"`."""
        ...

    def holds(self, trace: Trace) -> Answer:
        """Whether it is true of what has happened so far."""
        ...


def all_of(values: Iterable[bool | None]) -> bool | None:
    """False decides; else None if any is None; else True."""
    seen = list(values)
    return False if False in seen else None if None in seen else True


def any_of(values: Iterable[bool | None]) -> bool | None:
    """True decides; else None if any is None; else False."""
    seen = list(values)
    return True if True in seen else None if None in seen else False


def not_of(value: bool | None) -> bool | None:
    """Negation; None stays None."""
    return None if value is None else not value


@dataclass(frozen=True, slots=True)
class _Several:
    """The common base of `all` and `any`: their parts."""

    parts: Sequence[Predicate]

    @property
    def judged(self) -> bool:
        return any(p.judged for p in self.parts)

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(t for p in self.parts for t in p.tools)

    def _answers(self, trace: Trace, *, decides: bool) -> list[Answer]:
        """The answers of the parts; judged ones are evaluated only if the others leave it undecided."""
        plain = [p.holds(trace) for p in self.parts if not p.judged]
        if any(answer.value is decides for answer in plain):
            return plain
        return [p.holds(trace) for p in self.parts]


class AllOf(_Several):
    """`all`: one fail decides."""

    __slots__ = ()

    def describe(self) -> str:
        return " and ".join(p.describe() for p in self.parts)

    def holds(self, trace: Trace) -> Answer:
        return _joined(self._answers(trace, decides=False), all_of, decides=False)


class AnyOf(_Several):
    """`any`: one pass decides."""

    __slots__ = ()

    def describe(self) -> str:
        return " or ".join(p.describe() for p in self.parts)

    def holds(self, trace: Trace) -> Answer:
        return _joined(self._answers(trace, decides=True), any_of, decides=True)


@dataclass(frozen=True, slots=True)
class NotOf:
    """`not`: inconclusive stays inconclusive."""

    part: Predicate

    @property
    def judged(self) -> bool:
        return self.part.judged

    @property
    def tools(self) -> tuple[str, ...]:
        return self.part.tools

    def describe(self) -> str:
        return f"not ({self.part.describe()})"

    def holds(self, trace: Trace) -> Answer:
        inner = self.part.holds(trace)
        return Answer(not_of(inner.value), f"not: {inner.why}", inner.evidence)


def parts_of(predicate: Predicate) -> list[Predicate]:
    """The predicate and everything it is composed of."""
    if isinstance(predicate, AllOf | AnyOf):
        return [predicate, *(p for part in predicate.parts for p in parts_of(part))]
    return [predicate, *parts_of(predicate.part)] if isinstance(predicate, NotOf) else [predicate]


@dataclass(frozen=True, slots=True)
class Judged:
    """`judge`: a criterion that a judge decides; inconclusive until one has."""

    question: Question
    judged: bool = True
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return self.question.asks

    def holds(self, trace: Trace) -> Answer:
        return judged(self.question, trace)


@dataclass(frozen=True, slots=True)
class MetricWithin:
    """`metric`: its value is within `least` and `most`; inconclusive if it did not run or is unscored."""

    name: str
    least: float | None = None
    most: float | None = None
    judged: bool = True
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        limits = [f"at least {self.least:g}"] if self.least is not None else []
        limits += [f"at most {self.most:g}"] if self.most is not None else []
        return f"{self.name} is {' and '.join(limits)}" if limits else f"{self.name} was measured"

    def holds(self, trace: Trace) -> Answer:
        found = trace.opinions.metrics.get(self.name)
        if found is None:
            return Answer(None, f"metric {self.name} {DID_NOT_RUN}")
        evidence = entries_in(trace, found.turns)
        if found.value is None:
            why = f"unscored: {found.unscored}" if found.unscored else "it does not apply here"
            return Answer(None, f"metric {self.name}: {found.label or why}", evidence)
        low = self.least is not None and found.value < self.least
        high = self.most is not None and found.value > self.most
        why = f"{self.name} {found.value:g}; {self.describe()}" + (f": {found.why}" if found.why else "")
        return Answer(not (low or high), why, evidence, found.fix if low or high else "")


def judged(question: Question, trace: Trace) -> Answer:
    """The judge's answer to a criterion about the record; if there is none, the question stays open."""
    said = trace.opinions.of(question)
    if said is None:
        return Answer(None, NEEDS_MODEL)
    if said.verdict is None:
        return Answer(None, f"unscored: {said.unscored}")
    fix = said.fix if said.verdict == "fail" else ""
    return Answer(_VALUES[said.verdict], said.why, entries_in(trace, said.turns), fix)


def entries_in(trace: Trace, turns: Iterable[int]) -> tuple[int, ...]:
    """The `n` of what the agent said and called in some turns, or of anything there if it did nothing."""
    found: list[int] = []
    for turn in sorted(set(turns)):
        here = [entry for entry in (*trace.says, *trace.calls) if entry.turn == turn]
        found += [entry.n for entry in here if entry.by == "agent"] or [entry.n for entry in here]
    return tuple(sorted(found))


_VALUES: Final[Mapping[str, bool | None]] = {"pass": True, "fail": False, "inconclusive": None}


class _Join(Protocol):
    def __call__(self, values: Iterable[bool | None], /) -> bool | None: ...


def _joined(answers: Sequence[Answer], join: _Join, *, decides: bool) -> Answer:
    value = join([a.value for a in answers])
    telling = [a for a in answers if a.value == value] if value is decides or value is None else answers
    evidence = tuple(sorted({n for a in telling for n in a.evidence}))
    fix = next((a.fix for a in telling if a.fix), "")
    return Answer(value, "; ".join(a.why for a in telling), evidence, fix)
