"""An agent that is a program: a line of JSON for each turn on its standard input, a line of JSON as the answer.

It is sent `{"id", "conversation", "instructions", "messages", "new", "tools", "number", "text", "seed"}` and answers
`{"id", "text"}`, or `{"id", "calls": [{"name", "arguments"}]}`, whose results it gets in the next line.
"""

from __future__ import annotations

from ..errors import InvalidArgument, Unavailable
from ..processes import Crashed, ProcessError, Talk
from ..records.environment import AgentSpec, agent_name
from .adapter import AgentError, AgentInput, AgentReply
from .answers import read_answer
from .outside import Body, Reach, check_has_its_own_model, turn_row


class CommandAgents:
    """The agent of a command. Every trial has its own process."""

    def __init__(self, spec: AgentSpec, reach: Reach, where: str = "agent") -> None:
        check_has_its_own_model(spec, where)
        if not spec.argv:
            raise InvalidArgument(
                "A command agent needs its argv.",
                where=f"{where}.argv",
                allowed='["FILE", "ARGUMENT", ...] or ["python", "FILE.py", ...], the file below --allow-code DIR',
            )
        self.command = reach.code.command(spec.argv, f"{where}.argv")
        self.spec, self.reach, self._where = spec, reach, where
        self.name = agent_name(spec.model_dump())

    async def probe(self) -> None:
        """Start it and end it again."""
        try:
            talk = await self.reach.processes.start(self.command)
        except ProcessError as error:
            raise Unavailable(f"The agent {error}.", where=f"{self._where}.argv") from error
        await talk.stop()

    def conversation(self) -> CommandAgent:
        return CommandAgent(self)


class CommandAgent:
    """The agent in one trial. A program that exited normally after an answer is restarted for the next."""

    def __init__(self, agents: CommandAgents) -> None:
        self._agents = agents
        self._talk: Talk | None = None

    @property
    def name(self) -> str:
        return self._agents.name

    async def reply(self, turn: AgentInput) -> AgentReply:
        agents = self._agents
        secrets = agents.reach.connections.secrets
        try:
            answer = await self._answer(turn_row(turn, agents.spec))
        except ProcessError as error:
            raise AgentError(secrets.hide(f"the agent, {agents.name}, {error.whole}")) from error
        return read_answer(answer, f"the agent, {agents.name},", secrets)

    async def aclose(self) -> None:
        if self._talk is not None:
            await self._talk.stop()

    async def _answer(self, turn: Body) -> Body:
        agents, before = self._agents, self._talk
        if before is not None:
            try:
                return await before.ask(turn, agents.spec.timeout_s)
            except Crashed:
                await before.stop()
                if before.status != 0:
                    raise
        self._talk = await agents.reach.processes.start(agents.command)
        return await self._talk.ask(turn, agents.spec.timeout_s)
