"""Agents under test: the seam, and its adapters."""

from .adapter import (
    AgentAdapter,
    AgentError,
    AgentInput,
    AgentReply,
    Closing,
    OwnVerdict,
    Standstill,
    Unwanted,
    closing,
)
from .caller import CallerAgents
from .chat_completions import ChatAgent
from .kinds import OUTSIDE, open_outside, probe
from .outside import Outside, Reach
from .prompt import PromptAgent
from .recorded import (
    NoRecording,
    NotRecorded,
    PlayedAgent,
    PlayedTurn,
    RecordedAgent,
    Recording,
    played_turns,
)
from .served_tools import Door, Doors, NotCalled, Served

__all__ = [
    "OUTSIDE",
    "AgentAdapter",
    "AgentError",
    "AgentInput",
    "AgentReply",
    "CallerAgents",
    "ChatAgent",
    "Closing",
    "Door",
    "Doors",
    "NoRecording",
    "NotCalled",
    "NotRecorded",
    "Outside",
    "OwnVerdict",
    "PlayedAgent",
    "PlayedTurn",
    "PromptAgent",
    "Reach",
    "RecordedAgent",
    "Recording",
    "Served",
    "Standstill",
    "Unwanted",
    "closing",
    "open_outside",
    "played_turns",
    "probe",
]
