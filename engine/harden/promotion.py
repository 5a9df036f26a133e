"""Which candidates may be promoted."""

from __future__ import annotations

from ..errors import Conflict, InvalidArgument, NextCall, NotFound
from ..evaluate.statistics import shown_p
from ..records.hardening import Candidate, Hardening


def check_promotion(
    hardening: Hardening, candidate: str, *, override: bool = False, reason: str = ""
) -> Candidate:
    """Return the candidate if it may be promoted: improved, or unconfirmed with `override` and a reason.

    Raises NotFound, Conflict (running, rejected, or its outcome forbids it), InvalidArgument (override without a
    reason). It changes nothing: the caller puts the text in force and adds the mark `overridden`.
    """
    found = hardening.find(candidate)
    if found is None:
        raise NotFound(
            f"There is no candidate `{candidate[:80]}`.",
            where="candidate",
            allowed=[c.id for c in hardening.candidates],
        )
    reject = NextCall("decide_candidate", {"candidate": found.id, "decision": "reject"})
    if hardening.state == "running":
        raise Conflict(f"{hardening.id} is still running.", where="candidate")
    if found.state == "rejected" and found.outcome in ("improved", "unconfirmed"):
        raise Conflict(
            f"{found.id} is rejected. It cannot be promoted.",
            where="candidate",
            allowed="a candidate that was not rejected, or a new hardening",
            next=[NextCall("harden_agent", {"environment": hardening.environment})],
        )
    if found.outcome == "improved":
        return found
    if found.outcome == "unconfirmed":
        if override and reason.strip():
            return found
        if override:
            raise InvalidArgument("override needs a reason; it is recorded.", where="reason")
        raise Conflict(
            f"{found.id} is unconfirmed ({_figures(found)}).",
            where="candidate",
            allowed="reject, or promote with override=true and a reason",
            next=[NextCall("generate_scenarios", {"environment": hardening.environment})],
        )
    if found.outcome == "regressed":
        count = found.evidence.regressed_checks if found.evidence else 0
        text = f" ({count} checks, confirmed)" if count else ""
        raise Conflict(
            f"{found.id} regressed{text}. It cannot be promoted.", where="candidate", next=[reject]
        )
    text = found.outcome or f"{found.state}, not proven"
    raise Conflict(f"{found.id} is {text}. It cannot be promoted.", where="candidate", next=[reject])


def _figures(candidate: Candidate) -> str:
    proof = candidate.evidence.held_out if candidate.evidence else None
    if proof is None:
        return "no held-out evidence"
    text = f"{proof.better} scenarios better, {proof.worse} worse, "
    p, alpha = shown_p(proof.p, proof.alpha)
    text += f"p {p}, needs at most {alpha}"
    more = candidate.evidence.more_scenarios if candidate.evidence else None
    return text + (f"; about {more} more held-out scenarios would do, 4 times in 5" if more else "")
