"""The agent made of instructions, a model and the world's tools."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..errors import SetupError
from ..llm import Message, ModelClient, ModelRequest, ToolSignature
from .adapter import AgentError, AgentInput, AgentReply
from .parts import described


class PromptAgent:
    """Asks the model with the instructions as system text and the offered tools.

    It keeps no state between replies, so one serves all trials of a run. `tools`: show the model only these; None: all
    that are offered.
    """

    def __init__(
        self, model: ModelClient, temperature: float | None = None, tools: Collection[str] | None = None
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._only = tools

    @property
    def name(self) -> str:
        return self._model.name

    async def reply(self, turn: AgentInput) -> AgentReply:
        text, tools = described(turn.instructions, self._shown(turn.tools))
        request = ModelRequest(
            role="agent",
            messages=(Message("system", text), *turn.messages),
            tools=tools,
            temperature=self._temperature,
            seed=turn.seed,
        )
        try:
            reply = await self._model.complete(request)
        except SetupError as error:
            raise AgentError(str(error)) from error
        return AgentReply(reply.text, reply.tool_calls, reply.used)

    def _shown(self, offered: Sequence[ToolSignature]) -> Sequence[ToolSignature]:
        if self._only is None:
            return offered
        return [tool for tool in offered if tool.name in self._only]
