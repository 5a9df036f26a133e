"""Parameters that several tools share: one description and one range each.

Empty (`""`, `{}`, `[]`, 0) means "not given", so that no parameter is a union with null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

EnvironmentId = Annotated[str, Field(description="Environment id")]
WaitS = Annotated[int, Field(ge=0, le=45, description="Seconds; then a job id comes")]
IdempotencyKey = Annotated[str, Field(description="Same key, same job")]
Limit = Annotated[int, Field(ge=1, le=100)]
Cursor = Annotated[str, Field(description="next_cursor of the last page")]
File = Annotated[str, Field(description="Or a JSON/JSONL file under an allowed root")]
Count = Annotated[int, Field(ge=1, le=50)]
Only = Annotated[Sequence[str], Field(description="Only these")]
Models = Annotated[Mapping[str, Any], Field(description="role -> model")]
NOT_GIVEN: Mapping[str, Any] = {}
Objects = Sequence[Mapping[str, Any]]

View = Literal[
    "summary",
    "full",
    "turns",
    "state",
    "checks",
    "clusters",
    "rounds",
    "agreement",
    "diff",
    "solution",
    "text",
]


def dicts(objects: Objects) -> list[dict[str, Any]]:
    """The same objects as plain dictionaries."""
    return [dict(one) for one in objects]


def given(value: Mapping[str, Any]) -> dict[str, Any] | None:
    """The object, or None when it is empty: not given."""
    return dict(value) or None
