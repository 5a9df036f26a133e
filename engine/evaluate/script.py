"""The script's steps as checks see them: refused if they cannot be played, and its checks, decided on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..records.conversation import CheckEntry, LogEntry
from ..records.happenings import ScriptStep
from ..records.opinion import Opinion
from ..records.scenario import Scenario
from ..records.verdict import CheckResult, CheckVerdict
from ..world.mistakes import Mistakes
from .answers import AllOf, Answer, Judged, Predicate, parts_of
from .events import compile_moment
from .opinions import Opinions, Question
from .reading import Written
from .scope import Scope
from .trace import Trace

MOST_CRITERIA: Final = 50
_CRITERIA: Final = '["The agent has greeted the user."]'


@dataclass(frozen=True, slots=True)
class ScriptCheck:
    """A `check` or `judge` step of the script."""

    step: int
    """Its index in the script, from 0."""
    predicate: Predicate

    @property
    def id(self) -> str:
        """`script.3` for the third step."""
        return f"script.{self.step + 1}"

    @property
    def questions(self) -> list[Question]:
        """The questions for a judge."""
        return [part.question for part in parts_of(self.predicate) if isinstance(part, Judged)]

    def answer(self, trace: Trace, opinions: Sequence[Opinion]) -> Answer:
        """Whether it holds of what has happened so far, given the judge's answers to it."""
        said = Opinions({one.question: one for one in opinions})
        return self.predicate.holds(
            trace.played().with_opinions(said) if self.predicate.judged else trace.played()
        )


class ScriptBook:
    """The results of a script's checks: show it each entry before it is added, ask for results at the end."""

    def __init__(self, checks: Sequence[ScriptCheck]) -> None:
        self._checks = checks
        self._decided: dict[str, tuple[Answer, LogEntry]] = {}

    def before(self, entry: LogEntry, trace: Trace) -> None:
        """Decide a check at its entry."""
        if isinstance(entry, CheckEntry):
            for check in self._checks:
                if check.id == entry.check:
                    self._decided[check.id] = (check.answer(trace, entry.opinions), entry)

    def results(self, trace: Trace) -> list[CheckResult]:
        """The checks in order; one that the trial did not reach is decided on what there is."""
        return [self._result(check, trace) for check in self._checks]

    def _result(self, check: ScriptCheck, trace: Trace) -> CheckResult:
        decided = self._decided.get(check.id)
        answer = decided[0] if decided else check.predicate.holds(trace)
        return CheckResult(
            id=check.id,
            kind="script",
            verdict=self._verdict(check, answer),
            why=answer.why if decided else f"the trial ended before it: {answer.why}",
            evidence=list(answer.evidence),
            turn=decided[1].turn if decided else 0,
            t=decided[1].t if decided else None,
            judged=check.predicate.judged,
            fix=answer.fix,
        )

    @staticmethod
    def _verdict(check: ScriptCheck, answer: Answer) -> CheckVerdict:
        if answer.value is None and check.predicate.judged:
            return "inconclusive"
        return "pass" if answer.value is True else "fail"


def compile_script(scenario: Scenario, top: Written, scope: Scope) -> tuple[ScriptCheck, ...]:
    """The checks of the script; InvalidArgument listing all steps that cannot be played where they are."""
    checks: list[ScriptCheck] = []
    mistakes = Mistakes()
    asked = False
    """Whether the user has spoken and the agent has not answered."""
    for i, step in enumerate(scenario.script):
        where = top.at("script", i)
        _note_unreached(scenario.script, i, where, mistakes)
        asked = _asked(step, asked, where, mistakes)
        with mistakes.caught():
            predicate = _predicate(step, where, scope)
            checks += [ScriptCheck(i, predicate)] if predicate is not None else []
    mistakes.refuse()
    return tuple(checks)


def _predicate(step: ScriptStep, where: str, scope: Scope) -> Predicate | None:
    """The predicate of a `check` or `judge` step; None: it is neither."""
    if step.check is not None:
        return compile_moment(step.check, f"{where}.check", scope)
    return _checkpoint(step.judge, f"{where}.judge") if step.word == "judge" else None


def _asked(step: ScriptStep, asked: bool, where: str, mistakes: Mistakes) -> bool:
    """Whether the agent has to answer after this step: the sides take turns, and the user begins."""
    word = step.word
    if word == "user" and asked:
        what = "The user has spoken already, and the agent has not answered."
        mistakes.add(what, f"{where}.user", "an agent step before it, or message")
    if word == "agent" and not asked:
        what = "An `agent` step answers the user, who has not spoken since the agent's last words."
        mistakes.add(what, f"{where}.agent", "a user step before it, or message")
    return word == "user" or (asked and word not in ("agent", "proceed"))


def _checkpoint(criteria: Any, where: str) -> Predicate:
    """The criteria of a `judge` step, all of which must hold."""
    written = [criteria] if isinstance(criteria, str) else criteria
    if not isinstance(written, list) or not written:
        raise InvalidArgument("`judge` is a criterion or a list of them.", where=where, allowed=_CRITERIA)
    found = cast("list[Any]", written)
    if len(found) > MOST_CRITERIA or not all(isinstance(one, str) and one.strip() for one in found):
        raise InvalidArgument(
            f"A criterion is a text, and there are at most {MOST_CRITERIA}.", where=where, allowed=_CRITERIA
        )
    return AllOf([Judged(Question(one)) for one in found])


def _note_unreached(script: Sequence[ScriptStep], i: int, where: str, mistakes: Mistakes) -> None:
    before = script[i - 1] if i else None
    if before is None:
        return
    endless = before.word in ("succeed", "fail") or (before.word == "proceed" and before.proceed is None)
    if endless:
        text = "proceed: null" if before.word == "proceed" else before.word
        mistakes.add(
            f"This step is never reached: `{text}` before it goes on to the end.",
            where,
            "proceed with a number" if before.word == "proceed" else "leave it out",
        )
