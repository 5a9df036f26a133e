"""Evaluation points: milestones, then minefields, each once; one watcher for live trials and replays."""

from __future__ import annotations

from dataclasses import dataclass

from .calls import ToolCalls, ToolCount
from .plan import Check, CheckPlan
from .trace import Trace


@dataclass(frozen=True, slots=True)
class Moment:
    """When a watched check became true, and why."""

    turn: int
    t: float
    n: int
    why: str
    evidence: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MinefieldHit:
    """A counted minefield has come true: the trial ends."""

    check: str
    why: str
    turn: int


class Watcher:
    """The state of a trial's watched checks.

    Ask it at each evaluation point: at the start, and after each text, call or event together with the signals and
    notices it caused; a text of the agent beside calls is not a point of its own. `reached` keeps the first moment of
    each check that came true.
    """

    def __init__(self, plan: CheckPlan) -> None:
        self.reached: dict[str, Moment] = {}
        self._aims = [check for check in plan.checks if check.watched and check.kind != "minefield"]
        self._mines = [check for check in plan.checks if check.kind == "minefield"]
        self._seen = -1
        """Number of calls at the last point: checks only about calls are re-evaluated when there are more."""
        self._n = 0
        """The last entry at the last point: what happened up to it came before anything that is true now."""

    def at_point(self, trace: Trace) -> MinefieldHit | None:
        """Evaluate the trace as it is now; return the first counted minefield hit at this very point, or None."""
        if not (self._aims or self._mines):
            return None
        played = trace.played()
        fresh, self._seen = len(trace.calls) != self._seen, len(trace.calls)
        self._aims = [check for check in self._aims if not self._came_true(check, played, fresh)]
        hits = [check for check in self._mines if self._came_true(check, played, fresh)]
        self._mines = [check for check in self._mines if check.id not in self.reached]
        self._n = trace.n
        hit = next((check for check in hits if check.counts), None)
        return MinefieldHit(hit.id, self.reached[hit.id].why, trace.turn) if hit else None

    def counted(self, check: Check, trace: Trace) -> Trace | None:
        """The part of the trace that counts for a check now; None if its time is over, or has not begun."""
        if check.before and self._over(check, trace):
            return None
        if not check.after:
            return trace
        began = self._when(check.after, trace)
        return trace.after(began) if began is not None else None

    def _over(self, check: Check, trace: Trace) -> bool:
        """Whether what it must come before has happened: for a minefield, also at this very point."""
        if check.kind == "minefield" and check.before in self.reached:
            return True
        n = self._when(check.before, trace)
        return n is not None and n <= self._n

    def _when(self, name: str, trace: Trace) -> int | None:
        """The entry at which a milestone was reached, or an event or a signal happened."""
        moment = self.reached.get(name)
        return moment.n if moment else trace.happened.get(name)

    def _came_true(self, check: Check, trace: Trace, fresh: bool) -> bool:
        if check.before or check.after:
            part = self.counted(check, trace)
            if part is None:
                return False
            trace = part
        elif not fresh and isinstance(check.predicate, ToolCount | ToolCalls):
            return False
        answer = check.predicate.holds(trace)
        if answer.value is True:
            evidence = answer.evidence or ((trace.n,) if trace.n else ())
            self.reached[check.id] = Moment(trace.turn, trace.t, trace.n, answer.why, evidence)
        return answer.value is True
