"""Over-refusal: a text under which the agent breaks no rule because it does nothing.

Detected twice: before any trial, if an added rule forbids outright what the solution of a train scenario needs; and
after trials, if it broke only simulations in which the agent acted under the base and now changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..llm.offline.language import understand
from ..records.hardening import CheckRegression, GuardResult
from .proof import Arms, Key
from .trials import TrialOutcome

_ENTRY = re.compile(r"^\s*-\s*`?[A-Za-z_][\w-]*`?\s*:\s*")
"""What precedes the description of a tool."""
RULE = "no rule that forbids outright what the solution of a train scenario needs"


def over_refusal_guard(added: Sequence[tuple[int, str]], base: str, needed: Mapping[str, str]) -> GuardResult:
    """Refuse an added line that forbids a tool which solutions call.

    `needed`: those tools, each with a train scenario whose solution calls it. What the base already forbids is free.
    """
    forbidden = {rule.tool for rule in understand(base).rules if rule.kind == "never"}
    for number, line in added:
        for rule in understand(_ENTRY.sub("", line)).rules:
            if rule.kind == "never" and rule.tool in needed and rule.tool not in forbidden:
                text = f"{RULE}; `{needed[rule.tool]}` calls {rule.tool}"
                return GuardResult(
                    guard="over_refusal", result="fail", line=number, text=line.strip()[:120], rule=text
                )
    return GuardResult(guard="over_refusal", result="pass")


def only_refuses(arms: Arms, regressions: Iterable[CheckRegression]) -> bool:
    """Whether every confirmed regression is in a simulation in which the base acted and the candidate does not."""
    broken = {flag.simulation for flag in regressions if flag.confirmed}
    return bool(broken) and all(
        _acts(arms.base, simulation, arms.trials) and not _acts(arms.candidate, simulation, arms.trials)
        for simulation in broken
    )


def _acts(arm: Mapping[Key, TrialOutcome], simulation: str, trials: range) -> bool:
    """Whether the agent changed anything in one of the trials; if unknown, it counts as having acted."""
    played = (arm.get((simulation, k)) for k in trials)
    return any(outcome.acted is not False for outcome in played if outcome is not None)
