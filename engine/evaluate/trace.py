"""The trace of a trial: what predicates read. Built entry by entry, live or from a stored conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..records.conversation import (
    NOISE,
    Conversation,
    EmitEntry,
    EventEntry,
    LogEntry,
    Patch,
    SayEntry,
    StopEntry,
    ToolEntry,
)
from ..world.moments import moment_after
from ..world.paths import Path, parse_path
from ..world.state import Patch as WorldPatch, State
from ..world.values import Fault
from .opinions import Opinions

FIRED = ("fired", "timeout:fire")
"""Statuses of an event that happened."""


@dataclass(frozen=True, slots=True)
class ExpectedWorld:
    """The state that the scenario's own solution leaves behind; played elsewhere and passed in.

    `root` is the final state `{"db": …, "user_db": …}`, `ignore` the places that events wrote there, `error` why there
    is none: then the scenario is unsolvable and its trials are invalid.
    """

    root: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ignore: tuple[Path, ...] = ()
    error: str = ""


class Trace:
    """What has happened so far, and the state now.

    `state` is the live state of the trial (or of the replay), only read here; its content at construction is the
    initial state. Entries of turn 0, the history, are seen by rules and counted by no other check.
    """

    def __init__(
        self,
        state: State,
        expected: ExpectedWorld | None = None,
        now: str = "",
        opinions: Opinions | None = None,
    ) -> None:
        self.state = state
        self.initial = state.snapshot()
        self.began = state.mark()
        """Length of the journal at the start of the trial."""
        self.expected = expected
        self.now = now
        """The world's clock at t = 0."""
        self.opinions = opinions or Opinions()
        self.state_known = True
        """False: what the calls wrote was not recorded."""
        self.turn = 0
        self.t = 0.0
        self.n = 0
        self.says: list[SayEntry] = []
        self.calls: list[ToolEntry] = []
        """Calls of the sides themselves, without those an event or noise makes in the agent's name."""
        self.events: list[EventEntry] = []
        self.happened: dict[str, int] = {}
        """Events that fired and signals that were emitted, with the `n` of the first time."""

    def add(self, entry: LogEntry) -> None:
        """Record an entry whose writes are already in the state."""
        self.turn, self.t, self.n = entry.turn, entry.t, entry.n
        if isinstance(entry, SayEntry):
            if not entry.rejected:
                self.says.append(entry)
        elif isinstance(entry, ToolEntry):
            if entry.cause is None or (entry.by != "agent" and entry.cause != NOISE):
                self.calls.append(entry)
        elif isinstance(entry, EmitEntry):
            if entry.by != NOISE:
                self.happened.setdefault(entry.emit, entry.n)
        elif isinstance(entry, EventEntry):
            self.events.append(entry)
            if entry.status in FIRED:
                self.happened.setdefault(entry.event, entry.n)

    def by_the_world(self) -> tuple[Path, ...]:
        """The places that events and noise wrote: nobody else is responsible for them.

        If an element was added to or removed from a list, the whole list counts, since the rest moved.
        """
        if not self.events:
            return ()
        written = (p for p in self.state.journal[self.began :] if p.by == NOISE or p.by.startswith("event:"))
        return tuple(dict.fromkeys(_place(patch) for patch in written))

    def at(self, turn: int, t: float) -> Trace:
        """The same trace at a moment at which nothing has been recorded yet."""
        self.turn, self.t = turn, t
        return self

    def moment(self) -> str | None:
        """The world's clock at the last entry, or at the moment of `at`; None if there is no clock."""
        try:
            return moment_after(self.now, self.t) if self.now else None
        except Fault:
            return None

    def played(self) -> Trace:
        """The same trace without the history: what success checks count."""
        if not any(e.turn < 1 for e in (*self.says[:1], *self.calls[:1])):
            return self
        return self._part([s for s in self.says if s.turn > 0], [c for c in self.calls if c.turn > 0])

    def with_opinions(self, opinions: Opinions) -> Trace:
        """The same trace with other opinions of judges."""
        part = self._part(self.says, self.calls)
        part.opinions = opinions
        return part

    def after(self, n: int) -> Trace:
        """The part of the record after entry `n`; the state is the present one."""
        later = self._part([s for s in self.says if s.n > n], [c for c in self.calls if c.n > n])
        later.happened = {name: at for name, at in self.happened.items() if at > n}
        return later

    def _part(self, says: list[SayEntry], calls: list[ToolEntry]) -> Trace:
        part = Trace.__new__(Trace)
        part.__dict__.update(self.__dict__)
        part.says, part.calls = says, calls
        return part


class Replay:
    """A stored conversation, entry by entry: no tool is run, the patches of the record are applied.

    Patches of turn 0 are part of `setup` and not applied twice.
    """

    def __init__(
        self,
        conversation: Conversation,
        base_root: dict[str, Any],
        expected: ExpectedWorld | None = None,
        now: str = "",
        opinions: Opinions | None = None,
    ) -> None:
        state = State(base_root)
        _apply(state, conversation.setup)
        self._entries = conversation.log
        self.trace = Trace(state, expected, now, opinions)
        self.trace.state_known = conversation.state_known

    def __iter__(self) -> Iterator[LogEntry]:
        """Each entry before it is in the trace; it is added when the next one is requested."""
        for entry in self._entries:
            yield entry
            if isinstance(entry, ToolEntry | EventEntry) and entry.turn > 0:
                _apply(self.trace.state, entry.patches)
            self.trace.add(entry)


def opens_point(before: LogEntry | None, entry: LogEntry) -> bool:
    """Whether an evaluation point lies between two entries of the log.

    Signals and notices belong to what caused them, the agent's text beside a call to that call, and events and the
    calls they make to the point at which they fire; only events that came with the passing of time have a point of
    their own.
    """
    if isinstance(entry, ToolEntry):
        return entry.cause is None and not beside(before, entry)
    if isinstance(entry, EventEntry):
        return before is None or (before.turn, before.t) != (entry.turn, entry.t)
    return isinstance(entry, SayEntry | StopEntry)


def beside(before: LogEntry | None, call: ToolEntry) -> bool:
    return (
        isinstance(before, SayEntry)
        and before.by == call.by == "agent"
        and before.turn == call.turn
        and before.source != "script"
    )


def _place(patch: WorldPatch) -> Path:
    return patch.path[:-1] if patch.op != "set" and isinstance(patch.path[-1], int) else patch.path


def _apply(state: State, patches: list[Patch]) -> None:
    for patch in patches:
        state.write(patch.op, written_path(patch.path), patch.new, patch.by)


@lru_cache(maxsize=20_000)
def written_path(text: str) -> Path:
    """The path of a patch in the record."""
    return parse_path(text, "patches")
