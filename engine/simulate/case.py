"""A case: everything one trial is made of, resolved and compiled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..canonical import digest
from ..errors import did_you_mean
from ..evaluate import CheckPlan, Grounding, compile_checks
from ..ids import simulation_slug
from ..llm import ToolSignature
from ..records.conversation import Hashes
from ..records.persona import Persona
from ..records.scenario import Limits, Scenario
from ..records.world import Side
from ..world import (
    CompiledNoise,
    CompiledWorld,
    Scene,
    SceneOptions,
    Steps,
    check_faults,
    compile_noise,
)
from ..world.mistakes import Mistakes
from .methods import Method, method_of, withstood
from .sheet import sheet, sheet_prompt

ENGINE: Final = "1"
"""Version of everything that decides how a trial goes; part of the key of every cached expected world."""


@dataclass(frozen=True, eq=False)
class Case:
    """One simulation, ready to be run any number of times, also concurrently."""

    world: CompiledWorld
    scenario: Scenario
    persona: Persona | None
    plan: CheckPlan
    simulation: str
    limits: Limits
    options: SceneOptions
    hashes: Hashes
    user_prompt: str
    """System text of the simulated user."""
    expected_key: str
    """What the expected world depends on, apart from its random draws."""
    user_input: str = ""
    """The user's first message, verbatim; empty: the user chooses its own."""
    method: Method | None = None
    """How the user proceeds, if it wants something it must not get."""
    init: Steps | None = None
    data: dict[str, Any] | None = None
    """The persona's data for the world."""
    events: Mapping[str, Steps] = field(default_factory=dict[str, Steps])
    """What each event of the plan does, by its id."""
    noise: CompiledNoise | None = None
    _offers: dict[tuple[Side, frozenset[str]], tuple[ToolSignature, ...]] = field(
        default_factory=dict[tuple[Side, frozenset[str]], tuple[ToolSignature, ...]]
    )

    @property
    def disturbed(self) -> bool:
        """Whether its trials have faults or noise."""
        return self.noise is not None or bool(self.scenario.faults)

    def offered(self, scene: Scene, side: Side) -> tuple[ToolSignature, ...]:
        """The tools a side is offered in a scene of this case, as its model sees them."""
        key = (side, scene.unlocked)
        found = self._offers.get(key)
        if found is None:
            made = (
                ToolSignature(tool.name, tool.description, tool.parameters) for tool in scene.offered(side)
            )
            found = self._offers[key] = tuple(made)
        return found


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
    limits_over: Limits | None = None,
) -> Case:
    """The case of a scenario and a persona.

    InvalidArgument, with the path in the scenario, if it does not fit the world. `limits` are an environment's: they
    apply to limits the scenario does not set itself. `limits_over` are a run's own: those it sets override the
    scenario's.
    """
    partner = persona if persona is not None else _inline(scenario)
    options = scene_options(scenario)
    plan, init, events, noise = _compiled(world, scenario, options, expected_output)
    own = _limits(limits or Limits(), scenario.limits, limits_over)
    data = partner.data.sides() if partner else {}
    hashes = Hashes(
        world=world.hash,
        scenario=digest(scenario.model_dump(mode="json", by_alias=True)),
        persona=digest(partner.model_dump(mode="json")) if partner else "",
        engine=ENGINE,
    )
    told, method = sheet(scenario, partner, user_input, user_guidelines), method_of(partner)
    grounding = Grounding(json.dumps(told, ensure_ascii=False), world) if method is None else None
    return Case(
        world=world,
        scenario=scenario,
        persona=partner,
        plan=replace(withstood(plan, scenario, partner, world), grounding=grounding),
        simulation=simulation or simulation_slug(scenario.id, partner.id if partner else ""),
        limits=own,
        options=options,
        hashes=hashes,
        user_prompt=sheet_prompt(told),
        expected_key=digest([hashes.world, hashes.scenario, data, user_input, ENGINE]),
        user_input=user_input,
        method=method,
        init=init,
        data=data or None,
        events=events,
        noise=noise,
    )


def _compiled(
    world: CompiledWorld, scenario: Scenario, options: SceneOptions, expected_output: str
) -> tuple[CheckPlan, Steps | None, dict[str, Steps], CompiledNoise | None]:
    """The checks, `init`, what events do, and noise; InvalidArgument listing all that is wrong in the scenario."""
    mistakes = Mistakes()
    plan = init = noise = None
    events: dict[str, Steps] = {}
    with mistakes.caught():
        options.check(world, "world")
    _check_history(world, scenario, mistakes)
    with mistakes.caught():
        init = world.compile_steps(scenario.init, "init", "init") if scenario.init else None
    with mistakes.caught():
        plan = compile_checks(world, scenario, "", expected_output)
    for i, event in enumerate(scenario.events):
        with mistakes.caught():
            events[event.id] = world.compile_steps(event.do, "event", f"events[{i}].do")
    with mistakes.caught():
        check_faults(world, scenario.faults, "faults")
    with mistakes.caught():
        noise = compile_noise(world, scenario.noise, "noise") if scenario.noise else None
    mistakes.refuse()
    assert plan is not None
    return plan, init, events, noise


def _limits(base: Limits, *over: Limits | None) -> Limits:
    """The base limits overridden by the others, the last one winning."""
    for limits in over:
        if limits is not None:
            base = base.model_copy(update={name: getattr(limits, name) for name in limits.model_fields_set})
    return base


def scene_options(scenario: Scenario) -> SceneOptions:
    """What the scenario changes about its world, in the form a scene takes."""
    chosen = scenario.world
    return SceneOptions(
        now=chosen.now,
        rename_tools=chosen.rename_tools,
        describe_tools=chosen.describe_tools,
        hide_tools=chosen.hide_tools,
        user_tools=chosen.user_tools,
        solo=chosen.solo,
    )


def _check_history(world: CompiledWorld, scenario: Scenario, mistakes: Mistakes) -> None:
    for k, item in enumerate(scenario.history):
        where = f"history[{k}]"
        if (item.say is None) == (item.tool is None):
            mistakes.add("An item of the history is either `say` or `tool`.", where, "exactly one of them")
        elif item.tool is not None and item.tool not in world.tools:
            what = f"The world has no tool `{item.tool[:64]}`.{did_you_mean(item.tool, world.tools)}"
            mistakes.add(what, f"{where}.tool", sorted(world.tools))


def _inline(scenario: Scenario) -> Persona | None:
    return scenario.persona if isinstance(scenario.persona, Persona) else None
