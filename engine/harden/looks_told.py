"""What held-out scenarios can still prove, in words: before a proof, and about earlier looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..evaluate.statistics import look_alpha, scenarios_needed
from ..plural import plural
from ..records.hardening import Hardening
from .proof import can_change
from .rounds import scenarios_of
from .trials import Case, TrialOutcome

LEAST_HELD_OUT = 8
NO_HELD_OUT = "no_held_out"
"""The cap of an outcome for which no held-out scenario was left."""


_NONE_LEFT = "No held-out scenario is left that you have not seen"
_BEGINS = ("Only ", "The base fails in ", "These held-out scenarios were looked at ", _NONE_LEFT)


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
    todo = "generate_scenarios makes fresh ones (kinds sealed: nobody reads them), for another hardening"
    return f"{_NONE_LEFT}: {why}. No text can be proven here; {todo}."


def renewed(h: Hardening, held_out: Sequence[Case]) -> list[str]:
    """The warnings of a hardening, with the objections that hold now that more held-out scenarios are spent."""
    return [*(one for one in h.warnings if not one.startswith(_BEGINS)), *preflight(h, held_out, ())]


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
    parts: list[str] = []
    if len(scenarios) < LEAST_HELD_OUT:
        parts.append(
            f"Only {plural(len(scenarios), 'held-out scenario')} can be used; {LEAST_HELD_OUT} or more are better."
        )
    ran = {case.simulation for case in held_out} & {outcome.simulation for outcome in base}
    if ran and len(changing) < needed:
        parts.append(
            f"The base fails in {len(changing)} of {len(scenarios)} held-out scenarios; at look {look} at least "
            f"{needed} must get better: the outcome can only be unconfirmed. Harden with more scenarios instead, "
            "and no look is spent on that."
        )
    if look > 1:
        times = "once" if h.looks == 1 else f"{h.looks} times"
        parts.append(f"These held-out scenarios were looked at {times} before; this is look {look}.")
    return parts
