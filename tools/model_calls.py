"""Model calls that a client answers in the model's place: take a batch, answer it and get the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from ..engine.workbench.results import ModelCallBatch
from .arguments import Objects, WaitS, dicts
from .jobs import job_state, own_fields, result_reply
from .replies import ModelCalls, NextCall, counts, goes_on, then
from .spec import Call, tool
from .wording import plural

SHOWN = 16
"""Answers that a proposed call has places for."""
History = Literal["full", "new"]


@tool("Take model calls (relay)", toolset="run")
async def take_model_calls(
    call: Call,
    job: Annotated[str, Field(description="Only of this job")] = "",
    roles: Annotated[Sequence[str], Field(description="agent, user, judge, writer")] = (),
    limit: Annotated[int, Field(ge=1, le=64, description="At most")] = 16,
    history: Annotated[History, Field(description="new: only what came since your last answer")] = "full",
    wait_s: WaitS = 20,
) -> ModelCalls:
    """Returns a batch of waiting model calls for you to answer as the named role. Use when a job is waiting
    (model relay, agent kind caller). Then answer_model_calls, which hands out the next batch.
    """
    batch = await call.bench.model_calls.take(
        job, roles=tuple(roles), limit=limit, history=history, wait_s=wait_s
    )
    return _reply(batch, history)


@tool("Answer model calls (relay)", toolset="run")
async def answer_model_calls(
    call: Call,
    answers: Annotated[
        Objects,
        Field(
            description="{id, text}, {id, data} as its schema says, or {id, tool_calls: [{name, arguments}]}"
        ),
    ],
    limit: Annotated[int, Field(ge=0, le=64, description="Next batch, 0 = none")] = 16,
    history: History = "full",
    wait_s: WaitS = 20,
) -> ModelCalls:
    """Returns which answers were taken, which were refused and why, and the next batch, or the finished
    job's result.
    """
    batch = await call.bench.model_calls.answer(dicts(answers), limit=limit, history=history, wait_s=wait_s)
    return _reply(batch, history)


def _reply(batch: ModelCallBatch, history: str) -> ModelCalls:
    result = result_reply(batch.result) if batch.result else None
    parts = [_summary(batch)]
    if result is not None:
        parts.append(result.summary)
    return ModelCalls(
        summary=" ".join(parts),
        next=_next(batch, history) or (result.next if result else []),
        warnings=[*batch.warnings, *(result.warnings if result else [])],
        links=result.links if result else [],
        shared=batch.shared,
        calls=batch.calls,
        left=batch.left,
        accepted=batch.accepted,
        refused=batch.refused,
        result=own_fields(result) if result else {},
        untrusted=_untrusted(batch, result),
        job=counts(batch.job),
    )


def _summary(batch: ModelCallBatch) -> str:
    answered = batch.accepted + len(batch.refused)
    parts = [f"{plural(batch.accepted, 'answer')} taken"] if answered else []
    if batch.refused:
        parts.append(f"{len(batch.refused)} refused (`refused` says why)")
    if batch.calls:
        of = f" of {len(batch.calls) + batch.left}" if batch.left else ""
        parts.append(f"{len(batch.calls)}{of} model calls: answer each as the role it names")
    elif batch.left:
        parts.append(f"{plural(batch.left, 'call')} that you hold can be taken again")
    elif batch.out:
        parts.append(
            f"{plural(batch.out, 'call')} out with clients, nothing else waits. Whoever holds one answers it; "
            "what nobody answers comes back within 5 min"
        )
    elif batch.job is None or batch.job.active:
        parts.append("no model call waits now")
    said = ", ".join(parts)
    said = f"{said[:1].upper()}{said[1:]}." if parts else ""
    return f"{said} {job_state(batch.job)}".strip() if batch.job and not batch.job.active else said


def _untrusted(batch: ModelCallBatch, result: Any) -> list[str]:
    paths = ["calls[].history"] if batch.calls else []
    return [*paths, *(f"result.{path}" for path in getattr(result, "untrusted", []))]


def _next(batch: ModelCallBatch, history: str) -> list[NextCall]:
    if batch.calls:
        answers = [{"id": view["id"]} for view in batch.calls[:SHOWN]]
        more = {"history": history} if history == "new" else {}
        why = f"with {_wanted(batch.calls)} of each{', all in one call' if len(batch.calls) > 1 else ''}"
        return [then("answer_model_calls", why, answers=answers, **more)]
    if batch.left:
        return [then("take_model_calls", "hands them out again")]
    if batch.job is None:
        return [then("list_items", kind="job", where={"state": "waiting"})]
    return [goes_on(batch.job)] if batch.job.active else []


def _wanted(calls: Sequence[Mapping[str, Any]]) -> str:
    """The fields that these calls ask for: `data`, `text or tool_calls`, ..."""
    fields = {"data" if view["reply"] == "data" else "text" for view in calls}
    fields |= {"tool_calls" for view in calls if "tool_calls" in view["reply"]}
    return " or ".join(f"`{name}`" for name in ("data", "text", "tool_calls") if name in fields)
