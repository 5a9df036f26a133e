"""A model call that waits, or waited, for a client to answer it in the model's place."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored


class ModelCall(Stored):
    """One call. What it asks stands beside it until it is answered; the answer stays."""

    format: Literal["model_call/1"] = "model_call/1"
    id: str
    """`m-4-0a1b2c3d4e5f`: the number of its job, and the hash of who asks what."""
    job: str = ""
    role: Literal["agent", "user", "judge", "writer"]
    state: Literal["waiting", "answered"] = "waiting"
    run: str = ""
    conversation: str = ""
    """Opaque: the same for the calls that one side of one trial makes."""
    scenario: str = ""
    """`support/refund`"""
    held_out: bool = False
    instructions: str = ""
    """The version or candidate under test."""
    seen: int = 0
    """Messages of the request that whoever answered this conversation's call before has had already."""
    asked_at: str = ""
    """UTC, ISO 8601; `answered_at` too."""
    leased_at: float = 0.0
    """Seconds since the epoch; until `leased_until` nobody else is handed the call."""
    leased_until: float = 0.0
    of_job: str = ""
    """What the client that holds it asked for: only this job, "" any."""
    of_roles: list[str] = Field(default_factory=list[str])
    """Only these roles; empty: any."""
    answered_at: str = ""
    text: str = ""
    tool_calls: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """id, name, arguments (as JSON text)"""

    def free(self, now: float) -> bool:
        """Whether it may be handed out; a calendar that was set back does not keep it."""
        return self.state == "waiting" and not self.leased_at <= now < self.leased_until
