"""Run: a set of trials of chosen simulations under one instructions version, and their scores."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored
from .conversation import ModelUse
from .environment import ModelName
from .opinion import Agreement, MetricSummary
from .verdict import Severity, TrialVerdict, Verdict

Threshold = float | list[str]
"""A number, or labels that must not occur."""
RunState = Literal["running", "paused", "done", "failed", "cancelled"]


class Totals(Stored):
    """Counts of a run. Rates count only pass, fail and inconclusive.

    `interval` is the 95% interval of the rate, clustered by scenario. A simulation with several trials is `mixed` if
    they disagree.
    """

    simulations: int = 0
    scenarios: int = 0
    trials: int = 0
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    error: int = 0
    invalid: int = 0
    mixed: int = 0
    rate: float | None = None
    interval: tuple[float, float] | None = None
    pass_k: dict[str, float | None] = Field(default_factory=dict[str, float | None])
    """`pass@1`, `pass^3` …, if there are several trials."""


class Cluster(Stored):
    """A failed check over the run: how often, how bad, why, and where to look."""

    id: str
    """k1, k2 …, by severity, then the largest first"""
    check: str
    key: str = ""
    """What identifies it in another run: the check's id, or for one without a name the hash of its wording."""
    name: str = ""
    """The name a writer model gave it; "": none was asked, and check and cause are shown."""
    severity: Severity = "major"
    simulations: int = 0
    scenarios: int = 0
    trials: int = 0
    cause: str = ""
    """One line."""
    tool: str = ""
    """The tool the check is about, or empty."""
    rule: dict[str, Any] = Field(default_factory=dict[str, Any])
    """The world's rule or the scenario's predicate behind it."""
    see: str = ""
    """A place: run/simulation/trial@turn, on train."""
    evidence: list[str] = Field(default_factory=list[str])
    """Places of the turns that decided it, one per simulation, the shortest conversations first."""
    smallest: str = ""
    """The smallest simulation that shows it: preferably one that fails in each of its trials, then the shortest."""
    faults: dict[str, int] = Field(default_factory=dict[str, int])
    """If `failure_cause` was asked for: what the judge says went wrong first, and in how many trials."""
    fix: str = ""
    """What the judge most often says would fix it."""
    members: list[str] = Field(default_factory=list[str])
    """Slugs of the simulations, train only."""
    held_out: int = 0
    """How many more simulations fail it on held-out scenarios."""
    not_understood: int = 0
    """In how many of `trials` the offline user did not understand a question: these are not surely the agent's."""


class ClusterRerun(Stored):
    """A cluster of an earlier run that a run was to reproduce, and the result. Counts simulations of train."""

    cluster: str
    """`run-1/k2`"""
    check: str
    key: str
    """`Cluster.key`"""
    cause: str = ""
    members: list[str] = Field(default_factory=list[str])
    """Slugs of the simulations that failed it."""
    again: int = 0
    """Fail it again, in at least one trial."""
    otherwise: int = 0
    """Fail, but not by it."""
    passed: int = 0
    undecided: int = 0
    """Error, invalid or inconclusive."""
    changed: int = 0
    """Made from something else than when they failed; they are counted above all the same."""
    gone: int = 0
    """No longer there."""


class WhatIf(Stored):
    """A conversation that a run continues from a turn, and how its continuations ended. Counts are trials."""

    place: str
    """`run-1/refund-dana/1@3`"""
    instructions: str = ""
    """The version it was originally played under."""
    was: TrialVerdict
    """How it ended originally."""
    failed: list[str] = Field(default_factory=list[str])
    """The checks that failed originally; none of a held-out one."""
    trials: int = 0
    passed: int = 0
    again: int = 0
    """Fail one of the same checks."""
    otherwise: int = 0
    """Fail, but none of the same checks."""
    undecided: int = 0
    """Inconclusive, error or invalid."""
    ways: int = 0
    """How many distinct courses they took in what was said and done."""
    interval: tuple[float, float] | None = None
    """95%, of the rate of the decided ones; None if all went the same way."""


class TrialRecord(Stored):
    """One finished trial of a run: the small document that lists walk; the conversation is in a segment."""

    format: Literal["trial/1"] = "trial/1"
    id: str
    """simulation/trial"""
    simulation: str
    scenario: str
    persona: str = ""
    trial: int = 1
    seed: int = 0
    split: Literal["train", "held_out"] = "train"
    tags: list[str] = Field(default_factory=list[str])
    verdict: TrialVerdict
    failed_checks: list[str] = Field(default_factory=list[str])
    turns: int = 0
    end: str = ""
    error: str = ""
    """What broke; equal for equal failures."""
    attempt: int = 1
    """From 2: the earlier ones ended in error and are kept as failed attempts."""
    runtime_errors: int = 0
    """Calls that ended in an error of the tool itself."""
    writes: int | None = None
    """The agent's calls that changed the world; None: stored before this was counted."""
    see_turn: int = 0
    """The turn that decided the first failed check."""
    not_understood: list[int] = Field(default_factory=list[int])
    """The turns in which the agent asked something that the offline user has no rule for."""
    transcript_hash: str = ""
    wall_s: float = 0.0
    models: dict[str, ModelUse] = Field(default_factory=dict[str, ModelUse])
    graded: Verdict
    pointer: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Where the conversation is stored."""


class ThresholdResult(Stored):
    """A threshold a run had to reach, and whether it did; one that could not be measured fails."""

    threshold: str
    """`pass_rate >= 0.9`"""
    result: Literal["pass", "fail"]
    why: str = ""

    @classmethod
    def of(cls, threshold: str, reached: bool, why: str) -> ThresholdResult:
        """A pass where it was reached."""
        return cls(threshold=threshold, result="pass" if reached else "fail", why=why)


class ScoreSet(Stored):
    """The result of one scoring of a run."""

    grading: int
    judge: str = ""
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """The metrics and thresholds requested."""
    totals: Totals = Field(default_factory=Totals)
    metrics: dict[str, MetricSummary] = Field(default_factory=dict[str, MetricSummary])
    thresholds: list[ThresholdResult] = Field(default_factory=list[ThresholdResult])
    agreement: Agreement | None = None
    at: str = ""


class RunRecord(Stored):
    """A stored run. A round of a series: `series` is the first run's id, `round` counts from 1."""

    format: Literal["run/1"] = "run/1"
    id: str
    environment: str
    name: str = ""
    series: str = ""
    round: int = 1
    previous: str = ""
    purpose: Literal["run", "hardening", "session"] = "run"
    """session: its trials are the ends of the session with the same id."""
    hardening: str = ""
    instructions: str = ""
    """`support@2` or `hard-1/c2`"""
    instructions_text: str = ""
    world: str = ""
    models: dict[str, ModelName] = Field(default_factory=dict[str, ModelName])
    """By role, with all that is needed to run again; secrets as references."""
    agent: dict[str, Any] = Field(default_factory=dict[str, Any])
    simulations: list[str] = Field(default_factory=list[str])
    trials: int = 1
    seed: int = 0
    state: RunState = "running"
    job: str = ""
    totals: Totals = Field(default_factory=Totals)
    clusters: list[Cluster] = Field(default_factory=list[Cluster])
    naming: ModelUse | None = None
    """The cost of having a writer name the clusters; None: none was asked."""
    reruns: list[ClusterRerun] = Field(default_factory=list[ClusterRerun])
    """If it was selected by clusters of earlier runs: whether they occurred again."""
    what_ifs: list[WhatIf] = Field(default_factory=list[WhatIf])
    """If it continues from turns of stored conversations: how those end now."""
    thresholds: list[ThresholdResult] = Field(default_factory=list[ThresholdResult])
    metrics: dict[str, MetricSummary] = Field(default_factory=dict[str, MetricSummary])
    agreement: Agreement | None = None
    score_sets: list[ScoreSet] = Field(default_factory=list[ScoreSet])
    """Earlier scorings of the run, oldest first; the present scores are not among them."""
    grading: int = 0
    """The oldest version of the grading among the present verdicts; 0: unknown."""
    models_used: dict[str, ModelUse] = Field(default_factory=dict[str, ModelUse])
    warnings: list[str] = Field(default_factory=list[str])
    options: dict[str, Any] = Field(default_factory=dict[str, Any])
    wall_s: float = 0.0
    version: int = 1
    created_at: str = ""
    updated_at: str = ""
