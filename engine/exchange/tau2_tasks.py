"""Test cases as tasks.json of tau2-bench. A task imported from one is written back unchanged.

The domain's code and data are not included: the file is for a domain whose tools are named like the world's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from ..records.persona import Fact, Persona
from ..records.scenario import Scenario
from .arksim_cases import original_of
from .exporter import EVERYTHING, Material, Omissions, SuiteCase, Written
from .importer import as_object

FORMAT: Final = "tau2-bench"
_UNSAID: Final = ("init", "events", "faults", "noise", "script", "hints", "agent_context")


class Tau2Tasks:
    """One task for each test case."""

    name = "tau2"
    suffix = ".json"
    says = "tasks.json of tau2-bench"
    record = "task"
    sources = EVERYTHING
    chooses = False
    trains = False
    writes_cases = EVERYTHING

    def write(self, material: Material) -> Written:
        left = Omissions()
        suite = material.suite()
        rows = [_as_imported(case) or _task(case, suite.world, left) for case in suite.cases]
        text = json.dumps(rows, ensure_ascii=False, indent=2) + "\n"
        lines = ["the world's tools, data, policy and rules: tau2-bench has them in its domain", *left.lines]
        return Written(text.encode("utf-8", "replace").decode(), len(rows), lines)


def _as_imported(case: SuiteCase) -> dict[str, Any] | None:
    """The original, if the case still wants, knows and expects what it says."""
    original = original_of(case.scenario, FORMAT, "task")
    if original is None or not case.default or case.first_message:
        return None
    user = as_object(original.get("user_scenario")) or {}
    instructions = user.get("instructions")
    asked = as_object(instructions) or {"reason_for_call": instructions or original.get("ticket")}
    texts = [_text(asked.get(name)) for name in ("reason_for_call", "task_instructions")]
    scenario = case.scenario
    goal, guidelines = texts if texts[0] else (texts[1], "")
    if not goal.startswith(scenario.goal) or not guidelines.startswith(scenario.guidelines):
        return None
    criteria = as_object(original.get("evaluation_criteria")) or {}
    actions: list[Any] = criteria.get("actions") or []
    wanted = iter((as_object(action) or {}).get("arguments") for action in actions)
    steps = [step.args for step in scenario.expected if step.tool is not None]
    return original if all(any(args == one for one in wanted) for args in steps) else None


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _task(case: SuiteCase, domain: str, left: Omissions) -> dict[str, Any]:
    scenario, persona = case.scenario, case.persona
    for name in _UNSAID:
        if name in scenario.model_fields_set and getattr(scenario, name):
            left.add(f"scenario with `{name}`", "tau2-bench cannot say it")
    if case.first_message:
        left.add("first message", "tau2-bench's user finds its own words")
    return {
        "id": scenario.id if case.default else case.slug,
        "description": {"purpose": None, "relevant_policies": None, "notes": None},
        "user_scenario": {
            "persona": "\n".join(_persona(persona)) or None,
            "instructions": {
                "domain": domain,
                "reason_for_call": scenario.goal,
                "known_info": "\n".join(_known(scenario, persona)) or None,
                "unknown_info": "\n".join(scenario.unknown) or None,
                "task_instructions": "\n".join(_instructions(scenario, persona)),
            },
        },
        "initial_state": _initial_state(scenario, persona, left),
        "evaluation_criteria": _criteria(scenario, left),
    }


def _persona(persona: Persona | None) -> Iterator[str]:
    if persona is not None:
        language = f"Writes in {persona.language}." if persona.language else ""
        yield from (text for text in (persona.profile, persona.style, language, *persona.traits) if text)


def _known(scenario: Scenario, persona: Persona | None) -> Iterator[str]:
    for fact in (*scenario.knowledge, *(persona.knowledge if persona else ())):
        if isinstance(fact, Fact):
            value = fact.value if isinstance(fact.value, str) else json.dumps(fact.value, ensure_ascii=False)
            yield f"{fact.fact}: {value}"
        else:
            yield fact


def _instructions(scenario: Scenario, persona: Persona | None) -> Iterator[str]:
    yield from (text for text in (persona.guidelines if persona else "", scenario.guidelines) if text)


def _initial_state(scenario: Scenario, persona: Persona | None, left: Omissions) -> dict[str, Any] | None:
    """The persona's records, and what was said before the first turn."""
    data = persona.data.model_dump(exclude_unset=True) if persona else {}
    said = [item for item in scenario.history if item.say is not None]
    for _ in range(len(scenario.history) - len(said)):
        left.add("call of the history", "its result is known only when it is executed")
    messages = [{"role": "assistant" if item.by == "agent" else "user", "content": item.say} for item in said]
    if not data and not messages:
        return None
    records = {"agent_data": data.get("db") or None, "user_data": data.get("user_db") or None}
    return {
        "initialization_data": records if data else None,
        "initialization_actions": None,
        "message_history": messages or None,
    }


def _criteria(scenario: Scenario, left: Omissions) -> dict[str, Any]:
    """Solution and checks. A part of the basis is named only if it contains something."""
    actions = [
        {
            "action_id": step.id or f"{scenario.id}_{k}",
            "requestor": "assistant" if step.by == "agent" else "user",
            "name": step.tool,
            "arguments": step.args,
            "info": None,
            "compare_args": [name for name in step.args if step.compare.get(name) != "ignore"]
            if step.compare
            else None,
        }
        for k, step in enumerate(scenario.expected)
        if step.tool is not None
    ]
    parts: list[str] = []
    judged: list[str] = []
    basis: set[str] = set()
    for check in scenario.success:
        if check.get("counts") is False or check.get("kind", "require") != "require":
            left.add("check", "it is a milestone, a minefield or does not count")
        elif check.get("world") == "expected":
            basis.add("DB")
        elif check.get("tool_calls") == "expected" and actions:
            basis.add("ACTION")
        elif isinstance(check.get("judge"), str):
            judged.append(check["judge"])
        elif (words := _said(check)) and check.get("by", "agent") == "agent":
            parts.append(words)
        else:
            left.add("check", "tau2-bench has no such check without code")
    basis |= ({"COMMUNICATE"} if parts else set()) | ({"NL_ASSERTION"} if judged else set())
    return {
        "actions": actions,
        "communicate_info": parts,
        "nl_assertions": judged or None,
        "reward_basis": sorted(basis) or ["DB"],
    }


def _said(check: dict[str, Any]) -> str:
    """The text that a check looks for, in tau2-bench's way: a part of what the agent says."""
    said = check.get("said")
    if isinstance(said, dict):
        number = said.get("number")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(number, int | float):
            return f"{number:g}" if float(number).is_integer() else f"{number:.2f}"
        said = said.get("text")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return said if isinstance(said, str) else ""
