"""Verdict: the result of grading one trial, and each check in it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .authored import Stored
from .opinion import MetricValue, Opinion

CheckVerdict = Literal["pass", "fail", "inconclusive"]
TrialVerdict = Literal["pass", "fail", "inconclusive", "error", "invalid"]
"""error: the infrastructure's fault; invalid: the author's or the simulator's. Neither counts in a rate."""
CheckKind = Literal["require", "milestone", "minefield", "rule", "event", "script", "end"]
Severity = Literal["minor", "major", "critical"]
GRADING = 4
"""Version of the grading, stored on every verdict. 2: a verdict that rests on a fact the user invented is invalid; 3:
if the user means harm, withstanding it passes; 4: a request to confirm needs no question mark."""


class CheckResult(Stored):
    """The result of one check, why, and the log entries that show it."""

    id: str
    kind: CheckKind = "require"
    verdict: CheckVerdict
    why: str = ""
    evidence: list[int] = Field(default_factory=list[int])
    """`n` of the log entries."""
    turn: int = 0
    """The turn that decided it; 0: none did."""
    t: float | None = None
    """Virtual seconds when a watched, event or script check was decided; None: at the end."""
    counts: bool = True
    weight: float = 1
    severity: Severity = "major"
    in_reward: bool = True
    judged: bool = False
    """Whether it rests on a judge's opinion."""
    fix: str = ""
    """What the judge says would fix it."""


class NeverFired(Stored):
    """An event that did not fire, and why."""

    event: str
    why: str


class FaultOutcome(Stored):
    """How the agent reacted to a fault injected into a call; it decides nothing."""

    n: int
    """The entry of the call."""
    turn: int
    tool: str
    mode: str
    then: Literal["retried", "gave_up", "claimed"]
    """claimed: it never called the tool again, and told the user that it was done."""
    evidence: int = 0
    """The entry that shows it; 0: none does."""


class Invention(Stored):
    """A fact in the simulated user's words that is not on its sheet and that nobody had told it."""

    n: int
    """The log entry of the words."""
    turn: int
    sort: Literal["id", "email", "amount", "date"]
    said: str
    used: list[int] = Field(default_factory=list[int])
    """The log entries of the agent's calls that used it."""


class Verdict(Stored):
    """The verdict of one trial."""

    format: Literal["verdict/1"] = "verdict/1"
    grading: int = GRADING
    verdict: TrialVerdict
    reward: float | None = None
    """0..1; None if a part is inconclusive or the verdict is error or invalid. Its parts are the checks with
    `in_reward`, each 1 if it passes and else 0."""
    reward_by: Literal["product", "mean", "min"] = "product"
    """How it is composed of them."""
    original_reward: float | None = None
    """The reward by the scenario's `profile`, 0..1; None without one, or if it cannot be determined."""
    original_parts: dict[str, float | None] = Field(default_factory=dict[str, float | None])
    """Its parts by name."""
    score: float | None = None
    """Weighted share of counted checks that passed, 0..1; None without counted checks."""
    end: str
    why: str = ""
    """One sentence for error, invalid and `no checks`."""
    checks: list[CheckResult] = Field(default_factory=list[CheckResult])
    never_fired: list[NeverFired] = Field(default_factory=list[NeverFired])
    faults: list[FaultOutcome] = Field(default_factory=list[FaultOutcome])
    judge: str = ""
    """The model whose opinions this verdict rests on; "": none was needed."""
    opinions: list[Opinion] = Field(default_factory=list[Opinion])
    """Every judge's answers about the conversation, which grading reads instead of asking again."""
    metrics: list[MetricValue] = Field(default_factory=list[MetricValue])
    invented: list[Invention] = Field(default_factory=list[Invention])
    """If everything that failed rests on one of them, the verdict is invalid."""

    def failed(self) -> list[str]:
        """Ids of the counted checks that failed."""
        return [c.id for c in self.checks if c.counts and c.verdict == "fail"]
