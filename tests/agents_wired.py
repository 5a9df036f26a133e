"""Agents that do as they are told (agents_told.py) behind MCP and A2A."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from caseharden.tests.fake_endpoint import Answer, FakeEndpoint, Seen, cut, hang, of_json

HUGE = 3_000_000
CALL = {"name": "get_order", "arguments": {"id": "W42"}}

MCP = f"""
import os, sys, time
from typing import Any
from mcp.server import MCPServer

server = MCPServer("desk")
asked = 0

@server.tool()
def chat(message: str, messages: list[dict[str, Any]], conversation: str) -> dict[str, Any]:
    global asked
    word, _, rest = message.partition(" ")
    last = messages[-1]
    asked += last["role"] == "user"
    print("noise", flush=True)
    if last["role"] == "tool":
        return {{"text": "told: " + last["content"]}}
    if word == "count":
        return {{"text": str(asked)}}
    if word == "call":
        return {{"calls": [{CALL!r}]}}
    if word == "crash":
        os._exit(9)
    if word == "garbage":
        return {{"text": 42}}
    if word == "huge":
        return {{"text": "x" * {HUGE}}}
    if word == "hang":
        time.sleep(600)
    if word == "raise":
        raise ValueError("no such order")
    if word == "pid":
        return {{"text": str(os.getpid())}}
    if word == "verdict":
        return {{"text": "done", "verdict": {{"verdict": "pass", "why": "I say so"}}}}
    return {{"text": rest}}

@server.tool()
def other(x: int) -> int:
    return x

if __name__ == "__main__":
    if len(sys.argv) > 1:
        import socket, uvicorn
        app = server.streamable_http_app()
        listener = socket.socket(fileno=int(sys.argv[1]))
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
    else:
        server.run()
"""
Told = dict[str, Any]


class Remembering:
    """Counts what it was asked, by conversation."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}

    def told(self, conversation: str, text: str, result: str | None) -> Told | Answer:
        """Text or calls, or an answer that is none."""
        word, _, rest = text.partition(" ")
        if result is not None:
            return {"text": f"told: {result}"}
        self.asked[conversation] = self.asked.get(conversation, 0) + 1
        answers: dict[str, Callable[[], Told | Answer]] = {
            "count": lambda: {"text": str(self.asked[conversation])},
            "call": lambda: {"calls": [CALL]},
            "crash": lambda: cut(0),
            "garbage": lambda: Answer(b"\x00{]"),
            "huge": lambda: {"text": "x" * HUGE},
            "hang": hang,
            "verdict": lambda: {"text": "done", "verdict": {"verdict": "pass", "why": "I say so"}},
        }
        return answers.get(word, lambda: {"text": rest})()


def answered(asked: Mapping[str, Any], result: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return of_json({"jsonrpc": "2.0", "id": asked["id"], "result": result}, headers=headers)


def as_stream(asked: Mapping[str, Any], result: Any) -> Answer:
    """The same as an event of a stream, behind a notice and a request of the server that has the same id."""
    notice: Told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}
    ping: Told = {"jsonrpc": "2.0", "id": asked["id"], "method": "ping"}
    answer: Told = {"jsonrpc": "2.0", "id": asked["id"], "result": result}
    events = "".join(f"event: message\r\ndata: {json.dumps(one)}\r\n\r\n" for one in (notice, ping, answer))
    return Answer(events.encode(), content_type="text/event-stream")


def mcp_over_http() -> Callable[[Seen], Answer]:
    """An MCP server with the tool `chat`."""
    agent = Remembering()

    def answering(seen: Seen) -> Answer:
        if seen.method == "DELETE":
            return Answer(b"", 200)
        asked = seen.json
        if asked["method"] == "initialize":
            told: Told = {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
            }
            told["serverInfo"] = {"name": "desk", "version": "1"}
            return answered(asked, told, {"Mcp-Session-Id": uuid.uuid4().hex})
        session = seen.headers["mcp-session-id"]
        if asked["method"] == "notifications/initialized":
            return Answer(b"", 202)
        if asked["method"] == "tools/list":
            texts = {name: {"type": "string"} for name in ("conversation", "text")}
            schema = {"type": "object", "properties": {**texts, "messages": {"type": "array"}}}
            return answered(asked, {"tools": [{"name": "chat", "inputSchema": schema}]})
        given = asked["params"]["arguments"]
        last = given["messages"][-1]
        said = agent.told(session, given["text"], last["content"] if last["role"] == "tool" else None)
        if isinstance(said, Answer):
            return said
        text = {"type": "text", "text": "see there"}
        return as_stream(asked, {"content": [text], "structuredContent": said})

    return answering


def a2a(endpoint: FakeEndpoint, new: bool) -> Callable[[Seen], Answer]:
    """An A2A agent of version 1.0 or 0.3, with its card."""
    agent = Remembering()
    url = f"{endpoint.url}/rpc"
    old = {"name": "desk", "protocolVersion": "0.3.0", "url": url, "preferredTransport": "JSONRPC"}
    ways = [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]
    endpoint.probed(of_json({"name": "desk", "supportedInterfaces": ways} if new else old))

    def answering(seen: Seen) -> Answer:
        asked = seen.json
        assert asked["method"] == ("SendMessage" if new else "message/send")
        message = asked["params"]["message"]
        assert message["metadata"]["caseharden"]["instructions"] == "Be kind."
        context = message.get("contextId") or uuid.uuid4().hex
        part = message["parts"][0]
        result = part["data"]["results"][0]["result"] if "data" in part else None
        told = agent.told(context, part.get("text", ""), result)
        return told if isinstance(told, Answer) else answered(asked, _told(told, context, new))

    return answering


def _told(told: Told, context: str, new: bool) -> Told:
    """A message where there are only words, else a task with an artifact."""
    text, rest = told.get("text", ""), {k: v for k, v in told.items() if k != "text"}
    parts: list[Told] = [{"text": text}] if text else []
    parts += [{"data": rest}] if rest else []
    if not new:
        parts = [{**part, "kind": "data" if "data" in part else "text"} for part in parts]
    if not rest:
        message = {"messageId": "m", "contextId": context, "role": "ROLE_AGENT", "parts": parts}
        return {"message": message} if new else {**message, "role": "agent", "kind": "message"}
    state = "TASK_STATE_COMPLETED" if new else "completed"
    task: Told = {"id": "t1", "contextId": context, "status": {"state": state}}
    task["artifacts"] = [{"artifactId": "a", "parts": parts}]
    return {"task": task} if new else {**task, "kind": "task"}
