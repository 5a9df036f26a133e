"""The seam to budgets: what a trial tells of the calls it makes, and whether it may make another."""

from __future__ import annotations

from typing import Protocol

from ..records.conversation import TokenUsage


class Meter(Protocol):
    """Shared by the trials of a run; both methods are called on the event loop, and often."""

    def spent(self) -> str:
        """Why no further call may be made, in words; "" as long as it may."""
        ...

    def used(self, usage: TokenUsage) -> None:
        """One model call that was answered."""
        ...
