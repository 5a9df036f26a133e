"""The reward that another benchmark would give, reproduced exactly: a profile of a scenario, beside our own verdict.

Like our checks it reads what is stored and nothing else: the final state, the expected one, the log. Where one of its
parts cannot be told from that, the part and the reward are None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from ..errors import InvalidArgument
from ..records.conversation import Conversation, LogEntry, SayEntry, ToolEntry
from ..records.scenario import Scenario
from .arksim_score import ArkSimScore
from .trace import ExpectedWorld, Trace, beside

Parts = dict[str, float | None]
ENDS_WELL: Final = ("user_stop", "terminal")
"""Ends at which tau-bench looks at what was done; at any other the reward is 0."""


class Original(Protocol):
    """The reward of one profile for one scenario."""

    @property
    def needs_expected_world(self) -> bool: ...

    def parts(self, conversation: Conversation, trace: Trace, expected: ExpectedWorld | None) -> Parts:
        """The parts of the reward, 0..1, or None where one cannot be told."""
        ...

    def reward(self, parts: Parts) -> float | None:
        """What they give together, 0..1; None where it cannot be told."""
        ...


def product_of(parts: Parts) -> float | None:
    """The product of parts that are 0 or 1; a 0 decides it whatever the others are."""
    if 0.0 in parts.values():
        return 0.0
    return None if None in parts.values() else 1.0


@dataclass(frozen=True, slots=True)
class Tau1:
    """tau-bench: the right end, the data as the expected actions leave it with its types, and all outputs told."""

    outputs: tuple[str, ...] = ()
    needs_expected_world: bool = True

    def parts(self, conversation: Conversation, trace: Trace, expected: ExpectedWorld | None) -> Parts:
        made: Parts = {"end": float(conversation.end.reason in ENDS_WELL)}
        made["db"] = same_side("db", trace, expected)
        if self.outputs:
            made["outputs"] = float(all_told(self.outputs, conversation))
        return made

    def reward(self, parts: Parts) -> float | None:
        return product_of(parts)


def all_told(outputs: tuple[str, ...], conversation: Conversation) -> bool:
    """Whether each text is part of one answer of the agent: lower case, commas taken out of the answer only."""
    heard = [text.lower().replace(",", "") for text in answers(conversation.log)]
    return all(any(output.lower() in text for text in heard) for output in outputs)


def answers(log: list[LogEntry]) -> Iterator[str]:
    """What the agent said to the user, without what stands beside its calls: that is not sent on."""
    for entry, behind in zip(log, [*log[1:], None], strict=True):
        if not isinstance(entry, SayEntry) or entry.by != "agent" or entry.rejected or entry.turn < 1:
            continue
        if not (isinstance(behind, ToolEntry) and beside(entry, behind)):
            yield entry.say


def same_side(
    side: str, trace: Trace, expected: ExpectedWorld | None, same: Callable[[Any, Any], bool] | None = None
) -> float | None:
    """Whether one side of the state is as expected, 0 or 1; None where one of both is not known."""
    if expected is None or expected.error or not trace.state_known:
        return None
    return float((same or same_with_types)(expected.root.get(side), trace.state.root.get(side)))


def same_with_types(a: Any, b: Any) -> bool:
    """Equality by value and type: 1 is not 1.0, nor true; lists in order, keys in any."""
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


def _tau1(scenario: Scenario) -> Original:
    return Tau1(texts_of(task_of(scenario).get("outputs")))


def texts_of(value: Any) -> tuple[str, ...]:
    """A list of texts; empty for anything else."""
    return tuple(str(text) for text in cast("list[Any]", value)) if isinstance(value, list) else ()


def task_of(scenario: Scenario) -> Mapping[str, Any]:
    """The task of the other system that a scenario was made of, `x_source.task`; empty where there is none."""
    source: Any = scenario.x_source
    found = cast("dict[str, Any]", source) if isinstance(source, dict) else {}
    task: Any = found.get("task")
    return cast("dict[str, Any]", task) if isinstance(task, dict) else {}


ORIGINALS: Final[Mapping[str, Callable[[Scenario], Original]]] = {"tau1": _tau1, "arksim": ArkSimScore}
"""By the name of the profile."""


def original_of(scenario: Scenario, where: str) -> Original | None:
    """The profile of a scenario; None where it has none. InvalidArgument for one that is not in this version."""
    if scenario.profile is None:
        return None
    make = ORIGINALS.get(scenario.profile)
    if make is None:
        what = f"Profile `{scenario.profile}` is not in this version."
        raise InvalidArgument(what, where=where, allowed=[*ORIGINALS, "none"])
    return make(scenario)
