"""Simulation: cases, trials, simulated users, and solutions played without a model."""

from .case import ENGINE, Case, prepare
from .solution import ExpectedWorlds, check_solution, expected_world, play_solution
from .trial import Tried, run_trial
from .user import STOP, ListedUser, ModelUser, UserReply, UserSimulator, sheet, sheet_prompt

__all__ = [
    "ENGINE",
    "STOP",
    "Case",
    "ExpectedWorlds",
    "ListedUser",
    "ModelUser",
    "Tried",
    "UserReply",
    "UserSimulator",
    "check_solution",
    "expected_world",
    "play_solution",
    "prepare",
    "run_trial",
    "sheet",
    "sheet_prompt",
]
