"""Jobs and their units: the durable record of something that takes time.

A job survives the process that runs it: `spec` is all that is needed to start it again, and its units are named by the
hash of their content, so that queuing them a second time is harmless. How the work is done is not recorded here; that
belongs to the layers above.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import Field

from ..canonical import digest
from .authored import Stored

JobState = Literal["queued", "running", "waiting", "paused", "done", "failed", "cancelled"]
UnitState = Literal["pending", "running", "completed", "failed"]

ACTIVE_STATES: Final[frozenset[JobState]] = frozenset({"queued", "running", "waiting"})
ENDED_STATES: Final[frozenset[JobState]] = frozenset({"done", "failed", "cancelled"})


class UnitCounts(Stored):
    """How many units there are; total = pending + running + completed + failed."""

    total: int = Field(default=0, ge=0)
    pending: int = Field(default=0, ge=0)
    running: int = Field(default=0, ge=0)
    completed: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)

    @property
    def finished(self) -> int:
        """Units that need no more work: completed + failed."""
        return self.completed + self.failed


class Job(Stored):
    """One job. A finished job has `units.completed + units.failed == units.total`."""

    format: str = "job/1"
    id: str
    kind: str
    state: JobState = "queued"
    units: UnitCounts = Field(default_factory=UnitCounts)
    spec: dict[str, Any] = Field(default_factory=dict)
    """What is needed to start it again."""
    key: str = ""
    """Idempotency key of the call that made it; one job for each kind and key."""
    created_at: str
    """UTC, ISO 8601; the next two as well. The owner's signs of life do not change `updated_at`."""
    updated_at: str
    started_at: str = ""
    started_with: int = 0
    """Units that were already finished when the present owner took it."""
    owner: str = ""
    """Token of the process that runs it, "" if none does."""
    attempt: int = 0
    """How often an owner has taken it."""
    heartbeat_age_s: float | None = None
    """Seconds since the owner's last sign of life; null if the owner is gone. Filled in on reading."""
    waiting_for: str = ""
    cancel_requested: bool = False
    result: dict[str, Any] | None = None
    """Reference to the result, for example {"run": "run-7"}."""
    error: dict[str, Any] | None = None
    """Why it failed or is paused; of a queued one, why the process that looked at it last left it to others."""

    @property
    def active(self) -> bool:
        """Whether a process should be working on it."""
        return self.state in ACTIVE_STATES

    @property
    def left(self) -> bool:
        """Whether nobody runs it, and a process that looked at it may not; `error` says why."""
        return self.state == "queued" and not self.owner and self.error is not None

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in ENDED_STATES

    def eta_s(self, now: datetime) -> float | None:
        """Seconds the remaining units will take at the pace since it was taken; null if there is no pace yet."""
        done = self.units.finished - self.started_with
        left = self.units.total - self.units.finished
        if self.state != "running" or not self.started_at or done <= 0:
            return None
        elapsed = (now - datetime.fromisoformat(self.started_at)).total_seconds()
        return round(max(0.0, elapsed) / done * left, 1)


class Unit(Stored):
    """One piece of a job's work, held under a lease by one owner at a time.

    `attempt` is the fence: it goes up with each claim, and only the newest claim's result is accepted.
    """

    format: str = "unit/1"
    id: str
    job: str
    spec: dict[str, Any] = Field(default_factory=dict)
    state: UnitState = "pending"
    attempt: int = 0
    owner: str = ""
    lease_s: float = 0.0
    """The lease holds while the owner is alive and gave a sign of life within this many seconds."""
    not_before: float = 0.0
    """Seconds since the epoch before which a retry is not handed out."""
    retry_in_s: float = 0.0
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def unit_id(what: Any) -> str:
    """The id of a unit: 32 hex digits of the hash of its content (any JSON value)."""
    return digest(what)[:32]
