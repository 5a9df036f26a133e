"""Hardenings: look for a better text, prove one, decide on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from ..engine.workbench.results import HardeningReport
from .arguments import NOT_GIVEN, EnvironmentId, IdempotencyKey, Models, Objects, WaitS, dicts, given
from .outcomes import hardening_reply
from .replies import HardeningReply
from .spec import Call, tool


@tool("Harden the agent", toolset="run", open_world=True)
async def harden_agent(
    call: Call,
    environment: EnvironmentId,
    strategy: Annotated[
        Literal["auto", "rules", "reflect", "submit"],
        Field(description="auto: by writer model; submit: get a brief, write yourself"),
    ] = "auto",
    hardening: Annotated[str, Field(description="Continue this one")] = "",
    run: Annotated[str, Field(description="Base run to reuse")] = "",
    rounds: Annotated[int, Field(ge=1, le=20, description="At most")] = 5,
    models: Models = NOT_GIVEN,
    options: Annotated[
        Mapping[str, Any],
        Field(description="trials, budget, target, select, patience, seed. Guide: harden-options"),
    ] = NOT_GIVEN,
    wait_s: WaitS = 20,
    idempotency_key: IdempotencyKey = "",
) -> HardeningReply:
    """Returns a better text with outcome and proof (base against candidate on held-out scenarios), or a
    brief to write from. Use after a run with failures. Puts nothing in place: decide_candidate does.
    """
    report = await call.bench.hardenings.harden(
        environment,
        strategy=strategy,
        hardening=hardening,
        run=run,
        rounds=rounds,
        models=given(models),
        options=given(options),
        wait_s=wait_s,
        idempotency_key=idempotency_key,
        on_progress=call.on_progress,
    )
    return hardening_reply(report, asked=True)


@tool("Submit a candidate", toolset="run", open_world=True)
async def submit_candidate(
    call: Call,
    hardening: Annotated[str, Field(description="Hardening id")],
    instructions: Annotated[str, Field(description="Whole new text; or use edits")] = "",
    edits: Annotated[Objects, Field(description="{op: add, replace or remove, anchor, text}")] = (),
    why: Annotated[str, Field(description="Failure it should fix")] = "",
    cluster: Annotated[str, Field(description="Cluster id of the brief")] = "",
    wait_s: WaitS = 20,
    idempotency_key: IdempotencyKey = "",
) -> HardeningReply:
    """Returns guard results at once, then outcome and paired proof. Use with your own text, after
    harden_agent(strategy=submit). Held-out conversations stay hidden during the proof; scenarios you
    have read prove nothing for your text.
    """
    report = await call.bench.hardenings.submit(
        hardening,
        instructions=instructions,
        edits=tuple(dicts(edits)),
        why=why,
        cluster=cluster,
        wait_s=wait_s,
        idempotency_key=idempotency_key,
        on_progress=call.on_progress,
    )
    return hardening_reply(report)


@tool("Decide on a candidate", destructive=True, idempotent=True)
async def decide_candidate(
    call: Call,
    candidate: Annotated[str, Field(description="hard-2/c1; to roll back a version: support@1")],
    decision: Literal["promote", "reject", "roll_back"],
    reason: str = "",
    override: Annotated[
        bool, Field(description="Promote although unconfirmed; recorded, outcome stays")
    ] = False,
) -> HardeningReply:
    """Returns the environment's new current version, diff and how to undo. Use when an outcome stands.
    Refuses what is unconfirmed unless override=true. What regressed is never promoted.
    """
    report: HardeningReport = await call.bench.hardenings.decide(
        candidate, decision, reason=reason, override=override
    )
    return hardening_reply(report, decided=decision)
