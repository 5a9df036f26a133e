"""Predicates on the state, on the world as a whole, on what was said and on what happened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

from ..records.conversation import NOISE
from ..world.diff import Difference, diff
from ..world.expressions import Expression, evaluate
from ..world.paths import Path, covers, show_path
from ..world.patterns import Pattern
from ..world.state import State
from ..world.values import MISSING, CallFailed, Fault, shown
from .answers import Answer
from .comparators import Comparison
from .texts import MOST_READ, NUMBER_TOLERANCE, has_date, has_number, has_words, unmarked
from .trace import Trace, written_path

WORLD_TOLERANCE: Final = 0.005
"""Absolute; for numbers when worlds are compared."""
SHOWN_DIFFERENCES: Final = 4
EQUAL: Final = "equal"
UNKNOWN: Final = Answer(
    None, "what its calls wrote is not known: they were recorded elsewhere, and not made again"
)


@dataclass(frozen=True, slots=True)
class StateIs:
    """`state` with comparators."""

    path: Path
    comparison: Comparison
    judged: bool = False
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"{show_path(self.path)} is {self.comparison.describe()}"

    def holds(self, trace: Trace) -> Answer:
        if not trace.state_known:
            return UNKNOWN
        value = trace.state.get(self.path, MISSING)
        why = f"{show_path(self.path)} is {shown(value)}"
        if self.comparison.fits(value):
            return Answer(True, why, writers(trace, [self.path]))
        return Answer(False, f"{why}, expected {self.comparison.describe()}", writers(trace, [self.path]))


@dataclass(frozen=True, slots=True)
class StateUnchanged:
    """`state` with `unchanged`: as at the start of the trial, except for what some events and noise wrote."""

    path: Path
    events: tuple[str, ...] = ()
    """Events whose writes do not count as changes."""
    judged: bool = False
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"{show_path(self.path)} is unchanged"

    def holds(self, trace: Trace) -> Answer:
        if not trace.state_known:
            return UNKNOWN
        before = self._before(trace).get(self.path, MISSING)
        found = diff(before, trace.state.get(self.path, MISSING), path=self.path)
        if not found:
            return Answer(True, "0 changes")
        why = f"{len(found)} change{'s' if len(found) > 1 else ''}: {describe_differences(found, was=True)}"
        return Answer(False, why, writers(trace, [d.path for d in found]))

    def _before(self, trace: Trace) -> State:
        """The initial state plus the writes that do not count as changes; one that does not fit there is left out."""
        state = State(trace.initial)
        allowed = {NOISE, *(f"event:{name}" for name in self.events)}
        for patch in trace.state.journal[trace.began :] if trace.events else ():
            if patch.by in allowed:
                with suppress(Fault):
                    state.write(patch.op, patch.path, patch.new, patch.by)
        return state


@dataclass(frozen=True, slots=True)
class WorldAsExpected:
    """`world: expected`: both sides of the state as the solution leaves them."""

    ignore: tuple[Path, ...] = ()
    unordered: tuple[Path, ...] = ()
    tolerance: float = WORLD_TOLERANCE
    judged: bool = False
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return "the world is as expected"

    def holds(self, trace: Trace) -> Answer:
        expected = trace.expected
        if not trace.state_known:
            return UNKNOWN
        if expected is None:
            return Answer(None, "the expected world was not computed")
        if expected.error:
            return Answer(None, f"there is no expected world: {expected.error}")
        others = (*expected.ignore, *trace.by_the_world())
        found = diff(
            dict(expected.root),
            trace.state.root,
            ignore=(*self.ignore, *others),
            unordered=self.unordered,
            tolerance=self.tolerance,
        )
        left_out = f" (not compared, since events write there: {_list_places(others)})" if others else ""
        if not found:
            return Answer(True, f"{EQUAL}{left_out}")
        return Answer(False, describe_differences(found) + left_out, writers(trace, [d.path for d in found]))


@dataclass(frozen=True, slots=True)
class ExpressionTrue:
    """`expr`: an expression over both sides; one that cannot be computed is false, and says why."""

    expression: Expression
    judged: bool = False
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return str(self.expression.text)

    def holds(self, trace: Trace) -> Answer:
        if not trace.state_known:
            return UNKNOWN
        try:
            value = evaluate(self.expression, trace.state, now=trace.moment())
        except CallFailed as error:
            return Answer(False, f"cannot be computed: {error.text}")
        return Answer(bool(value), f"{self.describe()} is {shown(value)}")


@dataclass(frozen=True, slots=True)
class Said:
    """`said`: words, a pattern, a number or a date in what one side said; `last`: in its last text only."""

    words: str | None = None
    pattern: Pattern | None = None
    number: float | None = None
    tolerance: float = NUMBER_TOLERANCE
    day: date | None = None
    by: str = "agent"
    last: bool = False
    judged: bool = False
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"the {self.by} says {self._wanted()}"

    def holds(self, trace: Trace) -> Answer:
        says = [say for say in trace.says if say.by == self.by]
        heard = says[-1:] if self.last else says
        found = [say for say in heard if self._in(say.say)]
        if found:
            turns = ", ".join(dict.fromkeys(str(say.turn) for say in found))
            return Answer(True, f"said in turn {turns}", tuple(say.n for say in found))
        where = f"in the last text of the {self.by}" if self.last else f"by the {self.by}"
        return Answer(False, f"{self._wanted()} was not said {where}", tuple(say.n for say in says[-1:]))

    def _in(self, text: str) -> bool:
        if self.pattern is not None:
            return self.pattern.found(text[:MOST_READ]) or self.pattern.found(unmarked(text))
        if self.number is not None:
            return has_number(text, self.number, self.tolerance)
        if self.day is not None:
            return has_date(text, self.day)
        return has_words(text, self.words or "") or has_words(unmarked(text), self.words or "")

    def _wanted(self) -> str:
        if self.pattern is not None:
            return f"/{self.pattern.text}/"
        if self.number is not None:
            return f"the number {shown(self.number)}"
        return f"the date {self.day}" if self.day is not None else shown(self.words)


@dataclass(frozen=True, slots=True)
class Happened:
    """`event`: an event fired, or a signal was emitted."""

    name: str
    judged: bool = False
    tools: tuple[str, ...] = ()

    def describe(self) -> str:
        return f"{self.name} happened"

    def holds(self, trace: Trace) -> Answer:
        n = trace.happened.get(self.name)
        return Answer(False, f"{self.name} did not happen") if n is None else Answer(True, "happened", (n,))


def describe_differences(found: Sequence[Difference], *, was: bool = False) -> str:
    """The first few differences: `db.orders.W1.status: expected "open", is "closed"; …; and 3 more`."""
    first = "was" if was else "expected"
    parts = [f"{show_path(d.path)}: {first} {shown(d.expected)}, is {shown(d.actual)}" for d in found]
    more = len(parts) - SHOWN_DIFFERENCES
    return "; ".join(parts[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _list_places(places: Sequence[Path]) -> str:
    parts = list(dict.fromkeys(show_path(place) for place in places))
    more = len(parts) - SHOWN_DIFFERENCES
    return ", ".join(parts[:SHOWN_DIFFERENCES]) + (f" and {more} more" if more > 0 else "")


def paths_in(why: str) -> list[str]:
    """The paths that `describe_differences` named."""
    return re.findall(
        r"(?:^|; )((?:db|user_db)[.\[](?:'[^']*'|\"[^\"]*\"|[^\s'\":])*): (?:expected|was) ", why
    )


def writers(trace: Trace, paths: Iterable[Path]) -> tuple[int, ...]:
    """The `n` of the calls and events that wrote at, above or below the paths, the last one for each path."""
    found: set[int] = set()
    wrote = (
        sorted((*trace.calls, *trace.events), key=lambda entry: -entry.n)
        if trace.events
        else trace.calls[::-1]
    )
    for path in list(paths)[:SHOWN_DIFFERENCES]:
        for entry in wrote:
            if any(_touches(patch.path, path) for patch in entry.patches):
                found.add(entry.n)
                break
    return tuple(sorted(found))


def _touches(text: str, path: Path) -> bool:
    written = written_path(text)
    return covers(written, path) or covers(path, written)
