"""Environment: what is tested. An agent connection, its versioned instructions, a world, defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from .authored import Authored, Stored

AGENT_KINDS = ("prompt", "chat_completions", "python", "command", "mcp", "a2a", "caller", "recorded")
DEFAULT_CONCURRENCY = 32
MOST_CONCURRENCY = 1000


class Prices(Authored):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class ModelAt(Authored):
    """A model at an OpenAI-compatible endpoint, or a provider's with its own settings.

    Secrets are references: `env:NAME`, `file:PATH`.
    """

    model: str = Field(min_length=1, max_length=200)
    """The endpoint's name for it; without `base_url` a name as `models` takes it."""
    base_url: str = Field(default="", max_length=2048)
    """`http://127.0.0.1:11434/v1`: the part before `/chat/completions`."""
    key: str = ""
    headers: dict[str, str] = Field(default_factory=dict[str, str], max_length=50)
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Used if a request names none."""
    timeout_s: float = Field(default=60.0, gt=0, le=600)
    extra: dict[str, Any] = Field(default_factory=dict[str, Any], max_length=50)
    """Merged over the request's body; null removes a field."""
    prices: Prices | None = None
    """Without them the cost is unknown."""


ModelName = str | ModelAt
"""`offline`, `openai/gpt-…`, or an object. "": none is named."""


class ModelChoice(Authored):
    """A model for each role. Empty: the server's setting, else `offline`."""

    agent: ModelName = ""
    user: ModelName = ""
    judge: ModelName = ""
    writer: ModelName = ""


def knowledge_hash(kept: Any) -> str:
    """The hash of a stored knowledge base (`sha256:HASH`); "" for none, and for one that is not stored yet."""
    found = re.fullmatch("sha256:([0-9a-f]{64})", kept) if isinstance(kept, str) else None
    return found[1] if found else ""


def short_name(model: ModelName) -> str:
    """A model's name in replies: `qwen3 at 127.0.0.1:11434`."""
    if isinstance(model, str):
        return model
    return f"{model.model} at {_host(model.base_url)}" if model.base_url else model.model


class AgentSpec(Authored):
    """How the agent under test is reached. The minimum: `{}`, an agent made of instructions and a model."""

    kind: str = "prompt"
    model: ModelName = ""
    """prompt: empty means the environment's model for the role agent. chat_completions: sent as `model`."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    tools: Literal["world", "none", "served"] | list[str] | None = None
    """prompt: offer only these of the world's tools; None: all. chat_completions: `world` (or None): its calls are
    executed in the world; `none`: it is offered no tools, and its calls are recorded as its own; `served`:
    it calls the world's tools by MCP."""
    spans: bool = False
    """Outside agents: read tool calls and tokens from the OpenTelemetry spans that it exports to us."""
    spans_wait_s: float = Field(default=1.0, ge=0, le=60)
    """How long to wait for a reply's spans after it."""
    url: str = Field(default="", max_length=2048)
    """chat_completions: the URL each turn is posted to. mcp: the server."""
    headers: dict[str, str] = Field(default_factory=dict[str, str], max_length=50)
    """chat_completions, mcp, a2a: secrets as references, `Bearer env:NAME`."""
    body: dict[str, Any] | None = None
    """chat_completions: the request with placeholders; None: a standard chat completion. mcp: the tool's arguments."""
    history: Literal["full", "last"] = "full"
    """chat_completions: send the whole conversation each time, or only what is new since its last reply."""
    timeout_s: float = Field(default=60.0, gt=0, le=600)
    """Outside agents: for one request or reply."""
    retries: int = Field(default=4, ge=0, le=10)
    """chat_completions: how often a request is repeated after 429, a fault, a cut or a timeout."""
    reply_path: str = Field(default="", max_length=200)
    """chat_completions: where its words are in an answer with a shape of its own, `data.0.text`."""
    file: str = ""
    """recorded: a JSON file of conversations under an allowed root. python: the agent's file below --allow-code."""
    object: str = ""
    """python: the function or class in it; "": agent, Agent or reply."""
    command: list[str] = Field(default_factory=list[str], max_length=100)
    """mcp: the server's program and its arguments, like `argv`; otherwise `url`."""
    tool: str = Field(default="", max_length=200)
    """mcp: the tool that is the agent; "": the only one."""
    argument: str = Field(default="", max_length=200)
    """mcp: the argument for the user's words; "": found by its name and type."""
    card_url: str = Field(default="", max_length=2048)
    """a2a: the agent's card, or the site of its well-known path."""
    argv: list[str] = Field(default_factory=list[str], max_length=100)
    """command: the program and its arguments; a file below --allow-code, or an interpreter before one."""
    conversations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    """recorded: the conversations themselves."""
    run: str = ""
    """recorded: play back a stored run."""
    recordings: str = ""
    """recorded: the hash under which `conversations` are stored; filled in then."""


def played_by(models: Mapping[str, ModelName], agent: Mapping[str, Any]) -> dict[str, str]:
    """Who plays each role, as named in replies. `agent`: the spec as JSON; an outside agent has its own model.

    A recording plays both sides.
    """
    names = {role: short_name(model) for role, model in models.items()}
    outside = agent_name(agent)
    if agent.get("kind") == "recorded":
        names["user"] = outside
    return {**names, "agent": outside} if outside else names


def agent_name(agent: Mapping[str, Any]) -> str:
    """An outside agent's name in replies: `agent at 127.0.0.1:8000`, `Agent in desk.py`; "" for one made here."""
    file, argv = str(agent.get("file") or ""), agent.get("argv") or agent.get("command") or ()
    match agent.get("kind"):
        case "python":
            return f"{agent.get('object') or 'agent'} in {file.rpartition('/')[2]}"
        case "command" | "mcp" if argv:
            return f"command {' '.join(argv)}"[:100]
        case "chat_completions" | "mcp":
            return f"agent at {_host(str(agent.get('url') or ''))}"
        case "a2a":
            return f"agent at {_host(str(agent.get('card_url') or ''))}"
        case "caller" | "recorded" as kind:
            return kind
        case _:
            return ""


def _host(url: str) -> str:
    """Host and port, without path, query and user."""
    return re.split(r"[/?#\\]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]


class Settings(Authored):
    """Defaults of an environment."""

    name: str = ""
    user_guidelines: str = Field(default="", max_length=20_000)
    """How every simulated user of this environment behaves."""
    trials: int = Field(default=1, ge=1, le=50)
    seed: int = Field(default=0, ge=-(2**53), le=2**53)
    limits: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Applied where the scenarios' limits set nothing."""
    metrics: list[Any] | None = Field(default=None, max_length=40)
    """What runs measure: names, or {name, rubric, scale}. None: three, if a judge is set; []: nothing."""
    knowledge_base: Any = None
    """What claims are checked against: text, Markdown, any JSON, or {file} under an allowed root. Stored apart, cut
    into passages; this field then holds `sha256:HASH`."""
    thresholds: dict[str, float | list[str]] = Field(default_factory=dict[str, float | list[str]])
    """What a run must reach: `pass_rate` 0..1, `max_errors` a count, means of metrics, labels that must not occur."""
    concurrency: int = Field(default=0, ge=0, le=MOST_CONCURRENCY)
    """Trials at the same time, in runs and hardenings; 0: the server's setting."""
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
    """The shipped world, world file or folder it came from."""
    source_content: str = ""
    """Digest of that folder's contents."""
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
