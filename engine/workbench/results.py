"""What the services return: plain values that a tool, the command line or a script renders in its own way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..llm import ToolSignature
from ..records.environment import EnvironmentRecord, InstructionsRecord
from ..records.hardening import Hardening
from ..records.job import Job
from ..records.run import RunRecord
from ..records.session import SessionRecord
from .verdict_changes import VerdictChanges


@dataclass(slots=True)
class EnvironmentReport:
    """An environment that was made, or already existed with the same content (`created` False)."""

    environment: EnvironmentRecord
    created: bool
    agent: dict[str, Any]
    """kind, probed: `ok` or what is missing"""
    world: dict[str, Any]
    """name, tools (number), collections {name: records}, policy_chars"""
    counts: dict[str, int]
    """personas, scenarios, simulations, runs"""
    models: dict[str, str]
    """The model of each role, as reports call it."""
    proven: int = 0
    """Scenarios whose own solution passes."""
    instructions_chars: int = 0
    taken: dict[str, Any] = field(default_factory=dict[str, Any])
    lost: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    warnings: list[str] = field(default_factory=list[str])
    stored: bool = True
    """False: a dry-run import."""


@dataclass(slots=True)
class ImportReport:
    """An import so far: `report` is None while its job goes on, and if it was cancelled."""

    environment: str
    job: Job
    report: EnvironmentReport | None = None


@dataclass(slots=True)
class Creation:
    """The outcome of creating personas, scenarios or simulations; an invalid one does not stop the others."""

    environment: str
    kind: str
    made: list[str] = field(default_factory=list[str])
    unchanged: list[str] = field(default_factory=list[str])
    refused: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """at, what, allowed"""
    checked: dict[str, Any] = field(default_factory=dict[str, Any])
    """scenarios: proven, unproven, do_nothing_passes, transfer_passes; generated: highest_overlap,
    near_duplicates_refused, records_exist; simulations: shown, of"""
    counts: dict[str, int] = field(default_factory=dict[str, int])
    warnings: list[str] = field(default_factory=list[str])
    by: str = ""
    """The writer model, if they were generated, as reports call it."""
    job: Job | None = None


@dataclass(slots=True)
class RunReport:
    """A run so far: `job` is None once it is over; a paused one still has it."""

    run: RunRecord
    job: Job | None = None
    warnings: list[str] = field(default_factory=list[str])
    model_calls: int = 0
    """Answered calls, including those of failed attempts; so far, while it goes on."""
    tokens: int = 0
    usd: float | None = None
    """None: the price of some calls is unknown."""
    again: bool = False
    """Stored conversations were scored again; nothing was simulated."""
    changes: VerdictChanges | None = None
    """When scored again: what became of the verdicts."""


@dataclass(slots=True)
class SessionReport:
    """A session after a step. `messages` rows have `from` (user, agent, world) and `text`, or the caller's own call."""

    session: SessionRecord
    run: RunRecord
    action: str
    turn: int
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tools: list[ToolSignature] = field(default_factory=list[ToolSignature])
    """The tools that the caller may call now."""
    news: bool = True
    """Whether these tools are new to the caller."""
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    """For a call: tool, args, ok, error, result. For a start or look as the user: its sheet."""
    changes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """What calls changed; for a look or an end, everything changed by then."""
    waits: bool = False
    """The other side has not answered yet."""
    lent: bool = False
    """It waits, and a client is to answer for the other side."""
    done: bool = False
    end: str = ""
    conversation: str = ""
    """The stored conversation of an end."""
    reward: dict[str, Any] = field(default_factory=dict[str, Any])
    """value, verdict, by, score, components."""
    warnings: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class HardeningReport:
    """A hardening so far, and the candidate that the call was about (the best, if it named none)."""

    hardening: Hardening
    candidate: str = ""
    job: Job | None = None
    became: InstructionsRecord | None = None
    """The version that a promotion made."""
    wrote_file: str = ""
    """The instructions file that the promotion wrote."""
    before: InstructionsRecord | None = None
    """For a rollback: the version that was in force; the same as `became` if nothing changed."""
    warnings: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class JobReport:
    """A job, and what its starter would have returned once it is over."""

    job: Job
    result: Creation | RunReport | HardeningReport | ImportReport | None = None
    waiting_for: str = ""


@dataclass(slots=True)
class Changes:
    """What an update or a deletion did, or would do (`done` False)."""

    kind: str
    ids: list[str]
    version: int = 0
    changed: dict[str, str] = field(default_factory=dict[str, str])
    goes_with: dict[str, int] = field(default_factory=dict[str, int])
    done: bool = True
    warnings: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Page:
    """One page of rows, newest first; each row has the `id` that `get` takes."""

    kind: str
    items: list[dict[str, Any]]
    total: int
    next_cursor: str = ""
    at_least: bool = False
    """There may be more than `total`: not all were inspected."""


@dataclass(slots=True)
class Item:
    """One thing, in one view."""

    kind: str
    id: str
    view: str
    item: dict[str, Any]
    untrusted: list[str] = field(default_factory=list[str])
    """Paths in `item` whose text came from agents, users, tools or files."""
    next_cursor: str = ""
    summary: str = ""
    """One or two sentences with the key figures."""
    warnings: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class ModelCallBatch:
    """Model calls for a client to answer, and the outcome of the answers that it sent."""

    shared: dict[str, Any] = field(default_factory=dict[str, Any])
    """What several calls need, by the names in their `uses`."""
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """id, role, conversation, uses, sheet, history, new, reply, schema"""
    left: int = 0
    """How many more calls could be handed out."""
    out: int = 0
    """Calls already handed out, to others or to this client."""
    accepted: int = 0
    refused: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """id, what, at, allowed"""
    job: Job | None = None
    result: JobReport | None = None
    """Once the job is over."""
    warnings: list[str] = field(default_factory=list[str])
