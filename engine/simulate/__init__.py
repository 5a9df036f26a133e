"""Simulation: cases, trials, simulated users, and solutions played without a model."""

from .case import ENGINE, Case, prepare
from .meter import Meter
from .playback import play_recording
from .sheet import sheet, sheet_prompt
from .solution import ExpectedWorlds, check_solution, expected_world, play_solution, solution_turns
from .transcript import transcript_hash
from .trial import Tried, run_trial
from .user import STOP, ModelUser, PlayedUser, UserReply, UserSimulator

__all__ = [
    "ENGINE",
    "STOP",
    "Case",
    "ExpectedWorlds",
    "Meter",
    "ModelUser",
    "PlayedUser",
    "Tried",
    "UserReply",
    "UserSimulator",
    "check_solution",
    "expected_world",
    "play_recording",
    "play_solution",
    "prepare",
    "run_trial",
    "sheet",
    "sheet_prompt",
    "solution_turns",
    "transcript_hash",
]
