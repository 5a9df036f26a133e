"""Conversation: the record of one trial. What it says is what grading reads, and nothing else."""

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
"""Who noise is, in `event`, `by` and `cause`."""


class Patch(Stored):
    """One write. `old` or `new` that is not set was, or is, missing: that differs from null."""

    op: Literal["set", "insert", "remove"]
    path: str
    """`db.orders['#W1'].status`"""
    by: str = ""
    """agent, user, sync, init, persona, event:<id>, noise"""
    old: Any = None
    new: Any = None


class Entry(Stored):
    """What every entry of the log has: order, turn (0 before the first), virtual seconds since the start."""

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
    """It was not taken, and nobody heard it: the entry of the same side that follows was said in its place. The pair is
    preference data."""
    feedback: str = ""
    """What was said against it, where it was rejected."""
    held_back: bool = False
    """With these words the user would have stopped, and was let stop no sooner than in its next turn."""


class ToolEntry(Entry):
    """A call on the world and what came of it."""

    KEY: ClassVar[str] = "tool"

    id: str
    """k1, k2 …"""
    by: Literal["user", "agent", "world"]
    tool: str
    """The original name, whatever the agent saw."""
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    raw: str | None = None
    """What the model wrote, where that is no JSON object; `args` is then empty."""
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
    """Number of the agent's reply that it came with, from 1; 0: no agent."""
    wall_s: float = 0.0


class EventEntry(Entry):
    """A scenario's event that fired or timed out, or noise."""

    KEY: ClassVar[str] = "event"

    event: str
    """Its id; `noise` for noise."""
    status: EventStatus
    patches: list[Patch] = Field(default_factory=list[Patch])


class NotifyEntry(Entry):
    """A message from the world, given at the next model call of the side it is for."""

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
    """A check of the script, decided here. `ok`: the script went on, also where a judge does not know."""

    KEY: ClassVar[str] = "check"

    check: str
    """`script.3`"""
    ok: bool
    opinions: list[Opinion] = Field(default_factory=list[Opinion])
    """What the judge said, of a judged one."""


def _entry_kind(value: Any) -> str:
    """Which entry it is: the one of the keys that it has."""
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
    """What broke, where something did: a code of our errors such as `unavailable`, or an exception's name."""
    turn: int = 0
    t: float = 0


class Hashes(Stored):
    """SHA-256 of the canonical JSON of what the trial was made of."""

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
    """Where a conversation comes from that another system recorded, and what it made of it."""

    format: str
    file: str
    reward: float | None = None
    """The reward that it recorded, 0..1."""
    other_results: list[int] = Field(default_factory=list[int])
    """`n` of the calls that gave another result when they were made again here."""
    x_source: Any = None
    """What has no place here, verbatim."""


class AgentVerdict(Stored):
    """What the agent itself said of the conversation, last in this turn. It is in no rate."""

    verdict: Literal["pass", "fail", "inconclusive"]
    why: str = ""
    turn: int = 0


class Branch(Stored):
    """Where a conversation was gone on with that another one had begun."""

    place: str
    """`run-1/refund-dana/1@3`: up to the user's words of that turn it is the same."""
    trial: int
    """The trial whose draws it has: the same chance befalls it."""


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
    """Net difference of base and final state."""
    models: dict[str, ModelUse] = Field(default_factory=dict[str, ModelUse])
    """By role."""
    state_known: bool = True
    """False: recorded elsewhere, and its calls could not be made again. What rests on the state is undecided."""
    origin: Origin | None = None
    """None: it was made here."""
    agent_verdict: AgentVerdict | None = None
    """The agent's own word, where it gave one."""
    runtime_errors: int = 0
    """Calls that ended in the tool's own mistake."""
    transcript_hash: str = ""
    """Of setup, log, end and delta without wall times, tokens and sources: equal for two trials that went the same
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
        """As JSON; what was never set is left out, so that a missing value stays missing."""
        return self.model_dump(mode="json", exclude_unset=True, by_alias=True)
