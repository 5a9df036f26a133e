"""The offline writer's scenarios: each made from probes, calls that were tried and are known to work or be refused.

Goals are sentences that the offline user and agent understand; facts are named like the tools' parameters. They are
templates over a world's own words: nothing here knows any world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ...seeds import choose, draw
from ...shapes import as_list, as_object
from .errands import Desk, Errand, in_turn
from .words import label, listed

_OPTIONAL_SHARE: Final = 0.5
_BREAKS: Final = ("error", "timeout", "malformed", "empty")
_INTERRUPTIONS: Final = (
    "Sorry, somebody was at the door. Where were we?",
    "One second, the phone rang. Please go on.",
    "I lost the connection for a moment. What did you say?",
    "Excuse me, I had to look after the soup. Please repeat that.",
)
_SPARE: Final = 2
"""Scenarios written for each one wanted: some will be too similar."""


def write_scenarios(data: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """`{"scenarios": [...]}` for `{"count", "kinds", "brief", "existing", "world": {"tools", "rules", "probes"}}`."""
    desk = Desk(as_object(data.get("world")), str(data.get("brief") or ""), seed)
    kinds = [kind for kind in map(str, as_list(data.get("kinds"))) if kind in _KINDS]
    kinds = kinds or [kind for kind in _KINDS if kind not in _ON_REQUEST]
    count: Any = data.get("count")
    wanted = count if isinstance(count, int) else 1
    waiting = {kind: _KINDS[kind](desk) for kind in kinds}
    written: list[dict[str, Any]] = []
    used: set[int] = set()
    while any(waiting.values()) and len(written) < wanted * _SPARE:
        for kind, made in waiting.items():
            if made:
                fresh = next((n for n, (numbers, _) in enumerate(made) if not numbers & used), 0)
                numbers, scenario = made.pop(fresh)
                used |= numbers
                written.append({"kind": kind, **scenario})
    return {"scenarios": written}


# Kinds

_Made = tuple[set[int], dict[str, Any]]
"""Numbers of the probes that a scenario is made from, and the scenario."""


def _must_succeed(desk: Desk) -> list[_Made]:
    return [_scenario([errand]) for errand in desk.done]


def _must_refuse(desk: Desk) -> list[_Made]:
    return [_scenario([errand]) for errand in desk.refused]


def _edge(desk: Desk) -> list[_Made]:
    """Something is missing or unusual: ids given only when asked for, optional wishes."""
    made: list[_Made] = []
    for errand in in_turn([desk.done, desk.refused]):
        if errand.writes and errand.optional and draw(desk.seed, errand.number, "optional") < _OPTIONAL_SHARE:
            made.append(_scenario([errand], suffix="option"))
        elif errand.writes and errand.shown:
            asked = [name for name, value in errand.sheet.items() if value in errand.shown]
            steps = [{"say": f"Could you please tell me the {listed(asked)}?"}, *errand.steps]
            made.append(_scenario([replace(errand, goal=errand.withheld, steps=steps)], suffix="on-request"))
    return made


def _multi_step(desk: Desk) -> list[_Made]:
    """Two requests for different tools whose facts do not contradict each other."""
    errands = desk.done
    made: list[_Made] = []
    used: set[int] = set()
    for i, first in enumerate(errands):
        if i in used:
            continue
        j = next(
            (j for j in range(len(errands)) if j > i and j not in used and _joins(first, errands[j])), None
        )
        if j is not None:
            used |= {i, j}
            made.append(_scenario([first, errands[j]]))
    return made


def _joins(first: Errand, second: Errand) -> bool:
    """Whether one user can want both: other tools, other records, and facts of one name asked of the user agree."""
    if first.name == second.name or first.shown & second.shown:
        return False
    if not (first.writes or second.writes):
        return False
    both = first.sheet.keys() & second.sheet.keys()
    return all(
        first.sheet[name] == second.sheet[name]
        or (first.sheet[name] in first.shown and second.sheet[name] in second.shown)
        for name in both
    )


def _with_events(desk: Desk) -> list[_Made]:
    """The user is called away in the middle: the conversation continues where it was."""
    made: list[_Made] = []
    for errand in desk.done:
        if errand.writes:
            said = choose(_INTERRUPTIONS, desk.seed, errand.number, "interruption")
            event = {"id": "interruption", "at_turn": 2, "do": {"say": said}}
            made.append(_scenario([errand], suffix="interrupted", events=[event]))
    return made


def _with_faults(desk: Desk) -> list[_Made]:
    """The first call of a needed tool fails: it has to be repeated, or the user told."""
    made: list[_Made] = []
    for errand in desk.done:
        needed = next((str(step["tool"]) for step in errand.steps if "tool" in step), "")
        if needed:
            mode = choose(_BREAKS, desk.seed, errand.number, "fault")
            fault = {"tool": needed, "on_calls": [1], "mode": mode}
            made.append(_scenario([errand], suffix=mode, faults=[fault]))
    return made


_KINDS: Final[Mapping[str, Callable[[Desk], list[_Made]]]] = {
    "must_succeed": _must_succeed,
    "must_refuse": _must_refuse,
    "edge": _edge,
    "multi_step": _multi_step,
    "events": _with_events,
    "faults": _with_faults,
}
_ON_REQUEST: Final = ("events", "faults")


def _scenario(errands: Sequence[Errand], suffix: str = "", **happens: Any) -> _Made:
    """`happens`: fields of the scenario for what happens meanwhile."""
    sheet: dict[str, str] = {}
    for errand in errands:
        for name, value in errand.sheet.items():
            sheet.setdefault(name, value)
    goals = [
        f"{errand.goal[:1].lower() if k else errand.goal[:1]}{errand.goal[1:]}."
        for k, errand in enumerate(errands)
    ]
    refused = any(errand.refused for errand in errands)
    ending = ["refused"] if refused else []
    marks = sorted(errands[0].shown, key=_telling_apart)[:1]
    pieces = [*(label(errand.name) for errand in errands), *marks, *ending, suffix]
    world = {"id": "world", "world": "expected"}
    ignore = list(dict.fromkeys(path for errand in errands for path in errand.ignore))
    checks: list[dict[str, Any]] = [{**world, "ignore": ignore} if ignore else world]
    if refused:
        checks.append({"id": "calls", "tool_calls": [], "match": "strict", "reads": "ignore"})
    elif any(errand.writes for errand in errands):
        checks.append({"id": "calls", "tool_calls": "expected", "match": "unordered"})
    own = [check for errand in errands for check in errand.checks]
    checks += [{"id": f"c{k}", **check} for k, check in enumerate(own, 1)]
    made = {
        "id": "-".join("-".join(piece.split()) for piece in pieces if piece)[:58],
        "goal": " Then ".join(goals),
        "knowledge": [{"fact": name, "value": value} for name, value in sheet.items()],
        "expected": [step for errand in errands for step in errand.steps],
        "success": checks,
        "tags": list(dict.fromkeys("-".join(label(errand.name).split()) for errand in errands)),
        **happens,
    }
    return {errand.number for errand in errands}, made


def _telling_apart(value: str) -> tuple[bool, str]:
    """Sort ids before words, since they distinguish scenarios."""
    return (not any(c.isdigit() for c in value), value)
