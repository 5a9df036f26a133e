"""Which metrics are wanted: names from the registry, and a caller's rubrics or code, checked before a run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, cast

from pydantic import Field

from ...errors import InvalidArgument, did_you_mean
from ...records.authored import Authored, load
from .metric import METRICS, Metric

DEFAULT_METRICS: Final = ("task_completion", "hallucinations", "answer_relevancy")
"""What a run measures if a judge is set and no metrics are named."""
NO_METRICS: Final = "none"
"""The name that requests no metric at all."""
MOST: Final = 40
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_CRITERION: Final = re.compile(r"c\d+")
_CODE: Final = re.compile(r"[^\0\n]{1,4000}\.py:[A-Za-z_]\w{0,99}")


class CustomMetric(Authored):
    """A rubric in plain text or a function of a Python file, with its scale."""

    name: str
    rubric: str = Field(default="", max_length=4_000)
    code: str = ""
    """`FILE.py:name`, a file below --allow-code."""
    sha256: str = Field(default="", max_length=64)
    """Hash of that file; set by us when the metric is chosen."""
    scale: list[float | str] = Field(default_factory=lambda: [1.0, 5.0], min_length=2, max_length=20)
    """[least, most], or labels, the first of which means that nothing is wrong."""
    direction: Literal["higher", "lower", "none"] | None = None
    """Which way is better; default: higher for numbers, none for labels."""
    whole: bool | None = None
    """Whether only whole numbers are valid; default: yes for a rubric."""
    about: list[Literal["goal", "policy", "knowledge"]] = Field(default_factory=list[Any], max_length=3)
    """What the judge is shown besides the record."""


def choose_metrics(wanted: Sequence[Any], where: str = "metrics") -> dict[str, Metric]:
    """The metrics by name, including those that composed ones are made of.

    Raises InvalidArgument with path, allowed and nearest for an unknown name, or an invalid rubric or code.
    """
    if len(wanted) > MOST:
        raise InvalidArgument(f"{len(wanted)} metrics.", where=where, allowed=f"at most {MOST}")
    chosen: dict[str, Metric] = {}
    for i, one in enumerate(wanted):
        if one == NO_METRICS and len(wanted) == 1:
            return {}
        at = f"{where}[{i}]"
        metric = _custom(cast("Mapping[str, Any]", one), at) if isinstance(one, Mapping) else _known(one, at)
        if metric.name in chosen and chosen[metric.name] is not metric:
            raise InvalidArgument(
                f"Two metrics are called `{metric.name}`.", where=f"{where}[{i}]", allowed="one"
            )
        chosen[metric.name] = metric
        for part in metric.parts:
            chosen.setdefault(part, METRICS[part])
    return chosen


def made_of_checks(name: str) -> bool:
    """Whether a built-in metric is a function of the verdict: no check can use it."""
    return name in METRICS and METRICS[name].of_verdict is not None


def _known(name: Any, where: str) -> Metric:
    found = METRICS.get(name) if isinstance(name, str) else None
    if found is None:
        shown = str(name)[:60]
        raise InvalidArgument(
            f"Unknown metric `{shown}`.{did_you_mean(shown, METRICS)}",
            where=where,
            allowed=f"{', '.join(sorted(METRICS))}; or {{name, rubric or code, scale}}; none; guide metrics",
        )
    return found


def _custom(data: Mapping[str, Any], where: str) -> Metric:
    spec = load(CustomMetric, dict(data), where)
    if (
        not _NAME.fullmatch(spec.name)
        or _CRITERION.fullmatch(spec.name)
        or spec.name in (*METRICS, NO_METRICS, "look_up")
    ):
        raise InvalidArgument(
            f"`{spec.name[:60]}` cannot be the name of a metric.",
            where=f"{where}.name",
            allowed="a-z, 0-9, _ and -, up to 64; not c1, c2 ... nor a metric that ships",
        )
    _check_answered(spec, where)
    labels = tuple(one for one in spec.scale if isinstance(one, str))
    metric = Metric(
        spec.name,
        (spec.rubric or f"What {spec.code} says.")[:200],
        spec.direction or ("none" if labels else "higher"),
        labels=labels,
        rubric=spec.rubric,
        code=spec.code,
        code_hash=spec.sha256,
        answer="label" if labels else "score",
        about=("goal", "policy") if spec.code else tuple(spec.about),
    )
    if labels:
        _check_labels(spec, labels, where)
        return metric
    least, most = _limits(cast("list[float]", spec.scale), where)
    wanted = spec.whole if spec.whole is not None else not spec.code
    whole = wanted and least == int(least) and most == int(most) and most - least > 1
    return replace(metric, scale=(least, most), whole=whole)


def _check_answered(spec: CustomMetric, where: str) -> None:
    """Refuse a metric with no rubric and no code, or with both."""
    if bool(spec.rubric) == bool(spec.code):
        raise InvalidArgument(
            "A metric of your own is a rubric or code.",
            where=f"{where}.{'code' if spec.code else 'rubric'}",
            allowed='one of rubric "5: ... 1: ..." and code "FILE.py:function"; guide metrics',
        )
    if spec.code and not _CODE.fullmatch(spec.code):
        raise InvalidArgument(
            f"`{spec.code[:60]}` names no function of a file.",
            where=f"{where}.code",
            allowed="FILE.py:function, the file below --allow-code DIR",
        )


def _check_labels(spec: CustomMetric, labels: tuple[str, ...], where: str) -> None:
    wrong = len(labels) < len(spec.scale) or len(set(labels)) < len(labels)
    if wrong or any(not label.strip() or len(label) > 80 for label in labels):
        raise InvalidArgument(
            "The labels are mixed, empty or not distinct.",
            where=f"{where}.scale",
            allowed="2 to 20 different texts",
        )


def _limits(scale: list[float], where: str) -> tuple[float, float]:
    if len(scale) != 2 or not all(map(math.isfinite, scale)) or scale[0] >= scale[1]:
        raise InvalidArgument(
            "A scale is its least and its most number, or labels.", where=f"{where}.scale", allowed="[1, 5]"
        )
    return scale[0], scale[1]
