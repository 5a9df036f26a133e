"""Personas: stored as written, or written by the writer model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from .arguments import Count, EnvironmentId, File, IdempotencyKey, Objects, WaitS, dicts
from .creation import created
from .replies import Created
from .spec import Call, tool


@tool("Create personas", toolset="author", idempotent=True)
async def create_personas(
    call: Call,
    environment: EnvironmentId,
    personas: Annotated[
        Objects,
        Field(
            description="{id, profile, style, kind, knowledge, data}; data goes into the world. "
            "Guide: persona-format"
        ),
    ] = (),
    file: File = "",
) -> Created:
    """Returns the stored personas, each checked against the world's schema. Use when you know or write them
    yourself; to have them written use generate_personas. Same id and content again changes nothing.
    """
    return created(await call.bench.personas.create(environment, dicts(personas), file=file))


@tool("Generate personas", toolset="author", open_world=True)
async def generate_personas(
    call: Call,
    environment: EnvironmentId,
    brief: Annotated[str, Field(description="Whom you want, plain words")] = "",
    count: Count = 5,
    kinds: Annotated[
        Sequence[str], Field(description="angry, forgetful, off_policy, injecting, crescendo...")
    ] = (),
    wait_s: WaitS = 20,
    idempotency_key: IdempotencyKey = "",
) -> Created:
    """Returns personas written by the writer model: distinct, near-duplicates refused, tied to records that
    exist. Use for breadth. Not for personas you already have: create_personas.
    """
    creation = await call.bench.personas.generate(
        environment,
        brief=brief,
        count=count,
        kinds=tuple(kinds),
        wait_s=wait_s,
        idempotency_key=idempotency_key,
    )
    return created(creation)
