"""Two runs compared: their trials paired by simulation, number and seed, the evidence clustered by scenario.

Pure functions of verdicts. It explains a change and proves nothing: that is `harden/proof`, over scenarios that nobody
has seen. Only pairs that both runs counted are compared; what was left out, and why, is reported too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Generic, Literal, Protocol, TypeVar

from ..records.run import ThresholdResult
from ..records.verdict import TrialVerdict
from .rates import COUNTED
from .statistics import (
    Z95,
    RateInterval,
    clustered_rate,
    holm,
    mixture_e_value,
    more_scenarios,
    sign_flip_test,
    sign_test_two_sided,
    square_and_add,
)

ALPHA: Final = 0.05
EQUAL_WITHIN: Final = 0.05
"""Two rates are called equal if the whole interval of their difference is within this of zero."""
MAX_DROP: Final = 0.05
"""How much the pass rate may drop against a baseline by default."""
MOST_LEFT_OUT: Final = Fraction(1, 10)
"""The share of a baseline's counted trials that may lack a counterpart."""

Finding = Literal["better", "worse", "no_difference", "not_enough_evidence"]


class Played(Protocol):
    """What is compared of a trial; a TrialRecord is one."""

    @property
    def simulation(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def trial(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def verdict(self) -> TrialVerdict: ...


T = TypeVar("T", bound=Played)


@dataclass(frozen=True, slots=True)
class Pairing(Generic[T]):
    """The pairs that can be compared, and how many trials are in none, each counted once."""

    pairs: list[tuple[T, T]]
    other_seed: int = 0
    """Played from other seeds: they met different conditions."""
    base_uncounted: int = 0
    """The base's trial ended in error or is invalid, whatever happened to the other one."""
    run_uncounted: int = 0
    """Only the run's trial did."""
    only_base: int = 0
    only_run: int = 0

    @property
    def base_counted(self) -> int:
        """Counted trials of the base: those in pairs, and those whose counterpart is missing or unusable."""
        return len(self.pairs) + self.other_seed + self.run_uncounted + self.only_base


@dataclass(frozen=True, slots=True)
class RunComparison:
    """A run against a base over the same pairs. Scenarios by the mean of their differences, simulations by trials.

    `p` is two-sided, since no direction was predicted; `p_better` and `p_worse` are one-sided.
    """

    pairs: int
    better: list[str]
    worse: list[str]
    unchanged_scenarios: int
    p: float
    p_better: float
    p_worse: float
    sign_p: float
    """Two-sided sign test over the scenarios: direction alone, not size."""
    e_value: float
    """Evidence, in either direction, that stays valid if cases are added and the runs are compared again: chance
    alone ever reaches 1/alpha with a probability of at most alpha."""
    base: RateInterval
    run: RateInterval
    difference: float
    """The difference of the rates, run minus base, -1..1."""
    interval: tuple[float, float]
    fixed: list[str]
    """Simulations that fail in every trial of the base and pass in every trial of the run."""
    broken: list[str]
    """Simulations for which it is the other way round."""
    flaky: list[str]
    """Simulations whose trials disagree within an arm: on their own they show nothing."""
    unchanged: list[str]
    finding: Finding
    more_scenarios: int | None
    """Roughly how many more are needed, if the evidence is not enough and leans one way, or nothing changed; None:
    unknown."""
    more_simulations: int | None
    """How many simulations those would have."""

    @property
    def scenarios(self) -> int:
        return len(self.better) + len(self.worse) + self.unchanged_scenarios


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What changed over the pairs of one persona, scenario or tag."""

    name: str
    pairs: int
    base: int
    """Trials of the base that pass."""
    run: int
    better: int
    """Scenarios by the mean of their differences within the group."""
    worse: int
    p: float
    """Two-sided sign-flip test over the group's scenarios, adjusted by Holm for the number of groups."""


def grouped(pairs: Sequence[tuple[T, T]], names: Callable[[T], Iterable[str]]) -> list[GroupChange]:
    """The pairs grouped by `names` of their first trial: most changed first, then by name."""
    groups: dict[str, list[tuple[T, T]]] = {}
    for pair in pairs:
        for name in names(pair[0]):
            groups.setdefault(name, []).append(pair)
    changes = [_change(name, of) for name, of in groups.items()]
    adjusted = holm([one.p for one in changes])
    found = [replace(one, p=p) for one, p in zip(changes, adjusted, strict=True)]
    return sorted(found, key=lambda one: (-abs(one.run - one.base), one.name))


def pair_trials(base: Iterable[T], run: Iterable[T]) -> Pairing[T]:
    """Pair the trials of two runs by simulation and number; both must have met the same seed."""
    left = {(t.simulation, t.trial): t for t in base}
    right = {(t.simulation, t.trial): t for t in run}
    pairs: list[tuple[T, T]] = []
    other_seed = base_uncounted = run_uncounted = only_base = 0
    for key, old in left.items():
        new = right.get(key)
        if old.verdict not in COUNTED:
            base_uncounted += 1
        elif new is None:
            only_base += 1
        elif new.verdict not in COUNTED:
            run_uncounted += 1
        elif old.seed != new.seed:
            other_seed += 1
        else:
            pairs.append((old, new))
    only_run = sum(1 for key in right if key not in left)
    return Pairing(pairs, other_seed, base_uncounted, run_uncounted, only_base, only_run)


def compare(pairs: Sequence[tuple[Played, Played]], seed: int = 0) -> RunComparison:
    """Compare paired trials; `seed` is for the sampled sign-flip test of very many scenarios.

    The interval of the difference is Newcombe's square-and-add (1998) over the shares of pairs that got better and
    that got worse: Wilson intervals clustered by scenario, with the correlation of two shares of one multinomial. It
    stays honest if nothing changed, which the intervals of the two rates would not.
    """
    means = _scenario_means(pairs)
    better = [scenario for scenario, mean in means.items() if mean > 0]
    worse = [scenario for scenario, mean in means.items() if mean < 0]
    p_better, p_worse = _one_sided(means.values(), seed)
    p = _two_sided(p_better, p_worse)
    base = clustered_rate((old.scenario, old.simulation, _passes(old)) for old, _ in pairs)
    run = clustered_rate((new.scenario, new.simulation, _passes(new)) for _, new in pairs)
    difference = (run.rate or 0.0) - (base.rate or 0.0)
    interval = _difference_interval(pairs)
    finding = _finding(p, p_better < p_worse, interval)
    simulations = _simulations(pairs)
    enough = finding != "not_enough_evidence"
    more = None if enough else _more(len(means), len(better), len(worse))
    each = sum(map(len, simulations.values())) / len(means) if means else 0
    return RunComparison(
        pairs=len(pairs),
        better=better,
        worse=worse,
        unchanged_scenarios=len(means) - len(better) - len(worse),
        p=p,
        p_better=p_better,
        p_worse=p_worse,
        sign_p=sign_test_two_sided(len(better), len(worse)),
        e_value=(mixture_e_value(len(better), len(worse)) + mixture_e_value(len(worse), len(better))) / 2,
        base=base,
        run=run,
        difference=difference,
        interval=interval,
        **simulations,
        finding=finding,
        more_scenarios=more,
        more_simulations=None if more is None else math.ceil(more * each),
    )


def against_baseline(
    found: RunComparison, pairing: Pairing[T], max_drop: float = MAX_DROP
) -> list[ThresholdResult]:
    """Whether a run holds what its baseline reached; each row must pass.

    1. At most a tenth of the baseline's counted trials lacks a counterpart: fails closed.
    2. The scenarios are not worse: the one-sided sign-flip test over them gives p above 0.05.
    3. The pass rate over the pairs fell by at most `max_drop` (0..1): what a small suite can show.
    """
    wanted, pairs = pairing.base_counted, found.pairs
    left_out = wanted - pairs
    reached = bool(pairs) and left_out <= MOST_LEFT_OUT * wanted
    rows = [
        ThresholdResult.of(
            "baseline compared >= 90%", reached, f"{pairs:,} of {wanted:,} counted trials of the baseline"
        )
    ]
    if not pairs:
        return rows
    why = f"{len(found.worse)} of {found.scenarios} scenarios worse, {len(found.better)} better, p {found.p_worse:.3f}"
    rows.append(ThresholdResult.of("baseline scenarios not worse (p > 0.05)", found.p_worse > ALPHA, why))
    points = (
        f"{found.base.passed:,} -> {found.run.passed:,} of {pairs:,}, {100 * found.difference:+.0f} points"
    )
    kept = found.difference >= -max_drop - 1e-12
    rows.append(ThresholdResult.of(f"baseline pass rate drop <= {100 * max_drop:g} points", kept, points))
    return rows


def _change(name: str, pairs: Sequence[tuple[Played, Played]]) -> GroupChange:
    means = _scenario_means(pairs).values()
    p = _two_sided(*_one_sided(means, 0))
    return GroupChange(
        name=name,
        pairs=len(pairs),
        base=sum(_passes(old) for old, _ in pairs),
        run=sum(_passes(new) for _, new in pairs),
        better=sum(mean > 0 for mean in means),
        worse=sum(mean < 0 for mean in means),
        p=p,
    )


def _one_sided(means: Collection[Fraction], seed: int) -> tuple[float, float]:
    """The one-sided p for better and for worse."""
    return sign_flip_test(list(means), seed), sign_flip_test([-mean for mean in means], seed)


def _two_sided(p_better: float, p_worse: float) -> float:
    return min(1.0, 2 * min(p_better, p_worse))


def _passes(trial: Played) -> bool:
    return trial.verdict == "pass"


def _scenario_means(pairs: Sequence[tuple[Played, Played]]) -> Mapping[str, Fraction]:
    gains: dict[str, list[int]] = {}
    for old, new in pairs:
        gains.setdefault(old.scenario, []).append(_passes(new) - _passes(old))
    return {scenario: Fraction(sum(of), len(of)) for scenario, of in gains.items()}


def _simulations(pairs: Sequence[tuple[Played, Played]]) -> dict[str, list[str]]:
    arms: dict[str, tuple[set[bool], set[bool]]] = {}
    for old, new in pairs:
        before, after = arms.setdefault(old.simulation, (set(), set()))
        before.add(_passes(old))
        after.add(_passes(new))
    found: dict[str, list[str]] = {name: [] for name in ("fixed", "broken", "flaky", "unchanged")}
    for simulation, (before, after) in arms.items():
        if len(before) > 1 or len(after) > 1:
            found["flaky"].append(simulation)
        elif before == after:
            found["unchanged"].append(simulation)
        else:
            found["fixed" if after == {True} else "broken"].append(simulation)
    return found


def _difference_interval(pairs: Sequence[tuple[Played, Played]]) -> tuple[float, float]:
    """The interval of the share of pairs that got better minus the share that got worse."""
    up = clustered_rate((o.scenario, o.simulation, _passes(n) and not _passes(o)) for o, n in pairs)
    down = clustered_rate((o.scenario, o.simulation, _passes(o) and not _passes(n)) for o, n in pairs)
    if up.rate is None or down.rate is None:
        return -1.0, 1.0
    low, high = square_and_add(
        (up.rate, up.low, up.high), (down.rate, down.low, down.high), _correlation(up.rate, down.rate)
    )
    return max(-1.0, low), min(1.0, high)


def _correlation(up: float, down: float) -> float:
    """The correlation of two shares of one multinomial: -sqrt(ab / ((1 - a)(1 - b))); 0 if either is zero."""
    rest = (1 - up) * (1 - down)
    return -min(1.0, math.sqrt(up * down / rest)) if rest > 0 else 0.0


def _finding(p: float, upward: bool, interval: tuple[float, float]) -> Finding:
    if p <= ALPHA:
        return "better" if upward else "worse"
    if interval[0] >= -EQUAL_WITHIN and interval[1] <= EQUAL_WITHIN:
        return "no_difference"
    return "not_enough_evidence"


def _more(n: int, better: int, worse: int) -> int | None:
    """More scenarios needed for a power of 80%, if better and worse ones stay as frequent as they are.

    If nothing changed: enough that the interval of the difference, Wilson's of 0 of n, is within `EQUAL_WITHIN`.
    """
    if better == worse:
        return None if better or not n else max(1, math.ceil(Z95**2 * (1 / EQUAL_WITHIN - 1)) - n)
    more = more_scenarios(n, max(better, worse), min(better, worse), ALPHA / 2)
    return None if more is None else max(1, more)
