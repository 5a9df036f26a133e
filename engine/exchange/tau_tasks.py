"""One task of tau-bench as a scenario: the solution, our checks, and the task itself verbatim."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final

from ..shapes import as_list
from .folder import Sourced
from .importer import Losses, as_object

STEPS: Final = 30
"""Steps of an agent (calls and texts) after which the original gives up."""
GOAL: Final = 20_000
ENDING: Final = "transfer_to_human_agents"
NOTHING: Final = "There is nothing that I can change here."
"""The solution of a task that has neither actions nor outputs."""
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?\Z")
_LONG_NUMBER: Final = 12
"""From this many digits on a number is an id, of which every digit matters."""


def task_slug(split: str, index: int) -> str:
    """The scenario of a task: `test-7`."""
    return f"{split}-{index}"


def scenario_of(
    task: dict[str, Any], split: str, index: int, losses: Losses, at: str
) -> dict[str, Any] | None:
    """The scenario of a task; None if it names nothing that a user could want."""
    goal = task.get("instruction")
    if not isinstance(goal, str) or not goal.strip():
        losses.add("task", "it has no instruction", at)
        return None
    if len(goal) > GOAL:
        losses.add("end of an instruction", f"a goal has at most {GOAL:,} characters", at)
    actions = _actions(task.get("actions"), losses, at)
    outputs = _texts(task.get("outputs"))
    return {
        "id": task_slug(split, index),
        "goal": goal[:GOAL],
        "expected": with_words(actions, outputs),
        "success": [world_check(actions), *said_checks(outputs)],
        "limits": {"max_turns": STEPS, "max_tool_calls": STEPS},
        "tags": [f"split-{split}"],
        "profile": "tau1",
        "x_source": {"format": "tau-bench", "split": split, "index": index, "task": task},
    }


def world_check(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The check of the data: as the solution leaves it or, without one, unchanged."""
    if any("tool" in step for step in steps):
        return {"id": "world", "world": "expected", "tolerance": 0}
    return {"id": "world", "state": "db", "unchanged": True}


def said_checks(outputs: list[str], *, counts: bool = True) -> list[dict[str, Any]]:
    """One check for each thing the agent has to say, stricter than the original: whole numbers."""
    made: list[dict[str, Any]] = []
    for k, text in enumerate(outputs, 1):
        plain = text.replace(",", "").strip().lstrip("$")
        number = _NUMBER.match(plain) and len(plain) < _LONG_NUMBER
        said: dict[str, Any] = {"number": float(plain)} if number else {"text": text}
        made.append({"id": f"output-{k}", "said": said, **({} if counts else {"counts": False})})
    return made


def with_words(steps: list[dict[str, Any]], outputs: list[str]) -> list[dict[str, Any]]:
    """The solution with the words that have to be said: before a transfer, which ends the conversation."""
    if not steps and not outputs:
        return [{"say": NOTHING}]
    if not outputs:
        return steps
    last = len(steps) - 1 if steps and steps[-1].get("tool") == ENDING else len(steps)
    return [*steps[:last], {"say": "; ".join(outputs)}, *steps[last:]]


def known_steps(item: Sourced, known: Collection[str], losses: Losses) -> Sourced:
    """The scenario without solution steps whose tool is missing: those would refuse the whole task."""
    steps = item.value["expected"]
    kept = [step for step in steps if "tool" not in step or step["tool"] in known]
    for step in steps:
        if step not in kept:
            losses.add("step of a solution", f"there is no tool {str(step['tool'])[:64]}", item.at)
    checks = item.value["success"]
    return Sourced({**item.value, "expected": kept, "success": [world_check(kept), *checks[1:]]}, item.at)


def _actions(given: Any, losses: Losses, at: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for action in as_list(given):
        row = as_object(action) or {}
        args = as_object(row.get("kwargs", row.get("arguments", {})))
        name = row.get("name")
        if not isinstance(name, str) or args is None:
            losses.add("step of a solution", "it is no call", at)
        elif name == "respond":
            steps.append({"say": str(args.get("content", "")) or "..."})
        else:
            steps.append({"tool": name, "args": args})
    return steps


def _texts(given: Any) -> list[str]:
    return [str(text) for text in as_list(given) if str(text).strip()]
