"""An agent behind a URL that answers with OpenAI's chat completions, or a simple JSON of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ..errors import InvalidArgument, Unavailable
from ..llm import Connections, Message, ModelReply
from ..llm.chat_format import (
    STREAM_END,
    NoCompletion,
    messages_of,
    parsed,
    read_completion,
    read_stream,
    tools_of,
)
from ..llm.endpoint import encoded, without_secrets
from ..net import Broken, NetError, Response, Retries, check_headers
from ..records.conversation import TokenUsage
from ..records.environment import AgentSpec, ModelAt, agent_name
from .adapter import AgentError, AgentInput, AgentReply
from .outside import describe_failure, last_words, with_trace
from .template import Template, filled_text

DEFAULT_BODY: Final = {"messages": "{{messages}}", "tools": "{{tools}}"}
SAID_BY: Final = ("reply", "response", "answer", "output", "text", "content", "message")
"""Where to look for the words of an answer that is not a chat completion, without a `reply_path`."""


class ChatAgent:
    """Posts each turn to the agent's URL. It keeps no state of a trial, so one serves all trials of a run.

    Raises on creation if URL, headers or body are wrong; `where`: the agent's place, named in errors.
    """

    def __init__(self, spec: AgentSpec, connections: Connections | None, where: str = "agent") -> None:
        if connections is None:
            raise Unavailable("Agents outside cannot be reached from here.", where=where)
        if not spec.url:
            raise InvalidArgument(
                "A chat_completions agent needs its URL.",
                where=f"{where}.url",
                allowed="http://HOST:PORT/PATH",
            )
        if isinstance(spec.tools, list):
            raise InvalidArgument(
                "An agent outside gets all tools of the world or none.",
                where=f"{where}.tools",
                allowed="world, none, served",
            )
        check_headers(spec.headers, f"{where}.headers", connections.secrets)
        self._connections = connections
        self._spec = spec
        self._where = where
        self._target = connections.client.guard.target(spec.url, f"{where}.url")
        self._template = Template(_body(spec, where), f"{where}.body")
        self._path = [part for part in spec.reply_path.split(".") if part]
        self._retries = Retries(tries=spec.retries + 1)
        self._headers: dict[str, str] = {}

    @property
    def name(self) -> str:
        return agent_name({"kind": self._spec.kind, "url": self._target.url})

    async def reply(self, turn: AgentInput) -> AgentReply:
        """The agent's words, calls on the world, and calls that it made on its own; AgentError if it fails."""
        values = self._values(turn)
        headers = {name: filled_text(value, values) for name, value in self._sent().items()}
        headers = with_trace(headers, turn)
        try:
            told = await self._connections.client.post(
                self._target,
                encoded(self._template.filled(values)),
                headers,
                timeout_s=self._spec.timeout_s,
                retries=self._retries,
                until=STREAM_END,
                read=self._read,
            )
        except NetError as error:
            raise AgentError(self._failure(error)) from error
        return self._as_reply(told, {tool.name for tool in turn.tools})

    def request(self, turn: AgentInput) -> Any:
        """The body posted for a turn, as JSON."""
        return self._template.filled(self._values(turn))

    async def probe(self) -> None:
        """Connect without sending anything; MissingKey or Unavailable if no turn could succeed."""
        self._sent()
        try:
            await self._connections.client.reach(self._target)
        except NetError as error:
            raise Unavailable(
                f"{self._failure(error, named=True)}.", where=f"{self._where}.url", allowed="start the agent"
            ) from error

    def conversation(self) -> ChatAgent:
        """The agent itself, since no state of a trial is kept here."""
        return self

    def _values(self, turn: AgentInput) -> dict[str, Any]:
        """The values of the placeholders."""
        spec = self._spec
        whole = spec.history == "full" or _is_first(turn)
        heard = turn.messages if whole else turn.messages[-turn.new :]
        placed = "instructions" in self._template.used or not turn.instructions
        if whole and not placed:
            heard = (Message("system", turn.instructions), *heard)
        return {
            "messages": messages_of(heard),
            "last": last_words(turn),
            "instructions": turn.instructions,
            "conversation": turn.conversation,
            "tools_url": turn.tools_url,
            "tools_token": turn.tools_token,
            "traceparent": turn.traceparent,
            "spans_url": turn.spans_url,
            "spans_token": turn.spans_token,
            "tools": [] if spec.tools == "none" else tools_of(turn.tools),
        }

    def _sent(self) -> dict[str, str]:
        """The headers with their secrets, read once."""
        if not self._headers:
            value = self._connections.secrets.value
            sent = {n: value(text, f"{self._where}.headers.{n}") for n, text in self._spec.headers.items()}
            self._headers = {**sent, "Content-Type": "application/json"}
        return self._headers

    def _read(self, answer: Response) -> ModelReply:
        try:
            if answer.kind == "text/event-stream":
                return read_stream(answer.body)
            if answer.kind == "text/plain":
                return ModelReply(answer.body.decode("utf-8", "replace"))
            return self._read_json(parsed(answer.body))
        except NoCompletion as error:
            raise Broken(f"its answer cannot be read: {error}") from None

    def _read_json(self, answer: Any) -> ModelReply:
        if self._path:
            text = _at(answer, self._path)
            if not isinstance(text, str):
                raise NoCompletion(f"there is no text at {self._spec.reply_path}")
            return ModelReply(text)
        if not isinstance(answer, dict) or "choices" in answer:
            return read_completion(answer)
        found = next((text for name in SAID_BY if (text := _words(answer, name)) is not None), None)  # pyright: ignore[reportUnknownArgumentType]
        if found is None:
            raise NoCompletion(
                f"it holds neither choices nor one of {', '.join(SAID_BY)}; reply_path says where"
            )
        return ModelReply(found)

    def _as_reply(self, told: ModelReply, offered: set[str]) -> AgentReply:
        """Separate calls to execute on the world from calls beside words on unknown tools: the agent's own."""
        told = without_secrets(told, self._connections.secrets)
        text, calls = told.text, told.tool_calls
        usage = TokenUsage(
            input_tokens=told.usage.input_tokens, output_tokens=told.usage.output_tokens, cost_usd=None
        )
        if self._spec.tools == "none" and calls and not text:
            raise AgentError(
                f"the agent at {self._target.shown} waits for the result of {calls[0].name}, but agent.tools is none"
            )
        theirs = tuple(c for c in calls if text and (self._spec.tools == "none" or c.name not in offered))
        return AgentReply(text, tuple(c for c in calls if c not in theirs), usage, own_calls=theirs)

    def _failure(self, error: NetError, *, named: bool = False) -> str:
        """What went wrong, with the beginning of what the agent said."""
        who = f"{'The' if named else 'the'} agent at {self._target.shown}"
        return describe_failure(who, error, self._connections.secrets)


def _is_first(turn: AgentInput) -> bool:
    """Whether the agent has not been asked yet in this trial; anything before that is history."""
    last = next((m.role for m in reversed(turn.messages) if m.role != "system"), "user")
    return turn.turn == 1 and last == "user"


def _body(spec: AgentSpec, where: str) -> Mapping[str, Any]:
    """The template, or the body of a chat completion."""
    if isinstance(spec.model, ModelAt):
        raise InvalidArgument(
            "An agent outside has its own model; a name of it may be sent.",
            where=f"{where}.model",
            allowed="a text",
        )
    if spec.body is not None:
        return spec.body
    return {"model": spec.model, **DEFAULT_BODY} if spec.model else DEFAULT_BODY


def _at(value: Any, path: Sequence[str]) -> Any:
    """The value at a path of keys and positions; None if there is none."""
    for part in path:
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            return None
    return value


def _words(answer: Mapping[str, Any], name: str) -> str | None:
    """The words under a name, or one level deeper."""
    value = answer.get(name)
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("content")
    return value if isinstance(value, str) else None
