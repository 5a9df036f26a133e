"""World tools for an agent that lives elsewhere: served to it by MCP while it answers, and called by its trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import anyio

from ..llm import ToolCall, ToolSignature
from ..processes import Processes
from .adapter import AgentAdapter, AgentInput, AgentReply, Closing
from .spans import SpanBatch
from .watched import Watched

NOT_NOW: Final = "No answer of yours is awaited in this conversation now."


class NotCalled(Exception):
    """The tool was not called; the text says why."""


class Served(Protocol):
    """The tools of one trial."""

    def offered(self) -> Sequence[ToolSignature]:
        """The tools that the agent may call now."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The result as the agent would see it; NotCalled if it cannot be called now."""
        ...


@dataclass(frozen=True, slots=True)
class Door:
    """Where the tools of one trial are served: a URL of this machine, and the token that opens it."""

    url: str
    token: str


class Doors(Protocol):
    """Serves the tools of trials by MCP, each behind its own token. May be used concurrently."""

    async def open(self, tools: Served) -> Door:
        """Serve these tools from now on."""
        ...

    def close(self, door: Door) -> None:
        """Stop serving."""
        ...

    async def watch(self, watched: Watched) -> Door:
        """Receive the spans of a trial from now on; return where to, and the token."""
        ...

    def unwatch(self, door: Door) -> None:
        """Stop receiving."""
        ...

    def sort_out(self, batch: SpanBatch) -> int:
        """Distribute spans of any trials, by trace or conversation; return how many belong to none."""
        ...


@dataclass(slots=True, eq=False)
class _Asked:
    """A call that waits for the trial to make it."""

    call: ToolCall
    done: anyio.Event = field(default_factory=anyio.Event)
    result: str | None = None


class ServedAgent:
    """An agent in one trial that gets a door to the world's tools instead of a list of them.

    Calls that it makes there while it answers go to the trial as if it had replied with them: recorded, with events,
    faults and limits. `processes` runs its answer beside the trial.
    """

    def __init__(self, agent: AgentAdapter, doors: Doors, processes: Processes) -> None:
        self._agent = agent
        self._doors = doors
        self._processes = processes
        self._door: Door | None = None
        self._tools: Sequence[ToolSignature] = ()
        self._scope: anyio.CancelScope | None = None
        self._ended = anyio.Event()
        self._news = anyio.Event()
        self._said: AgentReply | BaseException | None = None
        self._asked: list[_Asked] = []
        self._waiting: dict[str, _Asked] = {}
        self._calls = 0

    @property
    def name(self) -> str:
        return self._agent.name

    def offered(self) -> Sequence[ToolSignature]:
        return self._tools

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        if self._scope is None or self._ended.is_set():
            raise NotCalled(NOT_NOW)
        self._calls += 1
        asked = _Asked(ToolCall(f"w{self._calls}", name, json.dumps(arguments, ensure_ascii=False)))
        self._asked.append(asked)
        self._news.set()
        await asked.done.wait()
        if asked.result is None:
            raise NotCalled("The conversation is over.")
        return asked.result

    async def reply(self, turn: AgentInput) -> AgentReply:
        self._tools = turn.tools
        if self._door is None:
            self._door = await self._doors.open(self)
        if self._waiting:
            self._give(turn)
        else:
            door = replace(turn, tools=(), tools_url=self._door.url, tools_token=self._door.token)
            self._said, self._ended, self._scope = None, anyio.Event(), anyio.CancelScope()
            self._processes.soon(self._answer, door, self._scope, self._ended)
        while not self._asked and not self._ended.is_set():
            self._news = anyio.Event()
            await self._news.wait()
        if self._asked:
            self._waiting = {asked.call.id: asked for asked in self._asked}
            self._asked = []
            return AgentReply("", tuple(asked.call for asked in self._waiting.values()))
        if isinstance(self._said, BaseException):
            raise self._said
        assert self._said is not None
        return self._said

    async def aclose(self) -> None:
        if self._door is not None:
            self._doors.close(self._door)
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()
        for asked in (*self._asked, *self._waiting.values()):
            asked.done.set()
        if isinstance(self._agent, Closing):
            await self._agent.aclose()

    async def _answer(self, turn: AgentInput, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        try:
            with scope:
                self._said = await self._agent.reply(turn)
        except Exception as error:
            self._said = error
        finally:
            ended.set()
            self._news.set()

    def _give(self, turn: AgentInput) -> None:
        """Pass the results of the calls to those waiting for them."""
        results = {m.tool_call_id: m.content for m in turn.messages[-turn.new :] if m.role == "tool"}
        for id, asked in self._waiting.items():
            asked.result = results.get(id)
            asked.done.set()
        self._waiting = {}
