"""Agents under test: the seam, and its adapters."""

from .adapter import AgentAdapter, AgentError, AgentInput, AgentReply, Standstill, Unwanted
from .chat_completions import ChatAgent
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
    "AgentAdapter",
    "AgentError",
    "AgentInput",
    "AgentReply",
    "ChatAgent",
    "NoRecording",
    "NotRecorded",
    "PlayedAgent",
    "PlayedTurn",
    "PromptAgent",
    "RecordedAgent",
    "Recording",
    "Standstill",
    "Unwanted",
    "played_turns",
]
