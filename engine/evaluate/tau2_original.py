"""The reward of tau2-bench: the product of the parts a task names in its `reward_basis`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from ..canonical import equal
from ..records.conversation import Conversation, ToolEntry
from ..records.impl import KIT_STATE
from ..records.scenario import Scenario
from ..world import CompiledWorld
from .opinions import Question
from .originals import Closing, Parts, reward_of, same_side, says_all, task_of, texts_of
from .trace import ExpectedWorld, Trace

BASIS: Final = ("DB", "COMMUNICATE")
"""Used if a task names none."""
MOST_CHARS: Final = 2000
"""Length limit of an assertion in words, as in the scenario's check."""
ENDS_WELL: Final = ("user_stop",)
"""The user's stop or the agent's, which is recorded as the user's."""
SIDES: Final = {"assistant": "agent", "user": "user"}


@dataclass(frozen=True, slots=True)
class Tau2:
    """The rule for one task. What it cannot determine (assertions in words, without a judge) is None."""

    basis: tuple[str, ...]
    criteria: bool
    """Whether the task has evaluation criteria."""
    actions: tuple[Mapping[str, Any], ...] | None
    """As written; None if the task has no such list."""
    tools: Mapping[tuple[str, str], str]
    """Original side and name of a tool to its name here."""
    outputs: tuple[str, ...]
    judged: tuple[str, ...]
    closing: Sequence[Closing]

    @property
    def needs_expected_world(self) -> bool:
        return "DB" in self.basis and self.criteria and (self.actions is not None or bool(self.closing))

    def parts(self, conversation: Conversation, trace: Trace, expected: ExpectedWorld | None) -> Parts:
        made: Parts = {"end": float(conversation.end.reason in ENDS_WELL)}
        if not self.criteria:
            return made
        parts = {
            "DB": lambda: self._db(trace, expected),
            "ENV_ASSERTION": lambda: self._asserted(conversation),
            "ACTION": lambda: self._acted(conversation),
            "COMMUNICATE": lambda: float(says_all(self.outputs, conversation, beside_calls=True)),
            "NL_ASSERTION": lambda: self._asserted_in_words(trace),
        }
        for name in self.basis:
            made[name] = parts[name]() if name in parts else None
        return made

    def reward(self, parts: Parts) -> float | None:
        return reward_of(parts)

    def _db(self, trace: Trace, expected: ExpectedWorld | None) -> float | None:
        if not self.needs_expected_world:
            return 1.0
        found = [same_side(side, trace, expected, same_data) for side in ("db", "user_db")]
        return None if None in found else float(all(found))

    def _asserted(self, conversation: Conversation) -> float | None:
        """Whether each assertion was made at the end and held; None if one was not made."""
        if not conversation.state_known:
            return None
        calls = [
            e for e in conversation.log if isinstance(e, ToolEntry) and e.by == "world" and e.cause is None
        ]
        for closing in self.closing:
            found = [c for c in calls if c.tool == closing.tool and equal(c.args, dict(closing.args))]
            if not found:
                return None
            if not found[-1].ok:
                return 0.0
        return 1.0

    def _asserted_in_words(self, trace: Trace) -> float | None:
        """The judge's answers to the assertions, which are checks of the scenario; None if one is unclear."""
        said = [trace.opinions.said.get(Question(text[:MOST_CHARS]).id) for text in self.judged]
        verdicts = [opinion.verdict if opinion is not None else None for opinion in said]
        if any(verdict not in ("pass", "fail") for verdict in verdicts):
            return None
        return float("fail" not in verdicts)

    def _acted(self, conversation: Conversation) -> float:
        """Whether every action is matched by a call of any side, compared by the arguments that the *call* has."""
        calls = [e for e in conversation.log if isinstance(e, ToolEntry) and e.by != "world" and e.turn > 0]
        return float(all(any(self._matches(action, c) for c in calls) for action in self.actions or ()))

    def _matches(self, action: Mapping[str, Any], call: ToolEntry) -> bool:
        side, name = str(action.get("requestor") or "assistant"), str(action.get("name"))
        if call.tool != self.tools.get((side, name), name):
            return False
        wanted = cast("Mapping[str, Any]", action.get("arguments") or {})
        only: Any = action.get("compare_args")
        names = call.args.keys() if only is None else cast("Sequence[str]", only)
        one = {key: value for key, value in call.args.items() if key in names}
        other = {key: value for key, value in wanted.items() if key in names}
        return one == other


def same_data(a: Any, b: Any) -> bool:
    """Whether two sides have the same data; state that tool kits merely remember is not data."""
    one, other = ({**cast("dict[str, Any]", side), KIT_STATE: None} for side in (a, b))
    return same_but_for_nulls(one, other)


def same_but_for_nulls(a: Any, b: Any) -> bool:
    """Equality of two states; a null key equals a missing one, since models fill it in."""
    if a is b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        one, other = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        keys = one.keys() | other.keys()
        return all(same_but_for_nulls(one.get(key), other.get(key)) for key in keys)
    if isinstance(a, list) and isinstance(b, list):
        first, second = cast("list[Any]", a), cast("list[Any]", b)
        return len(first) == len(second) and all(map(same_but_for_nulls, first, second))
    kinds = type(cast("object", a)), type(cast("object", b))
    return kinds[0] is kinds[1] and a == b


def tau2(scenario: Scenario, world: CompiledWorld) -> Tau2:
    """The rule for a scenario made from a task whose tools are those of the world."""
    task = task_of(scenario)
    told: Any = task.get("evaluation_criteria")
    criteria = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    actions: Any = criteria.get("actions")
    tools = _names(world)
    return Tau2(
        basis=texts_of(criteria.get("reward_basis")) or BASIS,
        criteria=bool(criteria),
        actions=tuple(_rows(actions)) if isinstance(actions, list) else None,
        tools=tools,
        outputs=texts_of(criteria.get("communicate_info")),
        judged=texts_of(criteria.get("nl_assertions")),
        closing=[_closing(row, tools) for row in _rows(criteria.get("env_assertions"))],
    )


def _closing(row: Mapping[str, Any], tools: Mapping[tuple[str, str], str]) -> Closing:
    name = str(row.get("func_name"))
    args: Any = row.get("arguments")
    wanted = row.get("assert_value", True)
    return Closing(
        tools.get((str(row.get("env_type")), name), name), args if isinstance(args, dict) else {}, wanted
    )


def _names(world: CompiledWorld) -> dict[tuple[str, str], str]:
    """Original (side, name) of the tools of the world."""
    found: dict[tuple[str, str], str] = {}
    for name, tool in world.tools.items():
        impl = tool.tool.impl
        method = (impl.python or "").rpartition(".")[2] if impl is not None and impl.style == "tau2" else name
        found["assistant" if tool.tool.for_ == "agent" else "user", method] = name
    return found


def _rows(value: Any) -> list[Mapping[str, Any]]:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("Mapping[str, Any]", row) for row in rows if isinstance(row, dict)]
