"""The kinds of agents outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..errors import Unavailable
from ..records.environment import AgentSpec
from .a2a import A2aAgents
from .caller import CallerAgents
from .chat_completions import ChatAgent
from .command import CommandAgents
from .mcp_agent import McpAgents
from .outside import Outside, Reach
from .python_agent import PythonAgents

Made = Callable[[AgentSpec, Reach, str], Outside]
OUTSIDE: Final[Mapping[str, Made]] = {
    "caller": CallerAgents,
    "chat_completions": lambda spec, reach, where: ChatAgent(spec, reach.connections, where),
    "a2a": A2aAgents,
    "command": CommandAgents,
    "mcp": McpAgents,
    "python": PythonAgents,
}


def open_outside(spec: AgentSpec, reach: Reach | None, where: str = "agent") -> Outside:
    """The agent of a spec whose kind is one of OUTSIDE; raises what is wrong with it. `where`: told in errors."""
    if reach is None:
        raise Unavailable("Agents outside cannot be reached from here.", where=where)
    return OUTSIDE[spec.kind](spec, reach, where)
