"""The store's two clocks: wall time, which may jump, and monotonic time, which leases use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class Clock:
    """`wall`: seconds since the epoch; `steady`: seconds that never go back.

    The steady time is the same for all processes of a machine since it booted (CLOCK_MONOTONIC).
    """

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def now(self) -> datetime:
        """Wall time, UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)

    def stamp(self) -> str:
        """Wall time, UTC, as ISO 8601 with microseconds."""
        return self.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
