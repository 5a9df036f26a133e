"""An agent that is a tool of an MCP server, which is a command or behind a URL.

Each conversation has its own session, and its own process if the server is a command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidArgument, Unavailable, did_you_mean
from ..llm.chat_format import messages_of, tools_of
from ..records.environment import AgentSpec, agent_name
from ..shapes import as_list, as_object
from .adapter import AgentError, AgentInput, AgentReply
from .answers import read_answer
from .json_rpc import Peer
from .mcp_peer import PEER_FAILURES, McpServer, let_go, texts_of
from .outside import Reach, check_has_its_own_model, describe_failure, last_words
from .template import PLACEHOLDERS, Template

WORDS: Final = ("message", "text", "input", "query", "prompt", "question")
"""The argument for the user's words if the tool takes several texts and `argument` names none."""


class McpAgents:
    """The agent of a tool. Raises on creation if URL, command, headers or body are wrong."""

    def __init__(self, spec: AgentSpec, reach: Reach, where: str = "agent") -> None:
        check_has_its_own_model(spec, where)
        if bool(spec.url) == bool(spec.command):
            raise InvalidArgument(
                "An mcp agent needs the url of its server, or its command.",
                where=f"{where}.url",
                allowed='url "http://HOST:PORT/mcp", or command ["python", "FILE.py"] below --allow-code DIR',
            )
        self.server = McpServer(spec.url, spec.command, spec.headers, spec.timeout_s, reach, where)
        self.template = Template(spec.body, f"{where}.body") if spec.body is not None else None
        self.spec, self.reach, self.where = spec, reach, where
        self.name = agent_name(spec.model_dump())
        self.shown = f"the agent, {self.name},"

    async def probe(self) -> None:
        """Start or reach the server and look the tool up; no tool is called."""
        peer: Peer | None = None
        try:
            peer = await self.server.greeted()
            await self.found(peer)
        except PEER_FAILURES as error:
            text = describe_failure(self.shown, error, self.reach.connections.secrets)
            raise Unavailable(f"{text[:1].upper()}{text[1:]}.", where=f"{self.where}.url") from error
        finally:
            await let_go(peer)

    def conversation(self) -> McpAgent:
        return McpAgent(self)

    async def found(self, peer: Peer) -> dict[str, Any]:
        """The tool that is the agent; InvalidArgument if there is none of that name."""
        told = await peer.ask("tools/list", {}, self.spec.timeout_s)
        tools = {str(t.get("name")): t for t in map(as_object, as_list(told.get("tools")))}
        if not self.spec.tool and len(tools) == 1:
            return next(iter(tools.values()))
        tool = tools.get(self.spec.tool)
        if tool is None:
            what = f"The server has no tool `{self.spec.tool}`.{did_you_mean(self.spec.tool, tools)}"
            if not self.spec.tool:
                what = f"The server has {len(tools)} tools, and agent.tool names none."
            raise InvalidArgument(what, where=f"{self.where}.tool", allowed=sorted(tools)[:40] or "no tool")
        return tool

    def arguments(self, tool: Mapping[str, Any], turn: AgentInput) -> dict[str, Any]:
        """The arguments to call the tool with."""
        values: dict[str, Any] = {
            "messages": messages_of(turn.messages),
            "last": last_words(turn),
            "instructions": turn.instructions,
            "conversation": turn.conversation,
            "tools_url": turn.tools_url,
            "tools_token": turn.tools_token,
            "traceparent": turn.traceparent,
            "spans_url": turn.spans_url,
            "spans_token": turn.spans_token,
            "tools": [] if self.spec.tools == "none" else tools_of(turn.tools),
        }
        if self.template is not None:
            return self.template.filled(values)
        known = as_object(as_object(tool.get("inputSchema")).get("properties"))
        filled = {name: value for name, value in values.items() if name in known and name != "last"}
        return {**filled, self._words(known): values["last"]}

    def _words(self, properties: Mapping[str, Any]) -> str:
        """The argument for the user's words."""
        texts = [name for name, one in properties.items() if as_object(one).get("type") == "string"]
        texts = [n for n in texts if n not in PLACEHOLDERS]
        usual = next((name for name in WORDS if name in texts), "")
        return self.spec.argument or usual or (texts[0] if texts else WORDS[0])


class McpAgent:
    """The agent in one trial."""

    def __init__(self, agents: McpAgents) -> None:
        self._agents = agents
        self._peer: Peer | None = None
        self._tool: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self._agents.name

    async def reply(self, turn: AgentInput) -> AgentReply:
        agents = self._agents
        secrets = agents.reach.connections.secrets
        try:
            if self._peer is None:
                self._peer = await agents.server.greeted()
                self._tool = await agents.found(self._peer)
            call: dict[str, Any] = {
                "name": self._tool["name"],
                "arguments": agents.arguments(self._tool, turn),
            }
            if turn.traceparent:
                call["_meta"] = {"traceparent": turn.traceparent}
            result = await self._peer.ask("tools/call", call, agents.spec.timeout_s)
        except PEER_FAILURES as error:
            raise AgentError(describe_failure(agents.shown, error, secrets)) from error
        except InvalidArgument as error:
            raise AgentError(str(error)) from error
        return read_answer(_answer(result, agents.shown), agents.shown, secrets)

    async def aclose(self) -> None:
        await let_go(self._peer)


def _answer(result: Mapping[str, Any], who: str) -> dict[str, Any]:
    """The answer in a tool's result: the structured part if there is one, else its text."""
    text = texts_of(result)
    if result.get("isError"):
        raise AgentError(f"{who} answered with an error: {text[:500] or 'it does not say why'}")
    row = as_object(result.get("structuredContent"))
    if row:
        if "text" in row or "calls" in row:
            return row
        text = text or json.dumps(row, ensure_ascii=False)
    if not text:
        raise AgentError(f"{who} gave an answer without text")
    return {"text": text}
