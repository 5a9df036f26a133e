"""A chat of the offline agent with the offline user over plain Python tools; the tests' only world."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from caseharden.engine.llm import Message, ModelRequest, ToolSignature, open_model
from caseharden.engine.llm.offline.user import STOP

Execute = Callable[[str, dict[str, Any]], Any]


def tool(name: str, description: str, required: Sequence[str] = (), **properties: Any) -> ToolSignature:
    """A signature; a property given as a text is that JSON type."""
    shown = {key: {"type": value} if isinstance(value, str) else value for key, value in properties.items()}
    schema = {"type": "object", "properties": shown, "required": list(required)}
    return ToolSignature(name, description, schema)


@dataclass
class Talk:
    """A finished chat, from the agent's side."""

    messages: list[Message]
    stopped: bool = False
    results: list[tuple[str, dict[str, Any], Any]] = field(
        default_factory=list[tuple[str, dict[str, Any], Any]]
    )

    @property
    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        return [(name, args) for name, args, _ in self.results]

    @property
    def called(self) -> list[str]:
        return [name for name, _, _ in self.results]

    @property
    def agent(self) -> list[str]:
        return [m.content for m in self.messages if m.role == "assistant" and m.content]

    @property
    def user(self) -> list[str]:
        return [m.content for m in self.messages if m.role == "user"]

    def shown(self) -> str:
        lines = [
            f"{m.role}: {m.content or [(c.name, c.arguments) for c in m.tool_calls]}" for m in self.messages
        ]
        return "\n".join(lines[1:])


async def reply(
    instructions: str,
    tools: Sequence[ToolSignature],
    *texts: str,
    execute: Execute | None = None,
    model: str = "offline",
) -> Talk:
    """The talk after these user's texts, each followed by the agent's whole turn."""
    talk = Talk([Message("system", instructions)])
    for text in texts:
        talk.messages.append(Message("user", text))
        await agent_turn(talk, tools, execute or (lambda name, args: {"done": True}), model)
    return talk


async def agent_turn(
    talk: Talk, tools: Sequence[ToolSignature], execute: Execute, model: str = "offline", seed: int = 0
) -> str:
    client = open_model(model)
    for _ in range(10):
        answer = await client.complete(ModelRequest("agent", tuple(talk.messages), tuple(tools), seed=seed))
        talk.messages.append(Message("assistant", answer.text, answer.tool_calls))
        if not answer.tool_calls:
            return answer.text
        for call in answer.tool_calls:
            args = json.loads(call.arguments)
            result = execute(call.name, args)
            talk.results.append((call.name, args, result))
            text = result if isinstance(result, str) else json.dumps(result)
            talk.messages.append(Message("tool", text, tool_call_id=call.id))
    raise AssertionError("the agent calls tools without end\n" + talk.shown())


async def play(
    instructions: str,
    tools: Sequence[ToolSignature],
    execute: Execute,
    sheet: Mapping[str, Any],
    *,
    model: str = "offline",
    seed: int = 0,
    turns: int = 12,
) -> Talk:
    """A talk of both offline sides until the user stops."""
    client = open_model("offline")
    talk = Talk([Message("system", instructions)])
    system = Message("system", f"You play a user.\n<sheet>{json.dumps(sheet)}</sheet>")
    seen: list[Message] = [system]
    for _ in range(turns):
        text = (await client.complete(ModelRequest("user", tuple(seen)))).text
        if text == STOP:
            talk.stopped = True
            break
        seen.append(Message("assistant", text))
        talk.messages.append(Message("user", text))
        seen.append(Message("user", await agent_turn(talk, tools, execute, model, seed)))
    return talk
