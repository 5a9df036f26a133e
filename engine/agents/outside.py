"""Outside agents: what is needed to reach them, and the interface of their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..errors import InvalidArgument
from ..llm import Connections
from ..llm.chat_format import messages_of, tools_of
from ..net import BadStatus, NetError, Secrets
from ..processes import AllowedCode, Processes
from ..records.environment import AgentSpec
from .adapter import AgentAdapter, AgentInput
from .served_tools import Doors

Body = dict[str, Any]
SHOWN_BODY: Final = 200


@dataclass(frozen=True, slots=True)
class Reach:
    """What is needed to reach outside agents. `processes`: already entered, if anything is to be started."""

    connections: Connections
    code: AllowedCode
    processes: Processes
    doors: Doors | None = None
    """Serve the world's tools to agents that live elsewhere, and receive their spans."""


class Outside(Protocol):
    """An outside agent as a run sees it: created once, it gives every trial its own adapter.

    Creating it raises what is wrong with its spec. Nothing is started or sent before `probe` or the first reply.
    """

    @property
    def name(self) -> str:
        """Its name in reports."""
        ...

    async def probe(self) -> None:
        """Raise UserError or SetupError if no turn could succeed, as far as that can be found out for free."""
        ...

    def conversation(self) -> AgentAdapter:
        """The agent in one trial."""
        ...


def turn_row(turn: AgentInput, spec: AgentSpec) -> Body:
    """A turn as it is sent to a program."""
    return {
        "conversation": turn.conversation,
        "instructions": turn.instructions,
        "messages": messages_of(turn.messages),
        "new": turn.new,
        "tools": [] if spec.tools == "none" else tools_of(turn.tools),
        "number": turn.turn,
        "text": last_words(turn),
        "seed": turn.seed,
        **({"tools_url": turn.tools_url, "tools_token": turn.tools_token} if turn.tools_url else {}),
        **span_fields(turn),
    }


def span_fields(turn: AgentInput) -> dict[str, str]:
    """What an agent whose spans are watched is sent in addition; {} for any other."""
    names = ("traceparent", "spans_url", "spans_token")
    return {name: getattr(turn, name) for name in names} if turn.spans_url else {}


def with_trace(headers: Mapping[str, str], turn: AgentInput) -> dict[str, str]:
    """The headers of a request, with the trace its spans belong to if they are watched."""
    return {**headers, **({"traceparent": turn.traceparent} if turn.traceparent else {})}


def check_has_its_own_model(spec: AgentSpec, where: str) -> None:
    """Refuse settings that only an agent made here has: a model, a temperature, a choice of tools."""
    if spec.model or spec.temperature is not None:
        field = "temperature" if spec.temperature is not None else "model"
        raise InvalidArgument(
            "An agent outside has its own model.",
            where=f"{where}.{field}",
            allowed=f"{field} for the kind prompt alone",
        )
    if isinstance(spec.tools, list):
        raise InvalidArgument(
            "An agent outside gets all tools of the world or none.",
            where=f"{where}.tools",
            allowed="world, none, served",
        )


def last_words(turn: AgentInput) -> str:
    """The user's last words."""
    return next((m.content for m in reversed(turn.messages) if m.role == "user"), "")


def describe_failure(who: str, error: Exception, secrets: Secrets) -> str:
    """What went wrong with `who` ("the agent, NAME,"), with the beginning of what it said."""
    body = error.body[:SHOWN_BODY] if isinstance(error, BadStatus) else ""
    text = str(error)
    goes_on = not isinstance(error, NetError) or text.startswith(
        ("answered", "refused", "cannot be", "may not")
    )
    words = f"{who} {text}" if goes_on else f"{who.removesuffix(',')}: {text}"
    return secrets.hide(words + (f": {body}" if body else ""))
