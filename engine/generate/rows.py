"""The records of a world as a graph: collections, which record refers to which, and where a field occurs.

Collections are objects of objects on the agent's side (`db.orders`); a record is one of their entries. Nothing here
knows what a collection is about: keys, names of fields and the schema's references are all there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

from ..seeds import choose
from ..world import CompiledWorld, show_path

MAX_ROWS: Final = 20_000
"""Most records whose links are read."""
_MAX_LEAVES: Final = 200
_FEW: Final = 8
_NEAR: Final = 24
"""Most records looked at around one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One record."""

    collection: str
    key: str
    record: Mapping[str, Any]

    @property
    def path(self) -> str:
        """`db.orders.W1`"""
        return show_path(("db", self.collection, self.key))


class Rows:
    """All records of a world's agent side."""

    def __init__(self, world: CompiledWorld) -> None:
        self._world = world
        self.collections: dict[str, Mapping[str, Mapping[str, Any]]] = {
            name: box for name, box in world.base["db"].items() if is_collection(box)
        }
        self._keys = {name: list(box) for name, box in self.collections.items()}
        self._homes: dict[str, list[str]] = defaultdict(list)
        self._spreads: dict[str, list[list[list[str]]]] = {}
        for name, keys in self._keys.items():
            for key in keys:
                self._homes[key].append(name)

    def holds(self, key: str) -> bool:
        """Whether some record has this key."""
        return key in self._homes

    def draw(self, collection: str, *seed: str | int) -> Row:
        """A drawn record of a collection."""
        return self.row(collection, choose(self._keys[collection], *seed))

    def varied(self, collection: str, n: int, *seed: str | int) -> Row:
        """The n-th of many draws, spread evenly over the values of fields that have only a few."""
        spread = self._spread(collection)
        if not spread:
            return self.draw(collection, *seed)
        groups = spread[n % len(spread)]
        keys = groups[n // len(spread) % len(groups)]
        return self.row(collection, choose(keys, *seed))

    def row(self, collection: str, key: str) -> Row:
        """The record with this key; KeyError if there is none."""
        return Row(collection, key, self.collections[collection][key])

    def size(self, collection: str) -> int:
        return len(self._keys[collection])

    def with_field(self, name: str) -> list[str]:
        """Collections whose records have a field of that name, those with it at the top level first."""
        top = [c for c, fields in self._fields.items() if fields.get(name) == 0]
        return top or [c for c, fields in self._fields.items() if name in fields]

    def near(self, row: Row) -> list[Row]:
        """The record, those it refers to, those that refer to it, and the next ones around these; nearest first."""
        found = {(row.collection, row.key): row}
        rim = [row]
        for _ in range(2):
            outer: list[Row] = []
            for here in rim:
                for other in [*self._named(here), *self._naming.get((here.collection, here.key), ())]:
                    if len(found) < _NEAR and (other.collection, other.key) not in found:
                        found[other.collection, other.key] = other
                        outer.append(other)
            rim = outer
        return list(found.values())

    def _spread(self, collection: str) -> list[list[list[str]]]:
        """For each field with 2 to 8 different texts: the keys of the records, grouped by that text."""
        if collection not in self._spreads:
            by_field: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
            for key in self._keys[collection][:MAX_ROWS]:
                for field, value in self.collections[collection][key].items():
                    if isinstance(value, str) and len(by_field[field]) <= _FEW:
                        by_field[field][value].append(key)
            few = [groups for groups in by_field.values() if 2 <= len(groups) <= _FEW]
            self._spreads[collection] = [list(groups.values()) for groups in few]
        return self._spreads[collection]

    @cached_property
    def _naming(self) -> dict[tuple[str, str], list[Row]]:
        made: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for n, row in enumerate(self._all()):
            if n >= MAX_ROWS:
                break
            for other in self._named(row):
                made[other.collection, other.key].append(row)
        return made

    @cached_property
    def _fields(self) -> dict[str, dict[str, int]]:
        """For each collection the names of fields and their depth, from its first records."""
        made: dict[str, dict[str, int]] = {}
        for name, box in self.collections.items():
            fields = made[name] = {}
            for key in self._keys[name][:5]:
                for depth, field, _ in leaves(box[key]):
                    fields[field] = min(depth, fields.get(field, depth))
        return made

    def _all(self) -> Iterator[Row]:
        for name in self.collections:
            for key in self._keys[name]:
                yield self.row(name, key)

    def _named(self, row: Row) -> Iterator[Row]:
        schema = self._world.world.schema_.get(f"db.{row.collection}")
        for _, field, value in leaves(row.record):
            if not isinstance(value, str) or value not in self._homes:
                continue
            told = schema.fields.get(field) if schema else None
            homes = self._homes[value]
            if told is not None and told.ref in homes:
                yield self.row(told.ref, value)
            elif len(homes) == 1 and homes[0] != row.collection and len(value) > 1:
                yield self.row(homes[0], value)


def is_collection(box: Any) -> bool:
    """Whether a value is an object of objects with at least one in it."""
    if not isinstance(box, dict) or not box:
        return False
    return all(isinstance(value, dict) for value in cast("dict[str, Any]", box).values())


def leaves(record: Any, field: str = "", depth: int = -1) -> Iterator[tuple[int, str, Any]]:
    """(depth, field name, value) of every scalar of a record; the elements of a list share its name."""
    left = _MAX_LEAVES
    waiting: list[tuple[int, str, Any]] = [(depth, field, record)]
    while waiting and left > 0:
        at, name, value = waiting.pop(0)
        if isinstance(value, dict):
            waiting += [(at + 1, key, inner) for key, inner in cast("dict[str, Any]", value).items()]
        elif isinstance(value, list):
            waiting += [(at + 1, name, inner) for inner in cast("list[Any]", value)]
        else:
            left -= 1
            yield max(at, 0), name, value


def field_values(rows: Sequence[Row], field: str) -> list[Any]:
    """The values of a field in the first of the records that has it."""
    for row in rows:
        found = [value for _, name, value in leaves(row.record) if name == field and value is not None]
        if found:
            return list(dict.fromkeys(found))
    return []
