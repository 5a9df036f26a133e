"""The scenario's events as checks see them: refused if they cannot happen, and reported if they did not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Final

from ..errors import InvalidArgument, did_you_mean
from ..records.conversation import NOISE, Conversation, EventEntry
from ..records.happenings import Event
from ..records.scenario import Scenario
from ..records.verdict import CheckResult, NeverFired
from ..world.mistakes import Mistakes
from .answers import Predicate, parts_of
from .calls import ToolCalls, ToolCount
from .facts import Happened, Said, StateIs, StateUnchanged, WorldAsExpected
from .predicates import compile_predicate
from .reading import Written
from .scope import Scope
from .trace import FIRED, Trace

START: Final = "start"
"""What every event can come after: the beginning of the trial."""
ROUNDING_S: Final = 1e-6
"""Virtual seconds by which sums of fractions may be off."""


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event with its compiled condition."""

    event: Event
    when: Predicate | None = None

    @property
    def id(self) -> str:
        return self.event.id

    @property
    def can_fail(self) -> bool:
        """Whether it has a check `event.<id>`: its condition must come true in time."""
        timed = self.event.timeout_s is not None or self.event.timeout_turns is not None
        return timed and self.event.on_timeout == "fail"

    def version(self, trace: Trace) -> int | None:
        """A count that grows with anything that may make the condition hold; None if time alone may."""
        count = _COUNTS.get(type(self.when))
        return count(trace) if count else None

    def due(self, fired: Mapping[str, tuple[float, int]]) -> tuple[float, int] | None:
        """The (seconds, turn) from which it may fire, both required; None while an event before it has not fired."""
        event = self.event
        if not all(name in fired for name in event.after):
            return None
        t = max(fired[name][0] for name in event.after) + event.delay_s
        turn = max(fired[name][1] for name in event.after) + event.delay_turns
        return t, max(turn, event.at_turn or 0)


_COUNTS: Final[Mapping[type, Callable[[Trace], int]]] = {
    StateIs: lambda trace: len(trace.state.journal),
    StateUnchanged: lambda trace: len(trace.state.journal),
    ToolCount: lambda trace: len(trace.calls),
    ToolCalls: lambda trace: len(trace.calls),
    Said: lambda trace: len(trace.says),
    Happened: lambda trace: len(trace.happened),
}


def compile_events(scenario: Scenario, top: Written, scope: Scope) -> tuple[PlannedEvent, ...]:
    """Compile the events; InvalidArgument for all mistakes: unknown and repeated ids, conditions, a cycle."""
    ids = [event.id for event in scenario.events]
    mistakes, planned = Mistakes(), list[PlannedEvent]()
    for i, event in enumerate(scenario.events):
        with mistakes.caught():
            _check_id(event.id, ids[:i], top.at("events", i, "id"), scope)
        with mistakes.caught():
            _check_after(event, ids, top.at("events", i))
        with mistakes.caught():
            when = compile_moment(event.when, top.at("events", i, "when"), scope)
            planned.append(PlannedEvent(event, when))
    if not mistakes.found:
        _refuse_cycle(scenario.events, top.at("events"))
    mistakes.refuse()
    return tuple(planned)


def compile_moment(data: object, where: str, scope: Scope) -> Predicate | None:
    """Compile a predicate that is decided during the trial; None for none."""
    if data is None:
        return None
    predicate = compile_predicate(data, where, replace(scope, judged=False, attempts=False))
    if predicate.judged:
        what = "This is decided while the trial goes on, without a model."
        raise InvalidArgument(what, where=where, allowed="comparisons without `judge`")
    if any(isinstance(part, WorldAsExpected) for part in parts_of(predicate)):
        what = "The world is compared with the expected one at the end only."
        raise InvalidArgument(what, where=where, allowed="state, expr, tool, said, event")
    return predicate


def event_checks(events: Sequence[PlannedEvent], conversation: Conversation) -> list[CheckResult]:
    """The check `event.<id>` of each event that must not time out."""
    seen = _entries(conversation)
    return [_check(event, seen.get(event.id)) for event in events if event.can_fail]


def never_fired(events: Sequence[PlannedEvent], conversation: Conversation) -> list[NeverFired]:
    """The events that did not fire, each with its reason."""
    seen = _entries(conversation)
    fired = {START: (0.0, 0)}
    fired.update({name: (float(e.t), e.turn) for name, e in seen.items() if e.status in FIRED})
    return [
        NeverFired(event=event.id, why=_why(event, seen.get(event.id), fired, conversation))
        for event in events
        if event.id not in fired
    ]


def _entries(conversation: Conversation) -> dict[str, EventEntry]:
    return {e.event: e for e in conversation.log if isinstance(e, EventEntry) and e.status != NOISE}


def _check(event: PlannedEvent, entry: EventEntry | None) -> CheckResult:
    late = entry is not None and entry.status == "timeout:fail"
    text = event.when.describe() if event.when else ""
    why = f"{text} did not come true in time ({_limit(event.event)})" if late else "not timed out"
    if entry is not None and not late:
        why = f"fired in turn {entry.turn}"
    return CheckResult(
        id=f"event.{event.id}",
        kind="event",
        verdict="fail" if late else "pass",
        why=why,
        evidence=[entry.n] if entry is not None else [],
        turn=entry.turn if entry is not None else 0,
        t=entry.t if entry is not None else None,
    )


def _why(
    event: PlannedEvent,
    entry: EventEntry | None,
    fired: Mapping[str, tuple[float, int]],
    conversation: Conversation,
) -> str:
    text = f"{event.when.describe()} did not come true" if event.when else ""
    if entry is not None:
        return f"timeout in turn {entry.turn}, at {entry.t:g} s: {text} within {_limit(event.event)}"
    due = event.due(fired)
    if due is None:
        missing = [name for name in event.event.after if name not in fired]
        return f"comes after {', '.join(missing)}, which never fired"
    end = conversation.end
    if end.t + ROUNDING_S < due[0] or end.turn < due[1]:
        return f"not due: from {due[0]:g} s and turn {due[1]} on; the trial ended at {end.t:g} s in turn {end.turn}"
    return text or f"due only when the trial had ended ({end.reason})"


def _limit(event: Event) -> str:
    limits = [f"{event.timeout_s:g} s"] if event.timeout_s is not None else []
    limits += [f"{event.timeout_turns} turns"] if event.timeout_turns is not None else []
    return " or ".join(limits)


def _check_id(id: str, earlier: Sequence[str], where: str, scope: Scope) -> None:
    if id in (START, NOISE):
        raise InvalidArgument(f"`{id}` is a name that no event can have.", where=where, allowed="another id")
    if id in earlier:
        raise InvalidArgument(f"Two events are called `{id}`.", where=where, allowed="an id of its own")
    if id in scope.signals:
        what = f"`{id}` is also a signal that a step emits: a check could not tell them apart."
        raise InvalidArgument(what, where=where, allowed="another id")


def _check_after(event: Event, ids: Sequence[str], where: str) -> None:
    known = [START, *(name for name in ids if name != event.id)]
    for j, name in enumerate(event.after):
        if name not in (START, *ids):
            what = f"`after` names `{name[:64]}`, which is no event.{did_you_mean(name, known)}"
            raise InvalidArgument(what, where=f"{where}.after[{j}]", allowed=known)


def _refuse_cycle(events: Sequence[Event], where: str) -> None:
    """Raise InvalidArgument naming the cycle if an event would have to come after itself."""
    try:
        TopologicalSorter({event.id: event.after for event in events}).prepare()
    except CycleError as error:
        ring = " -> ".join(error.args[1])
        raise InvalidArgument(
            f"Events cycle {ring}.", where=where, allowed="`after` without a cycle"
        ) from None
