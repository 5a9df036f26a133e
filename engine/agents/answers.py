"""A program's answer as JSON: `{"text", "calls", "own_calls", "usage", "verdict"}`, all optional."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..llm import ModelReply, ToolCall
from ..llm.endpoint import without_secrets
from ..net import Secrets
from ..records.conversation import TokenUsage
from .adapter import AgentError, AgentReply, OwnVerdict

MOST_CALLS: Final = 200


def written(arguments: Any) -> Any:
    """Arguments as a model writes them: JSON text."""
    if arguments is None:
        return "{}"
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


class _Call(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    name: str = Field(min_length=1, max_length=200)
    arguments: Annotated[str, BeforeValidator(written)] = "{}"
    id: str = Field(default="", max_length=200)


class _OwnCall(_Call):
    result: Any = None


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore")

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cost_usd: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="ignore")

    verdict: Literal["pass", "fail", "inconclusive"]
    why: str = Field(default="", max_length=20_000)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    text: str | None = None
    calls: list[_Call] = Field(default_factory=list[_Call], max_length=MOST_CALLS)
    own_calls: list[_OwnCall] = Field(default_factory=list[_OwnCall], max_length=MOST_CALLS)
    usage: _Usage | None = None
    verdict: Annotated[
        _Verdict | None, BeforeValidator(lambda v: {"verdict": v} if isinstance(v, str) else v)
    ] = None


def read_answer(told: Mapping[str, Any], who: str, secrets: Secrets) -> AgentReply:
    """The reply of a program; AgentError says what is wrong with it. `who`: the agent, for that message."""
    try:
        answer = _Answer.model_validate(dict(told))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise AgentError(f"{who} gave an answer that cannot be read: {place}: {first['msg']}") from None
    if answer.text is None and not answer.calls:
        known = ", ".join(sorted(map(str, told)))[:200] or "nothing"
        raise AgentError(f"{who} gave an answer without text or calls: it holds {known}")
    said = without_secrets(ModelReply(answer.text or "", _calls(answer.calls)), secrets)
    own = _calls(answer.own_calls)
    aside = without_secrets(ModelReply("", own), secrets)
    usage = None if answer.usage is None else TokenUsage(**answer.usage.model_dump())
    verdict = answer.verdict and OwnVerdict(answer.verdict.verdict, secrets.hide(answer.verdict.why))
    results = {
        made.id: secrets.redactor.hide_all(call.result)
        for call, made in zip(answer.own_calls, own, strict=True)
    }
    return AgentReply(
        said.text,
        said.tool_calls,
        usage,
        own_calls=aside.tool_calls,
        own_results=results,
        verdict=verdict or None,
    )


def _calls(calls: Sequence[_Call]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(call.id or f"c{k}", call.name, call.arguments) for k, call in enumerate(calls, 1))
