"""Test cases as ArkSim's scenarios.json; one imported from there and not changed is written back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..records.persona import Fact, Persona
from ..records.scenario import Scenario
from .arksim_scenarios import ARGUMENTS, FORMAT, GOAL, KNOWN, MATCHES, case_of
from .exporter import EVERYTHING, Material, Omissions, SuiteCase, Written
from .importer import Losses, as_object

SCHEMA: Final = "v1"
_NOT_COMPARED: Final = ("id", "persona", "split", "x_source")
_UNSAID: Final = ("init", "events", "faults", "noise", "script", "history", "hints", "world")
"""Fields of a scenario that ArkSim cannot express."""


class ArkSimCases:
    """A scenario for each test case, including the user's profile."""

    name = "arksim"
    suffix = ".json"
    says = "scenarios.json of ArkSim"
    record = "scenario"
    sources = EVERYTHING
    chooses = False
    trains = False
    writes_cases = EVERYTHING

    def write(self, material: Material) -> Written:
        left = Omissions()
        cases = material.suite().cases
        rows = [_as_imported(case) or _scenario(case, left) for case in cases]
        file: dict[str, Any] = {"schema_version": SCHEMA}
        for case in cases:
            file |= as_object(_source(case.scenario).get("file")) or {}
        text = json.dumps({**file, "scenarios": rows}, ensure_ascii=False, indent=2) + "\n"
        lines = ["the world, its policy and rules: ArkSim's agent has its own", *left.lines]
        return Written(text.encode("utf-8", "replace").decode(), len(rows), lines, _warnings(rows))


def original_of(scenario: Scenario, format: str, key: str) -> dict[str, Any] | None:
    """The verbatim original that a scenario was imported from in a format; None if it was not."""
    source = as_object(scenario.x_source) or {}
    return as_object(source.get(key)) if source.get("format") == format else None


def _source(scenario: Scenario) -> dict[str, Any]:
    source = as_object(scenario.x_source) or {}
    return source if source.get("format") == FORMAT else {}


def _as_imported(case: SuiteCase) -> dict[str, Any] | None:
    """The original, if importing it again gives this very case."""
    original = original_of(case.scenario, FORMAT, "scenario")
    again = case_of(original, Losses(), "") if original is not None and case.default else None
    if again is None or case.first_message:
        return None
    now = case.scenario.model_dump(mode="json", by_alias=True, exclude_unset=True)
    persona = case.persona.model_dump(mode="json", exclude_unset=True) if case.persona else None
    if _compared(again.scenario) != _compared(now) or _compared(again.persona) != _compared(persona):
        return None
    return original


def _compared(record: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (record or {}).items() if name not in _NOT_COMPARED}


def _scenario(case: SuiteCase, left: Omissions) -> dict[str, Any]:
    scenario, persona = case.scenario, case.persona
    original = original_of(scenario, FORMAT, "scenario") or {}
    for name in _UNSAID:
        if name in scenario.model_fields_set and getattr(scenario, name):
            left.add(f"scenario with `{name}`", "ArkSim cannot say it")
    if case.first_message:
        left.add("first message", "ArkSim's user finds its own words")
    return {
        **{name: value for name, value in original.items() if name not in KNOWN},
        "scenario_id": scenario.id if case.default else case.slug,
        "user_id": persona.id if persona else f"{scenario.id}-user",
        "goal": scenario.goal,
        "agent_context": scenario.agent_context,
        "user_profile": "\n".join(_profile(scenario, persona)),
        "knowledge": [{"content": text} for text in _knowledge(scenario, persona)],
        "origin": as_object(original.get("origin")) or {},
        "assertions": list(_assertions(scenario, left)),
    }


def _profile(scenario: Scenario, persona: Persona | None) -> Iterator[str]:
    """Who the user is and how it behaves."""
    if persona is not None:
        yield from (text for text in (persona.profile, persona.style) if text)
        if persona.language:
            yield f"You write in {persona.language}."
        yield from persona.traits
        if persona.guidelines:
            yield persona.guidelines
    if scenario.guidelines:
        yield scenario.guidelines
    yield from (f"You do not know: {text}" for text in scenario.unknown)


def _knowledge(scenario: Scenario, persona: Persona | None) -> Iterator[str]:
    """The sheet; if the scenario and the persona have the same fact, the scenario's is used."""
    own = {fact.fact for fact in scenario.knowledge if isinstance(fact, Fact)}
    of_persona = [
        fact for fact in (persona.knowledge if persona else ()) if getattr(fact, "fact", "") not in own
    ]
    for fact in (*scenario.knowledge, *of_persona):
        yield fact if isinstance(fact, str) else f"{fact.fact}: {_shown(fact.value)}"


def _assertions(scenario: Scenario, left: Omissions) -> Iterator[dict[str, Any]]:
    """The checks on the agent's tool calls, the only ones ArkSim knows."""
    for check in scenario.success:
        if check.get("id") == GOAL:
            continue
        calls = check.get("tool_calls")
        plain = check.get("kind", "require") == "require" and check.get("by", "agent") == "agent"
        if calls is None or not plain:
            kind = next((name for name in check if name not in ("id", "kind", "weight", "counts")), "")
            left.add(f"check of `{kind}`", "ArkSim asserts only the agent's tool calls")
            continue
        if calls == "expected":
            calls = [
                {"tool": step.tool, "args": step.args, "compare": step.compare}
                for step in scenario.expected
                if step.tool is not None and step.by == "agent"
            ]
        expected = [_call(call) for call in calls]
        match = check.get("match", "contains")
        if None in expected or match not in MATCHES:
            left.add("check of `tool_calls`", "ArkSim has neither patterns of names nor comparators")
            continue
        if check.get("ordered"):
            left.add("order of calls", "ArkSim knows order only in `strict`")
        yield {"type": "tool_calls", "expected": expected, "match_mode": match}


def _call(told: Mapping[str, Any]) -> dict[str, Any] | None:
    name, mode = str(told.get("tool", "")), told.get("args_match", "partial")
    if any(c in name for c in "*?[") or told.get("compare") or mode not in ARGUMENTS:
        return None
    return {"name": name, "arguments": dict(told.get("args", {})), "arg_match_mode": mode}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _warnings(rows: list[dict[str, Any]]) -> list[str]:
    lists = [row["assertions"] for row in rows if isinstance(row.get("assertions"), list)]
    found: list[str] = []
    if any(lists):
        found.append("ArkSim looks at assertions only with tool_call_behavior_failure in metrics_to_run.")
    if any(len(assertions) > 1 for assertions in lists):
        found.append("ArkSim enforces only the first assertion of a scenario.")
    return found
