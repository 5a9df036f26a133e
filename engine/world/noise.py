"""Noise: when something happens that has nothing to do with the goal, and what; a schedule made of draws alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from ..records.happenings import Noise
from ..seeds import draw
from .compiled import CompiledWorld, Steps

MOST_NOISE: Final = 1000
"""How often noise happens in one trial; after that it is quiet."""


@dataclass(frozen=True, slots=True)
class CompiledNoise:
    """Noise ready to happen, in any number of trials."""

    noise: Noise
    steps: tuple[Steps, ...]
    """What each item of the pool does."""


def compile_noise(world: CompiledWorld, noise: Noise, where: str) -> CompiledNoise:
    """Compile the steps of noise; InvalidArgument with all mistakes of an item."""
    steps = (
        world.compile_steps(item.steps, "noise", f"{where}.pool[{i}].do") for i, item in enumerate(noise.pool)
    )
    return CompiledNoise(noise, tuple(steps))


class NoiseSchedule:
    """The moments of one trial at which noise happens: a Poisson process in virtual minutes or in turns.

    The i-th moment and what happens then depend on the key alone, whatever the two sides do.
    """

    def __init__(self, noise: CompiledNoise, key: tuple[int, str, int]) -> None:
        """`key` is (seed, simulation, trial)."""
        self._noise = noise
        self._key = key
        self._done = 0
        self._next = self._gap(1)

    def due(self, t: float, turn: int) -> Steps | None:
        """The next thing due at t seconds in a turn, each once; None if there is none."""
        now = t / 60 if self._noise.noise.per_minute is not None else turn
        if now < self._next or self._done >= MOST_NOISE:
            return None
        self._done += 1
        chosen = self._chosen(self._done)
        self._next += self._gap(self._done + 1)
        return chosen

    def _gap(self, i: int) -> float:
        rate = self._noise.noise.per_minute or self._noise.noise.per_turn or 0.0
        return -math.log(1 - draw(*self._key, "noise", i)) / rate

    def _chosen(self, i: int) -> Steps:
        weights = [item.weight for item in self._noise.noise.pool]
        left = draw(*self._key, "noise", i, "pool") * sum(weights)
        for weight, steps in zip(weights, self._noise.steps, strict=True):
            left -= weight
            if left < 0:
                return steps
        return self._noise.steps[-1]
