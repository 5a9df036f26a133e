"""JSON, JSONL and YAML texts as plain JSON values, safe with hostile input; every refusal names its place.

YAML is read by our own rules, so that a file means the same in both languages: numbers, true, false and null as in
JSON, everything else is text (`01234`, `2026-01-01` and `no` are texts), keys are texts. Tags and `<<` are refused.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from ..errors import InvalidArgument

DEPTH: Final = 100
"""Levels of nesting allowed."""
ALIASED: Final = 50_000
"""Most values that the aliases of one YAML text may stand for."""

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z")
_WORDS: Final = {"null": None, "~": None, "": None, "true": True, "false": False}


def parse(text: str, suffix: str, where: str) -> Any:
    """Parse the text of a file ending in `.json`, `.jsonl`, `.yaml` or `.yml`. Raises InvalidArgument."""
    reader = READERS.get(suffix)
    if reader is None:
        raise InvalidArgument(f"A file that ends in `{suffix}` is not read.", where=where, allowed=READERS)
    return reader(text, where)


def parse_json(text: str, where: str) -> Any:
    """Parse a JSON value. NaN, infinity, duplicate keys and more than 100 levels are refused."""
    try:
        value = _decoder.decode(text)
    except _Refused as error:
        raise InvalidArgument(str(error), where=where, allowed="JSON") from None
    except json.JSONDecodeError as error:
        raise InvalidArgument(
            f"{error.msg}.", where=f"{where} line {error.lineno} column {error.colno}", allowed="JSON"
        ) from None
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError:
        raise InvalidArgument("A number has too many digits.", where=where, allowed="JSON") from None
    _check_depth(value, where)
    return value


def parse_jsonl(text: str, where: str) -> list[Any]:
    """Parse one JSON value per line; blank lines are skipped."""
    lines = ((n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    return [parse_json(line, f"{where} line {n}") for n, line in lines]


def parse_yaml(text: str, where: str) -> Any:
    """Parse the single document of a YAML text as a JSON value."""
    builder = _Builder(where)
    try:
        for event in _yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where} line {mark.line + 1} column {mark.column + 1}" if mark else where
        raise InvalidArgument(f"This is not YAML: {error.problem or error.context}.", where=place) from None
    except yaml.YAMLError as error:
        raise InvalidArgument(f"This is not YAML: {str(error).splitlines()[0]}.", where=where) from None
    return builder.value


READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    ".json": parse_json,
    ".jsonl": parse_jsonl,
    ".yaml": parse_yaml,
    ".yml": parse_yaml,
}


class _Refused(Exception):
    """Something that the json module would accept and we do not."""


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"{name} is not a JSON number.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused(f"{text[:40]} is too large for a number.")
    return number


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        doubled = next(key for key, count in counts.items() if count > 1)
        raise _Refused(f"The key `{doubled[:80]}` stands twice in one object.")
    return found


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_distinct)
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_yaml: Any = yaml


def _too_deep(where: str) -> InvalidArgument:
    return InvalidArgument("The value is nested too deep.", where=where, allowed=f"at most {DEPTH} levels")


def _check_depth(value: Any, where: str) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH):
        level = [child for item in level for child in _children(item) if isinstance(child, dict | list)]
        if not level:
            return
    raise _too_deep(where)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    elif isinstance(value, list):
        yield from value  # pyright: ignore[reportUnknownVariableType]


def _count(value: Any) -> int:
    total, level = 0, [value]
    while level:
        total += len(level)
        level = [child for item in level for child in _children(item)]
    return total


@dataclass(slots=True)
class _Open:
    """A mapping or list being filled; `key` waits for its value."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    key: str | None = None


class _Builder:
    """Builds the value from parser events with its own stack: no recursion, so depth cannot crash it."""

    def __init__(self, where: str) -> None:
        self.value: Any = None
        self._where = where
        self._stack: list[_Open] = []
        self._anchors: dict[str, Any] = {}
        self._aliased = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refusal("A second document begins here", event, "one document a file")
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self._stack.pop()
            self._put(done.value, event, done.anchor)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)

    def _open(self, event: Any) -> None:
        self._refuse_tag(event)
        if len(self._stack) >= DEPTH:
            raise _too_deep(self._where)
        if self._awaits_key():
            raise self._refusal("A key is a list or an object", event, "texts as keys")
        empty: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Open(empty, event.anchor))

    def _scalar(self, event: Any) -> None:
        self._refuse_tag(event)
        if self._awaits_key():
            self._key(str(event.value), event)
        else:
            self._put(self._plain(event) if event.implicit[0] else event.value, event, event.anchor)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise self._refusal(f"No anchor `{str(event.anchor)[:40]}` stands before this alias", event)
        value = self._anchors[event.anchor]
        self._aliased += _count(value)
        if self._aliased > ALIASED:
            raise self._refusal("The aliases stand for too much", event, f"at most {ALIASED:,} values")
        if self._awaits_key():
            self._key(str(value), event)
        else:
            self._put(copy.deepcopy(value), event, None)
            if len(self._stack) + _levels(value) > DEPTH:
                raise _too_deep(self._where)

    def _key(self, key: str, event: Any) -> None:
        top = self._stack[-1]
        if key == "<<":
            raise self._refusal("Merge keys are not read", event, "the keys written out")
        if key in top.value:
            raise self._refusal(f"The key `{key[:80]}` stands twice in one object", event)
        top.key = key

    def _put(self, value: Any, event: Any, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = value
        if not self._stack:
            self.value = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is not None:
            top.value[top.key] = value
            top.key = None

    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _plain(self, event: Any) -> Any:
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if text in (".nan", ".inf", "-.inf", ".NaN", "NaN"):
            raise self._refusal(f"{text} is not a number of JSON", event)
        match = _NUMBER.match(text) if len(text) <= 400 else None
        if match is None:
            return text
        if match[2] is None and match[3] is None:
            return int(text)
        number = float(text)
        if not math.isfinite(number):
            raise self._refusal(f"{text[:40]} is too large for a number", event)
        return number

    def _refuse_tag(self, event: Any) -> None:
        if event.tag not in (None, "!"):
            raise self._refusal(f"The tag `{str(event.tag)[:60]}` is not read", event, "plain values")

    def _refusal(self, what: str, event: Any, allowed: str = "") -> InvalidArgument:
        mark = event.start_mark
        place = f"{self._where} line {mark.line + 1} column {mark.column + 1}"
        return InvalidArgument(f"{what}.", where=place, allowed=allowed)


def _levels(value: Any) -> int:
    levels, level = 0, [value]
    while level:
        levels += 1
        level = [child for item in level for child in _children(item)]
    return levels
