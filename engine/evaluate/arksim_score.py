"""ArkSim's overall score of a conversation: 0.75 x the share of turns without a failure + 0.25 x goal completion.

Its judge labelled the turns; the labels come with a recorded conversation. Source: `arksim/evaluator/evaluate.py`,
0.3.8. A table in its manual says 40/60; its code and its report say 75/25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ..records.conversation import Conversation
from .originals import Closing, Parts
from .trace import ExpectedWorld, Trace

TURNS: Final = 0.75
GOAL: Final = 0.25
METRIC: Final = "arksim_score"
NO_FAILURE: Final = frozenset(("no failure", "skipped_good_performance"))
"""Its labels for a turn that do not count against the agent."""


class ArkSimScore:
    """The profile `arksim`: by its judge's labels; in our trials by `arksim_score`, if measured; else unknown."""

    needs_expected_world: bool = False
    closing: Sequence[Closing] = ()

    def parts(self, conversation: Conversation, trace: Trace, expected: ExpectedWorld | None) -> Parts:
        source: Any = conversation.origin.x_source if conversation.origin is not None else None
        scores = cast("dict[str, Any]", source).get("evaluation") if isinstance(source, dict) else None
        measured = trace.opinions.metrics.get(METRIC)
        if not isinstance(scores, dict) and measured is not None and measured.value is not None:
            return {
                "turn_success": measured.parts["turn_success_ratio"],
                "goal_completion": measured.parts["goal_completion"],
            }
        return parts_of(cast("dict[str, Any]", scores) if isinstance(scores, dict) else {})

    def reward(self, parts: Parts) -> float | None:
        return overall_of(parts)


def parts_of(scores: Mapping[str, Any]) -> Parts:
    """`turn_success` and, if measured, `goal_completion`, from a conversation of evaluation.json.

    None if the turns are missing, or the judge's value is not within 0..1.
    """
    turns = scores.get("turn_scores")
    labels = [_label(turn) for turn in cast("list[Any]", turns)] if isinstance(turns, list) else []
    share = None if not labels or None in labels else sum(one in NO_FAILURE for one in labels) / len(labels)
    goal = scores.get("goal_completion_score", -1)
    if goal in (None, -1):
        return {"turn_success": share}
    within = isinstance(goal, int | float) and not isinstance(goal, bool) and 0 <= goal <= 1
    return {"turn_success": share, "goal_completion": float(goal) if within else None}


def overall_of(parts: Parts) -> float | None:
    """The score from its parts; without goal completion the share of turns alone."""
    share = parts.get("turn_success")
    if share is None or "goal_completion" not in parts:
        return share
    goal = parts["goal_completion"]
    return None if goal is None else TURNS * share + GOAL * goal


def _label(turn: Any) -> str | None:
    label = cast("dict[str, Any]", turn).get("turn_behavior_failure") if isinstance(turn, dict) else None
    return label if isinstance(label, str) else None
