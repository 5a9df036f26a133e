"""A recorded conversation replayed on its world, to its own end: no trial limits, no faults, no noise."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ..agents import PlayedAgent, Recording, played_turns
from .case import Case
from .playing import run_trial
from .trial import Tried
from .user import PlayedUser

UNLIMITED: Final[Mapping[str, float]] = {
    "max_turns": sys.maxsize,
    "min_turns": 0,
    "max_tool_calls": sys.maxsize,
    "same_message": sys.maxsize,
    "timeout_s": math.inf,
}
"""Limits under which nothing but the players and the world ends a trial."""


async def play_recording(
    case: Case,
    recording: Recording,
    *,
    seed: int,
    trial: int,
    instructions: str = "",
    belongs: Mapping[str, str] | None = None,
) -> Tried:
    """The trial in which both sides do what was recorded; every call is repeated, and returns its present result."""
    turns = played_turns(recording)
    free = replace(case, limits=case.limits.model_copy(update=UNLIMITED))
    return await run_trial(
        free,
        PlayedAgent(turns),
        PlayedUser(turns),
        seed=seed,
        trial=trial,
        instructions=instructions,
        belongs=belongs,
        quiet=True,
    )
