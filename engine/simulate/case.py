"""A case: everything that one trial is made of, resolved and compiled."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..canonical import digest
from ..evaluate import CheckPlan, compile_checks
from ..ids import simulation_slug
from ..records.conversation import Hashes
from ..records.persona import Fact, Persona
from ..records.scenario import Limits, Scenario
from ..world import CompiledWorld, Steps

ENGINE = "1"
"""Version of what decides how a trial goes; part of the key of every cached expected world."""


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation, ready to be tried. `environment` and `run` are only written into the record."""

    world: CompiledWorld
    scenario: Scenario
    persona: Persona | None
    plan: CheckPlan
    simulation: str
    limits: Limits
    user_input: str = ""
    user_guidelines: str = ""
    init: Steps | None = None
    hashes: Hashes = field(default_factory=Hashes)

    @property
    def key(self) -> str:
        """What the expected world depends on, apart from seed and trial."""
        return f"{self.hashes.world}:{self.hashes.scenario}:{self.hashes.persona}:{ENGINE}:{self.simulation}"

    def facts(self) -> list[str | Fact]:
        """The user's sheet: the persona's facts, then the scenario's, which hold where both name one."""
        mine = self.scenario.knowledge
        named = {fact.fact.casefold() for fact in mine if isinstance(fact, Fact)}
        theirs = self.persona.knowledge if self.persona else []
        return [f for f in theirs if not (isinstance(f, Fact) and f.fact.casefold() in named)] + list(mine)


def prepare(
    world: CompiledWorld,
    scenario: Scenario,
    persona: Persona | None = None,
    *,
    simulation: str = "",
    user_input: str = "",
    expected_output: str = "",
    user_guidelines: str = "",
    limits: Limits | None = None,
) -> Case:
    """The case of a scenario and a persona; InvalidArgument where the scenario does not fit the world.

    `limits` are an environment's: they hold for the limits that the scenario does not set itself.
    """
    partner = persona if persona is not None else _inline(scenario)
    own = scenario.limits
    if limits is not None:
        own = limits.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
    return Case(
        world=world,
        scenario=scenario,
        persona=partner,
        plan=compile_checks(world, scenario, "", expected_output),
        simulation=simulation or simulation_slug(scenario.id, partner.id if partner else ""),
        limits=own,
        user_input=user_input,
        user_guidelines=user_guidelines,
        init=world.compile_steps(scenario.init, "init", "init") if scenario.init else None,
        hashes=Hashes(
            world=world.hash,
            scenario=digest(scenario.model_dump(mode="json", by_alias=True)),
            persona=digest(partner.model_dump(mode="json")) if partner else "",
            engine=ENGINE,
        ),
    )


def _inline(scenario: Scenario) -> Persona | None:
    return scenario.persona if isinstance(scenario.persona, Persona) else None
