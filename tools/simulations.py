"""Simulations: personas paired with scenarios."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .arguments import EnvironmentId, Objects, Only, WaitS, dicts
from .creation import created
from .replies import Created
from .spec import Call, tool


@tool("Create simulations", toolset="author", idempotent=True)
async def create_simulations(
    call: Call,
    environment: EnvironmentId,
    pairing: Annotated[
        Literal["cover", "all"],
        Field(description="cover: each persona and scenario at least once; all: product"),
    ] = "cover",
    count: Annotated[int, Field(ge=0, le=100_000, description="For cover; 0 = fewest")] = 0,
    personas: Only = (),
    scenarios: Only = (),
    simulations: Annotated[
        Objects,
        Field(
            description="Instead, by hand: {scenario, persona, id, user_input, expected_output, ground_truth}"
        ),
    ] = (),
    wait_s: WaitS = 20,
) -> Created:
    """Returns the test cases made (persona x scenario). Use for a choice of your own: run_simulations pairs
    by itself when none exist.
    """
    creation = await call.bench.simulations.create(
        environment,
        pairing=pairing,
        count=count,
        personas=tuple(personas),
        scenarios=tuple(scenarios),
        simulations=tuple(dicts(simulations)),
        wait_s=wait_s,
    )
    return created(creation)
