"""A model call that waits, or waited, for a client to answer in the model's place."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored


class ModelCall(Stored):
    """One call. The request is stored beside it until it is answered; the answer is kept."""

    format: Literal["model_call/1"] = "model_call/1"
    id: str
    """`m-4-0a1b2c3d4e5f`: the number of its job, and a hash of who asks what."""
    job: str = ""
    role: Literal["agent", "user", "judge", "writer"]
    state: Literal["waiting", "answered"] = "waiting"
    run: str = ""
    conversation: str = ""
    """Opaque: the same for all calls of one side of one trial."""
    scenario: str = ""
    """`support/refund`"""
    held_out: bool = False
    instructions: str = ""
    """The version or candidate under test."""
    seen: int = 0
    """Messages of the request that the client which answered this conversation's previous call has already had."""
    asked_at: str = ""
    """UTC, ISO 8601; `answered_at` too."""
    leased_at: float = 0.0
    """Seconds since the epoch; until `leased_until` the call is given to nobody else."""
    leased_until: float = 0.0
    of_job: str = ""
    """Which job the client holding it asked for: only this one, "" any."""
    of_roles: list[str] = Field(default_factory=list[str])
    """Only these roles; empty: any."""
    answered_at: str = ""
    text: str = ""
    tool_calls: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """id, name, arguments (as JSON text)"""

    def free(self, now: float) -> bool:
        """Whether it may be handed out; a wall clock that was set back does not block it."""
        return self.state == "waiting" and not self.leased_at <= now < self.leased_until
