"""The world as a trial finds it before turn 1, for asking what holds already."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..records.scenario import Scenario
from ..world import CompiledWorld, Scene, SceneOptions, WorldFault
from .trace import ExpectedWorld, Trace


def before_turn_one(world: CompiledWorld, scenario: Scenario, data: Mapping[str, Any] | None = None) -> Trace:
    """A trace in which nothing was said or called yet; `data`: what the user brings into the world.

    What cannot be done, and what would need a tool's code or a server, is left out. Its expected world is this one,
    unless the solution calls a tool that writes: then it is one that nothing equals.
    """
    scene = Scene(world, options=SceneOptions(now=scenario.world.now))
    with suppress(WorldFault):
        own = all(tool.tool.impl is None for tool in world.tools.values())
        init = world.compile_steps(scenario.init, "init", "init") if scenario.init and own else None
        scene.prepare(data, init)
        for item in scenario.history if own else ():
            if item.tool is not None:
                scene.call(item.tool, item.args, item.by, tick=False)
    state = scene.state
    writes = {name for name, tool in world.tools.items() if tool.kind == "write"}
    changes = any(step.tool in writes for step in scenario.expected)
    expected = ExpectedWorld(root={} if changes else state.snapshot())
    return Trace(state, expected, scenario.world.now or world.world.clock.now)
