"""Pacing: which trial may begin next, and what stops a run from beginning more: equal failures, or a spent budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio

from ..agents import NotRecorded
from ..errors import BudgetSpent, CasehardenError, Unavailable, error_kinds
from ..evaluate import COUNTED, ERROR_ENDS
from ..plural import plural
from ..records.environment import DEFAULT_CONCURRENCY
from ..records.run import TrialRecord
from .budget import Allowance, Budget, Spent

PAUSE_AFTER = 10
"""Consecutive equal failures after which work pauses by itself."""
_OWN = frozenset({NotRecorded.__name__, "budget"})
"""Failures of one trial that say nothing about the next."""

One = Callable[[str, int], Awaitable[None]]
"""Runs trial k of a simulation."""


class Pacing:
    """Runs trials, a limited number at a time, until they are done or there is a reason to pause.

    `concurrency`: at the same time. `pause_after`: consecutive equal failures that pause; 0: never. Give it to the
    trials as their meter.
    """

    def __init__(
        self,
        concurrency: int = DEFAULT_CONCURRENCY,
        pause_after: int = PAUSE_AFTER,
        budget: Budget | None = None,
        before: Spent | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._pause_after = pause_after
        self.meter = Allowance(budget or Budget(), before or Spent())
        self._going = 0
        self._cut = False
        self._one_ended: anyio.Event | None = None
        self.streak: list[TrialRecord] = []
        """The latest consecutive endings with the same failure."""

    @property
    def fails_alike(self) -> bool:
        """Whether enough equal failures came last that more of them are to be expected."""
        return 0 < self._pause_after <= len(self.streak)

    def ended(self, record: TrialRecord) -> None:
        """Record that a trial is over."""
        self.meter.ended(record.models.values(), cut=record.end == "budget")
        self._cut = self._cut or record.end == "budget"
        if record.verdict == "error" and record.error and record.error not in _OWN:
            alike = not self.streak or _failure(self.streak[-1]) == _failure(record)
            self.streak = [*self.streak, record] if alike else [record]
        elif record.verdict in COUNTED:
            self.streak = []

    def judged(self, record: TrialRecord) -> None:
        """Record that the judge of a finished trial was asked."""
        failed = record.verdict == "error" and record.error
        if failed and record.error not in _OWN:
            alike = not self.streak or _failure(self.streak[-1]) == _failure(record)
            self.streak = [*self.streak, record] if alike else [record]
        elif not failed:
            self.streak = []
        self._cut = self._cut or record.error == "budget"

    async def run(self, work: Iterable[tuple[str, int]], one: One) -> int:
        """Call `one` for each, in order, until there is a reason to pause; how many were not begun."""
        left = list(work)[::-1]

        async def worker() -> None:
            while left and await self._may_begin():
                if not left:
                    return
                self._going += 1
                try:
                    await one(*left.pop())
                finally:
                    self._going -= 1
                    if self._one_ended is not None:
                        self._one_ended.set()
                        self._one_ended = None

        async with anyio.create_task_group() as tasks:
            for _ in range(min(self._concurrency, len(left))):
                tasks.start_soon(worker)
        return len(left)

    def reason(self, left: int) -> CasehardenError | None:
        """Why to pause, once the trials that were begun are over; None if there is no reason.

        A reached budget is no reason if nothing was left to do and no trial was cut short.
        """
        if self.fails_alike:
            return _alike(self.streak)
        if left or self._cut:
            return BudgetSpent(f"{self.meter.spent().capitalize()}.")
        return None

    async def _may_begin(self) -> bool:
        """Wait until the next trial may begin; False if none may any more."""
        while not (self.fails_alike or self.meter.spent()):
            if self.meter.affords_next(self._going):
                return True
            self._one_ended = self._one_ended or anyio.Event()
            await self._one_ended.wait()
        return False


def _failure(record: TrialRecord) -> tuple[str, str]:
    return record.end if record.end in ERROR_ENDS else "", record.error


def _alike(streak: list[TrialRecord]) -> CasehardenError:
    """The reason as an error, in our own words: what an agent or an endpoint said stays with the trial only."""
    last = streak[-1]
    kinds = error_kinds()
    how = f"{last.end}: {last.error}" if last.end in ERROR_ENDS else f"judge: {last.error}"
    what = f"The last {plural(len(streak), 'trial')} ended in the same failure ({how})"
    text = f": {last.graded.why[:500]}" if last.error in kinds else "."
    return kinds.get(last.error, Unavailable)(what + text)
