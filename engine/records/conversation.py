"""Conversation: the record of one trial. Grading reads it, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from .authored import Stored
from .opinion import Opinion

Speaker = Literal["user", "agent"]
SaySource = Literal["script", "event", "model", "caller", "recorded", "history", "expected"]
"""Where words come from."""
EndReason = Literal[
    "user_stop",
    "terminal",
    "script_end",
    "script_succeed",
    "script_fail",
    "event_stop",
    "event_fail",
    "session_end",
    "max_turns",
    "max_tool_calls",
    "loop",
    "minefield",
    "agent_error",
    "model_error",
    "timeout",
    "budget",
    "world_error",
    "unsolvable",
    "user_fault",
    "cancelled",
]
CallError = Literal["arguments", "refused", "runtime", "injected"]
EventStatus = Literal["fired", "timeout:fail", "timeout:skip", "timeout:fire", "noise"]
NOISE = "noise"
"""How noise is named in `event`, `by` and `cause`."""


class Patch(Stored):
    """One write. An unset `old` or `new` means missing, which differs from null."""

    op: Literal["set", "insert", "remove"]
    path: str
    """`db.orders['#W1'].status`"""
    by: str = ""
    """agent, user, sync, init, persona, event:<id>, noise"""
    old: Any = None
    new: Any = None


class Entry(Stored):
    """The fields common to all log entries: order, turn (0 before the first), virtual seconds since the start."""

    KEY: ClassVar[str] = ""
    """The key that only this kind of entry has."""

    n: int
    turn: int
    t: float


class TokenUsage(Stored):
    """Tokens and price of the model call behind an entry; `cost_usd` None: unknown."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


class SayEntry(Entry):
    """Words of one side."""

    KEY: ClassVar[str] = "say"

    by: Speaker
    say: str
    source: SaySource = "model"
    usage: TokenUsage | None = None
    rejected: bool = False
    """It was rejected, and nobody heard it: the next entry of the same side replaced it. The pair is preference
    data."""
    feedback: str = ""
    """The objection to it, if it was rejected."""
    held_back: bool = False
    """With these words the user wanted to stop; it was only allowed to in its next turn or later."""


class ToolEntry(Entry):
    """A call on the world and its result."""

    KEY: ClassVar[str] = "tool"

    id: str
    """k1, k2 …"""
    by: Literal["user", "agent", "world"]
    tool: str
    """The original name, whatever the agent saw."""
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    raw: str | None = None
    """What the model wrote, if it is not a JSON object; `args` is then empty."""
    kind: Literal["read", "write", "terminal", "think", "own", "unknown"] = "read"
    """own: a tool of the agent's own, outside the world; recorded, not executed."""
    ok: bool = True
    error: CallError | None = None
    injected: str | None = None
    """The mode of the fault that hit it: such calls count in no check."""
    cause: str | None = None
    """`event:<id>` or `noise`, whose step made the call and whose entry has its patches."""
    result: Any = None
    """The result, or the error's text."""
    patches: list[Patch] = Field(default_factory=list[Patch])
    message: int = 0
    """Number of the agent's reply it came with, from 1; 0: not from the agent."""
    wall_s: float = 0.0


class EventEntry(Entry):
    """A scenario's event that fired or timed out, or noise."""

    KEY: ClassVar[str] = "event"

    event: str
    """Its id; `noise` for noise."""
    status: EventStatus
    patches: list[Patch] = Field(default_factory=list[Patch])


class NotifyEntry(Entry):
    """A message from the world, delivered at the recipient's next model call."""

    KEY: ClassVar[str] = "notify"

    notify: str
    by: str
    to: Speaker = "agent"


class EmitEntry(Entry):
    """A signal."""

    KEY: ClassVar[str] = "emit"

    emit: str
    by: str
    data: Any = None


class StopEntry(Entry):
    """The side or the event that ended the conversation; an event's `stop` is pass, fail or end."""

    KEY: ClassVar[str] = "stop"

    stop: str
    by: str


class CheckEntry(Entry):
    """A check of the script, decided here. `ok`: the script continued, also if a judge does not know."""

    KEY: ClassVar[str] = "check"

    check: str
    """`script.3`"""
    ok: bool
    opinions: list[Opinion] = Field(default_factory=list[Opinion])
    """The judge's answers, if it is judged."""


def _entry_kind(value: Any) -> str:
    """The kind of the entry: the one of these keys that it has."""
    if isinstance(value, Entry):
        return value.KEY
    keys = ("say", "tool", "event", "notify", "emit", "stop", "check")
    return next((key for key in keys if isinstance(value, dict) and key in value), "say")


LogEntry = Annotated[
    Annotated[SayEntry, Tag("say")]
    | Annotated[ToolEntry, Tag("tool")]
    | Annotated[EventEntry, Tag("event")]
    | Annotated[NotifyEntry, Tag("notify")]
    | Annotated[EmitEntry, Tag("emit")]
    | Annotated[StopEntry, Tag("stop")]
    | Annotated[CheckEntry, Tag("check")],
    Discriminator(_entry_kind),
]


class End(Stored):
    """Why and when the trial ended."""

    reason: EndReason
    detail: str = ""
    error: str = ""
    """What broke, if anything: a code of our errors such as `unavailable`, or an exception's name."""
    turn: int = 0
    t: float = 0


class Hashes(Stored):
    """SHA-256 of the canonical JSON of what the trial was made from."""

    world: str = ""
    scenario: str = ""
    persona: str = ""
    instructions: str = ""
    engine: str = ""


class ModelUse(Stored):
    """What one role cost. `cost_usd` None: unknown."""

    name: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


class Origin(Stored):
    """Where a conversation recorded by another system comes from, and that system's result."""

    format: str
    file: str
    reward: float | None = None
    """The reward it recorded, 0..1."""
    other_results: list[int] = Field(default_factory=list[int])
    """`n` of the calls that gave another result when repeated here."""
    x_source: Any = None
    """Data without a place here, verbatim."""


class AgentVerdict(Stored):
    """The agent's own verdict on the conversation, the last one in this turn. It is in no rate."""

    verdict: Literal["pass", "fail", "inconclusive"]
    why: str = ""
    turn: int = 0


class Branch(Stored):
    """Where this conversation continues another one."""

    place: str
    """`run-1/refund-dana/1@3`: it is the same up to the user's words in that turn."""
    trial: int
    """The trial whose draws it uses, so that the same random things happen to it."""


class Conversation(Stored):
    """The record of one trial."""

    format: Literal["conversation/1"] = "conversation/1"
    id: str = ""
    """run/simulation/trial"""
    environment: str = ""
    run: str = ""
    simulation: str = ""
    scenario: str
    persona: str = ""
    instructions: str = ""
    """`support@2`, or a candidate's id."""
    seed: int = 0
    trial: int = 1
    branch: Branch | None = None
    hashes: Hashes = Field(default_factory=Hashes)
    setup: list[Patch] = Field(default_factory=list[Patch])
    """What persona, init, history and sync wrote: base + setup = the initial state."""
    end: End
    log: list[LogEntry] = Field(default_factory=list[LogEntry])
    delta: list[Patch] = Field(default_factory=list[Patch])
    """Net difference between base and final state."""
    models: dict[str, ModelUse] = Field(default_factory=dict[str, ModelUse])
    """By role."""
    state_known: bool = True
    """False: recorded elsewhere, and its calls could not be repeated. Anything that rests on the state is undecided."""
    origin: Origin | None = None
    """None: it was made here."""
    agent_verdict: AgentVerdict | None = None
    """The agent's own verdict, if it gave one."""
    runtime_errors: int = 0
    """Calls that ended in an error of the tool itself."""
    transcript_hash: str = ""
    """Over setup, log, end and delta without wall times, tokens and sources: equal for two trials that went the same
    way, whoever played."""
    wall_s: float = 0.0
    agent_wall_s: float = 0.0
    started_at: str = ""

    @property
    def agent_writes(self) -> int:
        """The agent's calls that changed the world."""
        calls = (entry for entry in self.log if isinstance(entry, ToolEntry) and entry.by == "agent")
        return sum(call.ok and call.kind == "write" for call in calls)

    def dumped(self) -> dict[str, Any]:
        """As JSON; unset fields are left out, so that a missing value stays missing."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)
