"""An agent whose OpenTelemetry spans are recorded while it answers.

It is told where to export them, with a token of the trial, and a `traceparent` that ties its spans to the
conversation. Tool calls in them are its own calls, unless they were seen otherwise: executed in the world, or reported
in its answer.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread

from ..canonical import canonical
from ..llm import ToolCall
from ..records.conversation import TokenUsage
from .adapter import AgentAdapter, AgentInput, AgentReply, Closing
from .outside import Outside
from .served_tools import Door, Doors
from .spans import Span, SpanCall, call_of, usage_of
from .watched import Watched


class TracedAgents:
    """An outside agent whose spans are watched. `wait_s`: how long to wait for the spans after a reply."""

    def __init__(self, agent: Outside, doors: Doors, wait_s: float) -> None:
        self.agent, self._doors, self._wait_s = agent, doors, wait_s

    @property
    def name(self) -> str:
        return self.agent.name

    async def probe(self) -> None:
        await self.agent.probe()

    def conversation(self) -> TracedAgent:
        return TracedAgent(self.agent.conversation(), self._doors, self._wait_s)


class TracedAgent:
    """The same agent in one trial."""

    def __init__(self, agent: AgentAdapter, doors: Doors, wait_s: float) -> None:
        self._agent, self._doors, self._wait_s = agent, doors, wait_s
        self._door: Door | None = None
        self._watched: Watched | None = None
        self._calls = 0

    @property
    def name(self) -> str:
        return self._agent.name

    async def reply(self, turn: AgentInput) -> AgentReply:
        if self._watched is None or self._door is None:
            trace = hashlib.blake2b(turn.conversation.encode(), digest_size=16).hexdigest()
            self._watched = Watched(trace, turn.conversation)
            self._door = await self._doors.watch(self._watched)
        parent = hashlib.blake2b(f"{turn.conversation}/{turn.turn}".encode(), digest_size=8).hexdigest()
        reply = await self._agent.reply(
            replace(
                turn,
                traceparent=f"00-{self._watched.trace}-{parent}-01",
                spans_url=self._door.url,
                spans_token=self._door.token,
            )
        )
        if not reply.calls:
            with anyio.move_on_after(self._wait_s):
                await self._watched.until(parent)
        return await anyio.to_thread.run_sync(self._with_spans, turn, reply, self._watched.taken())

    async def aclose(self) -> None:
        if self._door is not None:
            self._doors.unwatch(self._door)
        if isinstance(self._agent, Closing):
            await self._agent.aclose()

    def _with_spans(self, turn: AgentInput, reply: AgentReply, spans: Sequence[Span]) -> AgentReply:
        """The reply plus the calls only found in spans, and with tokens if it reports none."""
        found = unseen(spans, [*_made_in(turn), *reply.calls, *reply.own_calls])
        calls: list[ToolCall] = []
        results: dict[str, Any] = {}
        walls: dict[str, float] = {}
        for call in found:
            self._calls += 1
            id = f"s{self._calls}"
            calls.append(ToolCall(id, call.name, call.arguments))
            results[id], walls[id] = call.result, round(call.span.wall_s, 6)
        return replace(
            reply,
            own_calls=(*reply.own_calls, *calls),
            own_results={
                **reply.own_results,
                **{id: told for id, told in results.items() if told is not None},
            },
            own_wall_s=walls,
            usage=_usage(reply.usage, spans),
        )


def unseen(spans: Iterable[Span], seen: Iterable[ToolCall]) -> list[SpanCall]:
    """The calls in spans that were not seen otherwise, each once; `spans` ordered by start.

    A seen call matches by its id, or by name and arguments, as often as it occurs; two spans of the same call nested
    in each other, as two instrumentations write them, count as one.
    """
    theirs, ids, left = set[str](), set[str](), Counter[str]()
    for call in seen:
        theirs.add(call.id)
        left[_key(call.name, call.arguments)] += 1
    found: list[SpanCall] = []
    ends: dict[str, int] = {}
    for span in spans:
        call = call_of(span)
        if call is None or (call.id and call.id in ids):
            continue
        key = _key(call.name, call.arguments)
        if span.end_ns <= ends.get(key, -1):
            continue  # the same call, reported by another instrumentation
        ends[key] = span.end_ns
        ids.update([call.id] if call.id else ())
        if left[key]:
            left[key] -= 1
        elif call.id not in theirs:
            found.append(call)
    return found


def _made_in(turn: AgentInput) -> Iterable[ToolCall]:
    """The calls on the world since the user's last words."""
    for message in reversed(turn.messages):
        if message.role == "user":
            return
        yield from message.tool_calls


def _key(name: str, arguments: str) -> str:
    try:
        told: Any = json.loads(arguments)
    except (ValueError, RecursionError):
        told = arguments
    try:
        return canonical([name, told])
    except ValueError:
        return canonical([name, arguments])


def _usage(told: TokenUsage | None, spans: Iterable[Span]) -> TokenUsage | None:
    if told is not None and (told.input_tokens or told.output_tokens):
        return told
    found = [usage for span in spans if (usage := usage_of(span)) is not None]
    if not found:
        return told
    return TokenUsage(
        input_tokens=sum(usage.input_tokens for usage in found),
        output_tokens=sum(usage.output_tokens for usage in found),
    )
