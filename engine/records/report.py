"""Report: a run or a hardening as `report/1`, the data the report page draws. It decides nothing: all is computed.

Rates are in 0..1, differences in -1..1, intervals [low, high] at 95%, times UTC ISO 8601, durations seconds. A verdict
is one letter: p pass, f fail, i inconclusive, e error, v invalid. An unknown cost is None.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Stored
from .hardening import Edit, GuardResult
from .run import ThresholdResult
from .scenario import Split
from .verdict import Severity

Letter = Literal["p", "f", "i", "e", "v"]
Tone = Literal["p", "f", "i", "e", "v", "m"]
"""How a thing is shown: a verdict, or m: some of its trials pass."""


class Rate(Stored):
    """A pass rate over counted trials."""

    passed: int = 0
    trials: int = 0
    simulations: int = 0
    scenarios: int = 0
    rate: float | None = None
    low: float = 0.0
    high: float = 1.0


class Head(Stored):
    """The top of the page: the decision and what it rests on."""

    word: str
    """`Improved`, `38 of 48 pass`"""
    tone: Tone = "v"
    lede: str = ""
    marks: list[str] = Field(default_factory=list[str])
    decision: str = ""
    """`Promoted as version 2.`"""
    more: str = ""
    """How much more evidence would be needed, if there was not enough."""
    next: str = ""
    """The call to make next, if nothing can be shown."""


class ArmRate(Stored):
    """One of the rates drawn on the axis at the top."""

    label: str
    tone: Tone | Literal["base"] = "base"
    rate: Rate


class ProofFigures(Stored):
    """The held-out comparison, over scenarios."""

    difference: float
    low: float
    high: float
    scenarios: int
    better: int
    worse: int
    worse_confirmed: bool = False
    p: float
    look: int
    alpha: float
    told: tuple[str, str] = ("", "")
    """p and alpha with enough digits to be told apart."""


class ReportCase(Stored):
    """A scenario as the report names it."""

    id: str
    title: str
    goal: str = ""
    split: Split = "train"
    tags: list[str] = Field(default_factory=list[str])


class ReportPersona(Stored):
    """A persona as the report names it."""

    id: str
    name: str
    about: str = ""


class ReportRound(Stored):
    """One round: which text, how it did on either side of the split, and its result."""

    id: str
    label: str
    version: str
    """`version 1`, `candidate 2`"""
    train: Rate | None = None
    held_out: Rate | None = None
    left_out: int = 0
    """Trials that ended in error or are invalid: counted in no rate."""
    cost_usd: float | None = None
    decision: str = ""
    why: str = ""


class Quote(Stored):
    """The decisive words of a failure."""

    conversation: str
    turn: int
    text: str = ""
    calls: list[str] = Field(default_factory=list[str])


class ReportCluster(Stored):
    """A failure cluster under the base, and what remains under the newest text. Train only; held-out is counted."""

    id: str
    check: str
    name: str = ""
    """The name a writer model gave it."""
    severity: Severity
    cause: str
    simulations: int
    trials: int
    scenarios: int
    held_out: int = 0
    members: list[str] = Field(default_factory=list[str])
    newest: int | None = None
    """Simulations that fail it now; None: there is only one text."""
    quote: Quote | None = None


class Flip(Stored):
    """One simulation under the base and under the newest text, one letter per trial."""

    simulation: str
    base: str
    newest: str
    kind: Literal["fixed", "broken", "flaky", "unchanged", "left_out"]


class TextVersion(Stored):
    """An instructions text of the hardening."""

    label: str
    chars: int
    why: str = ""
    cause: str = ""
    """The cluster it addresses."""
    by: str = ""
    edits: list[Edit] = Field(default_factory=list[Edit])


class TextDiff(Stored):
    """Two texts compared word by word: parts of (" ", "+" or "-", text)."""

    label: str
    parts: list[tuple[str, str]]


class ReportCall(Stored):
    """A tool call in a conversation."""

    tool: str
    args: Any = None
    ok: bool = True
    result: Any = None
    injected: str = ""
    by: str = ""
    """user or world, if it was not the agent."""
    changes: list[tuple[str, list[Any], list[Any]]] = Field(
        default_factory=list[tuple[str, list[Any], list[Any]]]
    )
    """(path, [old], [new]); [] if there was, or is, nothing."""


class ReportPart(Stored):
    """A part of a turn: what one side said and did, or what happened."""

    turn: int
    by: Literal["user", "agent", "world"]
    t: float
    text: str = ""
    calls: list[ReportCall] = Field(default_factory=list[ReportCall])
    rejected: bool = False


class ReportCheck(Stored):
    """A check of a conversation: what it asks, the result, why, and in which turn."""

    id: str
    text: str = ""
    verdict: Letter
    why: str = ""
    turn: int = 0
    by: Literal["code", "judge"] = "code"
    counts: bool = True


class ReportTalk(Stored):
    """A conversation."""

    id: str
    """run/simulation/trial"""
    round: str
    simulation: str
    trial: int
    seed: int
    verdict: Letter
    end: str
    why: str = ""
    version: str
    wall_s: float = 0.0
    tokens: int = 0
    cost_usd: float | None = None
    differs_at: int = 0
    """The first turn that differs from its counterpart; 0: none did, or there is none."""
    parts: list[ReportPart] = Field(default_factory=list[ReportPart])
    checks: list[ReportCheck] = Field(default_factory=list[ReportCheck])
    changes: list[str] = Field(default_factory=list[str])
    """Paths of the world that the conversation changed."""


class Report(Stored):
    """The whole report."""

    format: Literal["report/1"] = "report/1"
    source: str
    kind: Literal["run", "hardening"]
    as_of: str
    """When the data shown last changed."""
    environment: str
    environment_name: str = ""
    offline: bool = False
    trials: int = 1
    """The most trials of one simulation in one round."""
    head: Head
    arms: list[ArmRate] = Field(default_factory=list[ArmRate])
    arms_of: str = ""
    """What the rates at the top refer to."""
    proof: ProofFigures | None = None
    thresholds: list[ThresholdResult] = Field(default_factory=list[ThresholdResult])
    facts: list[tuple[str, str, str]] = Field(default_factory=list[tuple[str, str, str]])
    """(name, figure, note)"""
    models: list[tuple[str, str]] = Field(default_factory=list[tuple[str, str]])
    """(role, model)"""
    warnings: list[tuple[str, str]] = Field(default_factory=list[tuple[str, str]])
    """(tone, text)"""
    personas: list[ReportPersona] = Field(default_factory=list[ReportPersona])
    scenarios: list[ReportCase] = Field(default_factory=list[ReportCase])
    simulations: dict[str, tuple[str, str]] = Field(default_factory=dict[str, tuple[str, str]])
    """(scenario, persona) of each; persona "" means none."""
    rounds: list[ReportRound] = Field(default_factory=list[ReportRound])
    results: dict[str, dict[str, str]] = Field(default_factory=dict[str, dict[str, str]])
    """By round and simulation: one letter per trial."""
    clusters: list[ReportCluster] = Field(default_factory=list[ReportCluster])
    flips: list[Flip] = Field(default_factory=list[Flip])
    versions: list[TextVersion] = Field(default_factory=list[TextVersion])
    diffs: list[TextDiff] = Field(default_factory=list[TextDiff])
    guards: list[GuardResult] = Field(default_factory=list[GuardResult])
    conversations: list[ReportTalk] = Field(default_factory=list[ReportTalk])
    left_out: int = 0
    """Conversations left out to keep the report small."""
    hidden: str = ""
    """Why held-out conversations are left out."""
    manifest: list[tuple[str, str]] = Field(default_factory=list[tuple[str, str]])
