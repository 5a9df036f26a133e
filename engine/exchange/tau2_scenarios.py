"""A task of tau2-bench as a scenario: what the user wants and knows, how it begins, the solution, and our checks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, Final

from ..records.impl import KIT_STATE
from ..shapes import as_list
from .importer import Losses, as_object, as_rows
from .tau2_tools import DISCOVERED, SIDES, DomainTools
from .tau_tasks import GOAL, NOTHING, said_checks

TURNS: Final = 100
CALLS: Final = 200
"""The number of steps the original allows in a conversation."""
TEXT: Final = 20_000
BASIS: Final = ("DB", "COMMUNICATE")
"""What a task is rewarded for by default."""
LOGGED_READS: Final = "set_read_log_allowlist"
"""The function that tells a kit in the original which hidden reads of a task's solution leave a trace in the data."""
_PERSONA: Final = 4000


def task_slug(id: Any) -> str:
    """The scenario of a task id: the id itself if valid, else its usable part with a hash of the whole."""
    text = str(id)
    if re.fullmatch(r"[a-z0-9_-]{1,64}", text):
        return text
    plain = re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")[:50].strip("-")
    return f"{plain or 'task'}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def functions_of(tasks: Sequence[Any]) -> set[tuple[str, str]]:
    """(side, name) of what tasks call for initialization and assertions."""
    found: set[tuple[str, str]] = {("assistant", LOGGED_READS)}
    for task in map(as_object, tasks):
        initial = as_object((task or {}).get("initial_state")) or {}
        criteria = as_object((task or {}).get("evaluation_criteria")) or {}
        for row in (
            *as_rows(initial.get("initialization_actions")),
            *as_rows(criteria.get("env_assertions")),
        ):
            found.add((str(row.get("env_type")), str(row.get("func_name"))))
    return found


class TaskReader:
    """Makes scenarios from the tasks of one domain."""

    def __init__(
        self,
        tools: DomainTools,
        state: dict[str, dict[str, Any]],
        splits: dict[str, list[str]],
        losses: Losses,
    ) -> None:
        """`state`: both sides as imported; `splits`: the ids of their tasks by name."""
        self._tools = tools
        self._state = state
        self._splits = splits
        self._losses = losses

    def scenario(self, task: dict[str, Any], at: str) -> dict[str, Any] | None:
        """The scenario of a task; None if it names nothing that a user could want."""
        user = as_object(task.get("user_scenario")) or {}
        told = user.get("instructions")
        asked = as_object(told) or {"reason_for_call": told if isinstance(told, str) else task.get("ticket")}
        goal = _text(asked.get("reason_for_call")) or _text(asked.get("task_instructions"))
        if not goal:
            self._losses.add("task", "it does not say what the user wants", at)
            return None
        criteria = as_object(task.get("evaluation_criteria")) or {}
        steps = self._solution(as_rows(criteria.get("actions")), at)
        outputs = [str(t) for t in as_list(criteria.get("communicate_info"))]
        made: dict[str, Any] = {
            "id": task_slug(task.get("id")),
            "goal": goal[:GOAL],
            "knowledge": _sentences(asked.get("known_info")),
            "unknown": _sentences(asked.get("unknown_info")),
            "guidelines": (_text(asked.get("task_instructions")) if asked.get("reason_for_call") else "")[
                :TEXT
            ],
            "init": [
                *self._init(as_object(task.get("initial_state")) or {}, at),
                *self._logged_reads(as_rows(criteria.get("actions"))),
            ],
            "history": self._history(as_object(task.get("initial_state")) or {}, at),
            "expected": [*steps, {"say": "; ".join(outputs) or NOTHING}] if outputs or not steps else steps,
            "success": self._checks(criteria, steps, outputs, at),
            "limits": {"max_turns": TURNS, "max_tool_calls": CALLS},
            "tags": [
                f"split-{name}"[:64] for name, ids in self._splits.items() if str(task.get("id")) in ids
            ],
            "profile": "tau2",
            "x_source": {"format": "tau2-bench", "task": task},
        }
        persona = _text(user.get("persona"))
        if persona:
            made["persona"] = {"id": task_slug(f"persona {persona}"), "profile": persona[:_PERSONA]}
        if isinstance(task.get("user_tools"), list):
            offered = [self._tools.named("user", str(name)) for name in task["user_tools"]]
            made["world"] = {"user_tools": [name for name in offered if name]}
        return {key: value for key, value in made.items() if value not in ([], "", {})}

    def _solution(self, actions: Sequence[dict[str, Any]], at: str) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        seen: set[str] = set()
        for action in actions:
            side = str(action.get("requestor") or "assistant")
            name, args = self._tools.named(side, str(action.get("name"))), as_object(action.get("arguments"))
            if name is None or args is None or side not in SIDES:
                self._losses.add(
                    "step of a solution", f"there is no {side} tool {str(action.get('name'))[:64]}", at
                )
                continue
            step: dict[str, Any] = {"tool": name, "args": args, "by": SIDES[side]}
            id = str(action.get("action_id"))
            if id not in seen and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", id):
                step["id"] = id
                seen.add(id)
            only = action.get("compare_args")
            if isinstance(only, list):
                step["compare"] = {arg: "ignore" for arg in args if arg not in only}
            steps.append(step)
        return steps

    def _checks(
        self, criteria: dict[str, Any], steps: list[dict[str, Any]], outputs: list[str], at: str
    ) -> list[dict[str, Any]]:
        """Our checks: those in the reward's basis count, the rest are shown."""
        basis = [str(part) for part in as_list(criteria.get("reward_basis"))] or list(BASIS)
        counts: dict[str, dict[str, Any]] = {
            name: ({} if name in basis else {"counts": False})
            for name in ("DB", "ACTION", "COMMUNICATE", "NL_ASSERTION", "ENV_ASSERTION")
        }
        checks: list[dict[str, Any]] = []
        remembered = {"ignore": [f"db.{KIT_STATE}"]} if self._tools.remembers else {}
        if steps or remembered:
            checks.append({"id": "db", "world": "expected", "tolerance": 0, **remembered, **counts["DB"]})
        else:
            sides = [s for s in self._state if self._state[s]]
            checks += [
                {"id": s.replace("_", "-"), "state": s, "unchanged": True, **counts["DB"]} for s in sides
            ]
        for by in ("agent", "user"):
            made = [step for step in steps if step["by"] == by]
            if made and "ACTION" in basis:
                calls = [{k: v for k, v in step.items() if k in ("tool", "args", "compare")} for step in made]
                checks.append(
                    {"id": f"actions-{by}", "tool_calls": calls, "match": "contains", "by": by, "ok": "any"}
                )
        checks += [{**check, **counts["COMMUNICATE"]} for check in said_checks(outputs)]
        for k, row in enumerate(as_rows(criteria.get("env_assertions")), 1):
            name = self._tools.named(str(row.get("env_type")), str(row.get("func_name")))
            if name is None:
                self._losses.add("assertion", f"there is no function {str(row.get('func_name'))[:64]}", at)
                continue
            args = as_object(row.get("arguments")) or {}
            checks.append(
                {"id": f"env-{k}", "tool": name, "args": args, "by": "world", **counts["ENV_ASSERTION"]}
            )
        for k, text in enumerate(as_list(criteria.get("nl_assertions")), 1):
            why = "a judge decides it; without one it is inconclusive, and the other parts stand as they are"
            counted = "counts" if "NL_ASSERTION" in basis else "is shown"
            self._losses.add(
                "assertion in words, without a judge", f"{why}; it {counted}, as reward_basis says", at
            )
            checks.append({"id": f"nl-{k}", "judge": str(text)[:2000], **counts["NL_ASSERTION"]})
        return checks

    def _init(self, initial: dict[str, Any], at: str) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = []
        data = as_object(initial.get("initialization_data")) or {}
        for side, key in (("db", "agent_data"), ("user_db", "user_data")):
            for name, value in (as_object(data.get(key)) or {}).items():
                place = f"{side}.{name}" if name.isidentifier() else f"{side}[{json.dumps(name)}]"
                there = name in self._state[side] and isinstance(value, dict)
                if isinstance(value, str):
                    value = json.dumps(value)
                steps.append({"merge": place, "value": value} if there else {"set": {place: value}})
        for row in as_rows(initial.get("initialization_actions")):
            name = self._tools.named(str(row.get("env_type")), str(row.get("func_name")))
            if name is None:
                what = f"there is no function {str(row.get('func_name'))[:64]}"
                self._losses.add("initialization", what, at)
                continue
            steps.append({"call": name, "args": as_object(row.get("arguments")) or {}, "by": "world"})
        return steps

    def _logged_reads(self, actions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        name = self._tools.named("assistant", LOGGED_READS)
        called = [
            as_object(a.get("arguments")) or {} for a in actions if str(a.get("name")).startswith(DISCOVERED)
        ]
        names = sorted({str(args["agent_tool_name"]) for args in called if args.get("agent_tool_name")})
        if name is None or not names:
            return []
        return [{"call": name, "args": {"allowlist": names}, "by": "world"}]

    def _history(self, initial: dict[str, Any], at: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for message in as_rows(initial.get("message_history")):
            role = str(message.get("role"))
            if role not in SIDES:
                continue
            if _text(message.get("content")):
                items.append({"by": SIDES[role], "say": _text(message.get("content"))})
            for call in as_rows(message.get("tool_calls")):
                name = self._tools.named(role, str(call.get("name")))
                if name is None:
                    self._losses.add(
                        "call of the history", f"there is no tool {str(call.get('name'))[:64]}", at
                    )
                    continue
                items.append(
                    {"by": SIDES[role], "tool": name, "args": as_object(call.get("arguments")) or {}}
                )
        return items


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _sentences(value: Any) -> list[str]:
    """A text as one fact per line, so that the user can give each one when asked."""
    return [line.strip() for line in _text(value).splitlines() if line.strip()][:200]
