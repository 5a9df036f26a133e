"""Session: a live conversation in which the caller plays one side. Its tape is all that is needed to restore it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored
from .conversation import SaySource, Speaker, TokenUsage

SessionState = Literal["open", "ended"]


class GivenCall(Stored):
    """A call of a reply, as it was asked for."""

    id: str
    name: str
    arguments: str
    """JSON, perhaps broken."""


class Rejected(Stored):
    """A turn that was not taken: with what was said in its place it is preference data."""

    turn: int
    by: Speaker
    text: str = ""
    calls: list[GivenCall] = Field(default_factory=list[GivenCall])
    feedback: str = ""
    """What was said against it."""


class Given(Stored):
    """One reply of one side. All replies of a trial, played again in their order, give the same trial."""

    by: Speaker
    turn: int
    text: str | None = None
    calls: list[GivenCall] = Field(default_factory=list[GivenCall])
    own_calls: list[GivenCall] = Field(default_factory=list[GivenCall])
    """Calls that the agent made by itself outside the world."""
    own_results: dict[str, Any] = Field(default_factory=dict[str, Any])
    """What those gave, by the call's id."""
    own_names: bool = False
    """The calls name tools as the world does."""
    stop: bool = False
    """The user is done."""
    source: SaySource = "model"
    usage: TokenUsage | None = None
    think_s: float | None = None
    """Wall seconds that the agent took; None: not known."""
    instead_of: list[Rejected] = Field(default_factory=list[Rejected])


class BranchPoint(Stored):
    """Where a stored conversation is gone on with, and all that is needed for it."""

    format: Literal["branch/1"] = "branch/1"
    place: str
    """`run-1/refund-dana/1@3`"""
    seed: int
    drawn: int
    """The trial whose draws it has."""
    tape: list[Given] = Field(default_factory=list[Given])


class SessionRecord(Stored):
    """A session. The run of the same id holds its cases, its settings and its ends."""

    format: Literal["session/1"] = "session/1"
    id: str
    environment: str
    role: Speaker = "agent"
    """Whom the caller plays."""
    start: str = ""
    """A simulation or scenario, `blank`, or the place that it goes on from."""
    simulation: str = ""
    scenario: str = ""
    seed: int = 0
    drawn: int = 1
    """The trial whose draws it has."""
    place: str = ""
    """`run-1/refund-dana/1@3`: where it was branched off; "": nowhere."""
    tape: list[Given] = Field(default_factory=list[Given])
    again: list[Rejected] = Field(default_factory=list[Rejected])
    """What the other side is to say anew and has not yet."""
    rejected: list[Rejected] = Field(default_factory=list[Rejected])
    """All that was ever rejected, of branches that were undone too."""
    state: SessionState = "open"
    turn: int = 0
    seen: int = 0
    """Entries of its log that the caller has been told."""
    offered: list[str] = Field(default_factory=list[str])
    """The tools that the caller has been told."""
    verdict: str = ""
    ends: int = 0
    """How often it has ended; each end is a trial of its run."""
    version: int = 1
    """Counts changes: who changes it must have seen the last."""
    created_at: str = ""
    updated_at: str = ""
