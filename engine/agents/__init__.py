"""Agents under test: the seam, and its adapters."""

from .adapter import AgentAdapter, AgentError, AgentInput, AgentReply
from .prompt import PromptAgent
from .recorded import RecordedAgent, Recording, user_texts

__all__ = [
    "AgentAdapter",
    "AgentError",
    "AgentInput",
    "AgentReply",
    "PromptAgent",
    "RecordedAgent",
    "Recording",
    "user_texts",
]
