"""JSON Schemas of authored objects."""

from __future__ import annotations

from typing import Any

from ..engine.records.environment import AgentSpec, ModelChoice, Settings
from ..engine.records.persona import Persona
from ..engine.records.scenario import Scenario
from ..engine.records.world import World

NAMES = ("environment", "persona", "scenario", "world")


def schema(name: str) -> dict[str, Any] | None:
    """The schema of that name, or None. `environment` has the objects that create_environment takes."""
    if name == "environment":
        parts = {"agent": AgentSpec, "models": ModelChoice, "settings": Settings}
        return {
            "type": "object",
            "properties": {key: model.model_json_schema() for key, model in parts.items()},
        }
    record = {"persona": Persona, "scenario": Scenario, "world": World}.get(name)
    return record.model_json_schema() if record else None
