"""What a comparison needs to know of a run: what it was made of and how each trial ended, but no conversation.

It comes from the store, an exported run or a baseline file, which holds nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ..canonical import digest
from ..records.authored import Stored
from ..records.environment import short_name
from ..records.run import RunRecord
from ..records.verdict import TrialVerdict

BASELINE = "baseline/1"
PARTS = ("instructions", "hints", "models", "agent", "world", "limits", "user guidelines", "cases", "grading")
"""What can change a result, in the order reported."""


class PlayedTrial(Stored):
    """How one trial ended."""

    simulation: str
    scenario: str
    trial: int = Field(ge=1)
    seed: int = 0
    verdict: TrialVerdict
    held_out: bool = False
    persona: str = ""
    tags: list[str] = Field(default_factory=list[str])


class ComparedRun(Stored):
    """A run as a comparison sees it; hashes are SHA-256."""

    format: Literal["baseline/1"] = "baseline/1"
    run: str
    environment: str
    state: str = "done"
    instructions: str = ""
    """`support@2` or `hard-1/c2`"""
    instructions_sha256: str = ""
    models: dict[str, str] = Field(default_factory=dict[str, str])
    agent: dict[str, Any] = Field(default_factory=dict[str, Any])
    world: str = ""
    limits: dict[str, Any] = Field(default_factory=dict[str, Any])
    user_guidelines_sha256: str = ""
    hints: bool = False
    """Whether the agent was given the hints of its scenarios."""
    seed: int = 0
    trials: int = 1
    grading: int = 0
    """The oldest grading version among its verdicts; 0: unknown."""
    created_at: str = ""
    cases: dict[str, str] = Field(default_factory=dict[str, str])
    """Simulation: the hash of its case."""
    played: list[PlayedTrial] = Field(default_factory=list[PlayedTrial])


def compared_run(
    run: RunRecord, cases: Mapping[str, str], played: Sequence[PlayedTrial], created_at: str = ""
) -> ComparedRun:
    """A run with the hashes of its cases and the endings of its trials."""
    options = run.options
    return ComparedRun(
        run=run.id,
        environment=run.environment,
        state=run.state,
        instructions=run.instructions,
        instructions_sha256=digest(run.instructions_text),
        models={role: short_name(model) for role, model in run.models.items()},
        agent=run.agent,
        world=run.world,
        limits={"default": options.get("limits") or {}, "over": options.get("limits_over") or {}},
        user_guidelines_sha256=digest(options.get("user_guidelines") or ""),
        hints=bool(options.get("hints")),
        seed=run.seed,
        trials=run.trials,
        grading=run.grading,
        created_at=created_at or run.created_at,
        cases=dict(cases),
        played=sorted(played, key=lambda p: (p.simulation, p.trial)),
    )


def differences(base: ComparedRun, run: ComparedRun) -> dict[str, str]:
    """How the two runs were made differently, in words; `PARTS` first, then what only counts or names."""
    models = {
        role: (base.models.get(role, ""), run.models.get(role, ""))
        for role in dict.fromkeys([*base.models, *run.models])
    }
    shared = base.cases.keys() & run.cases.keys()
    other = sum(base.cases[slug] != run.cases[slug] for slug in shared)
    pairs = {
        "instructions": (base.instructions_sha256, run.instructions_sha256),
        "hints": (base.hints, run.hints),
        "models": (base.models, run.models),
        "agent": (base.agent, run.agent),
        "world": (base.world, run.world),
        "limits": (base.limits, run.limits),
        "user guidelines": (base.user_guidelines_sha256, run.user_guidelines_sha256),
        "cases": (0, other),
        "grading": (base.grading or run.grading, run.grading or base.grading),
        "environment": (base.environment, run.environment),
        "seed": (base.seed, run.seed),
        "trials": (base.trials, run.trials),
    }
    words = {
        "instructions": f"{base.instructions} -> {run.instructions}",
        "models": ", ".join(f"{role} {old} -> {new}" for role, (old, new) in models.items() if old != new),
        "hints": "the agent is told them in one of the two runs",
        "agent": f"{_agent(base)} -> {_agent(run)}",
        "world": f"{base.world[:12]} -> {run.world[:12]}",
        "cases": f"{other} of {len(shared)} shared simulations are made of something else",
        "grading": f"version {base.grading} -> {run.grading} (score_run grades the older one anew)",
        "environment": f"{base.environment} -> {run.environment}",
        "seed": f"{base.seed} -> {run.seed}",
        "trials": f"{base.trials} -> {run.trials}",
    }
    return {name: words.get(name, "changed") for name, (old, new) in pairs.items() if old != new}


def mixed_warning(differs: Mapping[str, str]) -> list[str]:
    """A warning if more than one thing could have changed the result, or if the cases themselves changed."""
    causes = [name for name in PARTS if name in differs]
    warnings: list[str] = []
    if len(causes) > 1:
        warnings.append(
            f"More than one thing differs ({', '.join(causes)}): which of them changed the result cannot be told."
        )
    if "cases" in differs:
        warnings.append(f"The cases were changed: {differs['cases']}.")
    return warnings


def _agent(run: ComparedRun) -> str:
    kind = str(run.agent.get("kind", "prompt"))
    model = run.agent.get("model")
    return f"{kind} {model}" if isinstance(model, str) and model else kind
