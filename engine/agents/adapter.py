"""The interface to agents under test: what one is shown, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import anyio

from ..llm import Message, ToolCall, ToolSignature
from ..records.conversation import SaySource, Speaker, TokenUsage


@dataclass(frozen=True, slots=True)
class AgentInput:
    """All that an agent sees. It contains nothing of the scenario: no goal, no knowledge, no checks, no ids.

    `conversation` is an opaque key, the same for all calls of one trial. `instructions` is the text under test,
    followed by the scenario's `agent_context`. `messages` is the whole history, oldest first, without the
    instructions; `new` says how many of them came since the agent's last reply. `turn` is the number of the user's
    text to be answered, from 1. `seed` is stable within a trial.
    """

    conversation: str
    instructions: str
    messages: Sequence[Message]
    new: int
    tools: Sequence[ToolSignature]
    seed: int
    turn: int = 1
    tools_url: str = ""
    """Where the world's tools are served to it by MCP, if they are, and the token that opens it."""
    tools_token: str = ""
    traceparent: str = ""
    """The W3C trace context of this turn, if its spans are watched; where to export them, and the token."""
    spans_url: str = ""
    spans_token: str = ""


@dataclass(frozen=True, slots=True)
class OwnVerdict:
    """A verdict by the agent, or by whatever reaches it."""

    verdict: Literal["pass", "fail", "inconclusive"]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Words that were said and rejected, and the objection to them."""

    text: str
    feedback: str = ""


@dataclass(frozen=True, slots=True)
class AgentReply:
    """One reply: words for the user, calls to be executed in order, or both.

    `text` None: nothing is said and nothing recorded, which only played-back agents do. Text beside calls is recorded
    but does not end the agent's turn; text without calls does.
    """

    text: str | None = ""
    calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage | None = None
    """None if no model was called."""
    own_names: bool = False
    """The calls name tools as the world does, not as they were shown: what is played back stays true when a
    scenario renames tools."""
    own_calls: tuple[ToolCall, ...] = ()
    """Calls that the agent has made on its own tools: recorded, not executed."""
    own_results: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Their results, by the call's id, as far as the agent reports them."""
    own_wall_s: Mapping[str, float] = field(default_factory=dict[str, float])
    """How long they took, by the call's id, as far as known."""
    wait_s: float = 0.0
    """Virtual seconds that pass before it; only solutions wait like this."""
    verdict: OwnVerdict | None = None
    """The agent's own verdict on the conversation: recorded, but it decides nothing."""
    source: SaySource = "model"
    think_s: float | None = None
    """Seconds it took when it was first given; None: the time it takes now."""
    instead_of: tuple[Unwanted, ...] = ()
    """What was rejected before it, oldest first."""


class AgentError(Exception):
    """The agent cannot answer, now or later: the trial ends in `error`, which is not the agent's failure."""


class Standstill(Exception):
    """One side is played from outside, and no more input is given for it: the trial stands still, and nothing is
    wrong.

    `error`: why the side could not continue by itself.
    """

    def __init__(self, side: Speaker, error: Exception | None = None) -> None:
        super().__init__(f"the {side} is to go on")
        self.side: Speaker = side
        self.error = error


class AgentAdapter(Protocol):
    """An agent under test in one trial.

    After calls were executed, `reply` is called again with the results: the `tool` messages at the end, matched by the
    ids of the calls. It is never called concurrently for one trial, but may be for several; it must not keep or change
    its input. It raises AgentError only if no later reply can succeed; any other exception counts as a crash, except
    Standstill, which is passed on. Broken arguments are not an error but part of the reply. It may be cancelled at any
    await, and is not called again after that.

    Any state it keeps belongs to one trial: the next one meets an agent that remembers nothing. System resources are
    released in `aclose` (Closing), which is called by whoever created it.
    """

    @property
    def name(self) -> str:
        """The agent's model as named in reports."""
        ...

    async def reply(self, turn: AgentInput) -> AgentReply: ...


@runtime_checkable
class Closing(Protocol):
    """An agent that holds resources for the length of a trial."""

    async def aclose(self) -> None:
        """Release them: no process, thread or connection of the trial is left.

        Called once, also after a cancellation, which it then does not see; takes a few seconds at most and raises
        nothing.
        """
        ...


@asynccontextmanager
async def closing(agent: AgentAdapter) -> AsyncGenerator[None]:
    """Close the agent at the end, if it holds anything, whatever happened."""
    try:
        yield
    finally:
        if isinstance(agent, Closing):
            with anyio.CancelScope(shield=True):
                await agent.aclose()
