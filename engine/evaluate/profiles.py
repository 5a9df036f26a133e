"""The profiles that a scenario may name, each the reward rule of another system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..errors import InvalidArgument
from ..records.scenario import Scenario
from ..world import CompiledWorld
from .arksim_score import ArkSimScore
from .originals import Original, tau1
from .tau2_original import tau2

ORIGINALS: Final[Mapping[str, Callable[[Scenario, CompiledWorld], Original]]] = {
    "tau1": lambda scenario, world: tau1(scenario),
    "tau2": tau2,
    "arksim": lambda scenario, world: ArkSimScore(),
}
"""By the name of the profile."""


def original_of(scenario: Scenario, world: CompiledWorld, where: str) -> Original | None:
    """The profile of a scenario; None if it has none. InvalidArgument for one that is not in this version."""
    if scenario.profile is None:
        return None
    make = ORIGINALS.get(scenario.profile)
    if make is None:
        what = f"Profile `{scenario.profile}` is not in this version."
        raise InvalidArgument(what, where=where, allowed=[*ORIGINALS, "none"])
    return make(scenario, world)
