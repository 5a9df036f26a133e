"""Generation: personas and scenarios written by a writer model, sieved, grounded in the world and proven."""

from __future__ import annotations

from .generated import MAX_COUNT, NEAR_DUPLICATE, Generated
from .personas import LATER_PERSONA_KINDS, PERSONA_KINDS, generate_personas
from .scenarios import LATER_SCENARIO_KINDS, SCENARIO_KINDS, generate_scenarios

__all__ = [
    "LATER_PERSONA_KINDS",
    "LATER_SCENARIO_KINDS",
    "MAX_COUNT",
    "NEAR_DUPLICATE",
    "PERSONA_KINDS",
    "SCENARIO_KINDS",
    "Generated",
    "generate_personas",
    "generate_scenarios",
]
