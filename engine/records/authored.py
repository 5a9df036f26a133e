"""The two kinds of record: what people write, and what we read back.

`Authored` refuses unknown fields and names the near miss; `Stored` ignores fields of newer or older versions.
`load` turns pydantic's complaints into our error: path, what, what is allowed, all mistakes at once.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from ..errors import InvalidArgument, did_you_mean

M = TypeVar("M", bound=BaseModel)
SHOWN_MISTAKES = 5


class Authored(BaseModel):
    """What people write: a typo is an error that names the field it was meant to be."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_fields_only(cls, data: object) -> object:
        if isinstance(data, Mapping):
            known = [f.alias or name for name, f in cls.model_fields.items()]
            for key in data:  # pyright: ignore[reportUnknownVariableType]
                if key not in known and key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_field",
                        "Unknown field `{field}`.{hint}",
                        {
                            "field": str(key)[:80],  # pyright: ignore[reportUnknownArgumentType]
                            "hint": did_you_mean(str(key), known),  # pyright: ignore[reportUnknownArgumentType]
                            "allowed": ", ".join(known),
                        },
                    )
        return data  # pyright: ignore[reportUnknownVariableType]


class Stored(BaseModel):
    """What we wrote: fields that this version does not know are passed over."""

    model_config = ConfigDict(extra="ignore", validate_by_name=True, validate_by_alias=True, defer_build=True)


def load(model: type[M], data: object, where: str) -> M:
    """The record, or InvalidArgument with the JSON path of the first mistake and the others behind it."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _refusal(error, where) from None
    except RecursionError:
        raise InvalidArgument(
            "The value is nested too deep.", where=where, allowed="at most 100 levels"
        ) from None


def path(where: str, location: Sequence[int | str]) -> str:
    """`scenarios` and (2, "success", 0) give `scenarios[2].success[0]`."""
    for key in location:
        if isinstance(key, int):
            where += f"[{key}]"
        elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            where += f".{key}" if where else key
        else:
            where += f"[{key!r}]"
    return where


def _refusal(error: ValidationError, where: str) -> InvalidArgument:
    mistakes = _distinct(error.errors(include_url=False))
    first, *others = mistakes
    what, place, allowed = _told(first, where)
    if others:
        told = "; ".join(f"{p}: {w}" for w, p, _ in (_told(e, where) for e in others[:SHOWN_MISTAKES]))
        left = len(others) - SHOWN_MISTAKES
        what += f" {len(others)} more: {told}" + (f"; and {left} others." if left > 0 else "")
    return InvalidArgument(what, where=place, allowed=allowed)


def _distinct(mistakes: list[ErrorDetails]) -> list[ErrorDetails]:
    seen: dict[tuple[int | str, ...], ErrorDetails] = {}
    for mistake in mistakes:
        seen.setdefault(mistake["loc"], mistake)
    return list(seen.values())


def _told(mistake: ErrorDetails, where: str) -> tuple[str, str, str]:
    context = mistake.get("ctx", {})
    place = path(where, mistake["loc"])
    if mistake["type"] == "unknown_field":
        return mistake["msg"], path(place, (context["field"],)), context["allowed"]
    if mistake["type"] == "missing":
        return "A needed field is missing.", place, ""
    allowed = str(context.get("expected", ""))
    given = mistake.get("input")
    shown = repr(given) if isinstance(given, str) else reprlib.repr(given)
    what = mistake["msg"].removeprefix("Value error, ").rstrip(".")
    hint = (
        did_you_mean(given, re.findall(r"'([^']+)'", allowed)) if isinstance(given, str) and allowed else ""
    )
    return f"{what} (got {shown[:60]}{'…' if len(shown) > 60 else ''}).{hint}", place, allowed
