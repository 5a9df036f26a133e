"""Playing back a conversation: what both sides did in it, turn by turn, on a world that is really called.

A stored conversation is a recording; the minimum is `{"scenario": "x", "log": [{"by": "user", "say": "hi"}, {"by":
"agent", "tool": "t", "args": {}}, {"by": "agent", "say": "done"}]}`.

One that was cut short says so, `"end": {"reason": "max_tool_calls"}`; any other ends by the user when it runs out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BeforeValidator, Field

from ..llm import ToolCall
from ..records.authored import Stored
from ..records.conversation import End, EndReason
from .adapter import AgentError, AgentInput, AgentReply

CUT_SHORT: Final[frozenset[EndReason]] = frozenset(
    ("max_turns", "max_tool_calls", "loop", "agent_error", "model_error", "timeout", "budget", "user_fault")
)
"""Ends caused neither by a side nor by the world, so that a playback cannot reach them by itself."""


class Line(Stored):
    """One line of a recording: words, a call, or the user's stop.

    Only the result of an own call is read: the world gives the others itself.
    """

    by: Literal["user", "agent"]
    say: str | None = None
    tool: str | None = None
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    raw: str | None = None
    kind: str = ""
    """`own`: a call on one of the agent's own tools, which is not executed."""
    result: Any = None
    stop: str | None = None
    source: str | None = None
    """`script` or `event`, if a stored conversation's words came from there."""
    turn: int | None = None
    message: int = 0
    """Calls with the same number above 0 came in one reply."""

    def call(self, id: str) -> ToolCall:
        """The call as a model would have made it."""
        arguments = self.raw if self.raw is not None else json.dumps(self.args, ensure_ascii=False)
        return ToolCall(id, self.tool or "", arguments)


def _spoken(entry: Any) -> Any:
    """Return None for what neither side did in the trial itself.

    That is history, events and their calls, notices, rejected texts, and words that the script gave the agent.
    """
    if not isinstance(entry, Mapping):
        return entry
    row = cast("Mapping[str, Any]", entry)
    acted = any(row.get(key) is not None for key in ("say", "tool", "stop"))
    told = row.get("by") in ("user", "agent") and acted
    left_out = row.get("turn") == 0 or row.get("rejected") or row.get("cause") is not None
    scripted = row.get("by") == "agent" and row.get("source") == "script"
    return row if told and not (left_out or scripted) else None


class Recording(Stored):
    """A recorded conversation, identified by simulation or scenario, and trial."""

    scenario: str = ""
    simulation: str = ""
    trial: int = Field(default=1, ge=1)
    log: list[Annotated[Line | None, BeforeValidator(_spoken)]] = Field(
        default_factory=list[Line | None], max_length=100_000
    )
    end: End | None = None
    """How it ended. If it was cut short, its playback ends the same way, unless the world ends it earlier."""

    def lines(self) -> list[Line]:
        """What both sides did, in order; other entries of a stored log are skipped."""
        return [line for line in self.log if line is not None]


@dataclass(slots=True)
class PlayedTurn:
    """What both sides do in one turn: the user's calls, then words or a stop, then the agent's replies."""

    user_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    user_says: str | None = None
    """None: the recording does not say."""
    stops: bool = False
    """The user ends the conversation in this turn, after its words if it says any."""
    ends: End | None = None
    """The recording was cut short before this turn: the trial ends this way, and nothing more is said."""
    replies: list[AgentReply] = field(default_factory=list[AgentReply])


class PlayedAgent:
    """Gives the replies of a script, turn by turn, whatever it hears; says nothing when they are used up."""

    def __init__(self, turns: Sequence[PlayedTurn], name: str = "recorded") -> None:
        self._turns = turns
        self._name = name
        self._turn = 0
        self._left: Iterator[AgentReply] = iter(())

    @property
    def name(self) -> str:
        return self._name

    async def reply(self, turn: AgentInput) -> AgentReply:
        if turn.turn != self._turn:
            self._turn = turn.turn
            self._left = iter(self._turns[turn.turn - 1].replies if turn.turn <= len(self._turns) else ())
        return next(self._left, AgentReply(text=None))


class RecordedAgent(PlayedAgent):
    """The agent of a recording."""

    def __init__(self, recording: Recording) -> None:
        super().__init__(played_turns(recording))


class NotRecorded(AgentError):
    """There is nothing to play back; a later trial may still have a recording."""


class NoRecording:
    """Stands in if a recorded agent has nothing to play back: the trial ends in `agent_error`, and says so."""

    name = "recorded"

    def __init__(self, what: str) -> None:
        self._what = what

    async def reply(self, turn: AgentInput) -> AgentReply:
        raise NotRecorded(self._what)


def played_turns(recording: Recording) -> list[PlayedTurn]:
    """The turns of a recording.

    Words of the user begin a turn, and so do calls of the user before them. In a recording without the user's side,
    the agent's words end one. What the agent says before the user's first words belongs to no turn and is left out.
    """
    lines = recording.lines()
    turns = _Turns(any(line.by == "user" and line.tool is None for line in lines))
    for line in lines:
        if line.by == "user":
            turns.user(line)
        else:
            turns.agent(line)
    if recording.end is not None and recording.end.reason in CUT_SHORT:
        end = End(reason=recording.end.reason, detail=recording.end.detail)
        turns.made.append(PlayedTurn(ends=end))
    return turns.made


class _Turns:
    """Sorts the lines of a recording into turns."""

    def __init__(self, with_user: bool) -> None:
        self.made: list[PlayedTurn] = []
        self._with_user = with_user
        self._number: int | None = None
        self._message = 0
        self._calls = 0

    def user(self, line: Line) -> None:
        if line.stop is not None:
            same = bool(self.made) and line.turn is not None and line.turn == self._number
            (self.made[-1] if same else self._begin(line)).stops = True
            return
        last = self.made[-1] if self.made else None
        same_turn = line.turn is not None and line.turn == self._number
        if (
            same_turn
            and line.source in ("script", "event")
            and last is not None
            and last.user_says is not None
        ):
            return  # said beside the turn's first words, and generated again
        # The agent may have called tools before the user's first words.
        opened = last is not None and last.user_says is None and (not last.replies or len(self.made) == 1)
        turn = last if last is not None and opened else self._begin(line)
        if line.say is not None:
            turn.user_says = line.say
        else:
            self._calls += 1
            turn.user_calls.append(line.call(f"u{self._calls}"))

    def agent(self, line: Line) -> None:
        if not self.made:
            if self._with_user and line.say is not None:
                return
            self._begin(line)
        elif not self._with_user and self._ended(line):
            self._begin(line)
        if line.say is not None:
            self._words(self.made[-1].replies, line.say)
        elif line.kind == "own":
            self._own(self.made[-1].replies, line)
        else:
            self._call(self.made[-1].replies, line)

    def _begin(self, line: Line) -> PlayedTurn:
        self.made.append(PlayedTurn())
        self._number, self._message = line.turn, 0
        return self.made[-1]

    def _ended(self, line: Line) -> bool:
        """Whether the agent's last words ended the turn, in a recording without the user's side."""
        replies = self.made[-1].replies
        spoke = bool(replies) and replies[-1].text is not None and not replies[-1].calls
        return spoke if line.turn is None else line.turn != self._number

    def _words(self, replies: list[AgentReply], text: str) -> None:
        last = replies[-1] if replies else None
        if last is not None and last.text is not None and not last.calls:
            replies[-1] = replace(last, text=f"{last.text}\n{text}")
        elif last is not None and _only_own(last):
            replies[-1] = replace(last, text=text)
        else:
            replies.append(AgentReply(text, own_names=True))
        self._message = 0

    def _own(self, replies: list[AgentReply], line: Line) -> None:
        """Put a call the agent made on its own with the reply that follows it."""
        self._calls += 1
        call = line.call(f"o{self._calls}")
        if not replies or not _only_own(replies[-1]):
            replies.append(AgentReply(None, own_names=True))
        last = replies[-1]
        results = last.own_results if line.result is None else {**last.own_results, call.id: line.result}
        replies[-1] = replace(last, own_calls=(*last.own_calls, call), own_results=results)

    def _call(self, replies: list[AgentReply], line: Line) -> None:
        self._calls += 1
        call = line.call(f"r{self._calls}")
        last = replies[-1] if replies else None
        beside = last is not None and last.text is not None and not last.calls
        together = (
            last is not None and bool(last.calls) and line.message > 0 and line.message == self._message
        )
        if last is not None and (beside or together or _only_own(last)):
            replies[-1] = replace(last, calls=(*last.calls, call))
        else:
            replies.append(AgentReply(None, (call,), own_names=True))
        self._message = line.message


def _only_own(reply: AgentReply) -> bool:
    """Whether it contains nothing but calls on the agent's own tools so far."""
    return bool(reply.own_calls) and reply.text is None and not reply.calls
