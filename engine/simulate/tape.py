"""The tape: what each side has replied so far, from which a trial is restored; after its end the sides continue.

Everything else in a trial follows from the replies: world, clock, events, faults, and what each side has heard.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..agents import AgentAdapter, AgentInput, AgentReply, Standstill, Unwanted
from ..errors import Unavailable
from ..llm import Message, ToolCall, ToolSignature
from ..records.conversation import Conversation, LogEntry, SayEntry, Speaker, ToolEntry
from ..records.session import Given, GivenCall, Rejected
from ..seeds import seed_of
from .transcript import own_result
from .user import UserReply, UserSimulator

Keep = Callable[[Given], Awaitable[None]]
"""Called with each reply that was not on the tape, before it counts."""
REJECTED: Final = "Your last answer was rejected: "
"""Begins the notice with which a side is asked again."""
_NOT_COMPARED: Final = ("n", "wall_s", "usage", "source", "held_back", "message")


class Tape:
    """Replies in the order of their turns, read once from the beginning.

    `again`: what the first side after the end has said and has to say anew. `strict`: if a side fails after the end,
    the trial stands still; otherwise it ends in error.
    """

    def __init__(
        self,
        given: Iterable[Given] = (),
        *,
        again: Sequence[Rejected] = (),
        keep: Keep | None = None,
        strict: bool = False,
    ) -> None:
        self._left: dict[tuple[Speaker, int], deque[Given]] = {}
        for one in given:
            self._left.setdefault((one.by, one.turn), deque()).append(one)
        self.again = list(again)
        self.strict = strict
        self._keep = keep

    @property
    def unread(self) -> bool:
        """Whether replies of a side's own are left over: the trial took another course than originally."""
        return any(one.source in ("model", "caller") for left in self._left.values() for one in left)

    def next(self, by: Speaker, turn: int) -> Given | None:
        """The next reply of a side in a turn; None after the last one."""
        left = self._left.get((by, turn))
        return left.popleft() if left else None

    def rejected(self, by: Speaker) -> tuple[Unwanted, ...]:
        """What the side has to say anew."""
        return tuple(Unwanted(one.text, one.feedback) for one in self.again if one.by == by)

    async def keep(self, given: Given) -> None:
        """Record a reply that was not on the tape."""
        given.instead_of = [one for one in self.again if one.by == given.by]
        self.again = [one for one in self.again if one.by != given.by]
        if self._keep is not None:
            await self._keep(given)


class TapedAgent:
    """Gives what is on the tape, then asks the agent; None: the caller is the agent."""

    def __init__(self, tape: Tape, agent: AgentAdapter | None, again: int = 0) -> None:
        self._tape, self._agent, self._again = tape, agent, again
        self._news = False
        """Whether the agent has yet to hear what was said before it was asked."""
        self.name = agent.name if agent is not None else "caller"

    async def reply(self, turn: AgentInput) -> AgentReply:
        given = self._tape.next("agent", turn.turn)
        if given is not None:
            self._news = True
            return _agent_reply(given)
        if self._agent is None:
            raise Standstill("agent")
        unwanted = self._tape.rejected("agent")
        began = time.perf_counter()
        try:
            reply = await self._agent.reply(self._as_asked(turn, unwanted))
        except Exception as error:
            if self._tape.strict:
                raise Standstill("agent", error) from error
            raise
        reply = replace(reply, think_s=time.perf_counter() - began, instead_of=unwanted)
        await self._tape.keep(_given_by_agent(reply, turn.turn))
        return reply

    def _as_asked(self, turn: AgentInput, unwanted: Sequence[Unwanted]) -> AgentInput:
        """The same input for an agent that has no memory of the tape, including what was rejected."""
        messages = [*turn.messages, *_reminders(unwanted)]
        new = len(messages) if self._news else turn.new + len(unwanted)
        self._news = False
        seed = _another(turn.seed, len(unwanted), self._again)
        return replace(turn, messages=messages, new=new, seed=seed)


class TapedUser:
    """Gives what is on the tape, then asks the simulated user; None: the caller is the user."""

    def __init__(self, tape: Tape, user: UserSimulator | None, again: int = 0) -> None:
        self._tape, self._user, self._again = tape, user, again
        self._turn = 0
        self._goes_on = False
        """Whether its turn continues, because it has only called tools so far."""
        self.name = user.name if user is not None else "caller"

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        begins = not self._goes_on
        self._turn += begins
        given = self._tape.next("user", self._turn)
        reply = _user_reply(given) if given is not None else await self._live(heard, tools, seed)
        if begins and given is not None and self._user is not None:
            self._user.spoken_for()
        self._goes_on = bool(reply.calls)
        return reply

    def spoken_for(self) -> UserReply:
        self._turn += 1
        self._goes_on = False
        reply = self._user.spoken_for() if self._user is not None else UserReply()
        given = self._tape.next("user", self._turn)
        return UserReply(calls=_calls(given.calls)) if given is not None and given.calls else reply

    async def _live(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        if self._user is None:
            raise Standstill("user")
        unwanted = self._tape.rejected("user")
        asked = _another(seed, len(unwanted), self._again)
        try:
            reply = await self._user.speak([*heard, *_reminders(unwanted)], tools, asked)
            if self._tape.strict and reply.ends is not None and reply.ends.error:
                raise Unavailable(f"{reply.ends.detail}.")
        except Exception as error:
            if self._tape.strict:
                raise Standstill("user", error) from error
            raise
        await self._tape.keep(_given_by_user(reply, self._turn))
        return replace(reply, instead_of=unwanted)


def taped(conversation: Conversation, turn: int, answered: bool = True) -> list[Given]:
    """The tape of a stored conversation up to the user's words in a turn; `answered` False: up to that turn."""
    tape: list[Given] = []
    message = 0
    for entry in map(_acted, conversation.log):
        if entry is None or entry.turn > turn:
            continue
        by: Speaker = "agent" if entry.by == "agent" else "user"
        if entry.turn == turn and (by == "agent" or not answered):
            continue
        if isinstance(entry, SayEntry):
            given = Given(by=by, turn=entry.turn, text=entry.say, stop=entry.held_back, source=entry.source)
            tape.append(given)
            message = 0
            continue
        last = tape[-1] if tape and (tape[-1].by, tape[-1].turn) == (by, entry.turn) else None
        if last is None or not _goes_with(last, entry, message):
            last = Given(by=by, turn=entry.turn, source="recorded")
            tape.append(last)
        last.own_names = True
        call = _given_call(entry)
        (last.own_calls if entry.kind == "own" else last.calls).append(call)
        if entry.kind == "own" and entry.result is not None:
            last.own_results[call.id] = entry.result
        message = entry.message
    return tape


def answered_turns(conversation: Conversation) -> list[int]:
    """The turns in which the agent acted on its own: those that can be continued from."""
    acted = filter(None, map(_acted, conversation.log))
    return sorted({entry.turn for entry in acted if entry.by == "agent"})


def difference(stored: Conversation, now: Conversation, turn: int, side: Speaker) -> str:
    """The first thing that differs up to that side's part of a turn; "" if nothing does."""
    before, after = _course(stored, turn, side), _course(now, turn, side)
    for k, (one, other) in enumerate(zip(before, after, strict=False), 1):
        if one != other:
            return f"entry {k} is {_short(other)}, and was {_short(one)}"
    return "" if len(before) == len(after) else f"there are {len(after)} entries, and were {len(before)}"


def _acted(entry: LogEntry) -> SayEntry | ToolEntry | None:
    """What a side replied itself; None for the script's words to the agent, events, history and rejected words."""
    if entry.turn < 1:
        return None
    if isinstance(entry, ToolEntry):
        return entry if entry.cause is None and entry.by != "world" else None
    if not isinstance(entry, SayEntry) or entry.rejected:
        return None
    return None if entry.by == "agent" and entry.source == "script" else entry


def _goes_with(last: Given, entry: ToolEntry, message: int) -> bool:
    """Whether a call came in the same reply: with the calls before, or beside the agent's words."""
    if entry.by == "user":
        return bool(last.calls)
    if last.calls or last.own_calls:
        return entry.message == message
    return last.text is not None


def _course(conversation: Conversation, turn: int, side: Speaker) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for entry in conversation.log:
        acted = _acted(entry)
        if entry.turn > turn or (acted is not None and acted.turn == turn and acted.by == side):
            break
        if not (isinstance(entry, SayEntry) and entry.rejected):
            row = entry.model_dump(mode="json", exclude_unset=True, exclude=set(_NOT_COMPARED))
            rows.append(row)
    return rows


def _short(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)[:200]


def _reminders(unwanted: Sequence[Unwanted]) -> list[Message]:
    return [
        Message(
            "system",
            f"{REJECTED}{json.dumps(one.text, ensure_ascii=False)}. Answer anew. {one.feedback}".strip(),
        )
        for one in unwanted
    ]


def _another(seed: int, *times: int) -> int:
    """The seed of a reply that is requested again."""
    return seed_of(seed, "again", *times) if any(times) else seed


def _agent_reply(given: Given) -> AgentReply:
    return AgentReply(
        given.text,
        _calls(given.calls),
        given.usage,
        given.own_names,
        _calls(given.own_calls),
        given.own_results,
        source=given.source,
        think_s=given.think_s,
        instead_of=_unwanted(given),
    )


def _user_reply(given: Given) -> UserReply:
    return UserReply(
        given.text or "",
        given.stop,
        _calls(given.calls),
        given.usage,
        given.source,
        instead_of=_unwanted(given),
    )


def _given_by_agent(reply: AgentReply, turn: int) -> Given:
    return Given(
        by="agent",
        turn=turn,
        text=reply.text,
        calls=_kept(reply.calls),
        own_calls=_kept(reply.own_calls),
        own_results={id: own_result(told) for id, told in reply.own_results.items()},
        own_names=reply.own_names,
        source=reply.source,
        usage=reply.usage,
        think_s=reply.think_s,
    )


def _given_by_user(reply: UserReply, turn: int) -> Given:
    return Given(
        by="user",
        turn=turn,
        text=reply.text,
        calls=_kept(reply.calls),
        stop=reply.stop,
        source=reply.source,
        usage=reply.usage,
    )


def _unwanted(given: Given) -> tuple[Unwanted, ...]:
    return tuple(Unwanted(one.text, one.feedback) for one in given.instead_of)


def _calls(calls: Iterable[GivenCall]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call.id, call.name, call.arguments) for call in calls)


def _kept(calls: Iterable[ToolCall]) -> list[GivenCall]:
    return [GivenCall(id=call.id, name=call.name, arguments=call.arguments) for call in calls]


def _given_call(entry: ToolEntry) -> GivenCall:
    arguments = entry.raw if entry.raw is not None else json.dumps(entry.args, ensure_ascii=False)
    return GivenCall(id=f"r{entry.id}", name=entry.tool, arguments=arguments)
