"""Scenarios: stored as written, or written by the writer model; proven solvable either way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from .arguments import Count, EnvironmentId, File, IdempotencyKey, Objects, WaitS, dicts
from .creation import created
from .replies import Created
from .spec import Call, tool


@tool("Create scenarios", toolset="author", idempotent=True)
async def create_scenarios(
    call: Call,
    environment: EnvironmentId,
    scenarios: Annotated[
        Objects,
        Field(
            description="Least: {id, goal}; then knowledge, success, expected, events, script... "
            "Guide: scenario-format"
        ),
    ] = (),
    file: File = "",
    check: Annotated[bool, Field(description="Prove solvable, run baselines")] = True,
) -> Created:
    """Returns the stored scenarios with lint, own solution (run without a model) and baselines (does doing
    nothing pass?). Use when you write cases; to have them written: generate_scenarios. A wrong one is refused
    with its path, the others kept.
    """
    return created(await call.bench.scenarios.create(environment, dicts(scenarios), file=file, check=check))


@tool("Generate scenarios", toolset="author", open_world=True)
async def generate_scenarios(
    call: Call,
    environment: EnvironmentId,
    brief: Annotated[str, Field(description="What to cover, plain words")] = "",
    count: Count = 5,
    kinds: Annotated[
        Sequence[str],
        Field(description="must_refuse, must_succeed, edge, multi_step, events, faults, sealed"),
    ] = (),
    wait_s: WaitS = 20,
    idempotency_key: IdempotencyKey = "",
) -> Created:
    """Returns scenarios written by the writer model, each linted and proven solvable or marked unproven.
    Use to widen coverage, or from failures with a brief. Not for cases you can write: create_scenarios.
    """
    creation = await call.bench.scenarios.generate(
        environment,
        brief=brief,
        count=count,
        kinds=tuple(kinds),
        wait_s=wait_s,
        idempotency_key=idempotency_key,
    )
    return created(creation)
