"""Figures and words of summaries: one form each, so that every reply tells the same thing the same way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ..engine.evaluate.statistics import shown_p
from ..engine.plural import plural
from ..engine.records.hardening import Comparison, HeldOutEvidence
from ..engine.records.run import Totals
from ..engine.shapes import is_list, is_object

OFFLINE_WARNING = (
    "Models are offline (rule-based): this proves world, checks and proof, not how a real model behaves."
)
PARTLY_OFFLINE = (
    "The {0} is offline (rule-based): this proves world, checks and proof, not how a real {0} behaves."
)

_PLAYERS = ("agent", "user")


def rate(totals: Totals) -> str:
    """`89 of 144 pass (62%, interval 43-78)`; what was left out of the rate stands behind it."""
    counted = totals.passed + totals.failed + totals.inconclusive
    if not counted:
        text = "nothing could be counted"
    else:
        text = f"{totals.passed:,} of {counted:,} pass ({interval(totals.passed / counted, totals.interval)})"
    left_out = [
        f"{number:,} {word}"
        for word, number in (("error", totals.error), ("invalid", totals.invalid))
        if number
    ]
    return text + (f"; left out: {', '.join(left_out)}" if left_out else "")


def interval(share: float, bounds: tuple[float, float] | None) -> str:
    """`62%, interval 43-78`."""
    text = percent(share)
    return f"{text}, interval {100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}" if bounds else text


def percent(share: float) -> str:
    """`62%`."""
    return f"{100 * share:.0f}%"


def held_out(evidence: HeldOutEvidence) -> str:
    """What the proof rests on, in one sentence."""
    p, alpha = shown_p(evidence.p, evidence.alpha)
    return (
        f"Held-out: {evidence.better} of {plural(evidence.n, 'scenario')} better, {evidence.worse} worse, "
        f"p {p} (needs at most {alpha})."
    )


def train(comparison: Comparison) -> str:
    """`Train 7 -> 16 of 16.`"""
    return f"Train {comparison.base} -> {comparison.candidate} of {comparison.candidate_trials}."


def offline_roles(*models: Mapping[str, str]) -> str:
    """` (offline)` where agent and user are, ` (user offline)` where one of them is, and "" where neither is.

    Of several runs a role is offline that is so in any of them.
    """
    played = _offline(*models)
    if not played:
        return ""
    return " (offline)" if len(played) == len(_PLAYERS) else f" ({played[0]} offline)"


def with_offline(warnings: list[str], *models: Mapping[str, str]) -> list[str]:
    """The warnings, and the one about offline models when it is due and not yet said."""
    played = _offline(*models)
    if not played or any(one.startswith("Models are offline") for one in warnings):
        return list(warnings)
    whole = len(played) == len(_PLAYERS)
    return [*warnings, OFFLINE_WARNING if whole else PARTLY_OFFLINE.format(played[0])]


def _offline(*models: Mapping[str, str]) -> list[str]:
    return [role for role in _PLAYERS if any(one.get(role, "").startswith("offline") for one in models)]


def listed(words: list[str], shown: int = 3) -> str:
    """`a, b, c and 4 more`."""
    left = len(words) - shown
    return ", ".join(words[:shown]) + (f" and {left} more" if left > 0 else "")


def rounded(value: Any, digits: int = 4) -> Any:
    """The value with its floats rounded: what a reader needs, not what a float can hold."""
    if isinstance(value, float):
        return round(value, digits)
    if is_object(value):
        return {key: rounded(one, digits) for key, one in value.items()}
    if is_list(value):
        return [rounded(one, digits) for one in value]
    if isinstance(value, tuple):
        return rounded(list(cast("tuple[Any, ...]", value)), digits)
    return value
