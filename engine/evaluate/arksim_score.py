"""ArkSim's overall score of a conversation, from the labels of its turns and goal completion.

Source: `arksim/evaluator/evaluate.py`, 0.3.8. A table in its manual says 40/60; its code and its report say 75/25.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

TURNS: Final = 0.75
GOAL: Final = 0.25
NO_FAILURE: Final = frozenset(("no failure", "skipped_good_performance"))
"""Labels of a turn that do not count against the agent there."""


def overall_of(scores: Mapping[str, Any]) -> float | None:
    """0.75 x share of turns without a failure + 0.25 x goal completion; without the latter the share alone.

    `scores`: a conversation of evaluation.json. None where its turns are not told, or a part is out of range.
    """
    turns = scores.get("turn_scores")
    if not isinstance(turns, list) or not turns:
        return None
    labels = [_label(turn) for turn in cast("list[Any]", turns)]
    if None in labels:
        return None
    share = sum(label in NO_FAILURE for label in labels) / len(labels)
    goal = scores.get("goal_completion_score")
    if goal is None or goal == -1:
        return share
    if isinstance(goal, bool) or not isinstance(goal, int | float) or not 0 <= goal <= 1:
        return None
    return TURNS * share + GOAL * goal


def _label(turn: Any) -> str | None:
    label = cast("dict[str, Any]", turn).get("turn_behavior_failure") if isinstance(turn, dict) else None
    return label if isinstance(label, str) else None
