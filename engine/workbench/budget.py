"""Budgets: the most a run may cost, what it has cost, and whether the next trial is still affordable."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

from ..records.authored import Authored
from ..records.conversation import ModelUse, TokenUsage

FIRST_TRIALS = 8
"""Trials that start at once under a budget, before one has ended and shown what a trial costs."""

CALLS_A_TRIAL = 12
"""Model calls of a trial before one has ended: six turns of agent and user."""
MARGIN = 1.25


class Budget(Authored):
    """`options.budget`: the most that all trials of a run may use; null: no limit.

    Calls in flight when it is reached are not cancelled: what they use comes on top.
    """

    calls: int | None = Field(default=None, ge=1)
    """Answered model calls, of all roles."""
    tokens: int | None = Field(default=None, ge=1)
    """Input and output together."""
    usd: float | None = Field(default=None, gt=0, le=1e9)
    seconds: float | None = Field(default=None, gt=0, le=1e9)
    """Wall time while trials run."""

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: value for name, value in self.model_dump().items() if value is not None}


def twice(limits: Mapping[str, float]) -> dict[str, float]:
    """Twice these limits, to resume with once they are spent."""
    return {name: 2 * most for name, most in limits.items()}


@dataclass(slots=True)
class Spent:
    """What was used. `unpriced`: calls of unknown price, not included in `usd`."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, uses: Iterable[ModelUse], seconds: float = 0.0) -> Spent:
        """The sum of what trials have used."""
        spent = cls(seconds=seconds)
        for use in uses:
            spent.calls += use.calls
            spent.tokens += use.input_tokens + use.output_tokens
            spent.usd += use.cost_usd or 0.0
            spent.unpriced += use.calls if use.cost_usd is None else 0
        return spent

    def add(self, used: Spent) -> None:
        """Add what model calls used."""
        self.calls += used.calls
        self.tokens += used.tokens
        self.usd += used.usd


class Allowance:
    """A budget in use by trials. Meters trials; never blocks."""

    def __init__(self, budget: Budget, before: Spent) -> None:
        self._limits = budget.limits
        self._now = before
        self._before = Spent(before.calls, before.tokens, before.usd)
        self._ended = 0
        self._taken = Spent()
        self._whole, self._wholes = Spent(), 0
        self._began = time.monotonic() - before.seconds

    @property
    def now(self) -> Spent:
        """Usage so far."""
        return self._now

    def used(self, usage: TokenUsage) -> None:
        """Count one answered call."""
        self._now.calls += 1
        self._now.tokens += usage.input_tokens + usage.output_tokens
        if usage.cost_usd is None:
            self._now.unpriced += 1
        else:
            self._now.usd += usage.cost_usd

    def spent(self) -> str:
        """Which limit is reached, as text, or ""."""
        if not self._limits:
            return ""
        used = self._measured()
        return next((_spent(name, most) for name, most in self._limits.items() if used[name] >= most), "")

    def ended(self, uses: Iterable[ModelUse], *, cut: bool = False) -> None:
        """A trial has ended: its usage predicts that of the next. `cut`: it was stopped by this budget."""
        used = Spent.of(uses)
        self._ended += 1
        self._taken.add(used)
        if not cut:
            self._wholes += 1
            self._whole.add(used)

    def enough(self, left: int) -> dict[str, float]:
        """Limits under which `left` more trials will probably end, each at least twice what it was."""
        spent, whole = _amounts(self._now), _amounts(self._whole)
        told = twice(self._limits)
        for name in told:
            each = whole.get(name, 0) / self._wholes if self._wholes else CALLS_A_TRIAL * (name == "calls")
            most = max(told[name], _rounded(spent.get(name, 0) + MARGIN * each * left))
            told[name] = int(most) if name in ("calls", "tokens") else most
        return told

    def affords_next(self, going: int) -> bool:
        """Whether one more trial beside the `going` ones will probably finish within the limits."""
        if not self._limits or not going:
            return True
        if not self._ended:
            return going < FIRST_TRIALS
        taken, before = _amounts(self._taken), _amounts(self._before)
        share = 1 + (going + 1) / self._ended
        return all(
            before[name] + share * taken[name] <= most for name, most in self._limits.items() if name in taken
        )

    def _measured(self) -> Mapping[str, float]:
        seconds = time.monotonic() - self._began if "seconds" in self._limits else 0.0
        return {**_amounts(self._now), "seconds": seconds}


def _amounts(spent: Spent) -> dict[str, float]:
    """The amounts that model calls use up."""
    return {"calls": spent.calls, "tokens": spent.tokens, "usd": spent.usd}


def _rounded(amount: float) -> float:
    """An amount to type: two digits that count, rounded up."""
    step = 10.0 ** (math.floor(math.log10(amount)) - 1) if amount > 0 else 1.0
    return round(math.ceil(amount / step) * step, 6)


def _spent(name: str, most: float) -> str:
    if name == "usd":
        return f"the budget of {most:g} usd is spent"
    return f"the budget of {most:,.0f} {name} is spent"
