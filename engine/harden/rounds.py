"""Rounds: how a candidate does on train, its counts, and the reason codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from ..plural import plural
from ..records.hardening import Candidate, CheckRegression, Comparison, Hardening, Round
from .trials import Case, TrialOutcome

SHOWN_CHECKS = 3
FILTER_P = 0.2
"""Above this p a candidate that makes some train scenarios worse is not kept."""

Decision = Literal["base", "kept", "rejected", "refused", "none"]


def filter_reason(compared: Comparison, regressions: Iterable[CheckRegression]) -> str:
    """`kept`, or why not: train is a filter, not a claim.

    Kept: a check got better, none that passed is confirmed broken, and no scenario got worse, or the mean went up with
    p at most FILTER_P.
    """
    if any(regression.confirmed for regression in regressions):
        return "check_regressed"
    if max(compared.base_missing, compared.candidate_missing) * 10 > compared.pairs:
        return "attrition"
    if not compared.fixed:
        return "train_no_gain"
    if not compared.worse and (compared.better or not compared.broken):
        return "kept"
    return "kept" if compared.difference > 0 and compared.p <= FILTER_P else "train_not_better"


def close_round(h: Hardening, number: Round, decision: Decision, reason: str) -> None:
    """Add the round to the record, with its decision and reason code."""
    number.decision = decision
    number.reason = reason
    number.told = TOLD.get(reason, "")
    number.completed = True
    h.rounds.append(number)


def count_trials(number: Round, outcomes: Iterable[TrialOutcome]) -> None:
    """Write the counts of these trials into the round."""
    rows = list(outcomes)
    counted = [row for row in rows if row.counted]
    number.simulations = len({row.simulation for row in rows})
    number.total = len(rows)
    number.passed = sum(row.verdict == "pass" for row in rows)
    number.failed = sum(row.verdict == "fail" for row in rows)
    number.inconclusive = sum(row.verdict == "inconclusive" for row in rows)
    number.error = sum(row.verdict == "error" for row in rows)
    number.invalid = sum(row.verdict == "invalid" for row in rows)
    number.rate = number.passed / len(counted) if counted else None
    number.conversations = [row.conversation for row in rows if row.conversation]


def describe_fixed(fixed: Iterable[tuple[str, str]]) -> str:
    """Why a text was kept: the (simulation, check) pairs on train that pass in more trials than before."""
    counted = Counter(check for _, check in fixed).most_common()
    shown = ", ".join(f"{check} in {plural(count, 'simulation')}" for check, count in counted[:SHOWN_CHECKS])
    more = f" and {len(counted) - SHOWN_CHECKS} more checks" if len(counted) > SHOWN_CHECKS else ""
    return f"On train it fixes {shown}{more}, and nothing that passed fails."


def standing_candidate(hardening: Hardening) -> Candidate | None:
    """The client's candidate that its next edits apply to: the last one that train kept and that did not regress."""
    kept = (c for c in reversed(hardening.candidates) if c.client and c.state in ("kept", "evaluated"))
    return next((c for c in kept if c.outcome != "regressed"), None)


def scenarios_of(cases: Iterable[Case]) -> list[str]:
    """The scenarios of the cases, each once, in their order."""
    return list(dict.fromkeys(case.scenario for case in cases))


TOLD = {
    "attrition": "More than a tenth of the trials ended in error or invalid.",
    "check_regressed": "A check that the text before it passes fails with this one, confirmed.",
    "guard_leak": "It repeats data of the test cases.",
    "guard_length": "It is too long.",
    "guard_locked": "It changes a locked passage.",
    "guard_injection": "It holds what does not belong into instructions: a command, an address, a secret.",
    "guard_over_refusal": "It forbids what the agent must do in some scenarios.",
    "guard_placeholders": "It loses a placeholder.",
    "guard_target": "It changes what is not being hardened.",
    "guard_tool_names": "It names a tool that is not there, or loses one.",
    "kept": "Checks that failed on train pass, and nothing that passed fails.",
    "no_proposal": "No general sentence follows from what still fails.",
    "over_refusal": "The agent does nothing where it has to act, and passed before.",
    "pruned": "A line that nothing on train needs is taken out.",
    "screen_no_gain": "It fixes none of the simulations that it was written for.",
    "train_no_gain": "No check on train got better.",
    "train_not_better": "Some checks on train got better, but others or whole scenarios got worse.",
    "unusable_proposal": "What the writer model answered cannot be used.",
}
"""The meaning of each reason code of a round."""
