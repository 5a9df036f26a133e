"""Rates of a run: counts, pass rate with interval, pass@k and pass^k, and thresholds that fail closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Protocol

from ..errors import InvalidArgument, did_you_mean
from ..records.run import ThresholdResult, Totals
from ..records.verdict import TrialVerdict
from .statistics import clustered_rate, pass_at_k, pass_hat_k

COUNTED: Final = ("pass", "fail", "inconclusive")
"""Verdicts that are in the rates; inconclusive is not a pass. Errors and invalids stand apart."""
THRESHOLDS: Final = ("pass_rate", "max_errors")


class Ended(Protocol):
    """What is counted of a trial that is over; a TrialRecord is one."""

    @property
    def simulation(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def verdict(self) -> TrialVerdict: ...


@dataclass(frozen=True, slots=True)
class EndedTrial:
    """Just that: for the totals of a run that is going on."""

    simulation: str
    scenario: str
    verdict: TrialVerdict


def totals(trials: Sequence[Ended]) -> Totals:
    """Counts and the rate over pass, fail and inconclusive, with a 95% interval clustered by scenario."""
    counts = Counter(trial.verdict for trial in trials)
    counted = [trial for trial in trials if trial.verdict in COUNTED]
    rate = clustered_rate((t.scenario, t.simulation, t.verdict == "pass") for t in counted)
    by_simulation = _outcomes(counted)
    return Totals(
        simulations=len({trial.simulation for trial in trials}),
        scenarios=len({trial.scenario for trial in trials}),
        trials=len(trials),
        passed=counts["pass"],
        failed=counts["fail"],
        inconclusive=counts["inconclusive"],
        error=counts["error"],
        invalid=counts["invalid"],
        mixed=sum(1 for outcomes in by_simulation.values() if len(set(outcomes)) > 1),
        rate=rate.rate,
        interval=rate.interval,
        pass_k=_pass_k(list(by_simulation.values()), trials),
    )


def thresholds(found: Totals, wanted: Mapping[str, float]) -> list[ThresholdResult]:
    """Whether a run reached what it had to; what could not be measured fails, and says why.

    `pass_rate` is the least rate (0..1), `max_errors` the most trials that may end in error or invalid;
    where any threshold is set, `max_errors` is 0 unless given.
    """
    if not wanted:
        return []
    return [_threshold(name, limit, found) for name, limit in {"max_errors": 0, **wanted}.items()]


def check_thresholds(wanted: Mapping[str, float], where: str) -> None:
    """Refuse thresholds that are unknown or out of range; InvalidArgument with path, allowed and nearest."""
    for name, limit in wanted.items():
        if name not in THRESHOLDS:
            what = f"There is no threshold `{name}`.{did_you_mean(name, THRESHOLDS)}"
            raise InvalidArgument(what, where=f"{where}.{name}", allowed=THRESHOLDS)
        if limit < 0 or (name == "pass_rate" and limit > 1):
            allowed = "0 to 1" if name == "pass_rate" else "a number of at least 0"
            raise InvalidArgument(f"`{name}` cannot be {limit:g}.", where=f"{where}.{name}", allowed=allowed)


def _threshold(name: str, limit: float, found: Totals) -> ThresholdResult:
    if name == "max_errors":
        apart = found.error + found.invalid
        why = f"{found.error} errors, {found.invalid} invalid"
        return _told(f"max_errors <= {limit:g}", apart <= limit, why)
    if name != "pass_rate":
        return _told(f"{name} >= {limit:g}", False, "it was not measured in this run")
    if found.rate is None:
        return _told(f"pass_rate >= {limit:g}", False, "no trial could be counted")
    counted = found.passed + found.failed + found.inconclusive
    return _told(
        f"pass_rate >= {limit:g}",
        found.rate >= limit - 1e-12,
        f"{found.passed} of {counted}, {found.rate:.3f}",
    )


def _told(threshold: str, reached: bool, why: str) -> ThresholdResult:
    return ThresholdResult(threshold=threshold, result="pass" if reached else "fail", why=why)


def _outcomes(counted: Iterable[Ended]) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for trial in counted:
        found.setdefault(trial.simulation, []).append(trial.verdict == "pass")
    return found


def _pass_k(simulations: Sequence[Sequence[bool]], trials: Sequence[Ended]) -> dict[str, float | None]:
    """pass@k and pass^k for 1 and for the trials given, as means over the simulations that have so many.

    Fewer countable trials than k say nothing about k: None where no simulation has enough, never 0.
    """
    most = max(Counter(trial.simulation for trial in trials).values(), default=0)
    if most < 2:
        return {}
    wanted = (("pass@1", pass_at_k, 1), (f"pass@{most}", pass_at_k, most), (f"pass^{most}", pass_hat_k, most))
    found: dict[str, float | None] = {}
    for name, estimate, k in wanted:
        values = [v for s in simulations if (v := estimate(len(s), sum(s), k)) is not None]
        found[name] = fmean(values) if values else None
    return found
