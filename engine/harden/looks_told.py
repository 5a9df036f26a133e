"""What held-out scenarios can still prove, in words: before a proof, and about earlier looks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from ..evaluate.statistics import look_alpha, scenarios_needed
from ..records.hardening import Hardening
from .proof import can_change
from .rounds import scenarios_of
from .trials import Case, TrialOutcome

LEAST_HELD_OUT = 8
NO_HELD_OUT = "no_held_out"
"""The cap of an outcome for which no held-out scenario was left."""


_BEFORE_A_PROOF: Final = re.compile(
    r"Only \d+ held-out|The base fails in \d+ of|These held-out scenarios were"
)


def still_true(hardening: Hardening, spent: Collection[str]) -> list[str]:
    """The warnings of a hardening, now that a client has read these held-out scenarios.

    Where none is left, what was said of a proof before gives way to that.
    """
    if not hardening.held_out or not set(hardening.held_out) <= set(spent):
        return list(hardening.warnings)
    kept = [one for one in hardening.warnings if not _BEFORE_A_PROOF.match(one)]
    left = no_held_out_left(hardening)
    return kept if left in kept else [*kept, left]


def look_terms(looks: int) -> str:
    """What the next two looks need, after `looks` of them: `look 1 needs p <= 0.030, look 2 <= 0.008`."""
    first, second = looks + 1, looks + 2
    alphas = [f"{look_alpha(look):.{3 if look < 6 else 4}f}" for look in (first, second)]
    return f"look {first} needs p <= {alphas[0]}, look {second} <= {alphas[1]}"


def no_held_out_left(hardening: Hardening) -> str:
    """Why no held-out scenario can be used."""
    count = len(hardening.held_out)
    if not count:
        why = "none of these simulations is held out"
    elif count == 1:
        why = "the only one is spent, its conversation was read"
    else:
        why = f"all {count} are spent, their conversations were read"
    return f"No held-out scenario is left that you have not seen: {why}."


def preflight(h: Hardening, held_out: Sequence[Case], base: Iterable[TrialOutcome]) -> list[str]:
    """Objections to a proof on these held-out cases, before any text is written.

    If the base was not run on them, only their number is checked.
    """
    base = list(base)
    if not held_out:
        return [no_held_out_left(h)]
    scenarios, changing = scenarios_of(held_out), can_change(held_out, base)
    look = h.looks + 1
    needed = scenarios_needed(look_alpha(look))
    told: list[str] = []
    if len(scenarios) < LEAST_HELD_OUT:
        told.append(
            f"Only {len(scenarios)} held-out scenarios can be used; {LEAST_HELD_OUT} or more are better."
        )
    ran = {case.simulation for case in held_out} & {outcome.simulation for outcome in base}
    if ran and len(changing) < needed:
        told.append(
            f"The base fails in {len(changing)} of {len(scenarios)} held-out scenarios; at look {look} at least "
            f"{needed} must get better: the outcome can only be unconfirmed. More scenarios would do."
        )
    if look > 1:
        told.append(f"These held-out scenarios were looked at {h.looks} times before; this is look {look}.")
    return told
