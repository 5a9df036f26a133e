"""Hints on request: a run in which the agent is given the scenario author's hints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ..plural import plural
from ..records.run import RunRecord
from ..records.scenario import Scenario

HEADING: Final = "## Hints"


def instructions_of(run: RunRecord, scenario: Scenario) -> str:
    """The text of a trial's agent: the run's, plus the scenario's hints if requested."""
    if not run.options.get("hints") or not scenario.hints:
        return run.instructions_text
    lines = [f"- {hint.text}" for hint in scenario.hints]
    return "\n".join([run.instructions_text, HEADING, *lines])


def hints_told(scenarios: Iterable[Scenario]) -> dict[str, int]:
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
