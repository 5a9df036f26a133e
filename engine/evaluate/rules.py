"""The world's rules over the agent's successful calls, each a check `rule.<id>` of every scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..canonical import canonical
from ..records.conversation import LogEntry, ToolEntry
from ..records.verdict import CheckResult
from ..records.world import Rule
from ..world.values import shown
from .another_question import answers_another
from .answers import Answer, Predicate
from .consent import question_answered, says_yes
from .trace import Trace


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """A rule with its compiled `need`."""

    rule: Rule
    need: Predicate | None = None

    @property
    def id(self) -> str:
        """`rule.<id>`"""
        return f"rule.{self.rule.id}"

    def covers(self, call: ToolEntry) -> bool:
        """Whether the rule applies to this call: to such a tool, by the agent itself, successful, not injected."""
        return (
            call.by == "agent"
            and call.ok
            and call.injected is None
            and call.cause is None
            and fnmatchcase(call.tool, self.rule.glob)
        )

    def cause(self) -> str:
        """What went wrong if it fails, in one line: `refund_order is called before verify_customer`."""
        rule = self.rule
        if rule.sort == "before":
            return f"{rule.glob} is called before {_need(self)}"
        if rule.sort == "after":
            return f"{rule.glob} is not followed by {_need(self)}"
        if rule.sort == "never":
            return f"{rule.glob} is called, which is never allowed"
        if rule.sort == "at_most_once":
            same = f" for the same {' and '.join(rule.per)}" if rule.per else ""
            return f"{rule.glob} is called more than once{same}"
        return f"{rule.glob} without asking the user to confirm"


class RuleBook:
    """Watches a trace for all rules: show it each entry before it is added, ask for results at the end."""

    def __init__(self, rules: Sequence[RuleCheck]) -> None:
        self._rules = rules
        self._calls: list[list[ToolEntry]] = [[] for _ in rules]
        self._wrong: list[list[tuple[ToolEntry, Answer]]] = [[] for _ in rules]

    def before(self, entry: LogEntry, trace: Trace) -> None:
        """Judge a call on the record up to it."""
        if not isinstance(entry, ToolEntry):
            return
        for rule, calls, wrong in zip(self._rules, self._calls, self._wrong, strict=True):
            if rule.covers(entry):
                answer = _judged_at(rule, entry, calls, trace)
                calls.append(entry)
                if answer.value is not True:
                    wrong.append((entry, answer))

    def results(self, trace: Trace) -> list[CheckResult]:
        """The check result of each rule, from the whole record."""
        return [
            _result(
                rule, calls, wrong if rule.rule.sort != "after" else _unfollowed(rule, calls, trace), trace
            )
            for rule, calls, wrong in zip(self._rules, self._calls, self._wrong, strict=True)
        ]


def _judged_at(rule: RuleCheck, call: ToolEntry, earlier: Sequence[ToolEntry], trace: Trace) -> Answer:
    sort = rule.rule.sort
    if sort == "never":
        return Answer(False, f"{call.tool} was called", (call.n,))
    if sort == "at_most_once":
        return _once(rule, call, earlier)
    if sort == "confirm":
        return _confirmed(rule, call, trace)
    if sort == "before" and rule.need:
        held = rule.need.holds(trace)
        return Answer(held.value, f"{call.tool} was called before {_need(rule)} ({held.why})", (call.n,))
    return Answer(True)


def _once(rule: RuleCheck, call: ToolEntry, earlier: Sequence[ToolEntry]) -> Answer:
    same = [c for c in earlier if _case(rule, c) == _case(rule, call)]
    if not same:
        return Answer(True)
    return Answer(False, f"{call.tool} was called again (first in turn {same[0].turn})", (same[0].n, call.n))


def _case(rule: RuleCheck, call: ToolEntry) -> str:
    return canonical([call.args.get(name) for name in rule.rule.per])


def _confirmed(rule: RuleCheck, call: ToolEntry, trace: Trace) -> Answer:
    question, answer = question_answered(trace.says)
    if answer is None:
        return Answer(False, f"{call.tool} was called before the user had said anything", (call.n,))
    if question is None:
        return Answer(False, f"{call.tool} was called and the user had not been asked", (answer.n, call.n))
    if says_yes(answer.say, rule.rule.words):
        if not answers_another(trace.says, call, trace.initial, rule.rule.words):
            return Answer(True)
        text = f"{call.tool} was called and the user said yes to another question: {shown(question.say, 80)}"
        return Answer(False, text, (question.n, answer.n, call.n))
    text = f"{call.tool} was called and the user's last words are no yes: {shown(answer.say, 80)}"
    return Answer(False, text, (question.n, answer.n, call.n))


def _unfollowed(rule: RuleCheck, calls: Sequence[ToolEntry], trace: Trace) -> list[tuple[ToolEntry, Answer]]:
    if rule.need is None:
        return []
    found = [(call, rule.need.holds(trace.after(call.n))) for call in calls]
    return [
        (call, Answer(held.value, f"{call.tool} was not followed by {_need(rule)} ({held.why})", (call.n,)))
        for call, held in found
        if held.value is not True
    ]


def _result(
    rule: RuleCheck, calls: Sequence[ToolEntry], wrong: Sequence[tuple[ToolEntry, Answer]], trace: Trace
) -> CheckResult:
    verdict = "pass"
    why = f"{len(calls)} call{'' if len(calls) == 1 else 's'} of {rule.rule.glob}"
    evidence = [call.n for call in calls]
    turn = 0
    if wrong:
        failed = [pair for pair in wrong if pair[1].value is False] or list(wrong)
        verdict = "fail" if failed[0][1].value is False else "inconclusive"
        why = "; ".join(f"in turn {call.turn} {answer.why}" for call, answer in failed[:3])
        evidence = sorted({n for _, answer in failed for n in answer.evidence})
        turn = failed[0][0].turn
    return CheckResult(
        id=rule.id,
        kind="rule",
        verdict=verdict,
        why=why,
        evidence=evidence,
        turn=turn,
        counts=rule.rule.counts,
        severity=rule.rule.severity,
    )


def _need(rule: RuleCheck) -> str:
    return rule.need.describe() if rule.need else ""
