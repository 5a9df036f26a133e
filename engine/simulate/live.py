"""Trials that are going on in this process, so that they can be looked into before they end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ..records.conversation import Conversation
from ..records.scenario import Split


@dataclass(slots=True)
class LiveTrial:
    """A trial that goes on, for whoever wants to look into it."""

    split: Split
    so_far: Callable[[], Conversation] | None = None
    """Its record as it is now, whose `end` says nothing yet; None: it has not begun."""


class LiveTrials:
    """By the id of their conversation. For the event loop that runs them only."""

    def __init__(self) -> None:
        self._going: dict[str, LiveTrial] = {}

    def find(self, id: str) -> LiveTrial | None:
        """The trial, while it goes on."""
        return self._going.get(id)

    @contextmanager
    def showing(self, id: str, split: Split) -> Generator[LiveTrial]:
        """A trial that can be found for so long."""
        trial = self._going[id] = LiveTrial(split)
        try:
            yield trial
        finally:
            if self._going.get(id) is trial:
                del self._going[id]
