"""Grading: the verdict of a trial as a pure function of its stored conversation; no clock, no tool is run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..records.conversation import Conversation, EndReason, LogEntry, StopEntry
from ..records.scenario import Reward
from ..records.verdict import CheckKind, CheckResult, CheckVerdict, Invention, TrialVerdict, Verdict
from ..world.values import Fault
from .aftermath import fault_outcomes
from .answers import Answer
from .events import event_checks, never_fired
from .grounding import decided_by, inventions
from .opinions import Opinions
from .plan import Check, CheckPlan
from .rules import RuleBook
from .script import ScriptBook
from .trace import ExpectedWorld, Replay, Trace, opens_point
from .watch import Moment, Watcher

ERROR_ENDS: Final[Sequence[EndReason]] = ("agent_error", "model_error", "timeout", "budget", "cancelled")
"""The infrastructure's fault: verdict error, not in the rates."""
INVALID_ENDS: Final[Sequence[EndReason]] = ("world_error", "unsolvable", "user_fault")
"""The author's or the simulator's fault: verdict invalid, not in the rates."""
FAIL_ENDS: Final[Sequence[EndReason]] = ("max_tool_calls", "loop", "minefield", "script_fail", "event_fail")
"""Ends that are a failed check of their own, unless the check that caused them has failed."""
_TOLD_BY: Final[Mapping[str, CheckKind]] = {"minefield": "minefield", "script_fail": "script"}
NO_CHECKS: Final = "no checks"
_VERDICTS: Final[Mapping[bool | None, CheckVerdict]] = {True: "pass", False: "fail", None: "inconclusive"}


def grade(
    conversation: Conversation,
    plan: CheckPlan,
    base_root: dict[str, Any],
    expected: ExpectedWorld | None = None,
    opinions: Opinions | None = None,
) -> Verdict:
    """The verdict of a conversation. All checks are computed, whatever its end; none hides another.

    `base_root` is the world's base `{"db": …, "user_db": …}`; base + `setup` + the patches of the log is the state. If
    a check that counts needs an expected world and there is none, the verdict is invalid. `opinions`: judges' answers;
    questions not answered yet are left open in it, and inconclusive here.
    """
    try:
        checks, trace = _checked(conversation, plan, base_root, expected, opinions)
    except Fault as fault:
        return Verdict(
            verdict="error", end=conversation.end.reason, why=f"The record does not fit the world: {fault}."
        )
    for check in checks:
        check.in_reward = check.id in plan.reward.of if plan.reward.of else check.counts
    invented = (
        inventions(conversation.log, conversation.setup, plan.grounding) if plan.grounding is not None else []
    )
    asked = expected is not None and plan.rests_on_expected_world and conversation.state_known
    lacking = expected.error if expected is not None and asked else ""
    verdict, why = _verdict(conversation, plan, checks, lacking, invented)
    counted = verdict not in ("error", "invalid")
    parts = plan.original.parts(conversation, trace, expected) if plan.original is not None else {}
    return Verdict(
        verdict=verdict,
        reward=_reward(plan.reward, checks) if counted else None,
        reward_by=plan.reward.combine,
        score=_score(checks) if counted else None,
        end=conversation.end.reason,
        why=why,
        checks=checks,
        never_fired=never_fired(plan.events, conversation) if plan.events else [],
        faults=fault_outcomes(conversation) if plan.faulty else [],
        invented=invented,
        original_reward=plan.original.reward(parts) if plan.original is not None else None,
        original_parts=parts,
    )


def see_turn(verdict: Verdict) -> int:
    """The turn that decided the first counted check that failed; 0 if none failed."""
    return next((c.turn for c in verdict.checks if c.counts and c.verdict == "fail"), 0)


def unsolvable(why: str) -> str:
    """Why a trial without an expected world is invalid: the author's fault, whatever the agent does."""
    return f"unsolvable: {why}"


def user_fault(invention: Invention) -> str:
    """Why a trial is invalid if every failure rests on what the user invented: the simulator's fault."""
    text = f"in turn {invention.turn} the user gave {invention.said}, which is not on its sheet"
    return f"user_fault: {text}, and what failed rests on it"


def _checked(
    conversation: Conversation,
    plan: CheckPlan,
    base_root: dict[str, Any],
    expected: ExpectedWorld | None,
    opinions: Opinions | None,
) -> tuple[list[CheckResult], Trace]:
    replay = Replay(conversation, base_root, expected, plan.now, opinions)
    watcher, rules, script = Watcher(plan), RuleBook(plan.rules), ScriptBook(plan.script)
    last: LogEntry | None = None
    for entry in replay:
        if opens_point(last, entry):
            watcher.at_point(replay.trace)
        rules.before(entry, replay.trace)
        if plan.script:
            script.before(entry, replay.trace)
        last = entry
    watcher.at_point(replay.trace)
    played = replay.trace.played()
    results = [_result(check, watcher, played) for check in plan.checks]
    if plan.says_nothing and _declared(conversation):
        results = [_passed_by_end(results[0], conversation)]
    if plan.events or plan.script:
        results += [*script.results(played), *event_checks(plan.events, conversation)]
    results += [*rules.results(replay.trace), *_end_checks(conversation, results)]
    _date_failures(results, conversation)
    return results, replay.trace


def _result(check: Check, watcher: Watcher, trace: Trace) -> CheckResult:
    moment = watcher.reached.get(check.id)
    answer = _watched(check, moment, watcher, trace) if check.watched else check.predicate.holds(trace)
    return CheckResult(
        id=check.id,
        kind=check.kind,
        verdict=_VERDICTS[answer.value],
        why=answer.why,
        evidence=list(answer.evidence),
        turn=moment.turn if moment else 0,
        t=moment.t if moment else None,
        counts=check.counts,
        weight=check.weight,
        judged=check.predicate.judged,
        fix=answer.fix,
    )


def _watched(check: Check, reached: Moment | None, watcher: Watcher, trace: Trace) -> Answer:
    if check.kind == "minefield":
        if reached:
            return Answer(False, f"hit in turn {reached.turn}: {reached.why}", reached.evidence)
        part = watcher.counted(check, trace)
        undecided = part is not None and check.predicate.holds(part).value is None
        return Answer(None, "undecided") if undecided else Answer(True, "not hit")
    if reached is None:
        return _unreached(check, watcher, trace)
    if check.in_time(reached.turn, reached.t):
        return Answer(True, f"reached in turn {reached.turn}", reached.evidence)
    limits = [f"turn {check.by_turn}"] if check.by_turn is not None else []
    limits += [f"{check.by_s:g} s"] if check.by_s is not None else []
    why = f"reached only in turn {reached.turn}, at {reached.t:g} s; wanted by {' and '.join(limits)}"
    return Answer(False, why, reached.evidence)


def _declared(conversation: Conversation) -> bool:
    """Whether the script or an event ended the trial as passed."""
    if conversation.end.reason == "event_stop":
        return any(isinstance(e, StopEntry) and e.stop == "pass" for e in conversation.log)
    return conversation.end.reason == "script_succeed"


def _passed_by_end(goal: CheckResult, conversation: Conversation) -> CheckResult:
    why = f"nothing else was to be checked: {conversation.end.detail or conversation.end.reason}"
    return goal.model_copy(update={"verdict": "pass", "why": why})


def _unreached(check: Check, watcher: Watcher, trace: Trace) -> Answer:
    part = watcher.counted(check, trace)
    if part is not None:
        last = check.predicate.holds(part)
        return Answer(last.value, f"not reached: {last.why}", last.evidence)
    limits = [f"before {check.before}"] if check.before else []
    limits += [f"after {check.after}"] if check.after else []
    return Answer(False, f"not reached {' and '.join(limits)}")


def _end_checks(conversation: Conversation, results: Sequence[CheckResult]) -> list[CheckResult]:
    """The check `end.<reason>` if the end is a failure that no other check reports."""
    reason = conversation.end.reason
    told = any(c.kind == _TOLD_BY.get(reason) and c.verdict == "fail" for c in results)
    if reason not in FAIL_ENDS or told:
        return []
    why = conversation.end.detail or reason.replace("_", " ")
    last = [entry.n for entry in conversation.log[-1:]]
    return [CheckResult(id=f"end.{reason}", kind="end", verdict="fail", why=why, evidence=last)]


def _date_failures(results: Sequence[CheckResult], conversation: Conversation) -> None:
    """Give each failed check without a turn one: that of its first evidence, else the last of the trial."""
    turns = {entry.n: entry.turn for entry in conversation.log}
    for check in results:
        if check.verdict == "fail" and not check.turn:
            check.turn = min(
                (turns[n] for n in check.evidence if turns.get(n)), default=conversation.end.turn
            )


def _verdict(
    conversation: Conversation,
    plan: CheckPlan,
    checks: Sequence[CheckResult],
    lacking: str,
    invented: Sequence[Invention],
) -> tuple[TrialVerdict, str]:
    """(verdict, why). `lacking`: why there is no expected world although a counted check needs it."""
    end = conversation.end
    text = end.detail or end.reason.replace("_", " ")
    if end.reason in ERROR_ENDS:
        return "error", text
    if end.reason in INVALID_ENDS:
        return "invalid", text
    if lacking:
        return "invalid", unsolvable(lacking)
    verdicts = {check.verdict for check in checks if check.counts}
    if "fail" in verdicts:
        reason = decided_by(invented, checks) if invented else None
        return ("fail", "") if reason is None else ("invalid", user_fault(reason))
    if "inconclusive" in verdicts or not verdicts:
        unchecked = not verdicts or plan.says_nothing
        return "inconclusive", NO_CHECKS if unchecked else ""
    return "pass", ""


def _score(checks: Sequence[CheckResult]) -> float | None:
    """Weighted share of the counted checks that passed."""
    counted = [check for check in checks if check.counts]
    total = sum(check.weight for check in counted)
    return sum(check.weight for check in counted if check.verdict == "pass") / total if total else None


def _reward(reward: Reward, checks: Sequence[CheckResult]) -> float | None:
    parts = [check for check in checks if check.in_reward]
    if not parts or any(check.verdict == "inconclusive" for check in parts):
        return None
    passed = [1.0 if check.verdict == "pass" else 0.0 for check in parts]
    if reward.combine == "product":
        return math.prod(passed)
    if reward.combine == "min":
        return min(passed)
    total = sum(check.weight for check in parts)
    return sum(p * check.weight for p, check in zip(passed, parts, strict=True)) / total if total else None
