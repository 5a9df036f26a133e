"""The events of an ARE scenario or trace, parsed: who does what, after what, with typed arguments."""

from __future__ import annotations

import heapq
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final, Literal

from ..errors import InvalidArgument
from ..ids import slugify
from ..records.checked_json import checked_json
from ..shapes import as_list
from .importer import Losses, as_kept, as_number, as_object

Kind = Literal["AGENT", "USER", "ENV", "STOP"]
KINDS: Final = ("AGENT", "USER", "ENV", "STOP")
INTERFACE: Final = "AgentUserInterface"
TO_USER: Final = "send_message_to_user"
WAITS: Final = "wait_for_notification"
_REFERENCE: Final = re.compile(r"\{\{[^{}]+\}\}\Z")
_TYPE: Final = re.compile(r"Optional\[(\w+)|\b(\w+)\b")
_TRUE: Final = ("true", "1", "t", "y", "yes")
FREE_WORDS: Final = frozenset(
    (
        "content",
        "body",
        "text",
        "message",
        "description",
        "title",
        "subject",
        "comment",
        "review",
        "note",
        "summary",
    )
)
"""Arguments that an agent words itself: ARE asks a model whether they mean the same."""


@dataclass(slots=True)
class AreEvent:
    """One event."""

    id: str
    """Our own unique name for it."""
    kind: Kind
    app: str
    function: str
    args: dict[str, Any]
    """Without those whose value is known only when it happens."""
    after: list[str] = field(default_factory=list[str])
    """Our own ids."""
    delay_s: float | None = None
    """Seconds after the last of them, or after the start."""
    at_s: float | None = None
    """Virtual seconds since the start, if it is given as a moment."""
    unknown: tuple[str, ...] = ()
    """Arguments that refer to what another event returned."""
    operation: str = ""
    """READ, WRITE or ""."""
    returned: Any = None
    """Its return value, if it is a completed one."""
    failed: bool = False

    @property
    def tool(self) -> str:
        return tool_name(self.app, self.function)

    @property
    def hard(self) -> dict[str, Any]:
        """The arguments that have to match exactly."""
        return {name: value for name, value in self.args.items() if name not in FREE_WORDS}

    @property
    def words(self) -> str:
        """The words of a message."""
        return str(self.args.get("content") or "").strip()


def tool_name(app: str, function: str) -> str:
    """`App__function`, as ARE's agents call it, in characters that a tool's name can have."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", f"{app}__{function}" if app else function)
    return (name if name[:1].isalpha() else f"_{name}")[:64]


def events_of(rows: Sequence[Any], start: float, losses: Losses, at: str) -> list[AreEvent]:
    """The events in a possible order; those that stand for Python code, conditions and checks, are lost."""
    parts = [as_object(row) or {} for row in rows]
    names = _names(parts)
    made: dict[str, AreEvent] = {}
    gone: set[str] = set()
    for k, row in enumerate(parts):
        place, raw = f"{at}[{k}]", str(row.get("event_id"))
        event = _event(row, names[raw], start, losses, place) if raw in names else None
        if event is None:
            gone.add(raw)
        elif event.id in made:
            losses.add("event", "another one has its id", place)
        else:
            made[event.id] = event
    for k, row in enumerate(parts):
        event = made.get(names.get(str(row.get("event_id")), ""))
        if event is not None:
            event.after = _after(row, event, names, gone, losses, f"{at}[{k}]")
    return _ordered(_possible(made, losses, at), at)


def completed_of(rows: Iterable[Any], losses: Losses) -> list[AreEvent]:
    """What the agent did in a trace, with the results."""
    made: list[AreEvent] = []
    for row in rows:
        fields = as_object(row) or {}
        event = (
            _event(fields, "", 0.0, losses, "completed_events")
            if fields.get("event_type") == "AGENT"
            else None
        )
        if event is not None:
            said = as_object(fields.get("metadata")) or {}
            event.returned = as_kept(said.get("return_value"), losses, "answer of a call", event.tool)
            event.failed = bool(said.get("exception"))
            made.append(event)
    return made


def _names(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """A name of ours for each id."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for row in rows:
        raw = row.get("event_id")
        if isinstance(raw, str) and raw and raw not in names:
            wanted = slugify(raw)[:56] or "event"
            name = wanted if wanted not in taken else f"{wanted}-{len(names)}"
            names[raw] = name
            taken.add(name)
    return names


def _event(row: Mapping[str, Any], name: str, start: float, losses: Losses, at: str) -> AreEvent | None:
    kind, made_of = str(row.get("event_type")), str(row.get("class_name"))
    if kind == "CONDITION" or "ConditionCheck" in made_of:
        losses.add("condition", "it is a Python function", at, "an event with `when`")
        return None
    if kind == "VALIDATION" or "Validation" in made_of:
        losses.add("validator", "it is a Python function", at, "a milestone or a minefield in `success`")
        return None
    if kind not in KINDS:
        losses.add("event", f"its type is {kind[:40]}", at)
        return None
    action = as_object(row.get("action")) or {}
    function = action.get("function")
    if kind != "STOP" and not (isinstance(function, str) and function):
        losses.add("event", "it names no function", at)
        return None
    if row.get("event_time_comparator"):
        losses.add(
            "comparator of a time", "when an expected call is made is not checked", at, "by_s on a milestone"
        )
    args, unknown = _arguments(action.get("args"), losses, at)
    moment = _seconds(row, "event_time", losses, at)
    return AreEvent(
        id=name,
        kind=kind,
        app=str(action.get("app") or ""),
        function=str(function or ""),
        args=args,
        delay_s=_seconds(row, "event_relative_time", losses, at),
        at_s=max(0.0, moment - start) if moment else None,
        unknown=unknown,
        operation=str(action.get("operation_type") or ""),
    )


def _seconds(row: Mapping[str, Any], name: str, losses: Losses, at: str) -> float | None:
    value = row.get(name)
    number = as_number(value, 0)
    if number is None and value is not None:
        losses.add("time of an event", f"its {name} is no number of seconds from 0", at)
    return number


def _arguments(value: Any, losses: Losses, at: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(typed arguments, those that refer to another event's result)."""
    args: dict[str, Any] = {}
    unknown: list[str] = []
    for item in as_list(value):
        row = as_object(item) or {}
        name, text = str(row.get("name") or ""), row.get("value")
        if not name.isidentifier() or name == "self":
            losses.add("argument", "it has no name", at)
        elif isinstance(text, str) and _REFERENCE.match(text.strip()):
            unknown.append(name)
            losses.add("argument", "it is what another event returns: any value fits", f"{at}, {name}")
        else:
            try:
                args[name] = checked_json(_typed(text, str(row.get("value_type") or "str")))
            except (ValueError, RecursionError):
                losses.add("argument", f"it is no {str(row.get('value_type'))[:30]}", f"{at}, {name}")
                unknown.append(name)
    return args, tuple(unknown)


def _typed(text: Any, kind: str) -> Any:
    """A text as the value it stands for; ValueError if it is not of that type."""
    if text is None or not isinstance(text, str):
        return text
    found = _TYPE.match(kind)
    name = (found[1] or found[2]) if found else "str"
    match name:
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "bool":
            return text.lower() in _TRUE
        case "list" | "dict" | "tuple" | "set":
            return json.loads(text)
        case "NoneType":
            return None
        case _:
            return text


def _after(
    row: Mapping[str, Any], event: AreEvent, names: Mapping[str, str], gone: set[str], losses: Losses, at: str
) -> list[str]:
    """What an event comes after. One that waits for something that cannot happen here is removed later."""
    found: list[str] = []
    for raw in as_list(row.get("dependencies")):
        id = raw if isinstance(raw, str) else ""
        if id in gone:
            found.append("")
        elif id in names:
            found.append(names[id])
        else:
            losses.add("dependency", "there is no such event", f"{at}, {str(raw)[:60]}")
    return found


def _possible(made: dict[str, AreEvent], losses: Losses, at: str) -> dict[str, AreEvent]:
    """Remove events that wait for a condition or validator, which never comes true here, and those after them.

    The user and the agent act without it; what they would have waited for is lost.
    """
    followers: defaultdict[str, list[str]] = defaultdict(list)
    for event in made.values():
        for id in event.after:
            followers[id].append(event.id)
    lost: set[str] = set()
    stopped = [""]
    while stopped:
        for id in followers[stopped.pop()]:
            if id not in lost and made[id].kind in ("ENV", "STOP"):
                lost.add(id)
                stopped.append(id)
    for _ in lost:
        losses.add("event", "it waits for a condition that does not come", at, "an event with `when`")
    kept = {id: event for id, event in made.items() if id not in lost}
    for event in kept.values():
        possible = [id for id in event.after if id in kept]
        for _ in range(len(event.after) - len(possible)):
            losses.add("dependency", "it is on what does not come here", f"{at}, {event.id}")
        event.after = possible
    return kept


def _ordered(made: Mapping[str, AreEvent], at: str) -> list[AreEvent]:
    """Order each event after everything it depends on, otherwise as written; a cycle is refused."""
    sorter = TopologicalSorter({id: event.after for id, event in made.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        way = " -> ".join(reversed(error.args[1]))
        raise InvalidArgument(f"The events go round in a circle: {way[:500]}.", where=at) from None
    ids = list(made)
    place = {id: k for k, id in enumerate(ids)}
    order: list[AreEvent] = []
    ready = [place[id] for id in sorter.get_ready()]
    heapq.heapify(ready)
    while ready:
        id = ids[heapq.heappop(ready)]
        order.append(made[id])
        sorter.done(id)
        for other in sorter.get_ready():
            heapq.heappush(ready, place[other])
    return order
