"""The instructions of a trial: those of its run, with the scenario's hints if the run asks for them."""

from __future__ import annotations

from typing import Final

from ..records.run import RunRecord
from ..records.scenario import Scenario

HEADING: Final = "## Hints"


def instructions_of(run: RunRecord, scenario: Scenario) -> str:
    """The text of a trial's agent: the run's, plus the scenario's hints if requested."""
    if not run.options.get("hints") or not scenario.hints:
        return run.instructions_text
    lines = [f"- {hint.text}" for hint in scenario.hints]
    return "\n".join([run.instructions_text, HEADING, *lines])
