"""Figures of a report: letters of trials, rates, flips, and numbers as sentences show them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ..evaluate.rates import COUNTED
from ..evaluate.statistics import clustered_rate
from ..records.conversation import ModelUse
from ..records.report import Flip, Letter, Rate
from ..records.run import TrialRecord
from ..records.verdict import CheckVerdict, TrialVerdict

LETTERS: Final[Mapping[TrialVerdict, Letter]] = {
    "pass": "p",
    "fail": "f",
    "inconclusive": "i",
    "error": "e",
    "invalid": "v",
}
_COUNTED: Final = "pfi"


def letter(verdict: TrialVerdict | CheckVerdict) -> Letter:
    """The letter of a verdict."""
    return LETTERS[verdict]


def rate_of(trials: Iterable[TrialRecord]) -> Rate | None:
    """The pass rate of those that count; None if there are none."""
    counted = [t for t in trials if t.verdict in COUNTED]
    if not counted:
        return None
    found = clustered_rate((t.scenario, t.simulation, t.verdict == "pass") for t in counted)
    return Rate(
        passed=found.passed,
        trials=found.trials,
        simulations=found.simulations,
        scenarios=found.scenarios,
        rate=found.rate,
        low=found.low,
        high=found.high,
    )


def letters_of(trials: Iterable[TrialRecord]) -> dict[str, str]:
    """By simulation, one letter per trial, in the order of their numbers."""
    found: dict[str, list[tuple[int, Letter]]] = {}
    for trial in trials:
        found.setdefault(trial.simulation, []).append((trial.trial, letter(trial.verdict)))
    return {name: "".join(mark for _, mark in sorted(of)) for name, of in found.items()}


def flip_of(simulation: str, base: str, newest: str) -> Flip:
    """How a simulation changed. Only trials that count matter; one with inconsistent results is flaky."""
    before, after = _passing(base), _passing(newest)
    if not before or not after:
        kind = "left_out"
    elif len(before) > 1 or len(after) > 1:
        kind = "flaky"
    elif before == after:
        kind = "unchanged"
    else:
        kind = "fixed" if after == {True} else "broken"
    return Flip(simulation=simulation, base=base, newest=newest, kind=kind)


def summed_cost(uses: Iterable[ModelUse]) -> float | None:
    """The total cost; None if one is unknown."""
    total = 0.0
    for use in uses:
        if use.cost_usd is None:
            return None
        total += use.cost_usd
    return total


def uses_of(trials: Sequence[TrialRecord]) -> list[ModelUse]:
    """What each role of each trial used."""
    return [use for trial in trials for use in trial.models.values()]


def plural(count: int, word: str) -> str:
    """`1 trial`, `1,200 trials`"""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def percent(rate: float) -> str:
    """`62%`"""
    return f"{100 * rate:.0f}%"


def money(usd: float | None) -> str:
    """`$2.69`, four digits under a cent, `unknown` if it is not known."""
    if usd is None:
        return "unknown"
    return f"${usd:.4f}" if 0 < usd < 0.01 else f"${usd:,.2f}"


def large(count: int) -> str:
    """`3,218`; from a million on `1.94 M`"""
    return f"{count / 1e6:.2f} M" if count >= 1_000_000 else f"{count:,}"


def lasting(seconds: float) -> str:
    """`0.4 s`, `9 min 36 s`"""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def titled(slug: str) -> str:
    """A slug as a name: `refund-late-parcel` as `Refund late parcel`."""
    words = slug.replace("-", " ").replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def by_number(slug: str) -> list[tuple[int, str]]:
    """A key that sorts `case-2` before `case-10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", slug)]


def _passing(letters: str) -> set[bool]:
    return {mark == "p" for mark in letters if mark in _COUNTED}
