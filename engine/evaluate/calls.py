"""Tool calls compared with what was expected: one call, a number of calls, a whole set of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, cast

from ..canonical import equal
from ..records.conversation import ToolEntry
from ..world.diff import matching
from ..world.values import MISSING, shown
from .answers import NEEDS_MODEL, Answer, all_of, judged
from .comparators import Comparison
from .matching import MATCH_NODES, in_order, match_in_partial_order
from .opinions import Question
from .texts import folded
from .trace import Trace

Match = Literal["contains", "unordered", "strict", "within"]
Ok = Literal["any"] | bool


@dataclass(frozen=True, slots=True)
class Argument:
    """How one argument must be: `mode` exact, ignore, text, partial, judge, or a comparison."""

    name: str
    mode: Literal["exact", "ignore", "text", "partial", "judge", "compare"]
    wanted: Any = None
    comparison: Comparison | None = None

    def fits(self, value: Any) -> bool | None:
        """Whether a value, or MISSING, is acceptable; None if only a judge could tell."""
        if self.mode == "ignore":
            return True
        if self.mode == "compare" and self.comparison:
            return self.comparison.fits(value)
        if value is MISSING:
            return False
        return None if self.mode == "judge" else _FITS[self.mode](self.wanted, value)

    def describe(self) -> str:
        """What is wanted, for a message."""
        if self.mode == "compare" and self.comparison:
            return self.comparison.describe()
        return {"ignore": "anything", "judge": "what a judge accepts"}.get(self.mode) or shown(self.wanted)


@dataclass(frozen=True)
class CallPattern:
    """An expected call. `exact`: no arguments except those listed."""

    tool: str
    arguments: tuple[Argument, ...] = ()
    exact: bool = False
    by: str = "agent"
    ok: Ok = True
    own: bool = False
    """Whether only calls on the agent's own tools match."""

    def named(self, call: ToolEntry) -> bool:
        """Whether the call is to such a tool, by that side and with that success; injected ones never are."""
        return (
            call.injected is None
            and call.by == self.by
            and (self.ok == "any" or call.ok is self.ok)
            and self.about(call)
        )

    @property
    def judged(self) -> bool:
        """Whether a judge is needed for an argument."""
        return any(a.mode == "judge" for a in self.arguments)

    def about(self, call: ToolEntry) -> bool:
        """Whether the call is to such a tool."""
        return fnmatchcase(call.tool, self.tool) and (call.kind == "own" or not self.own)

    def fits(self, call: ToolEntry, trace: Trace | None = None) -> bool | None:
        """Whether the call matches; None if only a judge could tell, who is asked if a trace is given."""
        if not self.named(call):
            return False
        if self.exact and set(call.args) - {a.name for a in self.arguments}:
            return False
        plain = all_of(a.fits(call.args.get(a.name, MISSING)) for a in self.arguments)
        if plain is not None or trace is None:
            return plain
        return all_of(
            judged(_question(a, call, trace), trace).value for a in self.arguments if a.mode == "judge"
        )

    def differences(self, call: ToolEntry) -> list[str]:
        """The arguments in which a call of the right name differs: `to is "card", expected "credit"`."""
        wrong = [a for a in self.arguments if a.fits(call.args.get(a.name, MISSING)) is False]
        parts = [
            f"{a.name} is {shown(call.args.get(a.name, MISSING))}, expected {a.describe()}" for a in wrong
        ]
        if self.exact:
            listed = {a.name for a in self.arguments}
            parts += [f"{name} was not expected" for name in call.args if name not in listed]
        return parts

    def describe(self) -> str:
        """`refund_order(order_id="#W1", to="credit")`"""
        return self._description

    @cached_property
    def _description(self) -> str:
        listed = [a for a in self.arguments if a.mode != "ignore"]
        parts = [
            f"{a.name}={a.describe()}" if a.mode != "compare" else f"{a.name} {a.describe()}" for a in listed
        ]
        return f"{self.tool}({', '.join(parts)})" if parts else self.tool


@dataclass(frozen=True, slots=True)
class ToolCount:
    """`tool`: how many calls match."""

    call: CallPattern
    least: int = 1
    most: int | None = None

    @property
    def judged(self) -> bool:
        return self.call.judged

    @property
    def tools(self) -> tuple[str, ...]:
        return (self.call.tool,)

    def describe(self) -> str:
        if self.most == 0:
            return f"no {self.call.describe()}"
        return self.call.describe()

    def holds(self, trace: Trace) -> Answer:
        value, sure = self._counted([self.call.fits(c) for c in trace.calls], trace)
        if value is None:
            value, sure = self._counted([self.call.fits(c, trace) for c in trace.calls], trace)
        return Answer(value, *self._why(trace, sure, value))

    def _counted(self, fits: Sequence[bool | None], trace: Trace) -> tuple[bool | None, list[ToolEntry]]:
        """The verdict, and the calls that certainly match."""
        sure = [c for c, fit in zip(trace.calls, fits, strict=True) if fit]
        within = [self._within(n) for n in range(len(sure), len(sure) + fits.count(None) + 1)]
        return True if all(within) else None if any(within) else False, sure

    def _within(self, count: int) -> bool:
        return count >= self.least and (self.most is None or count <= self.most)

    def _why(
        self, trace: Trace, sure: Sequence[ToolEntry], value: bool | None
    ) -> tuple[str, tuple[int, ...]]:
        text = f"{_calls(len(sure))} of {self.call.describe()}"
        evidence = tuple(c.n for c in sure)
        if value is None:
            return f"{text}; {NEEDS_MODEL}", evidence
        if value:
            return text, evidence
        text += f", expected {self._wanted()}"
        near = None if sure else nearest(self.call, trace.calls)
        return (f"{text}; {describe_near(self.call, near)}", (near.n,)) if near else (text, evidence)

    def _wanted(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        if self.least == self.most:
            return str(self.most) if self.most else "none"
        return f"{self.least} to {self.most}" if self.least else f"at most {self.most}"


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """`tool_calls`: the calls of one side as a whole against those expected.

    `after[i]` are indices of expected calls that must have come before the i-th.
    """

    expected: tuple[CallPattern, ...]
    match: Match = "contains"
    ordered: bool = False
    count_reads: bool = False
    count_own: bool = False
    """Whether all calls on the agent's own tools have to match, not only those listed."""
    by: str = "agent"
    ok: Ok = True
    after: Mapping[int, Sequence[int]] = field(default_factory=dict[int, Sequence[int]])

    @property
    def judged(self) -> bool:
        return any(e.judged for e in self.expected)

    @property
    def tools(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(e.tool for e in self.expected))

    def describe(self) -> str:
        return ", ".join(e.describe() for e in self.expected) or "no calls"

    def holds(self, trace: Trace) -> Answer:
        made = self._considered(trace)
        answer = self._answered(trace, made, [[e.fits(call) for call in made] for e in self.expected])
        if answer.value is None and self.judged:
            return self._answered(
                trace, made, [[e.fits(call, trace) for call in made] for e in self.expected]
            )
        return answer

    def _answered(
        self, trace: Trace, made: Sequence[ToolEntry], fits: Sequence[Sequence[bool | None]]
    ) -> Answer:
        sure = self._decide(trace, made, _edges(fits, lambda fit: fit is True))
        if sure.value is not False or not any(fit is None for row in fits for fit in row):
            return sure
        possible = self._decide(trace, made, _edges(fits, lambda fit: fit is not False))
        return sure if possible.value is False else Answer(None, NEEDS_MODEL)

    def _considered(self, trace: Trace) -> list[ToolEntry]:
        return [
            call
            for call in trace.calls
            if call.by == self.by
            and call.injected is None
            and (self.ok == "any" or call.ok is self.ok)
            and (self._always_counts(call) or any(e.about(call) for e in self.expected))
        ]

    def _always_counts(self, call: ToolEntry) -> bool:
        """Whether it has to match the list although no call there is of its tool."""
        if call.kind == "own":
            return self.count_own
        return self.count_reads or call.kind not in ("read", "think")

    def _decide(self, trace: Trace, made: Sequence[ToolEntry], edges: Sequence[Sequence[int]]) -> Answer:
        if self.match == "within":
            fitting = {j for row in edges for j in row}
            return self._answer(trace, made, {}, [j for j in range(len(made)) if j not in fitting], [])
        pairs = self._pairs(edges)
        if pairs is None:
            return Answer(None, f"undecided after {MATCH_NODES} steps of the search for an order")
        missing = [i for i in range(len(self.expected)) if i not in pairs]
        taken = set(pairs.values())
        extra = [] if self.match == "contains" else [j for j in range(len(made)) if j not in taken]
        return self._answer(trace, made, pairs, extra, missing)

    def _pairs(self, edges: Sequence[Sequence[int]]) -> dict[int, int] | None:
        if self.match == "strict":
            return {i: i for i, row in enumerate(edges) if i in row}
        if self.ordered:
            return in_order(edges)
        pairs = matching(edges)
        if len(pairs) < len(edges) or not any(self.after.values()):
            return pairs
        return match_in_partial_order(edges, self.after)

    def _answer(
        self,
        trace: Trace,
        made: Sequence[ToolEntry],
        pairs: Mapping[int, int],
        extra: Sequence[int],
        missing: Sequence[int],
    ) -> Answer:
        if not extra and not missing:
            return Answer(True, f"{_calls(len(made))} against {len(self.expected)} expected", _ns(made))
        free = [c for j, c in enumerate(made) if j not in set(pairs.values())]
        parts: list[str] = []
        evidence: set[int] = {made[j].n for j in extra}
        if missing and self._only_order(trace, made, missing):
            parts.append(
                f"not in the expected order: {', '.join(self.expected[i].describe() for i in missing)}"
            )
            evidence |= set(_ns(made))
        else:
            parts += [self._missing(self.expected[i], trace, free, evidence) for i in missing]
        if extra:
            parts.append(f"not expected: {', '.join(describe_call(made[j]) for j in extra[:5])}")
        return Answer(False, "; ".join(parts), tuple(sorted(evidence)))

    def _only_order(self, trace: Trace, made: Sequence[ToolEntry], missing: Sequence[int]) -> bool:
        if not (self.ordered or any(self.after.values()) or self.match == "strict"):
            return False
        fits = [[e.fits(call) for call in made] for e in self.expected]
        return len(matching(_edges(fits, lambda fit: fit is True))) == len(self.expected)

    def _missing(
        self, wanted: CallPattern, trace: Trace, free: Sequence[ToolEntry], evidence: set[int]
    ) -> str:
        near = nearest(wanted, free) or nearest(wanted, trace.calls)
        if near is None:
            return f"missing {wanted.describe()}"
        evidence.add(near.n)
        return f"missing {wanted.describe()}: {describe_near(wanted, near)}"


def nearest(wanted: CallPattern, calls: Sequence[ToolEntry]) -> ToolEntry | None:
    """The call of that tool that differs least from the wanted one: in arguments, success, order."""
    same = [c for c in calls if wanted.about(c)]
    return min(same, key=lambda c: (len(wanted.differences(c)), not c.ok, c.n), default=None)


def describe_near(wanted: CallPattern, call: ToolEntry) -> str:
    """Why the nearest call does not match: its arguments, its failure, its side."""
    told = wanted.differences(call)
    if call.by != wanted.by:
        told.append(f"it is by {call.by}")
    if call.injected is not None:
        told.append("a fault was injected into it")
    elif wanted.ok != "any" and call.ok is not wanted.ok:
        told.append(f"it failed: {shown(call.result)}" if not call.ok else "it succeeded")
    if not told and wanted.judged:
        told.append("the judge does not accept its arguments")
    return f"nearest is {call.tool} in turn {call.turn}: {', '.join(told) or 'it is taken by another'}"


def describe_call(call: ToolEntry) -> str:
    """`refund_order(order_id="#W1") in turn 3`"""
    args = ", ".join(f"{name}={shown(value, 30)}" for name, value in call.args.items())
    return f"{call.tool}({args}) in turn {call.turn}"


def _question(argument: Argument, call: ToolEntry, trace: Trace) -> Question:
    """The question for a judge about an argument of a call; its value is in the record, not in the question."""
    same = [c for c in trace.calls if c.tool == call.tool]
    number = next(i for i, c in enumerate(same, 1) if c.n == call.n)
    which = f"call {number} of {len(same)} of `{call.tool}` (turn {call.turn})"
    return Question(f"In {which} the argument `{argument.name}` is as it must be: {argument.wanted}")


def _edges(fits: Sequence[Sequence[bool | None]], wanted: Callable[[bool | None], bool]) -> list[list[int]]:
    return [[j for j, fit in enumerate(row) if wanted(fit)] for row in fits]


def _ns(calls: Sequence[ToolEntry]) -> tuple[int, ...]:
    return tuple(c.n for c in calls)


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count or 'no'} calls"


def _text(wanted: Any, value: Any) -> bool:
    return isinstance(wanted, str) and isinstance(value, str) and folded(wanted) == folded(value)


def _partial(wanted: Any, value: Any) -> bool:
    if not isinstance(wanted, dict):
        return equal(wanted, value)
    if not isinstance(value, dict):
        return False
    given = cast("dict[str, Any]", value)
    return all(k in given and _partial(w, given[k]) for k, w in cast("dict[str, Any]", wanted).items())


_FITS: Mapping[str, Callable[[Any, Any], bool]] = {"exact": equal, "text": _text, "partial": _partial}
