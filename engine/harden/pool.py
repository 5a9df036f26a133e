"""The pool of a search: texts that no other beats in every check, so that what one fixes is not lost.

The best text changes only by the filter of a round. A text that fixes something and breaks something else stays in the
pool: an edit of it may keep the fix and repair the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .trials import TrialOutcome


@dataclass(frozen=True, slots=True)
class Standing:
    """A text that an edit may apply to, and its trials on train."""

    id: str
    text: str
    outcomes: Sequence[TrialOutcome]

    @property
    def rates(self) -> Mapping[str, float]:
        """Pass rate of the counted trials by check, 0..1."""
        passed: dict[str, list[bool]] = {}
        for outcome in self.outcomes:
            for check, verdict in outcome.checks.items():
                passed.setdefault(check, []).append(verdict == "pass")
        return {check: sum(found) / len(found) for check, found in passed.items()}

    @property
    def mean(self) -> float:
        """The share of counted trials that pass, 0..1."""
        counted = [o for o in self.outcomes if o.counted]
        return sum(o.verdict == "pass" for o in counted) / len(counted) if counted else 0.0


@dataclass(slots=True)
class Pool:
    """Texts with their rates by check. `best`: the one that the next candidate is compared with."""

    best: Standing
    _others: list[Standing] = field(default_factory=list[Standing])
    _used: set[str] = field(default_factory=set[str])

    def keep(self, standing: Standing) -> None:
        """Make a text that the filter kept the best."""
        self._others = [other for other in self._others if not _dominates(standing, other)]
        self.best = standing

    def put_aside(self, standing: Standing) -> None:
        """Add a text that the filter did not keep, unless one in the pool is as good in every check."""
        if not any(_dominates(other, standing) for other in (self.best, *self._others)):
            self._others = [other for other in self._others if not _dominates(standing, other)]
            self._others.append(standing)

    def alternative(self) -> Standing | None:
        """The text with the highest mean, apart from the best, that was no parent yet; it counts as one from now on."""
        fresh = [other for other in self._others if other.id not in self._used]
        if not fresh:
            return None
        chosen = max(fresh, key=lambda other: other.mean)
        self._used.add(chosen.id)
        return chosen


def _dominates(one: Standing, other: Standing) -> bool:
    """Whether `one` is at least as good in every check of the other."""
    mine, theirs = one.rates, other.rates
    return all(mine.get(check, 0.0) >= rate for check, rate in theirs.items())
