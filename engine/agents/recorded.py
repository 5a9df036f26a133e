"""Playing back a conversation: its agent side, and its user side beside it.

A stored conversation is a recording; the least is
`{"scenario": "x", "log": [{"by": "user", "say": "hi"}, {"by": "agent", "tool": "t", "args": {}}, {"by": "agent", "say": "done"}]}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from ..llm import ToolCall
from ..records.authored import Stored
from .adapter import AgentInput, AgentReply


class Line(Stored):
    """One line of a recording: words, or a call. Results are not read: the world gives its own."""

    by: Literal["user", "agent"]
    say: str | None = None
    tool: str | None = None
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    raw: str | None = None
    turn: int | None = None
    message: int = 0
    """Calls with the same number above 0 came in one reply."""


class Recording(Stored):
    """A recorded conversation, found by simulation or scenario, and trial."""

    scenario: str = ""
    simulation: str = ""
    trial: int = Field(default=1, ge=1)
    log: list[Any] = Field(default_factory=list[Any], max_length=100_000)

    def lines(self) -> list[Line]:
        """The words and calls of both sides; other entries of a stored log are passed over."""
        return [
            Line.model_validate(entry)
            for entry in self.log
            if isinstance(entry, dict)
            and entry.get("by") in ("user", "agent")  # pyright: ignore[reportUnknownMemberType]
            and ("say" in entry or "tool" in entry)
            and not entry.get("rejected")  # pyright: ignore[reportUnknownMemberType]
        ]


class RecordedAgent:
    """Gives, turn by turn, the replies of a recording's agent."""

    def __init__(self, recording: Recording) -> None:
        self._turns = _agent_turns(recording.lines())
        self._turn = -1
        self._next = 0
        self._heard = -1

    @property
    def name(self) -> str:
        return "recorded"

    async def reply(self, turn: AgentInput) -> AgentReply:
        heard = sum(message.role == "user" for message in turn.messages)
        if heard != self._heard:
            self._heard, self._turn, self._next = heard, self._turn + 1, 0
        replies = self._turns[self._turn] if self._turn < len(self._turns) else []
        if self._next >= len(replies):
            return AgentReply(text=None)
        self._next += 1
        return replies[self._next - 1]


def user_texts(recording: Recording) -> list[str]:
    """What the recording's user said, in order."""
    return [line.say for line in recording.lines() if line.by == "user" and line.say is not None]


def _agent_turns(lines: Sequence[Line]) -> list[list[AgentReply]]:
    """The agent's replies after each of the user's texts."""
    turns: list[list[AgentReply]] = []
    group = 0
    for line in lines:
        if line.by == "user":
            if line.say is not None:
                turns.append([])
            continue
        if not turns:
            turns.append([])
        replies = turns[-1]
        if line.say is not None:
            replies.append(AgentReply(text=line.say))
            group = 0
            continue
        arguments = line.raw if line.raw is not None else json.dumps(line.args, ensure_ascii=False)
        call = ToolCall(f"r{len(turns)}-{len(replies)}", line.tool or "", arguments)
        last = replies[-1] if replies else AgentReply(text=None)
        if (last.text is not None and not last.calls) or (
            last.calls and line.message and line.message == group
        ):
            replies[-1] = AgentReply(last.text, (*last.calls, call))
        else:
            replies.append(AgentReply(text=None, calls=(call,)))
        group = line.message
    return turns
