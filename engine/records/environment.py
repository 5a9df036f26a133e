"""Environment: what is tested. An agent connection, its versioned instructions, a world, defaults."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .authored import Authored, Stored

AGENT_KINDS = ("prompt", "recorded")
DEFAULT_CONCURRENCY = 32
LATER_AGENT_KINDS = ("chat_completions", "a2a", "mcp", "python", "command", "caller")


class AgentSpec(Authored):
    """How the agent under test is reached. The least: `{}`, an agent made of instructions and a model."""

    kind: str = "prompt"
    model: str = ""
    """prompt: empty means the environment's model for the role agent."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    tools: list[str] | None = None
    """prompt: offer only these of the world's tools; None: all."""
    file: str = ""
    """recorded: a JSON file of conversations under an allowed root."""
    conversations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """recorded: the conversations themselves."""
    run: str = ""
    """recorded: play back a stored run."""
    recordings: str = ""
    """recorded: the hash under which `conversations` are kept; filled in when they are stored."""


class ModelChoice(Authored):
    """A model for each role: `offline`, later others. Empty: the server's setting, else `offline`."""

    agent: str = ""
    user: str = ""
    judge: str = ""
    writer: str = ""


class Settings(Authored):
    """Defaults of an environment."""

    name: str = ""
    user_guidelines: str = Field(default="", max_length=20_000)
    """How every simulated user of this environment behaves."""
    trials: int = Field(default=1, ge=1, le=50)
    seed: int = Field(default=0, ge=-(2**53), le=2**53)
    limits: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Laid over the scenarios' limits where they say nothing."""
    thresholds: dict[str, float] = Field(default_factory=dict[str, float])
    """`pass_rate` 0..1, `max_errors` count: what a run must reach."""
    concurrency: int = Field(default=DEFAULT_CONCURRENCY, ge=1, le=1000)
    """Trials at the same time, in runs and hardenings."""
    locked: list[str] = Field(default_factory=list[str])
    """Passages of the instructions that no candidate may change."""
    instructions_file: str = ""
    """File under an allowed root that promotion writes to."""


class EnvironmentRecord(Stored):
    """A stored environment."""

    format: Literal["environment/1"] = "environment/1"
    id: str
    name: str = ""
    agent: AgentSpec = Field(default_factory=AgentSpec)
    models: ModelChoice = Field(default_factory=ModelChoice)
    settings: Settings = Field(default_factory=Settings)
    world: str = ""
    """Hash of the world's document."""
    world_name: str = ""
    instructions_version: int = 1
    version: int = 1
    """Counts every change; `update_item` can refuse on it."""
    source: str = ""
    """Shipped world, world file or folder that it came from."""
    created_at: str = ""
    updated_at: str = ""


class InstructionsRecord(Stored):
    """One version of the instructions: never edited in place."""

    format: Literal["instructions/1"] = "instructions/1"
    id: str
    """`support@2`"""
    environment: str
    number: int
    text: str
    sha256: str = ""
    origin: Literal["created", "edited", "promoted", "rolled_back", "file"] = "created"
    base: str = ""
    """The version before it."""
    candidate: str = ""
    """The candidate that became it."""
    outcome: str = ""
    marks: list[str] = Field(default_factory=list[str])
    created_at: str = ""
