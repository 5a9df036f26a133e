"""ArkSim's scenarios as ours, in each of their forms.

That of its files (`scenario_id`, `goal` as text), and those of its manual (`goal` as object, `expected_behavior`,
`category`, `metrics`; or `id` and `conversation`). Data without a place here is kept: a scenario has the original in
`x_source`, from which it is written back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from ..canonical import digest
from ..ids import slugify
from ..shapes import as_list
from .arksim_metrics import of_scenario
from .importer import Losses, as_object

FORMAT: Final = "arksim"
KNOWN: Final = frozenset(
    {
        *(
            "scenario_id",
            "id",
            "user_id",
            "name",
            "description",
            "category",
            "goal",
            "goals",
            "agent_context",
        ),
        *("user_profile", "user_attributes", "knowledge", "origin", "assertions", "expected_behavior"),
        *("metrics", "conversation"),
    }
)
MATCHES: Final = ("strict", "unordered", "contains", "within")
ARGUMENTS: Final = ("exact", "ignore", "partial")
STYLE: Final = ("communication_style", "style")
GOAL: Final = "goal-reached"
"""Id of the check that asks a judge what ArkSim's goal completion asks."""


@dataclass(frozen=True, slots=True)
class ArkSimCase:
    """One scenario and its partner, as our plain values."""

    scenario: dict[str, Any]
    persona: dict[str, Any] | None


def case_of(source: Mapping[str, Any], losses: Losses, at: str) -> ArkSimCase | None:
    """The case of a scenario in a file; None, and a loss, if it has no goal in any form."""
    named = _text(source.get("scenario_id") or source.get("id") or source.get("name"))
    goal = _goal(source)
    if not named or not goal:
        losses.add("scenario", "it has no id" if not named else "it has no goal", at)
        return None
    _tell_unknown(source, losses, at)
    slug = slug_of(named)
    persona = _persona(source, slug)
    scenario: dict[str, Any] = {"id": slug, "goal": goal, "profile": FORMAT}
    if persona is not None:
        scenario["persona"] = persona["id"]
    optional = {
        "knowledge": _knowledge(source.get("knowledge"), losses, at),
        "guidelines": "\n".join(_guidelines(source)),
        "agent_context": _text(source.get("agent_context")),
        "script": _script(source.get("conversation"), losses, at),
        "success": [*_assertions(source.get("assertions"), losses, at), *_criteria(source, losses, at)],
        "tags": [slugify(_text(source.get("category")))],
    }
    scenario |= {name: value for name, value in optional.items() if value not in ("", [], [""])}
    if "success" in scenario:
        asked = f"The user's goal was reached: {goal}"
        scenario["success"].append({"id": GOAL, "judge": asked[:2000], "counts": False})
    kept = {"format": FORMAT, "id": named, "scenario": dict(source)}
    return ArkSimCase({**scenario, "x_source": kept}, persona)


def slug_of(named: str) -> str:
    """The slug of a scenario's id in ArkSim; two ids may have the same."""
    return slugify(named) or f"scenario-{digest(named)[:8]}"


def _goal(source: Mapping[str, Any]) -> str:
    """What the user wants; for an object its primary and secondary goals."""
    goal = source.get("goal") or source.get("goals")
    if isinstance(goal, list):
        return " Then: ".join(_text(one) for one in cast("list[Any]", goal) if _text(one))
    parts = as_object(goal)
    if parts is not None:
        aims = [_text(parts.get("primary") or parts.get("description")), *_texts(parts.get("secondary"))]
        return " Then: ".join(aim for aim in aims if aim)
    turns = (as_object(turn) or {} for turn in as_list(source.get("conversation")))
    aims = list(dict.fromkeys(_text(turn.get("goal")) for turn in turns))
    return _text(goal) or " Then: ".join(aim for aim in aims if aim) or _text(source.get("description"))


def _guidelines(source: Mapping[str, Any]) -> Iterator[str]:
    """How the user behaves: its constraints, and what it is told about the agent it talks to."""
    goal = as_object(source.get("goal")) or {}
    yield from (f"Constraint: {one}" for one in _texts(goal.get("constraints")))
    context = _text(source.get("agent_context"))
    if context:
        yield f"What you know of the agent that you talk to: {context}"


def _persona(source: Mapping[str, Any], slug: str) -> dict[str, Any] | None:
    profile = source.get("user_profile") or source.get("user_attributes")
    row = as_object(profile)
    style = ""
    if row is not None:
        style = next((_text(row[key]) for key in STYLE if _text(row.get(key))), "")
        profile = "; ".join(f"{key.replace('_', ' ')}: {_shown(value)}" for key, value in row.items())
    if not _text(profile):
        return None
    name = _text(source.get("user_id")) or (_text(row.get("name")) if row else "") or f"{slug}-user"
    persona = {"id": slugify(name) or f"user-{digest(name)[:8]}", "profile": _text(profile)}
    return {**persona, "style": style} if style else persona


def _knowledge(value: Any, losses: Losses, at: str) -> list[str]:
    """Sentences: `{content}`, texts, or anything else as JSON."""
    found: list[str] = []
    for item in as_list(value):
        row = as_object(item)
        text = _text(row.get("content")) if row is not None and "content" in row else _shown(item)
        if row is not None and set(row) - {"content"}:
            losses.add("knowledge", "only `content` is told to the user", at, "x_source keeps the rest")
        if text:
            found.append(text)
    return found


def _assertions(value: Any, losses: Losses, at: str) -> Iterator[dict[str, Any]]:
    """One check per assertion; ArkSim considers only the first, and lets an empty one pass everything."""
    for k, item in enumerate(as_list(value), 1):
        told, place = as_object(item) or {}, f"{at}, assertions[{k - 1}]"
        match = _text(told.get("match_mode")) or "unordered"
        if (
            told.get("type") != "tool_calls"
            or match not in MATCHES
            or not isinstance(told.get("expected"), list)
        ):
            losses.add("assertion", "it is none on tool calls in a known mode", place)
            continue
        calls = [_call(as_object(one) or {}) for one in as_list(told["expected"])]
        if None in calls:
            losses.add("assertion", "an expected call has no name, or another argument mode", place)
        elif not calls and match == "contains":
            losses.add("assertion", "`contains` without calls passes whatever happens", place)
        else:
            yield {
                "id": f"assertion-{k}",
                "tool_calls": calls,
                "match": match,
                "reads": "count",
                "own": "count",
                "ok": "any",
            }


def _call(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call on one of the agent's own tools."""
    name, mode = _text(told.get("name")), _text(told.get("arg_match_mode")) or "ignore"
    arguments = as_object(told.get("arguments", {}))
    if not name or mode not in ARGUMENTS or arguments is None:
        return None
    return {"tool": name, "args": arguments, "args_match": mode, "own": True}


def _criteria(source: Mapping[str, Any], losses: Losses, at: str) -> Iterator[dict[str, Any]]:
    """What a judge has to decide: the goal's success criteria, and what is expected of the agent."""
    goal = as_object(source.get("goal")) or {}
    for k, text in enumerate(_texts(goal.get("success_criteria")), 1):
        yield {"id": f"success-{k}", "judge": text}
    for k, text in enumerate(_behaviour(source.get("expected_behavior")), 1):
        yield {"id": f"behavior-{k}", "judge": text}
    for k, turn in enumerate(as_list(source.get("conversation")), 1):
        expected = _text((as_object(turn) or {}).get("expected_behavior"))
        if expected:
            yield {"id": f"turn-{k}", "judge": expected}
    yield from of_scenario(source.get("metrics"), losses, at)


def _behaviour(value: Any) -> Iterator[str]:
    row = as_object(value)
    if row is None:
        yield from _texts(value)
        return
    for key, wanted in row.items():
        words = key.replace("_", " ").removeprefix("should ")
        if isinstance(wanted, bool):
            yield f"The agent should {'' if wanted else 'not '}{words}"
        else:
            yield f"Expected of the agent: {words}: {_shown(wanted)}"


def _script(value: Any, losses: Losses, at: str) -> list[dict[str, Any]]:
    """The user's words in each turn, each answered by the agent; then both sides continue by themselves."""
    steps: list[dict[str, Any]] = []
    for k, item in enumerate(as_list(value)):
        turn = as_object(item) or {}
        words = _text(turn.get("user"))
        if not words:
            losses.add("turn of a conversation", "the user says nothing in it", f"{at}, conversation[{k}]")
            continue
        if set(turn) - {"turn", "user", "goal", "expected_behavior"}:
            losses.add("field of a turn", "only the user's words are played", f"{at}, conversation[{k}]")
        steps += [{"user": words}, {"agent": None}]
    return [*steps, {"proceed": None}] if steps else []


def _tell_unknown(source: Mapping[str, Any], losses: Losses, at: str) -> None:
    for name in sorted(set(source) - KNOWN):
        use = "kept in x_source, and written back by export_run as arksim"
        losses.add(f"field `{name[:60]}`", "ArkSim has no such field", at, use)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    """The texts in a list, or the single text."""
    if isinstance(value, str):
        return [value.strip()] if value.strip() else []
    return [_shown(one) for one in as_list(value) if _shown(one)]


def _shown(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def distinct(
    cases: Iterable[ArkSimCase], losses: Losses
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(scenarios, personas) with unique ids; equal personas become one."""
    scenarios: list[dict[str, Any]] = []
    personas: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()
    for case in cases:
        scenario = dict(case.scenario)
        wanted = scenario["id"]
        scenario["id"] = _free(wanted, taken)
        if scenario["id"] != wanted:
            losses.add("id of a scenario", "two have the same", wanted, f"the other one is {scenario['id']}")
        taken.add(scenario["id"])
        if case.persona is not None:
            scenario["persona"] = _shared(case.persona, personas)
        scenarios.append(scenario)
    return scenarios, list(personas.values())


def _shared(persona: dict[str, Any], known: dict[str, dict[str, Any]]) -> str:
    """The id under which a persona is stored; a number distinguishes it from another one with the same id."""
    same = {**persona, "id": ""}
    for id, one in known.items():
        if {**one, "id": ""} == same and id.startswith(persona["id"][:58]):
            return id
    id = _free(persona["id"], set(known))
    known[id] = {**persona, "id": id}
    return id


def _free(wanted: str, taken: set[str]) -> str:
    if wanted not in taken:
        return wanted
    return next(id for n in range(2, 1_000_000) if (id := f"{wanted[:57]}-{n}") not in taken)
