"""The simulated user: it wants what the scenario says, knows its sheet, and stops when it is done."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from ..agents import PlayedTurn, Unwanted
from ..llm import Message, ModelClient, ModelRequest, ToolCall, ToolSignature
from ..records.conversation import End, SaySource, TokenUsage
from ..seeds import seed_of
from .case import Case
from .methods import gives_up
from .sheet import user_rules
from .user_faults import STOP, user_fault, without_stop

BEGIN: Final = "(The conversation begins. Write your first message.)"
_ANNOUNCES: Final = re.compile(
    r"\b(?:(?:i will|i'll|i am going to|i'm going to)(?! not\b)|i am about to|i'm about to|let me(?! know)|"
    r"one moment)\b",
    re.I,
)
_CLOSES: Final = re.compile(
    r"\b(?:anything|something|what) else\b|\bfurther (?:help|assistance|questions)\b", re.I
)
_SENTENCE_END: Final = re.compile(r"[.!?\n]")


@dataclass(frozen=True, slots=True)
class UserReply:
    """What the user does: say something, call its own tools first, or stop."""

    text: str = ""
    stop: bool = False
    calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage | None = None
    source: SaySource = "model"
    """Where the words come from; only a model's stop may be held back."""
    ends: End | None = None
    """How the trial ends without a stop: the recording was cut short here, or the user fell out of its role."""
    instead_of: tuple[Unwanted, ...] = ()
    """What was rejected before it, oldest first."""


class UserSimulator(Protocol):
    """The user of one trial.

    `speak` is given the conversation with the roles reversed (the user's own texts as `assistant`), and the user's
    tools; after calls it is asked again. It must not keep or change its input. Raises SetupError if its model cannot
    answer; any other exception counts as the model's failure too, except Standstill, which is passed on. If an event
    or the script supplies the words of a turn, `spoken_for` is called instead: it returns the calls that the user
    makes before them, or the trial's end.
    """

    @property
    def name(self) -> str:
        """The user's model as named in reports."""
        ...

    async def speak(
        self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int
    ) -> UserReply: ...

    def spoken_for(self) -> UserReply: ...


class ModelUser:
    """A user played by a model, which gets its sheet as prose for language models and as a block for others."""

    def __init__(self, model: ModelClient, case: Case, again: int = 0) -> None:
        """`again`: how often it has dropped its role in this trial before; it then draws differently."""
        self._model, self._again = model, again
        self._method = case.method
        self._before = (Message("system", case.user_prompt), Message("user", BEGIN))
        self._first = case.user_input

    @property
    def name(self) -> str:
        return self._model.name

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        if self._first:
            first, self._first = self._first, ""
            return UserReply(first, source="script")
        heard = [
            replace(message, content=without_stop(message.content)) if message.role == "user" else message
            for message in heard
        ]
        said = [message.content for message in heard if message.role == "user"]
        own = sum(message.role == "assistant" and bool(message.content) for message in heard)
        if self._method is not None and gives_up(self._method, own, said):
            return UserReply(stop=True, source="script")
        seed = seed_of(seed, "again", self._again) if self._again else seed
        request = ModelRequest(role="user", messages=(*self._before, *heard), tools=tools, seed=seed)
        reply = await self._model.complete(request)
        last = said[-1] if said else ""
        plays = self._method is not None
        fault = user_fault(reply.text, last, user_rules(), plays=plays, begins=not said)
        text, stop = strip_stop(reply.text)
        if fault is not None:
            ends = End(reason="user_fault", detail=fault.why, error=fault.sort)
            return UserReply(text, usage=reply.used, ends=ends)
        return UserReply(text, stop, reply.tool_calls, reply.used)

    def spoken_for(self) -> UserReply:
        self._first = ""
        return UserReply()


class PlayedUser:
    """The user of a script, turn by turn: its calls, its words, its stop. After the last turn it stops."""

    def __init__(self, turns: Sequence[PlayedTurn], source: SaySource = "recorded") -> None:
        self._left = iter(turns)
        self._turn: PlayedTurn | None = None
        self._source: SaySource = source

    @property
    def name(self) -> str:
        return self._source

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        if self._turn is None:
            self._turn = next(self._left, PlayedTurn(stops=True))
            if self._turn.user_calls:
                return UserReply(calls=tuple(self._turn.user_calls), source=self._source)
        turn, self._turn = self._turn, None
        text, stop = strip_stop(turn.user_says or "")
        return UserReply(text, stop or turn.stops or not text, source=self._source, ends=turn.ends)

    def spoken_for(self) -> UserReply:
        turn, self._turn = self._turn or next(self._left, PlayedTurn()), None
        return UserReply(calls=tuple(turn.user_calls), source=self._source, ends=turn.ends)


class NoUser:
    """Stands in if there is nobody to talk to."""

    name = "nobody"

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        return UserReply("(There is no user here.)", source="script")

    def spoken_for(self) -> UserReply:
        return UserReply()


def strip_stop(text: str) -> tuple[str, bool]:
    """The text without the stop word, and whether it was there."""
    if STOP not in text:
        return text.strip(), False
    return text.replace(STOP, "").strip(), True


def waits_for_user(text: str) -> bool:
    """Whether an agent's text asks something or announces an action: not a moment for the user to leave.

    `Is there anything else?` does not count as asking.
    """
    if _ANNOUNCES.search(text):
        return True
    asked = text.rstrip()
    if not asked.endswith("?"):
        return False
    last = _SENTENCE_END.split(asked[-500:-1])[-1]
    return _CLOSES.search(last) is None
