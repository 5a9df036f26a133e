"""The kinds of outside agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import anyio

from ..errors import Unavailable
from ..processes import Processes
from ..records.environment import AgentSpec
from .a2a import A2aAgents
from .caller import CallerAgents
from .chat_completions import ChatAgent
from .command import CommandAgents
from .mcp_agent import McpAgents
from .outside import Outside, Reach
from .python_agent import PythonAgents
from .served_tools import Doors, ServedAgent
from .traced import TracedAgents

PROBE_S: Final = 25.0
"""Less than the 45 s that one of our calls has in all."""
Made = Callable[[AgentSpec, Reach, str], Outside]
OUTSIDE: Final[Mapping[str, Made]] = {
    "caller": CallerAgents,
    "chat_completions": lambda spec, reach, where: ChatAgent(spec, reach.connections, where),
    "a2a": A2aAgents,
    "command": CommandAgents,
    "mcp": McpAgents,
    "python": PythonAgents,
}


async def probe(agent: Outside, where: str = "agent") -> None:
    """Raise UserError or SetupError if the agent cannot be reached, or does not respond in time."""
    with anyio.move_on_after(PROBE_S) as scope:
        await agent.probe()
    if scope.cancelled_caught:
        raise Unavailable(f"The agent, {agent.name}, gave no sign within {PROBE_S:g} s.", where=where)


class ServedAgents:
    """An outside agent that calls the world's tools by MCP."""

    def __init__(self, agent: Outside, doors: Doors, processes: Processes) -> None:
        self.agent, self._doors, self._processes = agent, doors, processes

    @property
    def name(self) -> str:
        return self.agent.name

    async def probe(self) -> None:
        await self.agent.probe()

    def conversation(self) -> ServedAgent:
        return ServedAgent(self.agent.conversation(), self._doors, self._processes)


def open_outside(spec: AgentSpec, reach: Reach | None, where: str = "agent") -> Outside:
    """The agent of a spec whose kind is one of OUTSIDE; raises what is wrong with it. `where`: named in errors."""
    if reach is None:
        raise Unavailable("Agents outside cannot be reached from here.", where=where)
    agent = OUTSIDE[spec.kind](spec, reach, where)
    if spec.tools != "served" and not spec.spans:
        return agent
    if reach.doors is None:
        raise Unavailable(
            "Tools cannot be served from here, nor spans be taken.",
            where=f"{where}.{'tools' if spec.tools == 'served' else 'spans'}",
            allowed="world, none; served and spans with `caseharden serve` and `caseharden run`",
        )
    if spec.tools == "served":
        agent = ServedAgents(agent, reach.doors, reach.processes)
    return TracedAgents(agent, reach.doors, spec.spans_wait_s) if spec.spans else agent
