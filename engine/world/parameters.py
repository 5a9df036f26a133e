"""Parameters of tools: the JSON Schema subset they are written in, and the check of arguments against it."""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, cast

from ..errors import did_you_mean
from .mistakes import Mistakes
from .operations import same
from .paths import ROOTS
from .patterns import BadPattern, Pattern, compile_pattern
from .values import MAX_ARGUMENTS, CallFailed, Fault, copied, is_number, kind_of, shown

TYPES: Final = ("string", "integer", "number", "boolean", "array", "object", "null")
_CHECKED: Final = (
    "type",
    "properties",
    "required",
    "enum",
    "items",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "additionalProperties",
)
_TOLD: Final = ("description", "title", "examples", "format", "$comment")
KEYWORDS: Final = _CHECKED + _TOLD
SHOWN_PROBLEMS: Final = 5

Check = Callable[[Any, str, list[str]], None]
"""check(value, its place, problems found so far)."""


def compile_parameters(schema: Mapping[str, Any], where: str, mistakes: Mistakes) -> Check:
    """The check of a whole argument object; mistakes in the schema are noted."""
    if schema.get("type", "object") != "object":
        mistakes.add("The parameters of a tool are an object.", f"{where}.type", "object")
    properties = schema.get("properties", {})
    for name in properties if isinstance(properties, dict) else ():
        if (
            name in ROOTS
            or name in ("true", "false", "null")
            or not name.isidentifier()
            or name.startswith("_")
        ):
            what = f"`{name[:60]}` cannot be a parameter: it must be usable as a name in expressions."
            mistakes.add(what, f"{where}.properties.{name[:60]}", "an identifier, not db or user_db")
    return _compile({"type": "object", "properties": {}, **schema}, where, mistakes, 0)


def parse_arguments(given: Any) -> dict[str, Any]:
    """Arguments as our own copy, from an object or from the JSON text that a model wrote.

    Raises CallFailed of kind `arguments`: not JSON, NaN, nested too deep, more than 256 kB, not an object.
    """
    if isinstance(given, str):
        given = _parsed(given)
    if not isinstance(given, dict):
        raise CallFailed(f"the arguments are {kind_of(given)}, not an object", "arguments")
    if not given:
        return {}
    try:
        return cast("dict[str, Any]", copied(given, MAX_ARGUMENTS)[0])
    except Fault as fault:
        raise CallFailed(f"arguments: {fault}", "arguments") from None


def check_arguments(check: Check, tool: str, args: dict[str, Any]) -> None:
    """Raise CallFailed of kind `arguments` listing what is wrong, at most five problems."""
    problems: list[str] = []
    check(args, "", problems)
    if problems:
        left = len(problems) - SHOWN_PROBLEMS
        text = "; ".join(problems[:SHOWN_PROBLEMS]) + (f"; and {left} more" if left > 0 else "")
        raise CallFailed(f"{tool}: {text}", "arguments")


def of_type(value: Any, name: str) -> bool:
    """Whether a value is of a JSON type; 5.0 is an integer, true is not a number."""
    if name == "integer":
        return is_number(value) and (isinstance(value, int) or value.is_integer())
    if name == "number":
        return is_number(value)
    return isinstance(value, _PYTHON[name])


_PYTHON: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def _parsed(text: str) -> Any:
    if len(text) > MAX_ARGUMENTS:
        raise CallFailed(
            f"the arguments have {len(text):,} characters, more than {MAX_ARGUMENTS:,}", "arguments"
        )
    if not text.strip():
        return {}
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise CallFailed(
            f"the arguments are not JSON: {error.msg} at character {error.pos + 1}", "arguments"
        ) from None
    except RecursionError:
        raise CallFailed("the arguments are nested too deep", "arguments") from None
    except ValueError:
        raise CallFailed("the arguments hold a number that JSON does not have", "arguments") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def _compile(schema: Any, where: str, mistakes: Mistakes, depth: int) -> Check:
    if not isinstance(schema, dict) or depth > 20:
        mistakes.add("A schema is an object, at most 20 levels deep.", where)
        return lambda value, at, problems: None
    for key in schema:
        if key not in KEYWORDS:
            what = f"The keyword `{str(key)[:60]}` is not known.{did_you_mean(str(key), KEYWORDS)}"
            mistakes.add(what, f"{where}.{str(key)[:60]}", KEYWORDS)
    checks = [
        check
        for make in (_types, _enum, _bounds, _lengths, _pattern, _properties, _items)
        if (check := make(schema, where, mistakes, depth)) is not None
    ]

    def whole(value: Any, at: str, problems: list[str]) -> None:
        before = len(problems)
        for check in checks:
            check(value, at, problems)
            if len(problems) > before:
                return

    _check_default(schema, whole, where, mistakes)
    return checks[0] if len(checks) == 1 else whole


def _check_default(schema: dict[str, Any], check: Check, where: str, mistakes: Mistakes) -> None:
    problems: list[str] = []
    if schema.get("default") is not None:
        check(schema["default"], "default", problems)
    if problems:
        mistakes.add(f"The default does not fit: {problems[0]}.", f"{where}.default")


def _types(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    given = schema.get("type")
    if given is None:
        return None
    names = tuple(given) if isinstance(given, list) else (given,)
    wrong = [name for name in names if name not in TYPES]
    if wrong or not names:
        hint = did_you_mean(str(wrong[0]), TYPES) if wrong else ""
        mistakes.add(f"`{shown(given)}` is not a type.{hint}", f"{where}.type", TYPES)
        return None
    expected = " or ".join(names)

    def check(value: Any, at: str, problems: list[str]) -> None:
        for name in names:
            if of_type(value, name):
                return
        problems.append(f"{_named(at)} must be {expected}, got {shown(value)}")

    return check


def _enum(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    if "enum" not in schema:
        return None
    known = schema["enum"]
    if not isinstance(known, list) or not known:
        mistakes.add("`enum` is a list of values.", f"{where}.enum")
        return None
    listed = ", ".join(shown(item) for item in known[:20]) + (", …" if len(known) > 20 else "")
    texts = [item for item in known if isinstance(item, str)]

    def check(value: Any, at: str, problems: list[str]) -> None:
        if not any(same(value, item) for item in known):
            hint = did_you_mean(value, texts) if isinstance(value, str) else ""
            problems.append(
                f"{_named(at)} must be one of {listed}, got {shown(value)}.{hint}"
                if hint
                else f"{_named(at)} must be one of {listed}, got {shown(value)}"
            )

    return check


def _bounds(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return None
    for key, bound in (("minimum", low), ("maximum", high)):
        if bound is not None and not is_number(bound):
            mistakes.add(f"`{key}` is a number.", f"{where}.{key}")
            return None

    def check(value: Any, at: str, problems: list[str]) -> None:
        if is_number(value) and low is not None and value < low:
            problems.append(f"{_named(at)} must be at least {low}, got {shown(value)}")
        elif is_number(value) and high is not None and value > high:
            problems.append(f"{_named(at)} must be at most {high}, got {shown(value)}")

    return check


def _lengths(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    low, high = schema.get("minLength"), schema.get("maxLength")
    if low is None and high is None:
        return None
    for key, bound in (("minLength", low), ("maxLength", high)):
        if bound is not None and (not isinstance(bound, int) or isinstance(bound, bool) or bound < 0):
            mistakes.add(f"`{key}` is a whole number from 0.", f"{where}.{key}")
            return None

    def check(value: Any, at: str, problems: list[str]) -> None:
        if isinstance(value, str) and low is not None and len(value) < low:
            problems.append(f"{_named(at)} must have at least {low} characters, got {shown(value)}")
        elif isinstance(value, str) and high is not None and len(value) > high:
            problems.append(f"{_named(at)} must have at most {high} characters, got {len(value)}")

    return check


def _pattern(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    if "pattern" not in schema:
        return None
    pattern = pattern_or_mistake(schema["pattern"], f"{where}.pattern", mistakes)
    if pattern is None:
        return None

    def check(value: Any, at: str, problems: list[str]) -> None:
        if isinstance(value, str) and not pattern.found(value):
            problems.append(f"{_named(at)} must match {pattern.text}, got {shown(value)}")

    return check


def pattern_or_mistake(text: Any, where: str, mistakes: Mistakes) -> Pattern | None:
    """The compiled pattern, or None with the mistake noted."""
    if not isinstance(text, str):
        mistakes.add("A pattern is a text.", where)
        return None
    try:
        return compile_pattern(text)
    except BadPattern as error:
        mistakes.add(f"{error}.", where)
        return None


def _properties(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    properties, required = schema.get("properties"), schema.get("required", [])
    if properties is None and not required:
        return None
    properties = {} if properties is None else properties
    if not isinstance(properties, dict) or not isinstance(required, list):
        mistakes.add("`properties` is an object of schemas, `required` a list of their names.", where)
        return None
    inner = {
        name: _compile(part, f"{where}.properties.{name}", mistakes, depth + 1)
        for name, part in properties.items()
    }
    _check_required(required, inner, where, mistakes)
    closed = not schema.get("additionalProperties") and "properties" in schema
    needed = [name for name in required if isinstance(name, str)]

    def check(value: Any, at: str, problems: list[str]) -> None:
        if not isinstance(value, dict):
            return
        for name in needed:
            if name not in value:
                problems.append(f"missing {_named(_below(at, name))}")
        for name, item in value.items():
            known = inner.get(name)
            if known is not None:
                known(item, _below(at, name), problems)
            elif closed:
                text = f"unknown {_named(_below(at, name[:60]))}.{did_you_mean(name, inner)}"
                problems.append(f"{text} Allowed: {', '.join(inner) or 'nothing'}")

    return check


def _check_required(required: list[Any], inner: Mapping[str, Check], where: str, mistakes: Mistakes) -> None:
    for name in required:
        if inner and name not in inner:
            hint = did_you_mean(str(name), inner)
            mistakes.add(
                f"`{str(name)[:60]}` is required but not a property.{hint}", f"{where}.required", list(inner)
            )


def _items(schema: dict[str, Any], where: str, mistakes: Mistakes, depth: int) -> Check | None:
    if "items" not in schema:
        return None
    each = _compile(schema["items"], f"{where}.items", mistakes, depth + 1)

    def check(value: Any, at: str, problems: list[str]) -> None:
        if isinstance(value, list):
            for i, item in enumerate(value):
                each(item, f"{at}[{i}]", problems)
                if len(problems) > SHOWN_PROBLEMS:
                    return

    return check


def _named(at: str) -> str:
    return f"argument `{at}`" if at else "the arguments"


def _below(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
