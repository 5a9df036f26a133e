"""Simulation: one test case, persona x scenario."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Authored, Stored
from .persona import Source


class SimulationSpec(Authored):
    """A test case made by hand. The minimum: `{"scenario": "refund-late-parcel"}`."""

    scenario: str
    persona: str = ""
    """Empty: the scenario's own partner, or none."""
    id: str = ""
    """Empty: scenario-persona."""
    user_input: str = Field(default="", max_length=20_000)
    """The user's first message, verbatim."""
    expected_output: str = Field(default="", max_length=20_000)
    """Text that one of the agent's messages must contain: a check `expected-output`."""
    ground_truth: Any = None
    """The true answer; kept for judges and readers."""


class SimulationRecord(Stored):
    """A stored simulation; its id is `environment/slug`."""

    format: Literal["simulation/1"] = "simulation/1"
    id: str
    environment: str
    slug: str
    scenario: str
    """Its slug in the environment."""
    persona: str = ""
    """Its slug in the environment; empty: the scenario's inline persona, or none."""
    user_input: str = ""
    expected_output: str = ""
    ground_truth: Any = None
    version: int = 1
    source: Source = "written"
    created_at: str = ""
    updated_at: str = ""
