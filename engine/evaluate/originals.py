"""The reward another benchmark would give, reproduced exactly: a scenario's profile, beside our own verdict.

Like our checks it reads only what is stored: the final state, the expected one, the log. If a part cannot be
determined from that, the part and the reward are None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, cast

from ..records.conversation import Conversation, LogEntry, SayEntry, ToolEntry
from ..records.scenario import Scenario
from .trace import ExpectedWorld, Trace, beside

Parts = dict[str, float | None]
ENDS_WELL: Final = ("user_stop", "terminal")
"""Ends at which tau-bench evaluates the result; at any other the reward is 0."""


class Closing(NamedTuple):
    """A call the world makes when a trial is over, asserting something."""

    tool: str
    args: Mapping[str, Any]
    wanted: Any
    """The result with which it holds; with any other it is recorded as refused."""


class Original(Protocol):
    """The reward of one profile for one scenario."""

    @property
    def needs_expected_world(self) -> bool: ...

    @property
    def closing(self) -> Sequence[Closing]:
        """The calls that the world makes when a trial is over, to be read by `parts`."""
        ...

    def parts(self, conversation: Conversation, trace: Trace, expected: ExpectedWorld | None) -> Parts:
        """The parts of the reward, 0..1, or None if one cannot be determined."""
        ...

    def reward(self, parts: Parts) -> float | None:
        """The reward from its parts, 0..1; None if it cannot be determined."""
        ...


def reward_of(parts: Parts) -> float | None:
    """The product of parts that are 0 or 1; a 0 decides it whatever the others are."""
    if 0.0 in parts.values():
        return 0.0
    return None if None in parts.values() else 1.0


@dataclass(frozen=True, slots=True)
class Tau1:
    """tau-bench: the right end, the data as the expected actions leave it (including types), and all outputs given."""

    outputs: tuple[str, ...] = ()
    needs_expected_world: bool = True
    closing: Sequence[Closing] = ()

    def parts(self, conversation: Conversation, trace: Trace, expected: ExpectedWorld | None) -> Parts:
        made: Parts = {"end": float(conversation.end.reason in ENDS_WELL)}
        made["db"] = same_side("db", trace, expected)
        if self.outputs:
            made["outputs"] = float(says_all(self.outputs, conversation))
        return made

    def reward(self, parts: Parts) -> float | None:
        return reward_of(parts)


def says_all(outputs: tuple[str, ...], conversation: Conversation, *, beside_calls: bool = False) -> bool:
    """Whether each text is part of an answer of the agent: lower case, commas removed from the answer only.

    `beside_calls`: what it says in the same reply as a call counts too.
    """
    heard = [text.lower().replace(",", "") for text in answers(conversation.log, beside_calls=beside_calls)]
    return all(any(output.lower() in text for text in heard) for output in outputs)


def answers(log: list[LogEntry], *, beside_calls: bool = False) -> Iterator[str]:
    """What the agent said to the user; text beside its calls was not sent on, and is left out by default."""
    for entry, behind in zip(log, [*log[1:], None], strict=True):
        if not isinstance(entry, SayEntry) or entry.by != "agent" or entry.rejected or entry.turn < 1:
            continue
        if beside_calls or not (isinstance(behind, ToolEntry) and beside(entry, behind)):
            yield entry.say


def same_side(
    side: str, trace: Trace, expected: ExpectedWorld | None, same: Callable[[Any, Any], bool] | None = None
) -> float | None:
    """Whether one side of the state is as expected, 0 or 1; None if either state is unknown."""
    if expected is None or expected.error or not trace.state_known:
        return None
    return float((same or same_with_types)(expected.root.get(side), trace.state.root.get(side)))


def same_with_types(a: Any, b: Any) -> bool:
    """Equality by value and type: 1 is not 1.0, nor true; lists in order, keys in any order."""
    if a is b:
        return True
    if isinstance(a, dict) and isinstance(b, dict):
        one, other = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        return one.keys() == other.keys() and all(same_with_types(one[key], other[key]) for key in one)
    if isinstance(a, list) and isinstance(b, list):
        first, second = cast("list[Any]", a), cast("list[Any]", b)
        return len(first) == len(second) and all(map(same_with_types, first, second))
    kinds = type(cast("object", a)), type(cast("object", b))
    return kinds[0] is kinds[1] and a == b


def tau1(scenario: Scenario) -> Original:
    """The profile of a scenario from tau-bench, or from Sigma, whose tasks may have tau2-bench's form."""
    task = task_of(scenario)
    criteria: Any = task.get("evaluation_criteria")
    told = cast("dict[str, Any]", criteria).get("communicate_info") if isinstance(criteria, dict) else None
    return Tau1(texts_of(task.get("outputs") or told))


def texts_of(value: Any) -> tuple[str, ...]:
    """A list of texts; empty for anything else."""
    return tuple(str(text) for text in cast("list[Any]", value)) if isinstance(value, list) else ()


def task_of(scenario: Scenario) -> Mapping[str, Any]:
    """The other system's task that a scenario was made from, `x_source.task`; empty if there is none."""
    source: Any = scenario.x_source
    found = cast("dict[str, Any]", source) if isinstance(source, dict) else {}
    task: Any = found.get("task")
    return cast("dict[str, Any]", task) if isinstance(task, dict) else {}
