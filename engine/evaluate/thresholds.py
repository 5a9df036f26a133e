"""Thresholds: what a run must reach, by rate, metric, label and check. Anything not measured fails, and says why."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..errors import InvalidArgument, did_you_mean
from ..records.opinion import MetricSummary
from ..records.run import Threshold, ThresholdResult, Totals
from ..records.verdict import CheckVerdict
from .metrics import METRICS, Metric

RATES: Final = ("pass_rate", "max_errors")
CHECK: Final = "check:"
"""Prefix of a check's id: the least share of the trials in which it must pass."""
MOST: Final = 100
_SHOWN: Final = 3
_EXACT: Final = 1e-12


@dataclass(slots=True)
class CheckCounts:
    """How often each check passed, and how often it was decided, over the trials that count."""

    passed: dict[str, int] = field(default_factory=dict[str, int])
    trials: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, checks: Iterable[tuple[str, CheckVerdict]]) -> None:
        """Count the checks of one trial."""
        for id, verdict in checks:
            self.trials[id] = self.trials.get(id, 0) + 1
            self.passed[id] = self.passed.get(id, 0) + (verdict == "pass")


@dataclass(frozen=True, slots=True)
class Reached:
    """The results of a run that thresholds are checked against."""

    totals: Totals
    metrics: Mapping[str, MetricSummary] = field(default_factory=dict[str, MetricSummary])
    checks: CheckCounts = field(default_factory=CheckCounts)


def check_thresholds(
    wanted: Mapping[str, Threshold], where: str, metrics: Mapping[str, Metric] | None = None
) -> None:
    """Refuse thresholds that are unknown or out of range; InvalidArgument with path, allowed and nearest.

    `metrics`: the caller's own, in addition to the built-in ones.
    """
    known = {**METRICS, **(metrics or {})}
    if len(wanted) > MOST:
        raise InvalidArgument(f"{len(wanted)} thresholds.", where=where, allowed=f"at most {MOST}")
    for name, limit in wanted.items():
        if name.startswith(CHECK):
            _check_number(name, limit, f"{where}.{name}", (0, 1))
            _check_id(name, f"{where}.{name}")
        elif name == "pass_rate":
            _check_number(name, limit, f"{where}.{name}", (0, 1))
        elif name == "max_errors":
            _check_number(name, limit, f"{where}.{name}", (0, None), whole=True)
        elif name in known:
            _check_metric(known[name], limit, f"{where}.{name}")
        else:
            names = [*RATES, *known]
            what = f"There is no threshold `{name[:60]}`.{did_you_mean(name, names)}"
            allowed = "pass_rate, max_errors, check:ID, or a metric (guide metrics)"
            raise InvalidArgument(what, where=f"{where}.{name[:60]}", allowed=allowed)


def thresholds(reached: Reached, wanted: Mapping[str, Threshold]) -> list[ThresholdResult]:
    """Whether a run reached its thresholds; what could not be measured fails, and says why.

    `pass_rate` is the least rate (0..1), `max_errors` the most trials that may end in error or invalid; if any
    threshold is set, `max_errors` is 0 unless given. For a metric it is the least mean, or the most if lower is
    better; for labels of a metric, those that must not occur.
    """
    if not wanted:
        return []
    return [_result(name, limit, reached) for name, limit in {"max_errors": 0, **wanted}.items()]


def named_metrics(wanted: Collection[str]) -> dict[str, Metric]:
    """The metrics in thresholds that need no judge: naming them is enough to have them measured."""
    found = (METRICS[name] for name in wanted if name in METRICS)
    return {metric.name: metric for metric in found if metric.measure or metric.of_verdict}


def _result(name: str, limit: Threshold, reached: Reached) -> ThresholdResult:
    if isinstance(limit, list):
        return _of_labels(name, limit, reached.metrics.get(name))
    if name == "max_errors":
        apart = reached.totals.error + reached.totals.invalid
        errors = f"{reached.totals.error} error{'' if reached.totals.error == 1 else 's'}"
        why = f"{errors}, {reached.totals.invalid} invalid"
        return ThresholdResult.of(f"max_errors <= {limit:g}", apart <= limit, why)
    if name == "pass_rate":
        return _of_rate(limit, reached.totals)
    if name.startswith(CHECK):
        return _of_check(name, limit, reached.checks)
    return _of_metric(name, limit, reached.metrics.get(name))


def _of_rate(limit: float, found: Totals) -> ThresholdResult:
    text = f"pass_rate >= {limit:g}"
    if found.rate is None:
        return ThresholdResult.of(text, False, "no trial could be counted")
    counted = found.passed + found.failed + found.inconclusive
    return ThresholdResult.of(
        text, found.rate >= limit - _EXACT, f"{found.passed} of {counted}, {found.rate:.3f}"
    )


def _of_check(name: str, limit: float, checks: CheckCounts) -> ThresholdResult:
    told, id = f"{name} >= {limit:g}", name.removeprefix(CHECK)
    trials = checks.trials.get(id, 0)
    if not trials:
        return ThresholdResult.of(told, False, f"no trial has a check {id}")
    passed = checks.passed.get(id, 0)
    return ThresholdResult.of(
        told, passed / trials >= limit - _EXACT, f"{passed} of {trials}, {passed / trials:.3f}"
    )


def _of_metric(name: str, limit: float, found: MetricSummary | None) -> ThresholdResult:
    lower = found is not None and found.direction == "lower"
    lower = lower or (found is None and name in METRICS and METRICS[name].direction == "lower")
    text = f"{name} {'<=' if lower else '>='} {limit:g}"
    missing = _not_measured(found)
    if found is None or missing:
        return ThresholdResult.of(text, False, missing)
    if found.mean is None:
        return ThresholdResult.of(text, False, _without(found))
    held = found.mean <= limit + _EXACT if lower else found.mean >= limit - _EXACT
    return ThresholdResult.of(text, held, f"{found.mean:.3f}, over {found.scored}")


def _of_labels(name: str, unwanted: list[str], found: MetricSummary | None) -> ThresholdResult:
    text = f"{name} never {', '.join(unwanted)}"
    missing = _not_measured(found)
    if found is None or missing:
        return ThresholdResult.of(text, False, missing)
    if not found.scored:
        return ThresholdResult.of(text, False, _without(found))
    seen = {label: found.labels[label] for label in unwanted if found.labels.get(label)}
    why = ", ".join(f"{label} in {count}" for label, count in list(seen.items())[:_SHOWN])
    return ThresholdResult.of(text, not seen, why or f"in none of {found.scored}")


def _not_measured(found: MetricSummary | None) -> str:
    """Why a metric cannot be compared with its threshold; "" if it can."""
    if found is None:
        return "it did not run: name it in `metrics`"
    if found.unscored:
        return f"{found.unscored} of {found.unscored + found.scored + found.does_not_apply} are unscored"
    return ""


def _without(found: MetricSummary) -> str:
    """Why a metric with nothing unscored has no value."""
    return (
        "it applies to no conversation of this run" if found.does_not_apply else "no trial could be counted"
    )


def _check_id(name: str, where: str) -> None:
    if not name.removeprefix(CHECK).strip():
        raise InvalidArgument(f"`{name}` names no check.", where=where, allowed="check:ID, such as check:c1")


def _check_number(
    name: str, limit: Any, where: str, span: tuple[float, float | None], *, whole: bool = False
) -> None:
    least, most = span
    number = isinstance(limit, int | float) and not isinstance(limit, bool) and math.isfinite(limit)
    if not number or limit < least or (most is not None and limit > most) or (whole and limit % 1):
        shown = f"{limit:g}" if number else str(limit)[:40]
        kind = "whole number" if whole else "number"
        allowed = f"{least:g} to {most:g}" if most is not None else f"a {kind} of at least {least:g}"
        raise InvalidArgument(f"`{name}` cannot be {shown}.", where=where, allowed=allowed)


def _check_metric(metric: Metric, limit: Any, where: str) -> None:
    if not metric.labels:
        _check_number(metric.name, limit, where, metric.scale)
        return
    unwanted = cast("list[Any]", limit) if isinstance(limit, list) else []
    strange = [label for label in unwanted if label not in metric.labels]
    if not unwanted or strange:
        near = did_you_mean(str(strange[0]), metric.labels) if strange else ""
        what = f"`{metric.name}` has labels: a threshold names those that must not occur.{near}"
        raise InvalidArgument(what, where=where, allowed=f"a list of {', '.join(metric.labels)}")
