"""Trials in progress in this process, so that they can be inspected before they end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ..records.conversation import Conversation
from ..records.scenario import Split


@dataclass(slots=True)
class LiveTrial:
    """A trial in progress, for inspection."""

    split: Split
    so_far: Callable[[], Conversation] | None = None
    """Its record as it is now, whose `end` is meaningless so far; None: it has not begun."""


class LiveTrials:
    """Trials by the id of their conversation. Only for the event loop that runs them."""

    def __init__(self) -> None:
        self._going: dict[str, LiveTrial] = {}

    def find(self, id: str) -> LiveTrial | None:
        """The trial, while it is in progress."""
        return self._going.get(id)

    @contextmanager
    def showing(self, id: str, split: Split) -> Generator[LiveTrial]:
        """Make a trial findable during the block."""
        trial = self._going[id] = LiveTrial(split)
        try:
            yield trial
        finally:
            if self._going.get(id) is trial:
                del self._going[id]
