"""The interface to language models: one request, one reply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from ..records.conversation import TokenUsage

Role = Literal["agent", "user", "judge", "writer"]
"""The role a model plays; each may have its own model."""


@dataclass(frozen=True, slots=True)
class ToolSignature:
    """A tool as a model sees it. `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model asks for. `arguments` is the JSON text as the model wrote it, possibly broken."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat: `tool_calls` on the assistant's, `tool_call_id` on a tool's."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request to a model.

    `schema`: JSON Schema that the reply's text must satisfy as JSON, or None for free text. `seed`: 31 bits, stable
    over runs and processes. `temperature` None: the model's own. `repair`: a reply that does not fit the schema is
    requested once more; False: the caller reads it strictly itself.
    """

    role: Role
    messages: Sequence[Message]
    tools: Sequence[ToolSignature] = ()
    schema: Mapping[str, Any] | None = None
    temperature: float | None = None
    seed: int = 0
    repair: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; 0 if the model counts none."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A model's reply. `cost_usd` None: the price is unknown, which is not 0.

    `recorded`: it is replayed as it was recorded; no call was made, and nothing was used.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    recorded: bool = False

    @property
    def used(self) -> TokenUsage | None:
        """What the call used; None if none was made."""
        if self.recorded:
            return None
        usage = self.usage
        return TokenUsage(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cost_usd=self.cost_usd
        )


class ModelClient(Protocol):
    """A language model.

    `complete` may be called concurrently, must not change the request, and raises SetupError (missing key,
    unavailable, rate limited, budget) if there is no reply; it never falls back to another model.
    """

    @property
    def name(self) -> str:
        """The model's name in reports, such as `offline (rule-based)`."""
        ...

    async def complete(self, request: ModelRequest) -> ModelReply: ...


@runtime_checkable
class Probed(Protocol):
    """A model, or an agent, whose availability can be checked without a call that costs something."""

    async def probe(self) -> None:
        """Raise SetupError or UserError if no call could succeed."""
        ...
