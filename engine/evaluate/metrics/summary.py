"""Metrics over the conversations of a run. Unscored values are counted, and in no mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from ...records.opinion import MetricSummary, MetricValue
from ..statistics import Z95, clustered_se
from .metric import Metric


@dataclass(slots=True)
class _Values:
    numbers: list[float] = field(default_factory=list[float])
    scenarios: list[str] = field(default_factory=list[str])
    labels: Counter[str] = field(default_factory=Counter[str])
    parts: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    scored: int = 0
    unscored: int = 0
    does_not_apply: int = 0

    def add(self, scenario: str, value: MetricValue | None) -> None:
        if value is None or value.unscored:
            self.unscored += 1
        elif not value.measured:
            self.does_not_apply += 1
        else:
            self.scored += 1
            if value.value is not None:
                self.numbers.append(value.value)
                self.scenarios.append(scenario)
            if value.label:
                self.labels[value.label] += 1
            for name, part in value.parts.items():
                self.parts.setdefault(name, []).append(part)


def summaries(
    metrics: Mapping[str, Metric], conversations: Sequence[tuple[str, Sequence[MetricValue]]]
) -> dict[str, MetricSummary]:
    """The summary of each metric. `conversations`: scenario and values of each one that counts."""
    found = {name: _Values() for name in metrics}
    for scenario, values in conversations:
        by_name = {value.metric: value for value in values}
        for name, held in found.items():
            held.add(scenario, by_name.get(name))
    return {name: _summary(metric, found[name]) for name, metric in metrics.items()}


def _summary(metric: Metric, held: _Values) -> MetricSummary:
    scale: list[Any] = list(metric.labels or metric.scale)
    return MetricSummary(
        mean=fmean(held.numbers) if held.numbers else None,
        interval=_interval(metric, held),
        scale=scale,
        direction=metric.direction,
        judged=metric.judged or bool(metric.parts),
        scored=held.scored,
        unscored=held.unscored,
        does_not_apply=held.does_not_apply,
        labels=dict(sorted(held.labels.items())),
        components={name: fmean(parts) for name, parts in held.parts.items()},
    )


def _interval(metric: Metric, held: _Values) -> tuple[float, float] | None:
    """The mean +- 1.96 SE, clustered by scenario and within the scale; None for fewer than two scenarios."""
    if len(set(held.scenarios)) < 2:
        return None
    mean, half = fmean(held.numbers), Z95 * clustered_se(held.numbers, held.scenarios)
    least, most = metric.scale
    return max(mean - half, least), mean + half if most is None else min(mean + half, most)
