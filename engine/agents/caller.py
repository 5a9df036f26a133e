"""The agent that a client is itself: each of its replies is a model call that a client answers."""

from __future__ import annotations

from collections.abc import Collection

from ..llm import ModelClient
from .adapter import AgentInput, AgentReply
from .prompt import PromptAgent


class CallerAgent:
    """Asks the client for every reply. It keeps nothing, so one serves all trials of a run.

    `host`: has calls answered by a client. `tools`: offer only these; None: all.
    """

    def __init__(self, host: ModelClient, tools: Collection[str] | None = None) -> None:
        self._asking = PromptAgent(host, tools=tools)

    @property
    def name(self) -> str:
        return "caller"

    async def reply(self, turn: AgentInput) -> AgentReply:
        """What the client answers: words, or calls that are executed in the world."""
        return await self._asking.reply(turn)
