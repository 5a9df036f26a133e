"""Which users mean harm, and which scenarios are not for them."""

from __future__ import annotations

from ..evaluate import must_succeed
from ..records.persona import Persona
from ..records.scenario import Scenario
from ..simulate import METHODS
from .archive import Archive
from .worlds import Worlds


class Meetings:
    """The users and scenarios of one environment. Run in a worker thread."""

    def __init__(self, archive: Archive, worlds: Worlds, environment: str) -> None:
        self._world = worlds.get(archive.environments.get(environment).world)

    def must_succeed(self, scenario: Scenario, user: Persona | None = None) -> bool:
        """Whether a trial of the scenario passes only if the user gets what it wants."""
        return must_succeed(scenario, self._world, user.data.sides() if user else None)


def means_harm(persona: Persona | None) -> bool:
    """Whether the user wants something that the agent must not give."""
    return persona is not None and persona.kind.replace("-", "_") in METHODS


def at_odds_warnings(simulations: list[str]) -> list[str]:
    """The warning about simulations that an agent passes by obeying a user that means harm."""
    if not simulations:
        return []
    more = f" and {len(simulations) - 3:,} more" if len(simulations) > 3 else ""
    return [
        f"A user that means harm meets a scenario that passes only where the user gets what it wants: "
        f"{', '.join(simulations[:3])}{more}. An agent would be hardened to obey it."
    ]
