"""The interface to budgets: what a trial reports about its calls, and whether it may make another."""

from __future__ import annotations

from typing import Protocol

from ..records.conversation import TokenUsage


class Meter(Protocol):
    """Shared by the trials of a run; both methods are called on the event loop, and often."""

    def spent(self) -> str:
        """Why no further call may be made; "" as long as one may."""
        ...

    def used(self, usage: TokenUsage) -> None:
        """Count one model call that was answered."""
        ...
