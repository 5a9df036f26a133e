"""Agents of every kind that do as they are told, for the contract that all kinds keep.

Each does what the user's words say: `say X`, `count` (how often it was asked in this conversation), `call` (the tool
get_order, then its result), `crash`, `garbage`, `huge`, `hang`, `verdict`.
"""

from __future__ import annotations

import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from caseharden.engine.agents import (
    AgentAdapter,
    AgentInput,
    AgentReply,
    Outside,
    PromptAgent,
    Reach,
    closing,
    open_outside,
)
from caseharden.engine.llm import Connections, Message, ToolSignature, open_model
from caseharden.engine.net import Clock, HttpClient, Network, Secrets
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.records.environment import AgentSpec, ModelAt
from caseharden.tests.agents_wired import HUGE, MCP, a2a, mcp_over_http
from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, chat, cut, hang
from caseharden.tests.plain_mcp import write_plain

ORDER = ToolSignature(
    "get_order",
    "Look an order up.",
    {
        "type": "object",
        "properties": {"id": {"type": "string", "description": "The order."}},
        "required": ["id"],
    },
)
RESULT = "W42 is open"

PYTHON = f"""
import os, time
asked = 0

def agent(turn):
    global asked
    asked += 1
    word, _, rest = turn.text.partition(" ")
    if word == "count":
        return str(asked)
    if word == "call":
        return "told: " + turn.call("get_order", id="W42")
    if word == "crash":
        os._exit(9)
    if word == "garbage":
        return 42
    if word == "huge":
        return "x" * {HUGE}
    if word == "hang":
        time.sleep(600)
    if word == "pid":
        return str(os.getpid())
    if word == "verdict":
        return {{"text": "done", "verdict": {{"verdict": "pass", "why": "I say so"}}}}
    return rest
"""
COMMAND = f"""
import json, os, sys, time

asked = 0
for line in sys.stdin:
    told = json.loads(line)
    word, _, rest = told["text"].partition(" ")
    last = told["messages"][-1]
    answer = {{"id": told["id"], "text": rest}}
    asked += last["role"] == "user"
    if last["role"] == "tool":
        answer["text"] = "told: " + last["content"]
    elif word == "count":
        answer["text"] = str(asked)
    elif word == "call":
        answer = {{"id": told["id"], "calls": [{{"name": "get_order", "arguments": {{"id": "W42"}}}}]}}
    elif word == "crash":
        sys.exit(9)
    elif word == "garbage":
        answer = {{"id": told["id"], "text": 42}}
    elif word == "huge":
        answer["text"] = "x" * {HUGE}
    elif word == "hang":
        time.sleep(600)
    elif word == "pid":
        answer["text"] = str(os.getpid())
    elif word == "verdict":
        answer = {{"id": told["id"], "text": "done", "verdict": {{"verdict": "pass", "why": "I say so"}}}}
    print("a line that is noise")
    print(json.dumps(answer), flush=True)
"""


def completing(seen: Seen) -> Answer:
    """The agent as a model or an endpoint: it knows the conversation from the messages."""
    messages: list[dict[str, Any]] = seen.json["messages"]
    word, _, rest = next(str(m["content"]) for m in reversed(messages) if m["role"] == "user").partition(" ")
    if messages[-1]["role"] == "tool":
        return chat(f"told: {messages[-1]['content']}")
    answers: dict[str, Callable[[], Answer]] = {
        "count": lambda: chat(str(sum(m["role"] == "user" for m in messages))),
        "call": lambda: chat("", [("get_order", {"id": "W42"})]),
        "crash": lambda: cut(0),
        "garbage": lambda: Answer(b"\x00{]"),
        "huge": lambda: chat("x" * HUGE),
        "hang": hang,
    }
    return answers.get(word, lambda: chat(rest))()


class Made:
    """An agent made here, as those outside are."""

    def __init__(self, agent: AgentAdapter) -> None:
        self.agent, self.name = agent, agent.name

    async def probe(self) -> None:
        """Nothing to be seen before a call."""

    def conversation(self) -> AgentAdapter:
        return self.agent


class Talk:
    """One conversation with an agent."""

    def __init__(self, agent: AgentAdapter, conversation: str = "k3y") -> None:
        self.agent, self.conversation = agent, conversation
        self.messages: list[Message] = []
        self.turn = 0
        self.last: AgentReply | None = None

    async def say(self, text: str) -> str:
        """What the agent answers in the end; tools are called for it."""
        self.turn += 1
        self.messages.append(Message("user", text))
        new = 1
        while True:
            heard = AgentInput(self.conversation, "Be kind.", self.messages, new, [ORDER], 7, self.turn)
            self.last = reply = await self.agent.reply(heard)
            self.messages.append(Message("assistant", reply.text or "", reply.calls))
            if not reply.calls:
                return reply.text or ""
            self.messages += [Message("tool", RESULT, tool_call_id=call.id) for call in reply.calls]
            new = len(reply.calls)


@asynccontextmanager
async def conversing(agent: Outside, conversation: str = "k3y") -> AsyncGenerator[Talk]:
    talking = agent.conversation()
    async with closing(talking):
        yield Talk(talking, conversation)


async def at_once(seconds: float) -> None:
    """Time passes without waiting."""


@asynccontextmanager
async def reaching(folder: Path) -> AsyncGenerator[Reach]:
    """What agents outside are reached by, code below the folder included."""
    secrets = Secrets(lambda path, where: "", {})
    connections = Connections(HttpClient(Network(), clock=Clock(sleep=at_once)), secrets)
    try:
        async with Processes() as processes:
            yield Reach(connections, AllowedCode([folder]), processes)
    finally:
        await connections.aclose()


@asynccontextmanager
async def agent_of(kind: str, folder: Path, **fields: Any) -> AsyncGenerator[Outside]:
    """The agent of a kind that does as it is told."""
    async with reaching(folder) as reach:
        with FakeEndpoint(completing) as endpoint:
            if kind == "prompt":
                model = ModelAt(model="m", base_url=endpoint.base_url, timeout_s=fields.get("timeout_s", 60))
                yield Made(PromptAgent(open_model(model, reach.connections)))
            else:
                yield open_outside(spec_of(kind, folder, endpoint, **fields), reach)


def spec_of(kind: str, folder: Path, endpoint: FakeEndpoint, **fields: Any) -> AgentSpec:
    told: dict[str, Any] = {"kind": kind, **fields}
    if kind == "chat_completions":
        told.update(url=endpoint.url, retries=0)
    elif kind == "python":
        (folder / "desk.py").write_text(PYTHON, encoding="utf-8")
        told.setdefault("file", "desk.py")
    elif kind == "command":
        (folder / "desk_loop.py").write_text(COMMAND, encoding="utf-8")
        told.setdefault("argv", ["python", "desk_loop.py"])
    elif kind == "mcp":
        write_plain(folder / "desk_mcp.py", MCP)
        told.update(command=["python", "desk_mcp.py"], tool="chat")
    elif kind == "mcp_http":
        endpoint.always(mcp_over_http())
        told.update(kind="mcp", url=endpoint.url)
    elif kind in ("a2a", "a2a_old"):
        endpoint.always(a2a(endpoint, kind == "a2a"))
        told.update(kind="a2a", card_url=endpoint.url)
    return AgentSpec.model_validate(told)


def program(file: Path, text: str) -> Path:
    """An executable Python file."""
    file.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@contextmanager
def served_over_http(file: Path) -> Generator[int]:
    """The port of a program that is given the listening socket: nobody else can take it, and who comes early waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, number = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, str(file), str(number)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL, pass_fds=[number])
    with server:
        try:
            yield port
        finally:
            server.kill()
