"""The offline writer: one pure function per task, chosen by the request's JSON data block."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from ...errors import Unavailable
from ...shapes import as_list, as_object
from ..client import ModelRequest
from .block import data_block
from .criteria import rule_for
from .language import Rule, read_rule, understand, write_rule
from .personas import write_personas
from .scenarios import write_scenarios


def write(request: ModelRequest) -> str:
    """The answer to the task, as JSON. Unavailable for an unknown task."""
    data = data_block(request.messages, "task")
    task = _TASKS.get(str(data.get("task")))
    if task is None:
        raise Unavailable(
            f"The offline writer does not know the task `{str(data.get('task'))[:40]}`.",
            where="models.writer",
            allowed=sorted(_TASKS),
        )
    return json.dumps(task(data, request.seed), ensure_ascii=False)


def write_instructions(data: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """`{"edits": [{"op": "append", "anchor": "", "text", "why"}]}`: rules that would fix the failures.

    Most frequent first, none that the instructions already state, at most `limit` (default 1). A failure is `{"check",
    "count"?, and one of: "fix": sentence, "criterion": text, "kind": before|after|confirm|ask|never|
    never_if|at_most_once|say|hide with "tool", "need", "field", "op", "value", "text"}`; anything else is left out.
    """
    have = set(understand(str(data.get("instructions") or "")).rules)
    counts: Counter[Rule] = Counter()
    checks: dict[Rule, str] = {}
    for raw in as_list(data.get("failures")):
        failure = as_object(raw)
        rule = mending_rule(failure)
        if rule is not None and rule not in have:
            count = failure.get("count")
            counts[rule] += count if isinstance(count, int) and count > 0 else 1
            checks.setdefault(rule, str(failure.get("check") or ""))
    limit: Any = data.get("limit")
    ranked = counts.most_common(limit if isinstance(limit, int) and limit > 0 else 1)
    return {"edits": [_edit(rule, count, checks[rule]) for rule, count in ranked]}


def mending_rule(failure: Mapping[str, Any]) -> Rule | None:
    """The smallest rule that forbids what failed, or None if the failure says too little."""
    fix = failure.get("fix")
    if isinstance(fix, str) and (rule := read_rule(fix)):
        return rule
    criterion = failure.get("criterion")
    if isinstance(criterion, str) and (rule := rule_for(criterion)):
        return rule
    build = _MENDING.get(str(failure.get("kind")))
    parts = {key: str(value) for key, value in failure.items() if isinstance(value, str | int | float)}
    try:
        return read_rule(build.format(**parts)) if build else None
    except (KeyError, IndexError):
        return None


_MENDING: Final[Mapping[str, str]] = {
    "before": "Before calling {tool}, call {need}.",
    "after": "After calling {tool}, call {need}.",
    "confirm": "Before calling {tool}, ask the user to confirm.",
    "ask": "Before calling {tool}, ask the user for the {need}.",
    "never": "Never call {tool}.",
    "never_if": "Never call {tool} if {field} {op} {value}.",
    "at_most_once": "Call {tool} at most once.",
    "say": 'Always say "{text}".',
    "hide": "Never reveal the {field}.",
}


def _edit(rule: Rule, count: int, check: str) -> dict[str, str]:
    cases = f"{count} failure{'s' if count != 1 else ''}"
    return {
        "op": "append",
        "anchor": "",
        "text": write_rule(rule),
        "why": f"{cases} of {check or 'one check'}",
    }


_TASKS: Final[Mapping[str, Callable[[Mapping[str, Any], int], dict[str, Any]]]] = {
    "instructions": write_instructions,
    "personas": write_personas,
    "scenarios": write_scenarios,
}
