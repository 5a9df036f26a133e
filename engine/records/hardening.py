"""A hardening: the search for better instructions, its rounds, candidates, evidence and outcome.

Everything here is stored; nothing here decides. Counts are whole numbers of what their name says, rates, p and alpha
are in 0..1, intervals [low, high] at 95%. `round`, `trial` and `look` count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from .authored import Authored, Stored
from .conversation import ModelUse
from .environment import DEFAULT_CONCURRENCY, ModelName
from .run import Cluster
from .scenario import Split

CandidateState = Literal["proposed", "refused", "rejected", "kept", "evaluated"]
Decision = Literal["promote", "reject", "roll_back"]
EditOp = Literal["add", "replace", "remove"]
HardeningState = Literal["open", "running", "paused", "decided", "promoted", "rejected", "cancelled"]
Mark = Literal["exposed", "self-judged", "overridden"]
Outcome = Literal["improved", "unconfirmed", "no_change", "regressed", "nothing_to_fix", "not_evaluated"]
Strategy = Literal["rules", "reflect", "submit"]
Target = Literal["instructions", "tool_descriptions", "examples"]
"""The part of the text that is hardened; instructions: all of it."""


class Edit(Authored):
    """One change of a text.

    `anchor` is a line of the text, or `start` or `end`. add: `text` goes after that line; replace: instead of it;
    remove: the line is deleted, `text` is empty.
    """

    op: EditOp
    anchor: str = "end"
    text: str = ""


class GuardResult(Stored):
    """A guard's result for a candidate.

    `line` (from 1; 0: none) and `text` name the first place that breaks `rule`.
    """

    guard: str
    result: Literal["pass", "fail"]
    line: int = 0
    text: str = ""
    rule: str = ""


class RejectedEdit(Stored):
    """Edits that were tried and rejected; they are not proposed again."""

    candidate: str
    edits: list[Edit]
    reason: str


class Brief(Stored):
    """What a writer is given for one candidate: nothing in it comes from held-out scenarios.

    `max_added` is the number of characters that may be added to the text the hardening started from.
    """

    hardening: str
    base: str
    text: str
    clusters: list[Cluster] = Field(default_factory=list[Cluster])
    rejected: list[RejectedEdit] = Field(default_factory=list[RejectedEdit])
    tools: list[str] = Field(default_factory=list[str])
    guards: list[str] = Field(default_factory=list[str])
    max_added: int = 0
    locked: list[str] = Field(default_factory=list[str])
    target: Target = "instructions"
    descriptions: dict[str, str] = Field(default_factory=dict[str, str])
    """Of the tools, if these are the target: what the agent is told about each."""
    hint: str = ""


class Comparison(Stored):
    """Two texts on the same trials. A scenario is better if its mean over all its pairs went up.

    `base` and `candidate` are passed trials of `base_trials` and `candidate_trials` counted ones; `base_missing` and
    `candidate_missing` those still error or invalid after a second try, of `pairs` wanted. `fixed` and `broken` are
    (simulation, check) pairs that changed, before any confirmation. `p` is one-sided: sign-flip over the scenarios;
    `p_worse` is the same in the other direction.
    """

    n: int = 0
    better: int = 0
    worse: int = 0
    unchanged: int = 0
    p: float = 1.0
    p_worse: float = 1.0
    simulations: int = 0
    pairs: int = 0
    base: int = 0
    candidate: int = 0
    base_trials: int = 0
    candidate_trials: int = 0
    base_rate: float | None = None
    candidate_rate: float | None = None
    base_interval: tuple[float, float] | None = None
    candidate_interval: tuple[float, float] | None = None
    base_missing: int = 0
    candidate_missing: int = 0
    candidate_inconclusive: int = 0
    difference: float = 0.0
    difference_se: float = 0.0
    fixed: int = 0
    broken: int = 0
    better_scenarios: list[str] = Field(default_factory=list[str])
    worse_scenarios: list[str] = Field(default_factory=list[str])


class HeldOutEvidence(Comparison):
    """The comparison a proof reads, with its look and the largest p allowed at that look."""

    look: int = 1
    first_trial: int = 1
    """The number of the first trial that both arms played for this look."""
    alpha: float = 0.0
    can_change: int = 0


class CheckRegression(Stored):
    """A check of a simulation that the base passed and the candidate fails, with both counts after confirmation."""

    simulation: str
    scenario: str
    check: str
    split: Split
    base_passed: int
    candidate_passed: int
    trials: int
    confirmed: bool
    conversation: str = ""
    """A trial in which the candidate fails the check; train only."""
    left_out: bool = False
    """Whether it is in a train simulation that the hardening was not to work on."""
    undecided: bool = False
    """Whether too few of the confirming trials counted, in both arms, to tell."""


class Evidence(Stored):
    """What an outcome rests on. `caps` are reason codes that rule out `improved`.

    `more_scenarios` (and as many times their simulations in `more_simulations`) is roughly how many more held-out
    scenarios are enough 4 times in 5 if they turn out like these; None if more would not help. `left_out`: train
    simulations that the hardening did not work on and that were run at the end; they are in no other figure.
    """

    held_out: HeldOutEvidence | None = None
    train: Comparison | None = None
    regressed_checks: int = 0
    regressions: list[CheckRegression] = Field(default_factory=list[CheckRegression])
    judge_only: bool = False
    deterministic: bool = False
    caps: list[str] = Field(default_factory=list[str])
    more_scenarios: int | None = None
    more_simulations: int | None = None
    left_out: int = 0


class Candidate(Stored):
    """A text that may replace the base. `diff` is against the hardening's base; `chars` are [base, candidate]."""

    id: str
    base: str
    parent: str
    round: int
    text: str
    sha256: str
    edits: list[Edit] = Field(default_factory=list[Edit])
    diff: str = ""
    chars: tuple[int, int] = (0, 0)
    by: str = ""
    client: bool = False
    why: str = ""
    cluster: str = ""
    guards: list[GuardResult] = Field(default_factory=list[GuardResult])
    state: CandidateState = "proposed"
    outcome: Outcome | None = None
    evidence: Evidence | None = None
    became: str = ""
    """The version it became; empty until its promotion has finished."""
    reason: str = ""
    """Why it was rejected, or promoted although it is not proven."""
    job: str = ""
    """The job that submitted it; a job has one candidate."""


class Written(Stored):
    """A writer's answer in a round for one text, stored as soon as it arrives: it is not requested twice.

    Without edits it proposed nothing; `failure`: why the answer could not be used. `use`: of the model, None if none
    was asked.
    """

    round: int
    parent: str
    edits: list[Edit] = Field(default_factory=list[Edit])
    cluster: str = ""
    why: str = ""
    passed_over: dict[str, str] = Field(default_factory=dict[str, str])
    failure: str = ""
    use: ModelUse | None = None


class Pruning(Stored):
    """An added line that the best text was tried without."""

    line: str
    removed: bool
    needed_by: str = ""
    """A train simulation that gets worse without it."""


class Round(Stored):
    """One iteration of the loop; round 0 is the base. Totals are of train trials under the round's candidate.

    `decision` is what became of the candidate, none: nothing was proposed; `reason` its machine code; `conversations`
    the trials that the candidate was judged by.
    """

    number: int
    candidate: str = ""
    parent: str = ""
    cluster: Cluster | None = None
    decision: Literal["base", "kept", "rejected", "refused", "none"] = "none"
    reason: str = ""
    told: str = ""
    why: str = ""
    simulations: int = 0
    total: int = 0
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0
    error: int = 0
    invalid: int = 0
    rate: float | None = None
    completed: bool = False
    train: Comparison | None = None
    regressions: list[CheckRegression] = Field(default_factory=list[CheckRegression])
    not_proposed: dict[str, str] = Field(default_factory=dict[str, str])
    chars: int = 0
    trials_run: int = 0
    """Trials asked for to compare the text on train, in the base round on all scenarios; no screens or pruning."""
    conversations: list[str] = Field(default_factory=list[str])


class HardeningLimits(Authored):
    """When a hardening stops. `trials` 0: one if everything is deterministic, else three."""

    rounds: int = Field(default=5, ge=1, le=20)
    patience: int = Field(default=2, ge=1, le=20)
    trials: int = Field(default=0, ge=0, le=50)
    locked: list[str] = Field(default_factory=list[str])
    target: Target = "instructions"
    concurrency: int = Field(default=DEFAULT_CONCURRENCY, ge=1, le=1000)
    """Trials at the same time."""
    pause_after: int = Field(default=10, ge=0)
    """Equal infrastructure failures in a row that pause it; 0: never."""
    budget: dict[str, int | float] = Field(default_factory=dict[str, int | float])
    """calls, tokens, usd, seconds: the most that all its trials may use."""
    cassette: dict[str, Any] = Field(default_factory=dict[str, Any])
    """The file and mode of recorded model calls; {}: every call is made."""


class Snapshot(Stored):
    """What every trial of a hardening is made of, as it was when the hardening began.

    Its cases are in the folder of the hardening's id. Later changes of the environment do not affect it.
    """

    world: str = ""
    """Hash of the world's document."""
    agent: dict[str, Any] = Field(default_factory=dict[str, Any])
    limits: dict[str, Any] = Field(default_factory=dict[str, Any])
    user_guidelines: str = ""
    base_serves: bool = False
    """Whether the trials of the run it started from equal those it would run for the base text."""


class Hardening(Stored):
    """The whole record. `held_out_set` names the held-out scenarios; `looks` counts the earlier proofs that read them.

    While `proving`, held-out conversations are hidden from everyone.
    """

    format: Literal["hardening/1"] = "hardening/1"
    id: str
    environment: str
    name: str = ""
    version: int = 1
    """Counts the changes made by clients."""
    base: str
    base_text: str
    strategy: Strategy
    seed: int = 0
    limits: HardeningLimits = Field(default_factory=HardeningLimits)
    state: HardeningState = "open"
    proving: bool = False
    stop_reason: str = ""
    outcome: Outcome | None = None
    marks: list[Mark] = Field(default_factory=list[Mark])
    trials: int = 0
    deterministic: bool = False
    train: list[str] = Field(default_factory=list[str])
    held_out: list[str] = Field(default_factory=list[str])
    spent: list[str] = Field(default_factory=list[str])
    held_out_set: str = ""
    looks: int = 0
    rounds: list[Round] = Field(default_factory=list[Round])
    candidates: list[Candidate] = Field(default_factory=list[Candidate])
    candidate: str = ""
    evidence: Evidence | None = None
    brief: Brief | None = None
    rejected: list[RejectedEdit] = Field(default_factory=list[RejectedEdit])
    written: list[Written] = Field(default_factory=list[Written])
    pruned: list[Pruning] = Field(default_factory=list[Pruning])
    warnings: list[str] = Field(default_factory=list[str])
    models: dict[str, ModelName] = Field(default_factory=dict[str, ModelName])
    base_run: str = ""
    simulations: list[str] = Field(default_factory=list[str])
    """Slugs of the simulations it works on."""
    left_out: list[str] = Field(default_factory=list[str])
    """Slugs of the train simulations not chosen: run before a text may be called improved, otherwise never."""
    snapshot: Snapshot | None = None
    """None only before it has begun."""
    job: str = ""
    """The job that started it."""
    reason: str = ""
    created_at: str = ""
    ended_at: str = ""

    @property
    def round(self) -> int:
        """The last round's number; 0 while only the base was run."""
        return self.rounds[-1].number if self.rounds else 0

    def find(self, candidate: str) -> Candidate | None:
        """The candidate with that id (`hard-2/c1`), or None."""
        return next((c for c in self.candidates if c.id == candidate), None)

    @property
    def original_config(self) -> Mapping[str, str]:
        return {"instructions": self.base}

    @property
    def improved_config(self) -> Mapping[str, str]:
        """What is ready to replace the base: the promoted version, else the candidate; empty without one."""
        found = self.find(self.candidate)
        return {"instructions": found.became or found.id} if found else {}
