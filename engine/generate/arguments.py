"""Arguments for probes: values from the records, by the parameter's name, schema and the record it concerns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Final, Literal, cast

from ..seeds import choose, draw
from ..shapes import as_object, is_list
from ..world import BadPattern, CompiledTool, compile_pattern, moment_after
from .rows import Row, Rows, field_values

Take = Literal["own", "other"]
"""Where a value comes from: the record that the call concerns and those around it, or another record."""
NONE: Final = object()
"""No value was found."""
_REASONS: Final = (
    "plans have changed",
    "it was a mistake",
    "it is no longer needed",
    "a better one was found",
    "it took far too long",
    "someone else takes care of it",
)
_KEYS: Final = frozenset({"id", "number", "no", "code", "key", "ref", "reference"})
_ENDINGS: Final = _KEYS | {"name"}
_OPTIONAL_SHARE: Final = 0.3
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Slot:
    """One parameter. `home`: the collection whose keys it takes, "" if none.

    `free`: any text will do; assumed for an optional plain text, and for one that no record has a field for.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool
    home: str
    free: bool


class Filler:
    """Fills parameters from records. Pure: a value depends only on the world and the key of the draw."""

    def __init__(self, rows: Rows, now: str) -> None:
        self._rows = rows
        self._now = now
        self._slots: dict[str, list[Slot]] = {}

    def slots(self, tool: CompiledTool) -> list[Slot]:
        """The parameters of a tool, each with the collection whose keys it takes."""
        name = tool.tool.name
        if name not in self._slots:
            raw = as_object(tool.tool.parameters.get("properties"))
            needed: list[Any] = list(tool.tool.parameters.get("required") or [])
            self._slots[name] = [self._slot(p, as_object(s), p in needed) for p, s in raw.items()]
        return self._slots[name]

    def anchor(self, tool: CompiledTool, n: int, *key: str | int) -> Row | None:
        """The record that the n-th call concerns, or None if no parameter leads to one."""
        required = [slot for slot in self.slots(tool) if slot.required]
        homes = [slot.home for slot in required if slot.home]
        if not homes:
            homes = [name for slot in required for name in self._rows.with_field(slot.name)]
        if not homes:
            return None
        home = max(dict.fromkeys(homes), key=self._rows.size)
        return self._rows.varied(home, n, *key, "anchor")

    def fill(
        self, tool: CompiledTool, anchor: Row | None, take: Take, given: Mapping[str, Any], *key: str | int
    ) -> dict[str, Any] | None:
        """Arguments, or None if a required one cannot be found. `given` supplies keys of records."""
        near = self._rows.near(anchor) if anchor else []
        strange = self._other(anchor, *key)
        made: dict[str, Any] = {}
        for slot in self.slots(tool):
            if not slot.required and (slot.free or draw(*key, slot.name, "optional") >= _OPTIONAL_SHARE):
                continue
            if slot.home and slot.name in given:
                made[slot.name] = given[slot.name]
                continue
            value = self._value(slot, slot.schema, near, strange if take == "other" else [], *key, slot.name)
            if value is not NONE and (slot.required or value != slot.schema.get("default")):
                made[slot.name] = value
            elif slot.required:
                return None
        return made

    def _other(self, anchor: Row | None, *key: str | int) -> list[Row]:
        if anchor is None:
            return []
        return self._rows.near(self._rows.draw(anchor.collection, *key, "other"))

    def _slot(self, name: str, schema: Mapping[str, Any], required: bool) -> Slot:
        kind = type_of(schema)
        home = self._home(name, schema) if kind == "string" and "enum" not in schema else ""
        shaped = {"enum", "pattern", "format", "const"} & schema.keys()
        plain = kind == "string" and not shaped and not home and _words(name)[-1] not in _KEYS
        return Slot(name, schema, required, home, plain and (not required or not self._rows.with_field(name)))

    def _home(self, name: str, schema: Mapping[str, Any]) -> str:
        words = {singular(word) for word in _words(name)}
        best, most = "", 0
        for collection in self._rows.collections:
            fits = _fits(schema.get("pattern"), self._rows, collection)
            if fits is False:
                continue
            single = {singular(word) for word in _words(collection)}
            exact = bool(single & words) and words - single <= _ENDINGS
            score = (2 if fits else 0) + (3 if exact else 0)
            if score > most:
                best, most = collection, score
        if most < 3 and self._rows.with_field(name) and not (words & _ENDINGS and most == 2):
            return ""
        return best

    def _value(
        self,
        slot: Slot,
        schema: Mapping[str, Any],
        near: Sequence[Row],
        strange: Sequence[Row],
        *key: str | int,
    ) -> Any:
        """A value for one parameter, or NONE; `strange` are the records of somebody else, empty to stay near."""
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return choose(cast("list[Any]", schema["enum"]), *key)
        if slot.home:
            return self._key_of(slot.home, near, *key)
        held = field_values(strange, slot.name) or field_values(near, slot.name)
        held = held or self._elsewhere(slot.name, *key)
        held = [value for value in held if of_type(value, type_of(schema))]
        if held:
            return choose(held, *key)
        return self._made(slot, schema, near, strange, *key)

    def _key_of(self, home: str, near: Sequence[Row], *key: str | int) -> str:
        keys = [row.key for row in near if row.collection == home]
        return keys[0] if keys else self._rows.draw(home, *key).key

    def _elsewhere(self, field: str, *key: str | int) -> list[Any]:
        homes = self._rows.with_field(field)
        return field_values([self._rows.draw(homes[0], *key, "elsewhere")], field) if homes else []

    def _made(
        self,
        slot: Slot,
        schema: Mapping[str, Any],
        near: Sequence[Row],
        strange: Sequence[Row],
        *key: str | int,
    ) -> Any:
        kind = type_of(schema)
        if kind == "boolean":
            return draw(*key) < 0.5
        if kind in ("integer", "number"):
            low = schema.get("minimum", 1)
            least, most = ceil(low), floor(schema.get("maximum", ceil(low) + 4))
            return low if least > most else least + int(draw(*key) * min(most - least + 1, 5))
        if kind == "array":
            single = Slot(singular(slot.name), as_object(schema.get("items")), True, slot.home, slot.free)
            item = self._value(single, single.schema, near, strange, *key, 0)
            return item if item is NONE else [item]
        if kind != "string" or "pattern" in schema:
            return NONE
        if schema.get("format") == "date" or _words(slot.name)[-1] in ("date", "day"):
            return moment_after(self._now, _DAY_S * (1 + int(draw(*key) * 28)))[:10]
        return choose(_REASONS, *key) if slot.free else NONE


def type_of(schema: Mapping[str, Any]) -> str:
    """The JSON type of a schema: of several the first that is not null, without any a string."""
    told = schema.get("type", "string")
    return next((str(one) for one in told if one != "null"), "null") if is_list(told) else str(told)


def of_type(value: Any, kind: str) -> bool:
    """Whether a scalar is of a JSON type."""
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, {"string": str, "integer": int, "number": int | float}.get(kind, ()))


def singular(word: str) -> str:
    """`orders` becomes `order`, `entries` `entry`, `boxes` `box`; other words are unchanged."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z0-9]+", spaced.lower()) or [name]


def _fits(pattern: Any, rows: Rows, collection: str) -> bool | None:
    """Whether a parameter's pattern matches the keys of a collection; None without a pattern."""
    if not isinstance(pattern, str):
        return None
    try:
        compiled = compile_pattern(pattern)
    except BadPattern:
        return None
    keys = [rows.draw(collection, "keys", n).key for n in range(3)]
    return all(compiled.found(key) for key in keys)
