"""The two kinds of record: what people write, and what we stored ourselves.

`Authored` refuses unknown fields and names the nearest one; `Stored` ignores fields of newer or older versions. `load`
turns pydantic's complaints into our error: path, what, what is allowed, all mistakes at once.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from ..errors import InvalidArgument, did_you_mean, nearest

M = TypeVar("M", bound=BaseModel)
SHOWN_MISTAKES = 5


class Authored(BaseModel):
    """What people write: a typo is an error that names the field probably meant."""

    model_config = ConfigDict(
        extra="forbid", validate_by_name=True, validate_by_alias=True, strict=True, defer_build=True
    )

    @model_validator(mode="wrap")
    @classmethod
    def _known_fields_only(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Report unknown fields together with the other mistakes, so that one refusal lists them all."""
        known = [field.alias or name for name, field in cls.model_fields.items()]
        given = cast("Mapping[Any, Any]", data if isinstance(data, Mapping) else {})
        unknown = [key for key in given if key not in known and key not in cls.model_fields]
        if not unknown:
            return handler(data)
        mistakes = [InitErrorDetails(type=_unknown(str(key), known), input=data) for key in unknown]
        try:
            handler({key: value for key, value in given.items() if key not in unknown})
        except ValidationError as error:
            mistakes += [_once_more(mistake) for mistake in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(cls.__name__, mistakes)


class Sourced(Authored):
    """What people write or import: also keeps, unchanged, anything an importer could not map."""

    x_source: Any = Field(default=None, exclude_if=lambda value: value is None)


class Stored(BaseModel):
    """What we wrote: fields unknown to this version are ignored."""

    model_config = ConfigDict(extra="ignore", validate_by_name=True, validate_by_alias=True, defer_build=True)


def load(model: type[M], data: object, where: str) -> M:
    """Return the record, or raise InvalidArgument with the JSON path of the first mistake, followed by the others."""
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
    what, place, allowed = _explained(first, where)
    if others:
        text = "; ".join(f"{p}: {w}" for w, p, _ in (_explained(e, where) for e in others[:SHOWN_MISTAKES]))
        left = len(others) - SHOWN_MISTAKES
        what += f" {len(others)} more: {text}" + (f"; and {left} others." if left > 0 else "")
    return InvalidArgument(what, where=place, allowed=allowed)


def _distinct(mistakes: list[ErrorDetails]) -> list[ErrorDetails]:
    """One mistake per place; of a union only the branch that got furthest; a misspelled field is not also missing."""
    seen: dict[tuple[int | str, ...], ErrorDetails] = {}
    meant = {_meant(mistake) for mistake in mistakes if mistake["type"] == "unknown_field"}
    for mistake in mistakes:
        if mistake["type"] != "missing" or _location(mistake) not in meant:
            seen.setdefault(_location(mistake), mistake)
    within = {place[:depth] for place in seen for depth in range(len(place))}
    return [mistake for place, mistake in seen.items() if place not in within]


_UNKNOWN: Final = "Unknown field `{field}`.{hint}"


def _unknown(key: str, known: Sequence[str]) -> PydanticCustomError:
    near = nearest(key, known) or ""
    hint = f" Did you mean `{near}`?" if near else ""
    context = {"field": key[:80], "hint": hint, "near": near, "allowed": ", ".join(known)}
    return PydanticCustomError("unknown_field", _UNKNOWN, context)


def _once_more(mistake: ErrorDetails) -> InitErrorDetails:
    """Convert a mistake that pydantic has found, so that it can be raised again with others."""
    context = mistake.get("ctx", {})
    found = PydanticCustomError("unknown_field", _UNKNOWN, context)
    kind = found if mistake["type"] == "unknown_field" else mistake["type"]
    return InitErrorDetails(type=kind, loc=mistake["loc"], input=mistake["input"], ctx=context)


_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "none_required": "null",
    "mapping": "an object",
}
"""What pydantic's `…_type` and `…_parsing` errors expect, in our words."""
_BRANCH = re.compile(r"[A-Z]\w*|\w+\[.*|function-.*|str|int|float|bool|dict|list")
"""Names of the branches of a union, which pydantic puts into the path."""


def _location(mistake: ErrorDetails) -> tuple[int | str, ...]:
    """The path in the input, without the branches of unions."""
    keys = tuple(key for key in mistake["loc"] if not (isinstance(key, str) and _BRANCH.fullmatch(key)))
    return (*keys, mistake.get("ctx", {})["field"]) if mistake["type"] == "unknown_field" else keys


def _meant(mistake: ErrorDetails) -> tuple[int | str, ...]:
    """The path of the field that an unknown one was probably meant to be."""
    return (*_location(mistake)[:-1], mistake.get("ctx", {})["near"])


def _explained(mistake: ErrorDetails, where: str) -> tuple[str, str, str]:
    context = mistake.get("ctx", {})
    place = path(where, _location(mistake))
    if mistake["type"] == "unknown_field":
        return mistake["msg"], place, context["allowed"]
    if mistake["type"] == "missing":
        return "A needed field is missing.", place, f"a value for `{_location(mistake)[-1]}`"
    allowed = str(context.get("expected", ""))
    given = mistake.get("input")
    shown = repr(given) if isinstance(given, str) else reprlib.repr(given)
    known = re.findall(r"'([^']+)'", allowed)
    hint = did_you_mean(given, known) if isinstance(given, str) and allowed else ""
    return (
        f"{_wanted(mistake)} (got {shown[:60]}{'…' if len(shown) > 60 else ''}).{hint}",
        place,
        allowed or _instead(mistake),
    )


def _instead(mistake: ErrorDetails) -> str:
    """What is allowed instead: a kind of value, or the bound that was exceeded."""
    kind, _, how = mistake["type"].rpartition("_")
    if how in ("type", "parsing") and kind in _KINDS:
        return _KINDS[kind]
    found = re.search(r" should (?:be|have) (.+)", mistake["msg"])
    return found[1].rstrip(".") if found else ""


def _wanted(mistake: ErrorDetails) -> str:
    """What was expected in this place."""
    kind, _, how = mistake["type"].rpartition("_")
    if how in ("type", "parsing") and kind in _KINDS:
        return f"This must be {_KINDS[kind]}"
    if mistake["type"] == "literal_error":
        return "This is none of the allowed values"
    return mistake["msg"].removeprefix("Value error, ").rstrip(".")
