"""A conversation as the messages that one side's model saw and wrote, in the format of chat completions.

It contains only what a side heard of the world and of the other side: nothing of the scenario's goal or checks is in
the agent's, and no rejected turn is in either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..agents import described
from ..llm import ToolSignature
from ..llm.chat_format import tools_of
from ..records.conversation import Conversation, NotifyEntry, SayEntry, Speaker, ToolEntry
from ..records.run import RunRecord
from ..simulate import BEGIN, Case, instructions_of
from ..world import Scene, as_text

ChatMessage = dict[str, Any]
"""role, content; `tool_calls` for an assistant's, `tool_call_id` and `name` for a tool's."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Unfit(ValueError):
    """A conversation that cannot be expressed as messages; the text says why."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A turn that was regenerated: the messages before it, what was said, and the objection to it."""

    place: int
    """How many messages come before it; the next one is its replacement."""
    text: str
    feedback: str


@dataclass(slots=True)
class Chat:
    """One side of a conversation."""

    messages: list[ChatMessage]
    tools: list[dict[str, Any]]
    """In the format of chat completions."""
    unwanted: list[Unwanted] = field(default_factory=list[Unwanted])

    @property
    def begins(self) -> int:
        """How many messages come before the side's first one."""
        own = (k for k, message in enumerate(self.messages) if message["role"] == "assistant")
        return next(own, len(self.messages))

    def trained(self) -> list[ChatMessage]:
        """The messages without those after the side's last one and the results of its calls."""
        kept = len(self.messages)
        while kept and self.messages[kept - 1]["role"] not in ("assistant", "tool"):
            kept -= 1
        return self.messages[:kept]


def agent_chat(run: RunRecord, case: Case, talk: Conversation) -> Chat:
    """The agent's side: instructions with the policy, hints and the scenario's context, and the tools it was offered.

    As the prompt agent does it, descriptions of tools in the instructions go with the tools.
    """
    text = instructions_of(run, case.scenario).replace("{policy}", case.world.world.policy)
    context = case.scenario.agent_context
    system = f"{text}\n\n{context}" if context else text
    tools = _offered(case, talk, "agent")
    only = run.agent.get("tools")
    if isinstance(only, list):
        tools = [tool for tool in tools if tool.name in cast("list[Any]", only)]
    elif only == "none":
        tools = []
    if run.agent.get("kind", "prompt") == "prompt":
        system, tools = described(system, tools)
    before = [{"role": "system", "content": clean(system)}] if system else []
    return _chat_of("agent", before, tools_of(tools), case, talk)


def user_chat(case: Case, talk: Conversation) -> Chat:
    """The user's side: its sheet, and its own tools."""
    before = [{"role": "system", "content": clean(case.user_prompt)}, {"role": "user", "content": BEGIN}]
    return _chat_of("user", before, tools_of(_offered(case, talk, "user")), case, talk)


def clean(text: str) -> str:
    """A text that every reader of UTF-8 accepts."""
    return _SURROGATE.sub("\ufffd", text)


def _offered(case: Case, talk: Conversation, side: Speaker) -> Sequence[ToolSignature]:
    """The tools at the start, and those unlocked later that were called."""
    scene = Scene(case.world, (talk.seed, talk.simulation, talk.trial), case.options)
    called = {entry.tool for entry in talk.log if isinstance(entry, ToolEntry) and entry.ok}
    for name, tool in case.world.tools.items():
        if tool.tool.hidden and name in called:
            scene.unlock(name)
    return case.offered(scene, side)


def _chat_of(
    side: Speaker, before: list[ChatMessage], tools: list[dict[str, Any]], case: Case, talk: Conversation
) -> Chat:
    chat = Chat(before, tools)
    writer = _Writer(side, chat, case)
    for entry in talk.log:
        if isinstance(entry, SayEntry):
            writer.say(entry)
        elif isinstance(entry, ToolEntry):
            writer.call(entry)
        elif isinstance(entry, NotifyEntry) and entry.to == side:
            writer.notice(entry)
    return chat


class _Writer:
    """Turns the entries of a log, in order, into the messages of one side."""

    def __init__(self, side: Speaker, chat: Chat, case: Case) -> None:
        self._side = side
        self._chat = chat
        self._messages = chat.messages
        self._shown: Mapping[str, str] = case.options.rename_tools if side == "agent" else {}
        self._known = {tool["function"]["name"] for tool in chat.tools}
        self._level = case.scenario.world.notifications
        self._notices: list[str] = []
        self._reply: ChatMessage | None = None
        """The side's message to which calls of the same reply are added."""
        self._number = 0
        """The number of that reply in the log; 0: it has no calls yet."""
        self._calls = 0

    def say(self, entry: SayEntry) -> None:
        if entry.rejected:
            if entry.by == self._side:
                self._deliver()
                unwanted = Unwanted(len(self._messages), clean(entry.say), clean(entry.feedback))
                self._chat.unwanted.append(unwanted)
            return
        if entry.by != self._side:
            self._messages.append({"role": "user", "content": clean(entry.say)})
            self._reply = None
            return
        self._deliver()
        self._add({"role": "assistant", "content": clean(entry.say)})
        if entry.source in ("script", "history"):
            self._reply = None

    def call(self, entry: ToolEntry) -> None:
        if entry.by != self._side or entry.cause is not None:
            return
        name = self._shown.get(entry.tool, entry.tool)
        self._check(entry, name)
        if self._reply is None or not self._same_reply(entry):
            self._deliver()
            self._add({"role": "assistant", "content": ""})
        assert self._reply is not None
        self._number = entry.message
        self._calls += 1
        id = f"call{self._calls:05d}"
        arguments = clean(json.dumps(entry.args, ensure_ascii=False))
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        self._reply.setdefault("tool_calls", []).append(call)
        result = {"role": "tool", "tool_call_id": id, "name": name, "content": clean(as_text(entry.result))}
        self._messages.append(result)

    def notice(self, entry: NotifyEntry) -> None:
        heard = self._level == "all" or (self._level == "own" and entry.by == "agent")
        if heard or self._side == "user":
            self._notices.append(clean(f"Notice: {entry.notify}"))

    def _same_reply(self, entry: ToolEntry) -> bool:
        """Whether a call came with the message before: beside its words, or with its calls."""
        assert self._reply is not None
        if "tool_calls" not in self._reply:
            return entry.message > 0
        return entry.message > 0 and entry.message == self._number

    def _check(self, entry: ToolEntry, name: str) -> None:
        if entry.raw is not None:
            raise Unfit("the arguments of a call are no JSON object")
        if name not in self._known:
            raise Unfit("it calls tools that it was not offered")

    def _add(self, message: ChatMessage) -> None:
        self._messages.append(message)
        self._reply = message
        self._number = 0

    def _deliver(self) -> None:
        self._messages += [{"role": "system", "content": text} for text in self._notices]
        self._notices = []
