"""ArkSim's metrics and thresholds in our terms: names of metrics, thresholds, labels that must not occur.

Its metrics in Python have no counterpart that could be read; a rubric in words becomes a metric of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..evaluate import METRICS, choose_metrics
from ..shapes import as_list
from .importer import Losses, as_object

SCALES: Final[Mapping[str, tuple[float, float]]] = {
    **dict.fromkeys(("helpfulness", "coherence", "relevance", "faithfulness", "verbosity"), (1, 5)),
    "goal_completion": (0, 1),
    "overall_score": (0, 1),
}
LABELLED: Final = "agent_behavior_failure"
OF_CHECKS: Final = ("tool_call_behavior_failure", "tool_call_trajectory")
"""Decided here by the counted checks that assertions become."""
_OURS: Final = {"overall_score": "arksim_score"}
_LABELS: Final = {
    "disobey_user_request": "disobeyed_user",
    "failure_to_ask_for_clarification": "no_clarification",
}
_WRITTEN: Final = ("rubric", "criteria", "system_prompt", "description")
_RUBRIC: Final = "a rubric: settings.metrics takes {name, rubric, scale}"
_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}\Z")


def measured(keys: dict[str, Any], settings: dict[str, Any], losses: Losses, at: str) -> None:
    """Take metrics and thresholds out of a config's keys and put those with a counterpart into the settings."""
    metrics = list(_metrics(keys.pop("metrics_to_run", None), losses, at))
    wanted = as_object(keys.pop("numeric_thresholds", None)) or {}
    old = keys.pop("score_threshold", None)
    if old is not None:
        wanted = {"overall_score": old, **wanted}
    thresholds: dict[str, Any] = dict(_numbers(wanted, losses, at))
    labels = list(_labels(keys.pop("qualitative_failure_labels", None), losses, at))
    if labels:
        thresholds[LABELLED] = labels
    metrics += [name for name in thresholds if name not in metrics]
    if metrics:
        settings["metrics"] = metrics
    if thresholds:
        settings["thresholds"] = thresholds


def of_scenario(told: Any, losses: Losses, at: str) -> Iterator[dict[str, Any]]:
    """The `metrics` of one scenario as checks that are shown and do not count: metrics by name, criteria in words."""
    for k, row in enumerate(as_list(told), 1):
        name, rubric = _name_and_rubric(row)
        if name in SCALES or name in METRICS:
            yield {"id": f"metric-{k}", "metric": _OURS.get(name, name), "counts": False}
        elif rubric or " " in name:
            yield {"id": f"metric-{k}", "judge": rubric or name, "counts": False}
        elif name not in OF_CHECKS:
            losses.add("metric of a scenario", "no metric here has this name", f"{at}, {name[:60]}", _RUBRIC)


def _metrics(told: Any, losses: Losses, at: str) -> Iterator[Any]:
    """The names that we know, and rubrics as custom metrics."""
    for row in as_list(told):
        name, rubric = _name_and_rubric(row)
        if name in SCALES or name in METRICS:
            yield _OURS.get(name, name)
        elif rubric and _NAME.match(name):
            made = {"name": name, "rubric": rubric, "scale": (as_object(row) or {}).get("scale", [1, 5])}
            try:
                choose_metrics([made])
            except InvalidArgument as error:
                losses.add("metric", error.what, f"{at}, {name}", error.allowed)
            else:
                yield made
        elif name not in OF_CHECKS:
            losses.add(
                "metric",
                "no metric here has this name, and Python is not read",
                f"{at}, {name[:60]}",
                _RUBRIC,
            )


def _numbers(told: Mapping[str, Any], losses: Losses, at: str) -> Iterator[tuple[str, float]]:
    """Thresholds on means. ArkSim's verbosity is 5 for a concise answer, ours 1."""
    for name, value in told.items():
        least, most = SCALES.get(name, (0, 0))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in SCALES:
            losses.add("threshold", "no metric here has this name", f"{at}, {name[:60]}")
        elif not number or not least <= value <= most:
            losses.add(
                "threshold", f"it is not within {least:g} and {most:g}", f"{at}, {name}: {str(value)[:40]}"
            )
        else:
            yield _OURS.get(name, name), float(6 - value if name == "verbosity" else value)


def _labels(told: Any, losses: Losses, at: str) -> Iterator[str]:
    """Labels of the agent's failures that must not occur."""
    for name, labels in (as_object(told) or {}).items():
        if name != LABELLED:
            losses.add("labels of a metric", "no metric here has this name", f"{at}, {name[:60]}", _RUBRIC)
            continue
        for label in cast("list[Any]", labels) if isinstance(labels, list) else [labels]:
            word = re.sub(r"[^a-z]+", "_", str(label).lower()).strip("_")
            if _LABELS.get(word, word) in METRICS[LABELLED].labels[1:]:
                yield _LABELS.get(word, word)
            else:
                losses.add("label", "no failure here has this name", f"{at}, {str(label)[:60]}")


def _name_and_rubric(row: Any) -> tuple[str, str]:
    """(name, rubric or "") of a metric as written."""
    value = as_object(row)
    if value is None:
        return str(row), ""
    texts = [value[key] for key in _WRITTEN if isinstance(value.get(key), str)]
    return str(value.get("name") or ""), texts[0][:4000] if texts else ""
