"""Session: a live conversation in which the caller plays one side. Its tape is all that is needed to restore it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored
from .conversation import SaySource, Speaker, TokenUsage

SessionState = Literal["open", "ended"]


class GivenCall(Stored):
    """A call in a reply, as requested."""

    id: str
    name: str
    arguments: str
    """JSON, possibly broken."""


class Rejected(Stored):
    """A turn that was rejected: together with its replacement it is preference data."""

    turn: int
    by: Speaker
    text: str = ""
    calls: list[GivenCall] = Field(default_factory=list[GivenCall])
    feedback: str = ""
    """The objection to it."""


class Given(Stored):
    """One reply of one side. All replies of a trial, replayed in order, give the same trial."""

    by: Speaker
    turn: int
    text: str | None = None
    calls: list[GivenCall] = Field(default_factory=list[GivenCall])
    own_calls: list[GivenCall] = Field(default_factory=list[GivenCall])
    """Calls that the agent made on its own, outside the world."""
    own_results: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Their results, by the call's id."""
    own_names: bool = False
    """Whether the calls use the world's own tool names."""
    stop: bool = False
    """The user is done."""
    source: SaySource = "model"
    usage: TokenUsage | None = None
    think_s: float | None = None
    """Wall seconds the agent took; None: unknown."""
    instead_of: list[Rejected] = Field(default_factory=list[Rejected])


class BranchPoint(Stored):
    """The point from which a stored conversation is continued, and all that is needed for it."""

    format: Literal["branch/1"] = "branch/1"
    place: str
    """`run-1/refund-dana/1@3`"""
    seed: int
    drawn: int
    """The trial whose draws it uses."""
    tape: list[Given] = Field(default_factory=list[Given])


class SessionRecord(Stored):
    """A session. The run with the same id holds its cases, its settings and its ends."""

    format: Literal["session/1"] = "session/1"
    id: str
    environment: str
    role: Speaker = "agent"
    """The side the caller plays."""
    start: str = ""
    """A simulation or scenario, `blank`, or the place it continues from."""
    simulation: str = ""
    scenario: str = ""
    seed: int = 0
    drawn: int = 1
    """The trial whose draws it uses."""
    place: str = ""
    """`run-1/refund-dana/1@3`: where it branched off; "": it did not."""
    tape: list[Given] = Field(default_factory=list[Given])
    again: list[Rejected] = Field(default_factory=list[Rejected])
    """What the other side has to say again and has not said yet."""
    rejected: list[Rejected] = Field(default_factory=list[Rejected])
    """Everything ever rejected, including on undone branches."""
    state: SessionState = "open"
    turn: int = 0
    seen: int = 0
    """Entries of its log that the caller has seen."""
    offered: list[str] = Field(default_factory=list[str])
    """The tools the caller has been shown."""
    verdict: str = ""
    ends: int = 0
    """How often it has ended; each end is a trial of its run."""
    version: int = 1
    """Counts changes: whoever changes it must have seen the last one."""
    created_at: str = ""
    updated_at: str = ""
