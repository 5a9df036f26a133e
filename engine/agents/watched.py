"""Receives the spans of one trial and keeps them until they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import anyio

from .spans import Span, SpanBatch

MOST_KEPT: Final = 2_000
"""Most spans kept of one turn; more are counted and left out."""
MOST_SIZE: Final = 8 * 1024 * 1024
"""Most characters of those spans."""


@dataclass(slots=True)
class Watched:
    """Receives the spans of one trial. `take` may be called at any time, on the event loop."""

    trace: str
    """The trace that the trial's requests belong to."""
    conversation: str
    spans: list[Span] = field(default_factory=list[Span])
    left_out: int = 0
    _size: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _news: anyio.Event = field(default_factory=anyio.Event)

    def take(self, batch: SpanBatch) -> int:
        """Keep the new spans; return how many were left out. A span seen before is ignored."""
        left_out = batch.left_out
        for span in batch.spans:
            key = (span.trace, span.id)
            if key in self._seen:
                continue
            if len(self.spans) >= MOST_KEPT or self._size + span.size > MOST_SIZE:
                left_out += 1
                continue
            self._seen.add(key)
            self.spans.append(span)
            self._size += span.size
        self.left_out += left_out
        self._news.set()
        self._news = anyio.Event()
        return left_out

    async def until(self, parent: str) -> None:
        """Wait for a span directly under `parent`: the agent's own, which ends last."""
        while not any(span.parent == parent for span in self.spans):
            await self._news.wait()

    def taken(self) -> list[Span]:
        """The spans since the last call, ordered by their start."""
        found, self.spans, self._size = sorted(self.spans, key=lambda span: span.start_ns), [], 0
        return found
