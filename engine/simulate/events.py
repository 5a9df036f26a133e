"""What happens in a trial without either side: the scenario's events and noise, on the virtual clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ..evaluate import ROUNDING_S, START, PlannedEvent, Trace
from ..records.conversation import NOISE, EventStatus
from ..world import Effects, NoiseSchedule, Scene, Signal, Steps, WorldFault
from .case import Case
from .transcript import Transcript

MOST_PASSES: Final = 10
"""Passes over all events at one point; longer chains declared backwards continue at the next point."""
_TIMED_OUT: Final[dict[str, EventStatus]] = {
    "fail": "timeout:fail",
    "skip": "timeout:skip",
    "fire": "timeout:fire",
}


@dataclass(frozen=True, slots=True)
class _Armed:
    """When everything but its condition was met, as (seconds, turn)."""

    t: float
    turn: int


class Happenings:
    """The events and the noise of one trial. Ask it at every evaluation point; each event happens at most once.

    An event fires only when all that it comes after have actually fired: one that timed out or was skipped holds back
    everything that depends on it.
    """

    def __init__(self, case: Case, scene: Scene, record: Transcript, *, noise: bool) -> None:
        self.words: deque[str] = deque()
        """What the user says next, word for word."""
        self.stop: Signal | None = None
        """The first `stop` of a step."""
        self._scene, self._record, self._steps = scene, record, case.events
        self._waiting = list(case.plan.events)
        self._fired: dict[str, tuple[float, int]] = {START: (0.0, 0)}
        self._armed: dict[str, _Armed] = {}
        self._seen: dict[str, int] = {}
        """For each event, the version at which its condition was last evaluated."""
        self._noise = NoiseSchedule(case.noise, scene.key) if noise and case.noise else None

    def at_point(self, trace: Trace) -> bool:
        """Let everything due happen, in order of declaration, until nothing more is due; return whether anything did.

        Raises WorldFault if a step fails: the author's fault.
        """
        before = len(self._record.log)
        trace.at(self._record.turn, self._scene.t)
        for _ in range(MOST_PASSES):
            if not any([self._looked_at(event, trace) for event in tuple(self._waiting)]):
                break
        self._make_noise()
        return len(self._record.log) > before

    def next_due(self) -> float | None:
        """The next t at which an event that waits only for time may fire or time out; None if there is none."""
        moments = [t for event in self._waiting for t in self._moments(event)]
        return min((t for t in moments if t > self._scene.t), default=None)

    def _moments(self, event: PlannedEvent) -> list[float]:
        due = event.due(self._fired)
        if due is None or self._record.turn < due[1]:
            return []
        armed = self._armed.get(event.id)
        if armed is None:
            return [due[0]]
        return [armed.t + event.event.timeout_s] if event.event.timeout_s is not None else []

    def _looked_at(self, event: PlannedEvent, trace: Trace) -> bool:
        """Let one event fire or time out, if it is time; return whether it fired."""
        status = self._status(event, trace)
        if status is None:
            return False
        self._waiting.remove(event)
        if status in ("timeout:fail", "timeout:skip"):
            self._record.event(event.id, f"event:{event.id}", status, Effects())
            return False
        self._fired[event.id] = (self._scene.t, self._record.turn)
        self._run(self._steps[event.id], event.id, f"event:{event.id}", status)
        return True

    def _status(self, event: PlannedEvent, trace: Trace) -> EventStatus | None:
        t, turn = self._scene.t, self._record.turn
        due = event.due(self._fired)
        if due is None or t + ROUNDING_S < due[0] or turn < due[1]:
            return None
        if self._holds(event, trace):
            return "fired"
        armed = self._armed.setdefault(event.id, _Armed(t, turn))
        limit = event.event
        late = limit.timeout_s is not None and t + ROUNDING_S >= armed.t + limit.timeout_s
        late = late or (limit.timeout_turns is not None and turn >= armed.turn + limit.timeout_turns)
        return _TIMED_OUT[limit.on_timeout] if late else None

    def _holds(self, event: PlannedEvent, trace: Trace) -> bool:
        """Whether the condition holds; not evaluated again until something it depends on has grown."""
        if event.when is None:
            return True
        version = event.version(trace)
        if version is not None and self._seen.get(event.id) == version:
            return False
        if version is not None:
            self._seen[event.id] = version
        return event.when.holds(trace.played()).value is True

    def _make_noise(self) -> None:
        while self._noise is not None:
            steps = self._noise.due(self._scene.t, self._record.turn)
            if steps is None:
                return
            self._run(steps, NOISE, NOISE, NOISE)

    def _run(self, steps: Steps, name: str, by: str, status: EventStatus) -> None:
        try:
            effects = self._scene.run_steps(steps, by)
        except WorldFault as fault:
            raise WorldFault(f"{by.replace(':', ' ')}: {fault.text}") from None
        self._record.event(name, by, status, effects)
        for signal in effects.signals:
            if signal.sort == "say" and not signal.text.strip():
                raise WorldFault(f"{by.replace(':', ' ')}: what the user is to say is empty")
            if signal.sort == "say":
                self.words.append(signal.text)
            elif signal.sort == "stop":
                self.stop = self.stop or signal
