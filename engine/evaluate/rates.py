"""Rates of a run: counts, pass rate with interval, pass@k and pass^k."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Protocol

from ..records.run import Totals
from ..records.verdict import TrialVerdict
from .statistics import clustered_rate, pass_at_k, pass_hat_k

COUNTED: Final = ("pass", "fail", "inconclusive")
"""Verdicts that are in the rates; inconclusive is not a pass. Error and invalid are kept apart."""


class Ended(Protocol):
    """What is counted for a finished trial; a TrialRecord is one."""

    @property
    def simulation(self) -> str: ...
    @property
    def scenario(self) -> str: ...
    @property
    def verdict(self) -> TrialVerdict: ...


@dataclass(frozen=True, slots=True)
class EndedTrial:
    """A minimal `Ended`, for the totals of a run in progress."""

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


def _outcomes(counted: Iterable[Ended]) -> dict[str, list[bool]]:
    found: dict[str, list[bool]] = {}
    for trial in counted:
        found.setdefault(trial.simulation, []).append(trial.verdict == "pass")
    return found


def _pass_k(simulations: Sequence[Sequence[bool]], trials: Sequence[Ended]) -> dict[str, float | None]:
    """pass@k and pass^k for 1 and for the number of trials, as means over the simulations that have that many.

    Fewer countable trials than k say nothing about k: None if no simulation has enough, never 0.
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
