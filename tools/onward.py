"""What may be called after a reply of a hardening."""

from __future__ import annotations

from ..engine.harden import LEAST_HELD_OUT, NO_HELD_OUT
from ..engine.records.hardening import Candidate, Hardening
from ..engine.workbench.results import HardeningReport
from .briefs import broken_on_train, submit_call, wants_text, write_calls
from .replies import NextCall, goes_on, then

MOST_SCENARIOS = 50
"""Of one call of generate_scenarios."""
FRESH_SCENARIOS = 3 * LEAST_HELD_OUT
"""One new scenario in three is held out."""


def next_calls(
    report: HardeningReport, candidate: Candidate | None, outcome: str, *, asked: bool
) -> list[NextCall]:
    """The calls in the order in which they are worth most; `asked`: for the hardening, not for one text of it."""
    hardening = report.hardening
    if report.job and report.job.active:
        return [goes_on(report.job)]
    if report.job:
        return [NextCall(**call) for call in (report.job.error or {}).get("next", [])] or [
            _goes_on(hardening)
        ]
    if report.became:
        return _after_promotion(report)
    if hardening.state == "cancelled":
        return [_goes_on(hardening), then("get_item", kind="hardening", id=hardening.id, view="rounds")]
    if hardening.state == "rejected":
        return [then("harden_agent", "look again", environment=hardening.environment)]
    if _no_held_out(hardening, candidate):
        return _fresh(hardening)
    if wants_text(hardening) and outcome in ("", "regressed", "no_change"):
        return write_calls(hardening, candidate, asked=asked)
    return _after_outcome(hardening, candidate, outcome)


def _goes_on(hardening: Hardening) -> NextCall:
    return then("harden_agent", "goes on", environment=hardening.environment, hardening=hardening.id)


def _no_held_out(hardening: Hardening, candidate: Candidate | None) -> bool:
    """Whether there was nothing to prove this candidate on, or will be nothing for one that is to be written."""
    if candidate is not None and candidate.evidence is not None:
        return NO_HELD_OUT in candidate.evidence.caps
    waits = hardening.strategy == "submit" and hardening.state == "open" and bool(hardening.rounds)
    return waits and not set(hardening.held_out) - set(hardening.spent)


def _fresh(hardening: Hardening) -> list[NextCall]:
    return [
        then(
            "generate_scenarios",
            "fresh held-out scenarios, then harden_agent again",
            environment=hardening.environment,
            count=FRESH_SCENARIOS,
        ),
        then("decide_candidate", "closes it", candidate=hardening.id, decision="reject"),
        then("get_item", kind="hardening", id=hardening.id, view="rounds"),
    ]


def _after_promotion(report: HardeningReport) -> list[NextCall]:
    became, hardening = report.became, report.hardening
    if became is None:
        return []
    again = {"continue_run": hardening.base_run} if hardening.base_run else {}
    calls = [then("run_simulations", "next round", environment=became.environment, **again)]
    if became.base:
        calls.append(then("decide_candidate", "to undo", candidate=became.base, decision="roll_back"))
    calls.append(then("get_item", kind="instructions", id=became.id, view="text"))
    return calls


def _after_outcome(hardening: Hardening, candidate: Candidate | None, outcome: str) -> list[NextCall]:
    rounds = then("get_item", kind="hardening", id=hardening.id, view="rounds")
    if outcome == "improved" and candidate:
        return [then("decide_candidate", candidate=candidate.id, decision="promote"), rounds]
    if outcome == "regressed" and candidate:
        reject = then("decide_candidate", candidate=candidate.id, decision="reject", reason="regressed")
        whole = then("harden_agent", "on all of train", environment=hardening.environment)
        beside = any(one.left_out for one in broken_on_train(candidate.evidence))
        return [reject, *([whole] if beside else []), rounds]
    more = _more_cases(hardening, candidate, outcome)
    if outcome == "unconfirmed" and candidate:
        reject = then("decide_candidate", candidate=candidate.id, decision="reject")
        failing = wants_text(hardening) and hardening.brief and hardening.brief.clusters
        return [more, submit_call(hardening), reject] if failing else [more, reject, rounds]
    if outcome in ("nothing_to_fix", "no_change"):
        return [more, rounds]
    if outcome == "not_evaluated" and hardening.rounds and hardening.rounds[0].conversations:
        id = hardening.rounds[0].conversations[0]
        again = then("harden_agent", "once it is fixed", environment=hardening.environment)
        return [then("get_item", "how a trial ended", kind="conversation", id=id, view="turns"), again]
    return [rounds]


def _more_cases(hardening: Hardening, candidate: Candidate | None, outcome: str) -> NextCall:
    """Scenarios that are missing: for a proof as many as it says, all of them held out."""
    environment = hardening.environment
    if outcome != "unconfirmed":
        return then(
            "generate_scenarios", "harder cases", environment=environment, kinds=["edge", "must_refuse"]
        )
    missing = candidate.evidence.more_scenarios if candidate and candidate.evidence else None
    count = max(5, min(MOST_SCENARIOS, missing or LEAST_HELD_OUT))
    why = "more held-out evidence; then create_simulations, harden_agent"
    return then("generate_scenarios", why, environment=environment, kinds=["sealed"], count=count)
