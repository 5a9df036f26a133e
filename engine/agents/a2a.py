"""An agent that speaks A2A (agent to agent): its card, then messages in one context per conversation, over JSON-RPC.

Both versions in use are supported, 1.0 and 0.3, as the card says; A2A's other bindings (gRPC, REST) are not. The
official SDK is not used: it has its own HTTP client, which our guard could not check.

What the agent may know besides the words is in the message's metadata under `caseharden`: instructions, tools, an
opaque key of the conversation. It answers with text; a data part, or metadata, may hold `calls` on the world, whose
results follow in a data part `{"results": [{"id", "name", "result"}]}`, its `own_calls` (or `tool_calls`), and a
`verdict`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit
from uuid import uuid4

import anyio

from ..errors import InvalidArgument, Unavailable
from ..llm.chat_format import NoCompletion, parsed, tools_of
from ..net import Broken, NetError, Target, TimedOut, check_headers
from ..records.environment import AgentSpec, agent_name
from ..shapes import as_list, as_object
from .adapter import AgentError, AgentInput, AgentReply
from .answers import read_answer
from .json_rpc import ONCE, HttpPeer, RpcError
from .outside import (
    Reach,
    check_has_its_own_model,
    describe_failure,
    last_words,
    span_fields,
    with_trace,
)

CARD_PATH: Final = "/.well-known/agent-card.json"
CARD_S: Final = 15.0
FIRST_LOOK_S: Final = 0.1
LONGEST_LOOK_S: Final = 2.0
FAILURES: Final = (NetError, RpcError)
TOLD: Final = ("calls", "own_calls", "verdict", "usage")


@dataclass(frozen=True, slots=True)
class Card:
    """Where the agent is reached, and in which version."""

    target: Target
    new: bool
    """Whether it is version 1.0; else 0.3."""

    def method(self, name: str) -> str:
        """`SendMessage` or `GetTask` in the card's version."""
        return name if self.new else {"SendMessage": "message/send", "GetTask": "tasks/get"}[name]


class A2aAgents:
    """The agent of a card. Raises on creation if URL or headers are wrong."""

    def __init__(self, spec: AgentSpec, reach: Reach, where: str = "agent") -> None:
        check_has_its_own_model(spec, where)
        if not spec.card_url:
            raise InvalidArgument(
                "An a2a agent needs the URL of its card.",
                where=f"{where}.card_url",
                allowed=f"http://HOST:PORT, where {CARD_PATH} is looked up, or the URL of the card itself",
            )
        check_headers(spec.headers, f"{where}.headers", reach.connections.secrets)
        url = spec.card_url
        url = url if urlsplit(url).path.endswith(".json") else url.rstrip("/") + CARD_PATH
        self.spec, self.reach, self.where = spec, reach, where
        self.name = agent_name(spec.model_dump())
        self.shown = f"the agent, {self.name},"
        self._card_at = reach.connections.client.guard.target(url, f"{where}.card_url")
        self._card: Card | None = None

    async def probe(self) -> None:
        """Read the card; no message is sent."""
        try:
            await self.card()
        except FAILURES as error:
            text = describe_failure(self.shown, error, self.reach.connections.secrets)
            raise Unavailable(f"{text[:1].upper()}{text[1:]}.", where=f"{self.where}.card_url") from error

    def conversation(self) -> A2aAgent:
        return A2aAgent(self)

    async def card(self) -> Card:
        """The card, read once; InvalidArgument if it offers no supported interface."""
        if self._card is None:
            client = self.reach.connections.client
            answer = await client.repeated(
                self._card_at.origin,
                lambda: client.request("GET", self._card_at, None, self.headers()),
                CARD_S,
                ONCE,
            )
            try:
                self._card = self._read(parsed(answer.body))
            except NoCompletion as error:
                raise Broken(f"its card cannot be read: {error}") from None
        return self._card

    def headers(self) -> dict[str, str]:
        """The headers with their secrets."""
        value = self.reach.connections.secrets.value
        return {n: value(text, f"{self.where}.headers.{n}") for n, text in self.spec.headers.items()}

    def _read(self, card: Any) -> Card:
        row = as_object(card)
        ways = [(as_object(one), True) for one in as_list(row.get("supportedInterfaces"))]
        ways += [(as_object(one), False) for one in as_list(row.get("additionalInterfaces"))]
        ways.append(({"url": row.get("url"), "transport": row.get("preferredTransport", "JSONRPC")}, False))
        found = [
            (str(way["url"]), new and not str(way.get("protocolVersion", "1")).startswith("0"))
            for way, new in ways
            if isinstance(way.get("url"), str)
            and way.get("protocolBinding" if new else "transport") == "JSONRPC"
        ]
        if not found:
            raise InvalidArgument(
                "The agent's card offers no JSON-RPC.",
                where=f"{self.where}.card_url",
                allowed="A2A 1.0 or 0.3",
            )
        url, new = max(found, key=lambda way: way[1])
        whole = urljoin(self._card_at.url, url)
        if self.spec.headers and urlsplit(whole).hostname != urlsplit(self._card_at.url).hostname:
            raise InvalidArgument(
                f"The agent's card sends messages to another host, {str(urlsplit(whole).hostname)[:100]}, "
                "and agent.headers would go there.",
                where=f"{self.where}.card_url",
                allowed="a card at the host of the agent",
            )
        return Card(self.reach.connections.client.guard.target(whole, f"{self.where}.card_url"), new)


class A2aAgent:
    """The agent in one trial."""

    def __init__(self, agents: A2aAgents) -> None:
        self._agents = agents
        self._peer: HttpPeer | None = None
        self._context = self._task = ""

    @property
    def name(self) -> str:
        return self._agents.name

    async def reply(self, turn: AgentInput) -> AgentReply:
        agents = self._agents
        secrets = agents.reach.connections.secrets
        try:
            with anyio.fail_after(agents.spec.timeout_s):
                answer = await self._answer(turn, await agents.card())
        except TimeoutError:
            error = TimedOut(f"no whole answer within {agents.spec.timeout_s:g} s")
            raise AgentError(describe_failure(agents.shown, error, secrets)) from error
        except FAILURES as error:
            raise AgentError(describe_failure(agents.shown, error, secrets)) from error
        except InvalidArgument as error:
            raise AgentError(str(error)) from error
        return read_answer(answer, agents.shown, secrets)

    async def _answer(self, turn: AgentInput, card: Card) -> dict[str, Any]:
        if self._peer is None:
            headers = {**self._agents.headers(), **({"A2A-Version": "1.0"} if card.new else {})}
            self._peer = HttpPeer(self._agents.reach.connections.client, card.target, headers)
        self._peer.headers = with_trace(self._peer.headers, turn)
        timeout_s = self._agents.spec.timeout_s
        told = await self._peer.ask(card.method("SendMessage"), self._message(turn, card.new), timeout_s)
        found = as_object(told.get("task") or told.get("message")) if card.new else told
        look_s = FIRST_LOOK_S
        while _state(found) in ("submitted", "working"):
            await anyio.sleep(look_s)
            look_s = min(look_s * 2, LONGEST_LOOK_S)
            found = await self._peer.ask(card.method("GetTask"), {"id": found.get("id")}, timeout_s)
        self._context = str(found.get("contextId") or self._context)
        state = _state(found)
        self._task = str(found.get("id") or "") if state == "input-required" else ""
        answer = _read(found)
        if state not in ("", "completed", "input-required"):
            why = answer.get("text") or "it does not say why"
            raise AgentError(f"{self._agents.shown} ended its task as {state[:40]}: {str(why)[:500]}")
        return answer

    def _message(self, turn: AgentInput, new: bool) -> dict[str, Any]:
        """The user's words, or the results of the agent's calls, as a message."""
        spec = self._agents.spec
        results = _results(turn)
        part: dict[str, Any] = {"data": {"results": results}} if results else {"text": last_words(turn)}
        if not new:
            part["kind"] = "data" if results else "text"
        message: dict[str, Any] = {
            "messageId": uuid4().hex,
            "role": "ROLE_USER" if new else "user",
            "parts": [part],
            "metadata": {
                "caseharden": {
                    "instructions": turn.instructions,
                    "tools": [] if spec.tools == "none" else tools_of(turn.tools),
                    "conversation": turn.conversation,
                    **(
                        {"tools_url": turn.tools_url, "tools_token": turn.tools_token}
                        if turn.tools_url
                        else {}
                    ),
                    **span_fields(turn),
                }
            },
        }
        if self._context:
            message["contextId"] = self._context
        if self._task:
            message["taskId"] = self._task
        if not new:
            message["kind"] = "message"
        return {"message": message, "configuration": {} if new else {"blocking": True}}


def _results(turn: AgentInput) -> list[dict[str, str]]:
    """The results of the agent's last calls; none if the user has spoken."""
    new = turn.messages[-turn.new :] if turn.new else ()
    calls = {c.id: c.name for m in turn.messages for c in m.tool_calls}
    return [
        {"id": m.tool_call_id, "name": calls.get(m.tool_call_id, ""), "result": m.content}
        for m in new
        if m.role == "tool"
    ]


def _state(found: Mapping[str, Any]) -> str:
    """A task's state in version 0.3's words; "" for a message."""
    state = str(as_object(found.get("status")).get("state") or "")
    return state.removeprefix("TASK_STATE_").lower().replace("_", "-")


def _read(found: Mapping[str, Any]) -> dict[str, Any]:
    """Text, calls and verdict of a message, or of a task: its artifacts and the message of its status."""
    said = [as_object(one) for one in as_list(found.get("artifacts"))]
    said += [as_object(as_object(found.get("status")).get("message")), found]
    texts: list[str] = []
    answer: dict[str, Any] = {}
    for part in said:
        words, told = _parts(as_list(part.get("parts")))
        texts += [text for text in words if text not in texts]
        for held in (as_object(part.get("metadata")), *told):
            _take(answer, held)
    return {**answer, "text": "\n".join(texts)}


def _take(answer: dict[str, Any], held: Mapping[str, Any]) -> None:
    """Merge what the agent sent besides its words into what it sent before."""
    for name in TOLD:
        if name in held:
            both = [*as_list(answer.get(name)), *as_list(held[name])]
            answer[name] = both if isinstance(held[name], list) else held[name]
    if "tool_calls" in held:
        answer["own_calls"] = [*as_list(answer.get("own_calls")), *as_list(held["tool_calls"])]


def _parts(parts: Sequence[Any]) -> tuple[list[str], Iterator[dict[str, Any]]]:
    rows = [as_object(part) for part in parts]
    texts = [
        row["text"] for row in rows if isinstance(row.get("text"), str) and re.search(r"\S", row["text"])
    ]
    return texts, (as_object(row.get("data")) for row in rows)
