"""Generation: personas and scenarios written by a writer model, sieved, grounded in the world and proven."""

from __future__ import annotations

from .generated import MAX_COUNT, NEAR_DUPLICATE, Generated
from .personas import ON_REQUEST, PERSONA_KINDS, generate_personas
from .scenarios import DISTURBED, LATER_SCENARIO_KINDS, SCENARIO_KINDS, generate_scenarios

__all__ = [
    "DISTURBED",
    "LATER_SCENARIO_KINDS",
    "MAX_COUNT",
    "NEAR_DUPLICATE",
    "ON_REQUEST",
    "PERSONA_KINDS",
    "SCENARIO_KINDS",
    "Generated",
    "generate_personas",
    "generate_scenarios",
]
