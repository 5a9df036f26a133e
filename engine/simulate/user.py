"""The simulated user: it wants what the scenario says, knows its sheet, and stops when it is done."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..llm import Message, ModelClient, ModelRequest, ToolCall, ToolSignature
from ..records.conversation import TokenUsage
from ..records.persona import Fact
from .case import Case

STOP = "###STOP###"
BEGIN = "(The conversation begins. Write your first message.)"

_RULES = """You are the user in a conversation with an agent. You are not the agent and never help it.
Write one short, natural message at a time, in the style of your persona.
Say only what your sheet says; what is not on it you do not know. Never invent facts.
Tell a fact when you are asked for it, unless your sheet says otherwise.
When your goal is reached, or is refused for good, write ###STOP### and nothing else.
Do not stop when you were asked a question, nor before what you agreed to has been done."""


@dataclass(frozen=True, slots=True)
class UserReply:
    """What the user does: say something, call its own tools first, or stop."""

    text: str = ""
    stop: bool = False
    calls: tuple[ToolCall, ...] = ()
    usage: TokenUsage | None = None
    source: str = "model"


class UserSimulator(Protocol):
    """The user of one trial.

    `speak` is given the conversation with the roles reversed (the user's own texts as `assistant`), and the user's
    tools. Raises SetupError when its model cannot answer.
    """

    @property
    def name(self) -> str: ...

    async def speak(
        self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int
    ) -> UserReply: ...


class ModelUser:
    """A user played by a model: prose for a language model, and the same as a block for the offline one."""

    def __init__(self, model: ModelClient, case: Case) -> None:
        self._model = model
        self._system = Message("system", sheet_prompt(case))
        self._first = case.user_input

    @property
    def name(self) -> str:
        return self._model.name

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        if self._first and not any(message.role == "assistant" for message in heard):
            return UserReply(self._first, source="script")
        messages = (self._system, Message("user", BEGIN), *heard)
        reply = await self._model.complete(
            ModelRequest(role="user", messages=messages, tools=tools, seed=seed)
        )
        usage = TokenUsage(
            input_tokens=reply.usage.input_tokens,
            output_tokens=reply.usage.output_tokens,
            cost_usd=reply.cost_usd,
        )
        text, stop = strip_stop(reply.text)
        return UserReply(text, stop, reply.tool_calls, usage)


class ListedUser:
    """Says the given texts, one a turn, then stops: recordings, solutions and baselines."""

    name = "recorded"

    def __init__(self, texts: Sequence[str], source: str = "recorded") -> None:
        self._texts = texts
        self._source = source

    async def speak(self, heard: Sequence[Message], tools: Sequence[ToolSignature], seed: int) -> UserReply:
        said = sum(message.role == "assistant" and not message.tool_calls for message in heard)
        if said >= len(self._texts):
            return UserReply(stop=True, source=self._source)
        text, stop = strip_stop(self._texts[said])
        return UserReply(text, stop, source=self._source)


def strip_stop(text: str) -> tuple[str, bool]:
    """The text without the stop word, and whether it was there."""
    if STOP not in text:
        return text.strip(), False
    return text.replace(STOP, "").strip(), True


def sheet(case: Case) -> dict[str, Any]:
    """The machine-readable block: what this user wants and knows."""
    scenario, persona = case.scenario, case.persona
    guidelines = (case.user_guidelines, persona.guidelines if persona else "", scenario.guidelines)
    joined = "\n".join(text for text in guidelines if text)
    return {
        "goal": scenario.goal,
        "opening": case.user_input,
        "knowledge": [
            fact.model_dump(mode="json", exclude_none=True) if isinstance(fact, Fact) else {"text": fact}
            for fact in case.facts()
        ],
        "unknown": scenario.unknown,
        "reveal": scenario.reveal,
        "profile": persona.profile if persona else "",
        "style": persona.style if persona else "",
        "traits": persona.traits if persona else [],
        "language": persona.language if persona else "",
        "guidelines": joined,
        "confirms": not re.search(
            r"(?i)\b(decline|refuse|say no|do not confirm)\b[^.]*\b(confirm|asked)", joined
        ),
    }


def sheet_prompt(case: Case) -> str:
    """The system text of a simulated user."""
    block = json.dumps(sheet(case), ensure_ascii=False).replace("</sheet>", "<\\/sheet>")
    return f"{_RULES}\n\nYour sheet:\n<sheet>{block}</sheet>"
