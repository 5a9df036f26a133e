"""What a predicate answers, and three-valued logic over answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .trace import Trace

NEEDS_MODEL = "needs a model"


@dataclass(frozen=True, slots=True)
class Answer:
    """True, False or None (inconclusive); why, and the `n` of the log entries that show it."""

    value: bool | None
    why: str = ""
    evidence: tuple[int, ...] = ()


class Predicate(Protocol):
    """A compiled predicate. Pure, may be asked at any moment of a trace, never raises."""

    @property
    def judged(self) -> bool:
        """Whether a model is needed to answer it."""
        ...

    @property
    def tools(self) -> tuple[str, ...]:
        """Globs of the tools that it is about."""
        ...

    def told(self) -> str:
        """What it asks, short, as a part of a sentence: `get_order`, `db.orders.W1.status is "open"`."""
        ...

    def holds(self, trace: Trace) -> Answer:
        """Whether it is true of what has happened up to now."""
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
    """None stays None."""
    return None if value is None else not value


@dataclass(frozen=True, slots=True)
class _Several:
    """What `all` and `any` have in common: their parts."""

    parts: Sequence[Predicate]

    @property
    def judged(self) -> bool:
        return any(p.judged for p in self.parts)

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(t for p in self.parts for t in p.tools)


class AllOf(_Several):
    """`all`: a fail decides."""

    __slots__ = ()

    def told(self) -> str:
        return " and ".join(p.told() for p in self.parts)

    def holds(self, trace: Trace) -> Answer:
        return _joined([p.holds(trace) for p in self.parts], all_of, decides=False)


class AnyOf(_Several):
    """`any`: a pass decides."""

    __slots__ = ()

    def told(self) -> str:
        return " or ".join(p.told() for p in self.parts)

    def holds(self, trace: Trace) -> Answer:
        return _joined([p.holds(trace) for p in self.parts], any_of, decides=True)


@dataclass(frozen=True, slots=True)
class NotOf:
    """`not`: inconclusive stays so."""

    part: Predicate

    @property
    def judged(self) -> bool:
        return self.part.judged

    @property
    def tools(self) -> tuple[str, ...]:
        return self.part.tools

    def told(self) -> str:
        return f"not ({self.part.told()})"

    def holds(self, trace: Trace) -> Answer:
        inner = self.part.holds(trace)
        return Answer(not_of(inner.value), f"not: {inner.why}", inner.evidence)


def parts_of(predicate: Predicate) -> list[Predicate]:
    """The predicate and all that it is joined from."""
    if isinstance(predicate, AllOf | AnyOf):
        return [predicate, *(p for part in predicate.parts for p in parts_of(part))]
    return [predicate, *parts_of(predicate.part)] if isinstance(predicate, NotOf) else [predicate]


@dataclass(frozen=True, slots=True)
class Judged:
    """`judge` or `metric`: inconclusive without a model."""

    criterion: str
    judged: bool = True
    tools: tuple[str, ...] = ()

    def told(self) -> str:
        return self.criterion

    def holds(self, trace: Trace) -> Answer:
        return Answer(None, NEEDS_MODEL)


class _Join(Protocol):
    def __call__(self, values: Iterable[bool | None], /) -> bool | None: ...


def _joined(answers: Sequence[Answer], join: _Join, *, decides: bool) -> Answer:
    value = join([a.value for a in answers])
    telling = [a for a in answers if a.value == value] if value is decides or value is None else answers
    evidence = tuple(sorted({n for a in telling for n in a.evidence}))
    return Answer(value, "; ".join(a.why for a in telling), evidence)
