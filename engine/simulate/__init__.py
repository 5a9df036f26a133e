"""Simulation: cases, trials, simulated users, and solutions played without a model."""

from .case import ENGINE, Case, prepare
from .hinted import instructions_of
from .live import LiveTrial, LiveTrials
from .meter import Meter
from .methods import METHODS
from .playback import play_recording
from .playing import Standing, run_trial, stand_trial
from .sheet import read_sheet, sheet, sheet_prompt
from .solution import ExpectedWorlds, check_solution, expected_world, play_solution, solution_turns
from .tape import Keep, Tape, TapedAgent, TapedUser, answered_turns, difference, taped
from .transcript import transcript_hash
from .trial import Tried
from .user import BEGIN, ModelUser, NoUser, PlayedUser, UserReply, UserSimulator, strip_stop
from .user_faults import STOP, USER_FAULTS, user_fault

__all__ = [
    "BEGIN",
    "ENGINE",
    "METHODS",
    "STOP",
    "USER_FAULTS",
    "Case",
    "ExpectedWorlds",
    "Keep",
    "LiveTrial",
    "LiveTrials",
    "Meter",
    "ModelUser",
    "NoUser",
    "PlayedUser",
    "Standing",
    "Tape",
    "TapedAgent",
    "TapedUser",
    "Tried",
    "UserReply",
    "UserSimulator",
    "answered_turns",
    "check_solution",
    "difference",
    "expected_world",
    "instructions_of",
    "play_recording",
    "play_solution",
    "prepare",
    "read_sheet",
    "run_trial",
    "sheet",
    "sheet_prompt",
    "solution_turns",
    "stand_trial",
    "strip_stop",
    "taped",
    "transcript_hash",
    "user_fault",
]
