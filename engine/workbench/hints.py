"""Hints on request: a run in which the agent is given the scenario author's hints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..plural import plural
from ..records.scenario import Scenario


def hints_record(scenarios: Iterable[Scenario]) -> dict[str, int]:
    """What a run with hints records of them: how many of its scenarios have any."""
    known = list(scenarios)
    return {"told_in": sum(bool(one.hints) for one in known), "of": len(known)}


def hints_warnings(told: Mapping[str, int] | None) -> list[str]:
    """The warning of a run with hints: its rate is not that of its instructions."""
    if not told:
        return []
    return [
        f"The agent was given hints in {told['told_in']} of {plural(told['of'], 'scenario')}: this is not the rate of "
        "its instructions. Compare it with a run without hints (compare_runs): what only hints mend is not in the text."
    ]
