"""Evaluation points of a trial: what is due happens, then watched checks are evaluated, then a stop counts."""

from __future__ import annotations

from ..evaluate import Watcher
from ..world import Scene, Signal, WorldFault
from .case import Case
from .events import Happenings
from .transcript import Transcript


class Points:
    """What is evaluated between the actions of a trial, and may end it."""

    def __init__(self, case: Case, scene: Scene, record: Transcript, *, noise: bool) -> None:
        self._record = record
        self._watcher = Watcher(case.plan)
        happens = bool(case.plan.events) or (noise and case.noise is not None)
        self._happenings = Happenings(case, scene, record, noise=noise) if happens else None
        """None: nothing happens except what the sides do."""

    def come(self, *, only_time_passed: bool = False) -> bool:
        """Go to the next point; return whether anything happened there by itself.

        `only_time_passed`: neither side did anything since the last one, so that nothing else needs evaluating.
        """
        trace, happenings = self._record.trace, self._happenings
        if trace is None or self._record.end is not None:
            return False
        if happenings is None:
            if not only_time_passed:
                self.look()
            return False
        try:
            happened = happenings.at_point(trace)
        except WorldFault as fault:
            self._record.finish("world_error", fault.text)
            return False
        if happened or not only_time_passed:
            self.look()
        if happenings.stop is not None:
            self._stop(happenings.stop)
        return happened

    def look(self) -> None:
        """Evaluate milestones and minefields."""
        if self._record.trace is None or self._record.end is not None:
            return
        hit = self._watcher.at_point(self._record.trace)
        if hit is not None:
            self._record.finish("minefield", f"{hit.check}: {hit.why}")

    def next_due(self) -> float | None:
        """The next t at which something may happen by time alone; None if there is none."""
        return self._happenings.next_due() if self._happenings is not None else None

    def next_words(self) -> str | None:
        """What an event gives the user to say now; None for nothing."""
        return self._happenings.words.popleft() if self._happenings and self._happenings.words else None

    def _stop(self, stop: Signal) -> None:
        """End the trial by a step of an event, unless a minefield has ended it at this point."""
        if self._record.end is None:
            self._record.stopped(stop.by, stop.text)
            reason = "event_fail" if stop.text == "fail" else "event_stop"
            self._record.finish(reason, f"{stop.by}: {stop.reason or stop.text}")
