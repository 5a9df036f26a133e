"""Preflight lint: faults in the cases of a hardening that its numbers would not show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..canonical import canonical
from ..evaluate import near_copies_warning
from ..plural import plural
from ..records.scenario import Scenario

SHOWN = 3


def lint_cases(scenarios: Iterable[Scenario], writes: Iterable[str]) -> list[str]:
    """List objections to these cases. `writes`: the agent's tools that change the world.

    A held-out scenario that duplicates a train scenario under other names confirms only memorisation; near-copies of
    each other are weaker evidence than their number. If no train scenario needs the agent to act, a text that makes it
    refuse everything breaks nothing.
    """
    known, changing = list(scenarios), set(writes)
    train = [one for one in known if one.split != "held_out"]
    parts: list[str] = []
    twins = _twins(train, [one for one in known if one.split == "held_out"])
    if twins:
        more = ", ..." if len(twins) > SHOWN else ""
        one = len(twins) == 1
        parts.append(
            f"{plural(len(twins), 'held-out scenario')} {'is' if one else 'are'} the same as train ones but for "
            f"{'its name' if one else 'their names'} ({', '.join(twins[:SHOWN])}{more}), and "
            f"{'confirms' if one else 'confirm'} nothing."
        )
    parts += near_copies_warning([one for one in known if one.split == "held_out"], "held-out scenario")
    solved = [one for one in train if one.expected]
    acting = [one for one in solved if any(call.tool in changing for call in one.expected)]
    if changing and solved and not acting:
        parts.append(
            "No train scenario needs the agent to change anything: a text that makes it refuse would not be seen. "
            "Put must-succeed cases beside those that must be refused."
        )
    return parts


def _twins(train: Sequence[Scenario], held_out: Sequence[Scenario]) -> list[str]:
    seen = {_content(one) for one in train}
    return [one.id for one in held_out if _content(one) in seen]


def _content(scenario: Scenario) -> str:
    """What a scenario is made of, without its names."""
    parts = scenario.model_dump(
        mode="json", by_alias=True, exclude={"id", "split", "tags", "persona", "x_source"}
    )
    return canonical(parts)
