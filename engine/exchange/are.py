"""ARE (Meta Agents Research Environments): a scenario or a trace as JSON, version `are_simulation_v1`.

The user's messages become a script, events of the environment become events, the agent's expected calls the solution.
Apps are Python and are not imported: their state is, and each tool that is called answers with what was recorded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from ..errors import InvalidArgument
from ..ids import slugify
from ..shapes import as_list
from .are_events import FREE_WORDS, INTERFACE, TO_USER, WAITS, AreEvent, completed_of, events_of
from .files import Roots
from .folder import CaseFolder, Sourced
from .foreign_files import files_below
from .importer import Imported, Losses, as_kept, as_number, as_object, as_rows, one_of_several

FORMAT: Final = "are"
MOST_BYTES: Final = 64_000_000
ENDS: Final = 4000
"""Characters at both ends of a file in which its format shows."""
KEPT: Final = 500_000
"""Most characters of the original that a scenario keeps."""
LONGEST: Final = 20_000
SEEDS: Final = 2**53
_SHOWS: Final = re.compile(r'"are_simulation_v1"|"world_logs"\s*:|"event_id"\s*:')
_READS: Final = re.compile(r"(get|list|search|read|find|check|show|count|view|lookup)(_|\b)", re.IGNORECASE)


class Are:
    """Imports one scenario of ARE."""

    name = FORMAT
    looks_for = "a JSON file of ARE with `apps` and `events`"

    def recognise(self, path: Path, roots: Roots) -> str:
        if path.is_dir():
            found = _files_in(path, roots)
            return f"{len(found)} scenarios of ARE" if found else ""
        return "a scenario of ARE" if _is_trace(path, roots) else ""

    def read(self, path: Path, roots: Roots) -> Imported:
        found = _files_in(path, roots) if path.is_dir() else [path]
        if len(found) > 1:
            raise one_of_several(roots.show(path), "scenarios of ARE", [file.name for file in found])
        file = found[0]
        value = as_object(roots.read_json(file, "path", MOST_BYTES))
        if value is None or not isinstance(value.get("events"), list):
            raise InvalidArgument(f"`{file.name}` holds no events.", where="path", allowed="a trace of ARE")
        return _Reader(file, value).read()


class _Reader:
    """Reads one trace."""

    def __init__(self, file: Path, value: dict[str, Any]) -> None:
        self._file = file
        self._value = value
        self._losses = Losses()
        metadata = as_object(value.get("metadata")) or {}
        self._told = as_object(metadata.get("definition")) or {}
        self._start = as_number(self._told.get("start_time"), 0, 4e9) or 0.0

    def read(self) -> Imported:
        name = self._file.name
        events = events_of(self._value["events"], self._start, self._losses, f"{name}, events")
        done = completed_of(as_list(self._value.get("completed_events")), self._losses)
        expected = [event for event in events if event.kind == "AGENT"]
        tools = self._tools([event for event in (*done, *expected) if not _is_talk(event)])
        scenario = self._scenario(events, expected, {tool["name"] for tool in tools})
        self._tell(len(done), len(tools))
        apps = self._apps()
        states = {str(app["name"]): as_object(app.get("app_state")) or {} for app in apps if app.get("name")}
        world: dict[str, Any] = {
            "format": "world/1",
            "name": scenario["id"],
            "db": {app: state for app, state in states.items() if state},
            "tools": tools,
            "x_source": {
                "format": FORMAT,
                "apps": [{k: v for k, v in a.items() if k != "app_state"} for a in apps],
            },
        }
        if self._start:
            moment = datetime.fromtimestamp(self._start, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            world["clock"] = {"now": moment}
        made = CaseFolder(
            path=self._file.parent,
            config=name,
            id=scenario["id"],
            agent={},
            models={},
            settings={},
            instructions="",
            instructions_file=None,
            world="",
            world_data=world,
            world_at=name,
            scenarios=(Sourced(scenario, f"{name},"),),
            files=(name,),
        )
        taken = {
            "scenarios": 1,
            "events": len(scenario.get("events", ())),
            "expected": len(scenario.get("expected", ())),
            "hints": len(scenario.get("hints", ())),
            "tools": len(tools),
        }
        return Imported(FORMAT, scenario["id"], cases=made, taken=taken, lost=self._losses.rows)

    def _apps(self) -> list[dict[str, Any]]:
        """The apps, without those that cannot be stored."""
        rows = as_rows(self._value.get("apps"))
        return [app for app in rows if as_kept(app, self._losses, "app", f"app {str(app.get('name'))[:60]}")]

    def _scenario(self, events: list[AreEvent], expected: list[AreEvent], tools: set[str]) -> dict[str, Any]:
        messages = [event for event in events if event.kind == "USER" and event.words]
        if not messages:
            raise InvalidArgument(
                f"`{self._file.name}` holds no message of the user: nothing says what is wanted.",
                where="path",
                allowed="a USER event with send_message_to_agent",
            )
        slug = slugify(str(self._told.get("scenario_id") or "")) or slugify(self._file.stem) or "scenario"
        steps = [step for event in expected for step in self._step(event, tools)]
        known, turns = {event.id: event for event in events}, _turns(events)
        happens = [made for event in events if (made := self._happening(event, known, turns)) is not None]
        scenario: dict[str, Any] = {
            "id": slug,
            "goal": messages[0].words[:LONGEST],
            "script": [step for event in messages for step in ({"user": event.words}, {"agent": None})],
            "events": happens,
            "expected": _in_order(steps),
            "hints": self._hints({event["id"] for event in happens}),
            "tags": [slugify(str(tag)) for tag in as_list(self._told.get("tags")) if slugify(str(tag))],
            "x_source": self._original(),
        }
        if any("tool" in step for step in steps):
            scenario["success"] = [{"id": "calls", "tool_calls": "expected", "match": "unordered"}]
        seed = self._told.get("seed")
        if isinstance(seed, int) and as_number(seed, -SEEDS, SEEDS) is not None:
            scenario["seed"] = seed
        elif seed is not None:
            self._losses.add("seed", f"it is no whole number up to {SEEDS}", self._file.name)
        return {name: value for name, value in scenario.items() if value != []}

    def _step(self, event: AreEvent, tools: set[str]) -> Iterable[dict[str, Any]]:
        """The step of the solution for an expected action."""
        if _is_talk(event):
            yield {"id": event.id, "say": event.words or "..."}
        elif event.function == WAITS:
            seconds = as_number(event.args.get("timeout"), 0)
            yield {"id": event.id, "wait_s": 1.0 if seconds is None else seconds}
        elif event.tool in tools:
            free = {name: text for name, text in event.args.items() if name in FREE_WORDS}
            compare = {
                name: {"judge": f"It means the same as: {_shown(text)}"[:2000]} for name, text in free.items()
            }
            step = {"id": event.id, "tool": event.tool, "args": event.args, "after": list(event.after)}
            yield {**step, "compare": compare} if compare else step

    def _happening(
        self, event: AreEvent, known: Mapping[str, AreEvent], turn_of: Mapping[str, int]
    ) -> dict[str, Any] | None:
        """An event of the environment: its state change is Python and not imported, but the agent is told of it."""
        if event.kind not in ("ENV", "STOP"):
            return None
        before = [known[id] for id in event.after]
        made: dict[str, Any] = {"id": event.id}
        after = [other.id for other in before if other.kind in ("ENV", "STOP")]
        if after:
            made["after"] = after
        delay = event.delay_s if event.delay_s is not None else event.at_s
        if delay:
            made["delay_s"] = delay
        turns = [turn_of[other.id] for other in before if other.kind in ("USER", "AGENT")]
        if turns and max(turns) > 1:
            made["at_turn"] = max(turns)
        calls = [{"tool": o.tool, "args": o.hard} for o in before if o.kind == "AGENT" and not _is_talk(o)]
        if calls:
            made["when"] = calls[0] if len(calls) == 1 else {"all": calls}
        if event.kind == "STOP":
            return {**made, "do": {"stop": "end", "reason": "the scenario ends here"}}
        self._losses.add(
            "state change of an event", "its app is Python", f"event {event.id}", "`set` steps in its `do`"
        )
        text = f"{event.app}: {event.function.replace('_', ' ')} {_shown(event.args)}"[:LONGEST]
        return {**made, "do": {"notify": text.replace("{", "{{").replace("}", "}}")}}

    def _tools(self, called: list[AreEvent]) -> list[dict[str, Any]]:
        """The tools that are called anywhere, each with the arguments seen and the answers recorded."""
        made: dict[str, dict[str, Any]] = {}
        answered: set[tuple[str, str]] = set()
        for event in called:
            if event.function == WAITS or event.failed:
                continue
            tool = made.setdefault(event.tool, _tool(event))
            properties = tool["parameters"]["properties"]
            for name, value in event.args.items():
                properties.setdefault(name, _type(value))
            for name in event.unknown:
                properties.setdefault(name, {})
            if event.operation in ("READ", "WRITE"):
                tool["kind"] = event.operation.lower()
            call = (event.tool, json.dumps(event.hard, sort_keys=True))
            if call not in answered:
                answered.add(call)
                tool["impl"]["canned"].append({"args": event.hard, "return": event.returned})
                if event.returned is None:
                    self._losses.add(
                        "answer of a call", "none was recorded: it is null", f"call {event.tool}"
                    )
        return list(made.values())

    def _hints(self, known: set[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for row in as_list(self._told.get("hints")):
            hint = as_object(row) or {}
            text, about = (
                str(hint.get("content") or "").strip(),
                slugify(str(hint.get("associated_event_id") or "")),
            )
            if text:
                found.append({"text": text, **({"for": about} if about in known else {})})
        return found

    def _original(self) -> dict[str, Any]:
        """The file's contents without the states of apps and the agent's logs."""
        left = ("apps", "world_logs", "completed_events")
        rest = {name: value for name, value in self._value.items() if name not in left}
        if len(json.dumps(rest)) > KEPT:
            self._losses.add("original of the scenario", f"it has over {KEPT:,} characters", self._file.name)
            rest = {name: rest[name] for name in ("version", "metadata") if name in rest}
        kept = as_kept(rest, self._losses, "original of the scenario", self._file.name)
        return {"format": FORMAT, "trace": kept or {}}

    def _tell(self, done: int, tools: int) -> None:
        """Report what ARE has and a world does not."""
        add, name = self._losses.add, self._file.name
        why = "app tools are Python and do not come: a call is answered as it was recorded, any other is refused"
        for _ in range(tools):
            add("tool", why, name, "steps in the world's tools")
        if done or as_list(self._value.get("world_logs")):
            add("recorded run", f"{done:,} actions of an agent serve as answers only", name)
        for key, use in (("has_tool_augmentation", "faults"), ("has_env_events_augmentation", "noise")):
            if self._told.get(key):
                add(key.removeprefix("has_").replace("_", " "), "it is drawn by ARE itself", name, use)
        if self._value.get("augmentation"):
            add("augmentation", "noise and faults are drawn by ARE itself", name, "faults, noise")
        if self._told.get("duration"):
            add("duration", "a trial ends by its turns", name, "an event with `stop`")


def _is_talk(event: AreEvent) -> bool:
    return event.function == TO_USER and event.app in (INTERFACE, "")


def _tool(event: AreEvent) -> dict[str, Any]:
    return {
        "name": event.tool,
        "description": f"{event.function.replace('_', ' ')} of {event.app}",
        "kind": "read" if _READS.match(event.function) else "write",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
        "impl": {"canned": []},
    }


def _type(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case list():
            return {"type": "array"}
        case dict():
            return {"type": "object"}
        case _:
            return {}


def _turns(events: list[AreEvent]) -> dict[str, int]:
    """The first turn by which each event has happened: a message of the user begins one, one of the agent ends it."""
    begun = accumulate(event.kind == "USER" and bool(event.words) for event in events)
    return {
        event.id: turn + 1 if _is_talk(event) else max(turn, 1)
        for event, turn in zip(events, begun, strict=True)
    }


def _in_order(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps, with `after` only where it names a call."""
    calls = {step["id"] for step in steps if "tool" in step}
    made: list[dict[str, Any]] = []
    for step in steps:
        after = [id for id in step.pop("after", []) if id in calls]
        made.append({**step, "after": after} if after else step)
    return made


def _files_in(path: Path, roots: Roots) -> list[Path]:
    return [file for file in files_below(path, "*.json", 200) if _is_trace(file, roots)]


def _is_trace(path: Path, roots: Roots) -> bool:
    """Whether a JSON file shows, at one of its ends, that it comes from ARE."""
    if path.suffix != ".json":
        return False
    return any(_SHOWS.search(roots.peek(path, ENDS, end=end)) is not None for end in (False, True))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
