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
from .kinds import OUTSIDE, open_outside
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

__all__ = [
    "OUTSIDE",
    "AgentAdapter",
    "AgentError",
    "AgentInput",
    "AgentReply",
    "CallerAgents",
    "ChatAgent",
    "Closing",
    "NoRecording",
    "NotRecorded",
    "Outside",
    "OwnVerdict",
    "PlayedAgent",
    "PlayedTurn",
    "PromptAgent",
    "Reach",
    "RecordedAgent",
    "Recording",
    "Standstill",
    "Unwanted",
    "closing",
    "open_outside",
    "played_turns",
]
