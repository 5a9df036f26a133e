"""Scenario: what the user wants and knows, and what counts as success. The unit of evidence."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_serializer, model_validator

from .authored import Authored, Sourced, Stored
from .happenings import Event, Fault, Noise, ScriptStep
from .persona import Fact, Persona, Source

Split = Literal["train", "held_out"]
Notifications = Literal["all", "own", "none"]
"""Which of the world's messages the agent is given: `own` means those caused by its own calls."""
Predicate = dict[str, Any]
"""A predicate as written: exactly one subject, and its modifiers. `evaluate` checks it."""


class WorldOptions(Sourced):
    """What this scenario changes about the world as the agent and the user see it."""

    now: str | None = None
    """The world's clock at the start, ISO 8601; None: the world's own."""
    rename_tools: dict[str, str] = Field(default_factory=dict[str, str])
    """From original name to the name the agent sees; checks use original names."""
    describe_tools: dict[str, str] = Field(default_factory=dict[str, str])
    hide_tools: list[str] = Field(default_factory=list[str])
    user_tools: list[str] | None = None
    """The user's tools that are offered; None: all."""
    solo: bool = False
    """The agent gets both sides' tools."""
    notifications: Notifications = "all"
    skip_rules: list[str] = Field(default_factory=list[str])


class HistoryItem(Sourced):
    """Something that happened before turn 1: words, or a call that is executed."""

    by: Literal["user", "agent"]
    say: str | None = None
    tool: str | None = None
    args: dict[str, Any] = Field(default_factory=dict[str, Any])


class ExpectedStep(Sourced):
    """One step of the solution: `tool` with `args`, or `say` (ends the turn), or `wait_s`."""

    id: str | None = None
    tool: str | None = None
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    say: str | None = None
    wait_s: float | None = Field(default=None, ge=0, le=1e9)
    """Virtual seconds that the agent lets pass."""
    by: Literal["agent", "user"] = "agent"
    compare: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Per argument, how it is compared with a call that was made; default exact."""
    after: list[str] = Field(default_factory=list[str])
    """Ids of steps that must come before this one."""


class Limits(Sourced):
    """When a trial ends by itself."""

    max_turns: int = Field(default=20, ge=1, le=1000)
    min_turns: int = Field(default=0, ge=0, le=1000)
    """Turns before the user may stop: an earlier stop is answered by one more turn."""
    max_tool_calls: int = Field(default=50, ge=1, le=10_000)
    timeout_s: float = Field(default=300, gt=0, le=86_400)
    """Wall seconds for the whole trial."""
    same_message: int = Field(default=5, ge=2, le=1000)
    """This many equal agent texts in a row are a loop."""

    @model_validator(mode="after")
    def _least_within_most(self) -> Limits:
        if {"min_turns", "max_turns"} <= self.model_fields_set and self.min_turns > self.max_turns:
            raise ValueError(f"`min_turns` {self.min_turns} is above `max_turns` {self.max_turns}")
        return self


class Reward(Sourced):
    """How the reward is composed; `of` empty: all counted checks."""

    combine: Literal["product", "mean", "min"] = "product"
    of: list[str] = Field(default_factory=list[str])


class Hint(Sourced):
    """A hint, shown to a writer or to the agent only on request."""

    for_: str | None = Field(default=None, alias="for")
    text: str


class Scenario(Authored):
    """What a person writes. The minimum: `{"id": "x", "goal": "get help"}`."""

    id: str = Field(min_length=1, max_length=64)
    goal: str = Field(min_length=1, max_length=20_000)
    persona: str | Persona | None = None
    """The default partner, by id or inline."""
    knowledge: list[str | Fact] = Field(default_factory=list[str | Fact], max_length=200)
    unknown: list[str] = Field(default_factory=list[str], max_length=200)
    """What the user says it does not know."""
    reveal: Literal["on_request", "upfront", "never"] = "on_request"
    guidelines: str = Field(default="", max_length=20_000)
    agent_context: str = Field(default="", max_length=20_000)
    """Appended to the instructions: the only text here that the agent sees."""
    world: WorldOptions = Field(default_factory=WorldOptions)
    history: list[HistoryItem] = Field(default_factory=list[HistoryItem], max_length=1000)
    init: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], max_length=1000)
    """Steps that run before turn 1."""
    script: list[ScriptStep] = Field(default_factory=list[ScriptStep], max_length=1000)
    """Empty: both sides speak in turns until something ends the trial."""
    events: list[Event] = Field(default_factory=list[Event], max_length=100)
    faults: list[Fault] = Field(default_factory=list[Fault], max_length=100)
    noise: Noise | None = None
    expected: list[ExpectedStep] = Field(default_factory=list[ExpectedStep], max_length=1000)
    success: list[Predicate] = Field(default_factory=list[Predicate], max_length=200)
    reward: Reward = Field(default_factory=Reward)
    hints: list[Hint] = Field(default_factory=list[Hint])
    limits: Limits = Field(default_factory=Limits)
    trials: int = Field(default=1, ge=1, le=1000)
    seed: int = Field(default=0, ge=-(2**53), le=2**53)
    tags: list[str] = Field(default_factory=list[str], max_length=50)
    profile: Literal["tau1", "tau2", "arksim"] | None = None
    split: Split | None = None
    """Drawn from the seed when stored; fixed from then on."""
    x_source: Any = None


class SolutionReport(Stored):
    """The result of playing the scenario's own solution and the baselines without a model."""

    status: Literal["proven", "unproven", "failed"]
    """proven: every deterministic counted check passes. unproven: no solution, or it was not requested."""
    why: str = ""
    failed_step: int | None = None
    """Index into `expected` of the step that failed."""
    failed_checks: list[str] = Field(default_factory=list[str])
    no_effect: list[int] = Field(default_factory=list[int])
    """Indexes of expected writes that changed nothing."""
    deterministic: bool = True
    """Two plays of the solution gave the same record."""
    do_nothing_passes: bool = False
    transfer_passes: bool = False
    lets_through: list[str] = Field(default_factory=list[str])
    """Warnings: which checks let a baseline through."""


class ScenarioRecord(Stored):
    """A stored scenario; its id is `environment/slug`."""

    format: Literal["scenario/1"] = "scenario/1"
    id: str
    environment: str
    scenario: Scenario
    number: int = 0
    """Order of storing, from 1."""
    split: Split = "train"
    solution: SolutionReport = Field(default_factory=lambda: SolutionReport(status="unproven"))
    spent: bool = False
    """Whether a client has read a held-out conversation of it."""
    sealed: bool = False
    """Written here and shown to nobody: nobody reads it before a hardening that it confirmed has its outcome."""
    version: int = 1
    source: Source = "written"
    created_at: str = ""
    updated_at: str = ""

    @field_serializer("scenario")
    def _as_written(self, scenario: Scenario) -> dict[str, Any]:
        """Only what was set, so that the environment's defaults still apply."""
        return scenario.model_dump(mode="json", by_alias=True, exclude_unset=True)
