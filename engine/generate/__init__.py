"""Generation: personas and scenarios written by a writer model, filtered, grounded in the world and proven."""

from __future__ import annotations

from ..evaluate import NEAR_DUPLICATE
from .generated import MAX_COUNT, Generated
from .personas import ON_REQUEST, PERSONA_KINDS, generate_personas
from .scenarios import DISTURBED, SCENARIO_KINDS, SEALED, generate_scenarios

__all__ = [
    "DISTURBED",
    "MAX_COUNT",
    "NEAR_DUPLICATE",
    "ON_REQUEST",
    "PERSONA_KINDS",
    "SCENARIO_KINDS",
    "SEALED",
    "Generated",
    "generate_personas",
    "generate_scenarios",
]
