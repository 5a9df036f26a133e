"""The client itself is the agent: each reply is a model call that it answers."""

from __future__ import annotations

from ..errors import Unavailable
from ..llm import RelayModel
from ..records.environment import AgentSpec, agent_name
from .adapter import AgentAdapter, AgentInput, AgentReply
from .outside import Reach, check_has_its_own_model
from .prompt import PromptAgent


class CallerAgents:
    """Has the client asked for every reply. Raises Unavailable if no client can answer."""

    def __init__(self, spec: AgentSpec, reach: Reach, where: str) -> None:
        check_has_its_own_model(spec, where)
        if reach.connections.host is None:
            raise Unavailable("No client can answer here.", where=where, allowed="another agent kind")
        model = RelayModel(reach.connections.host)
        self.name = agent_name(spec.model_dump())
        self._agent = _Caller(self.name, PromptAgent(model, tools=() if spec.tools == "none" else None))

    async def probe(self) -> None:
        """Check nothing: a client may come at any time."""

    def conversation(self) -> AgentAdapter:
        """The agent in one trial; no state is kept here, so it is the same in all."""
        return self._agent


class _Caller:
    def __init__(self, name: str, asking: PromptAgent) -> None:
        self.name = name
        self._asking = asking

    async def reply(self, turn: AgentInput) -> AgentReply:
        return await self._asking.reply(turn)
