"""The schema of a world's collections: checked for the whole state at load, for changed records at commit."""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import InvalidArgument, did_you_mean
from ..records.world import CollectionSchema, FieldSchema
from .mistakes import Mistakes
from .operations import same
from .parameters import of_type, pattern_or_mistake
from .paths import WILD, Path, parse_inner, parse_path, show_path
from .patterns import Pattern
from .state import Patch, State
from .values import MISSING, is_number, kind_of, shown


class Violation(NamedTuple):
    """A record that does not conform to the schema."""

    path: Path
    what: str
    allowed: str = ""

    def __str__(self) -> str:
        return f"{show_path(self.path)}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Field:
    inner: Path
    terms: FieldSchema
    types: tuple[str, ...]
    pattern: Pattern | None
    ref: Path | None


@dataclass(frozen=True, slots=True)
class _Collection:
    path: Path
    required: tuple[str, ...]
    fields: tuple[_Field, ...]


class CollectionSchemas:
    """All schemas of a world, compiled."""

    def __init__(self, collections: list[_Collection]) -> None:
        self._collections = collections
        self._referred = {f.ref for c in collections for f in c.fields if f.ref is not None}

    def may_dangle(self, patches: Iterable[Patch]) -> bool:
        """Whether patches may have removed something that untouched records refer to."""
        return any(_takes_from(patch, box) for patch in patches for box in self._referred)

    def violations(self, state: State) -> Iterator[Violation]:
        """The violations in the whole state, in the order of the schema."""
        for collection in self._collections:
            box = state.get(collection.path)
            for key in _keys(box):
                yield from _record_violations(collection, key, box, state)

    def changed(self, state: State, patches: Iterable[Patch]) -> Iterator[Violation]:
        """The violations in the records that the patches touched, as they are now."""
        if not self._collections:
            return
        paths = [patch.path for patch in patches]
        for collection in self._collections:
            box = state.get(collection.path)
            for key in _touched(collection.path, paths, box):
                yield from _record_violations(collection, key, box, state)


def compile_schemas(
    schemas: Mapping[str, CollectionSchema], base: Mapping[str, Any], where: str, mistakes: Mistakes
) -> CollectionSchemas:
    """Compile the schemas; unknown collections, fields that are not paths and bad patterns are noted."""
    state = State(dict(base))
    made: list[_Collection] = []
    for text, schema in schemas.items():
        at = f"{where}[{text!r}]"
        with mistakes.caught():
            path = parse_path(text, at)
            box = state.get(path, MISSING)
            if not isinstance(box, dict | list) or len(path) < 2:
                known = [show_path((root, key)) for root, side in base.items() for key in side]
                raise InvalidArgument(
                    f"There is no collection `{text[:80]}`.{did_you_mean(text, known)}",
                    where=at,
                    allowed=known[:40],
                )
            fields = [
                _field(name, terms, path, state, f"{at}.fields[{name!r}]", mistakes)
                for name, terms in schema.fields.items()
            ]
            made.append(_Collection(path, tuple(schema.required), tuple(f for f in fields if f)))
    return CollectionSchemas(made)


def _field(
    name: str, terms: FieldSchema, path: Path, state: State, where: str, mistakes: Mistakes
) -> _Field | None:
    with mistakes.caught():
        inner = parse_inner(name, where)
        types = terms.type if isinstance(terms.type, list) else [terms.type] if terms.type else []
        pattern = (
            pattern_or_mistake(terms.pattern, f"{where}.pattern", mistakes)
            if terms.pattern is not None
            else None
        )
        ref = None
        if terms.ref is not None:
            ref = parse_path(
                f"{path[0]}.{terms.ref}" if terms.ref.isidentifier() else f"{path[0]}[{terms.ref!r}]", where
            )
            if not isinstance(state.get(ref), dict):
                known = list(state.get((path[0],), {}))
                what = (
                    f"There is no collection `{terms.ref[:60]}` on this side.{did_you_mean(terms.ref, known)}"
                )
                raise InvalidArgument(what, where=f"{where}.ref", allowed=known[:40])
        return _Field(inner, terms, tuple(types), pattern, ref)
    return None


def _takes_from(patch: Patch, box: Path) -> bool:
    """Whether a patch removes a key of a collection, or removes or replaces the collection."""
    size = len(patch.path)
    if size <= len(box):
        return box[:size] == patch.path and (patch.op == "remove" or patch.old is not MISSING)
    return patch.op == "remove" and patch.path[:-1] == box


def _keys(box: Any) -> list[str] | range:
    return list(box) if isinstance(box, dict) else range(len(box)) if isinstance(box, list) else []


def _touched(collection: Path, paths: list[Path], box: Any) -> Iterable[str | int]:
    size = len(collection)
    found: dict[str | int, None] = {}
    for path in paths:
        if len(path) > size:
            if path[:size] == collection:
                if isinstance(box, list):
                    return _keys(box)
                if isinstance(box, dict) and path[size] in box:
                    found[path[size]] = None
        elif path == collection[: len(path)]:
            return _keys(box)
    return found


def _record_violations(
    collection: _Collection, key: str | int, box: Any, state: State
) -> Iterator[Violation]:
    record, path = box[key], (*collection.path, key)
    if not isinstance(record, dict):
        yield Violation(path, f"a record is an object, not {kind_of(record)}")
        return
    for name in collection.required:
        if name not in record:
            yield Violation((*path, name), f"a required key is missing{_near_key(name, record)}")
    for field in collection.fields:
        for spot, value in _values(record, field.inner, path):
            found = _violation(field, value, state)
            if found:
                yield Violation(spot, *found)


def _near_key(name: str, record: Mapping[str, Any]) -> str:
    """The key that may have been meant."""
    near = difflib.get_close_matches(name, list(record)[:1000], n=1)
    return f"; there is `{near[0]}`" if near else ""


def _values(value: Any, inner: Path, path: Path) -> Iterator[tuple[Path, Any]]:
    if not inner:
        yield path, value
        return
    key, rest = inner[0], inner[1:]
    if key is WILD:
        for each in _keys(value):
            yield from _values(value[each], rest, (*path, each))
    elif isinstance(value, dict) and isinstance(key, str):
        if key in value:
            yield from _values(value[key], rest, (*path, key))
    elif isinstance(value, list) and isinstance(key, int) and -len(value) <= key < len(value):
        yield from _values(value[key], rest, (*path, key))


def _violation(field: _Field, value: Any, state: State) -> tuple[str, str] | None:
    terms = field.terms
    if field.types and not any(of_type(value, name) for name in field.types):
        return f"must be {' or '.join(field.types)}, is {shown(value)}", ""
    if terms.enum is not None and not any(same(value, item) for item in terms.enum):
        known = [item for item in terms.enum if isinstance(item, str)]
        hint = (
            f".{did_you_mean(value, known)}" if isinstance(value, str) and did_you_mean(value, known) else ""
        )
        return f"{shown(value)} is not one of the allowed values{hint}", ", ".join(
            shown(item) for item in terms.enum[:20]
        )
    if terms.min is not None and is_number(value) and value < terms.min:
        return f"{shown(value)} is less than {terms.min:g}", ""
    if terms.max is not None and is_number(value) and value > terms.max:
        return f"{shown(value)} is more than {terms.max:g}", ""
    if field.pattern is not None and isinstance(value, str) and not field.pattern.found(value):
        return f"{shown(value)} does not match {field.pattern.text}", ""
    return _dangling(field, value, state)


def _dangling(field: _Field, value: Any, state: State) -> tuple[str, str] | None:
    if field.ref is None or value is None:
        return None
    there = state.get(field.ref)
    for key in value if isinstance(value, list) else [value]:
        if not (isinstance(there, dict) and isinstance(key, str) and key in there):
            near = (
                did_you_mean(key, there)
                if isinstance(key, str) and isinstance(there, dict) and len(there) <= 1000
                else ""
            )
            what = f"refers to {shown(key)} in {show_path(field.ref)}, which does not exist"
            return f"{what}.{near}" if near else what, ""
    return None
