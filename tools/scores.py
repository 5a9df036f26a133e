"""Scores: grade a stored run again, with other metrics, another judge, thresholds or labels by people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from ..engine.errors import InvalidArgument
from .arguments import NOT_GIVEN, IdempotencyKey, Objects, WaitS, dicts, given
from .replies import RunReply
from .runs import run_reply
from .spec import Call, tool


@tool("Score a run again", toolset="run", open_world=True)
async def score_run(
    call: Call,
    run: Annotated[str, Field(description="Run id")],
    metrics: Annotated[Sequence[Any], Field(description="Names, {name, rubric or code, scale}")] = (),
    judge: Annotated[str, Field(description="Model or JSON; default the run's")] = "",
    thresholds: Annotated[Mapping[str, Any], Field(description="name -> minimum; max_errors")] = NOT_GIVEN,
    labels: Annotated[
        Objects, Field(description="By people: {conversation, check, label} or {file}; gives kappa")
    ] = (),
    wait_s: WaitS = 20,
    idempotency_key: IdempotencyKey = "",
) -> RunReply:
    """Returns new scores beside the old ones; the stored conversations are not run again. Use for other
    metrics, judge, thresholds or human labels. For a new execution: run_simulations.
    """
    report = await call.bench.scores.score(
        run,
        metrics=tuple(metrics),
        judge=_model(judge),
        thresholds=given(thresholds),
        labels=dicts(labels),
        wait_s=wait_s,
        idempotency_key=idempotency_key,
        on_progress=call.on_progress,
    )
    return run_reply(report)


def _model(told: str) -> str | dict[str, Any]:
    """A model's name, or the object of an endpoint that stands in a text."""
    if not told.lstrip().startswith("{"):
        return told
    try:
        return json.loads(told)
    except ValueError:
        allowed = '{"model": "qwen3", "base_url": "http://127.0.0.1:11434/v1"}'
        raise InvalidArgument("`judge` is no JSON object.", where="judge", allowed=allowed) from None
