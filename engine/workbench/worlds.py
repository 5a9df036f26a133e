"""Where worlds come from: shipped ones, files under allowed roots, inline documents; compiled once per hash."""

from __future__ import annotations

import copy
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ..errors import CasehardenError, InvalidArgument, NextCall, NotFound, nearest
from ..evaluate import compile_rules
from ..exchange import Roots
from ..records.authored import load
from ..records.world import World
from ..world import CodeTools, CompiledWorld, RemoteTools, compile_world
from .archive import Archive

_COMPILED = 16
_DEPTH = {"db": 2, "user_db": 2, "schema": 1}
"""How deep a field is merged: state by collection and record, schema by collection."""
_BY_NAME = {"tools": "name", "rules": "id"}


@dataclass(slots=True)
class WorldSource:
    """A world's document and what came with it."""

    document: dict[str, Any]
    name: str = ""
    instructions: str = ""
    personas: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    scenarios: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    shipped: bool = False
    state_only: bool = False
    """The file held collections but no world: they became `db`."""


class Worlds:
    """Finds, compiles and remembers worlds."""

    def __init__(
        self,
        archive: Archive,
        shipped: Path | None,
        roots: Roots,
        code: CodeTools | None = None,
        remote: RemoteTools | None = None,
    ) -> None:
        self._archive = archive
        self._shipped = shipped
        self._roots = roots
        self._code = code
        self._remote = remote
        self._compiled: OrderedDict[str, CompiledWorld] = OrderedDict()
        self._mutex = threading.Lock()

    def names(self) -> list[str]:
        """The shipped worlds."""
        if self._shipped is None:
            return []
        return sorted(path.parent.name for path in self._shipped.glob("*/world.json"))

    def ships_policy(self, world: CompiledWorld) -> bool:
        """Whether the policy is that of the shipped world of the same name."""
        name = world.world.name
        return name in self.names() and self._read_shipped(name).document.get("policy") == world.world.policy

    def find(self, name: str, where: str) -> WorldSource:
        """The world with that name or path; an empty name is an empty world."""
        if not name:
            return WorldSource({})
        if name in self.names():
            return self._read_shipped(name)
        if "/" not in name and "." not in name:
            near = nearest(name, self.names())
            hint = f" Did you mean `{near}`?" if near else ""
            allowed = f"{', '.join(self.names())}, or a world file under an allowed root"
            raise NotFound(f"No world `{name[:80]}`.{hint}", where=where, allowed=allowed)
        return self._of_file(self._roots.read_json(name, where), Path(name).stem, where)

    def of_document(self, document: Mapping[str, Any], where: str) -> WorldSource:
        """An inline world, or a bundle `{"world", "personas", "scenarios"}`."""
        return self._of_file(dict(document), "", where)

    def compile(self, document: Mapping[str, Any], where: str) -> CompiledWorld:
        """Check and compile a document; errors give their path."""
        compiled = compile_world(load(World, document, where), code=self._code, remote=self._remote)
        compile_rules(compiled)
        return self._remember(compiled)

    def compile_reachable(self, document: Mapping[str, Any], where: str) -> CompiledWorld:
        """Like `compile`; also an error if a server behind its tools may not be reached or started here."""
        compiled = self.compile(document, where)
        return self._checked(compiled, where)

    def reachable(self, hash: str, where: str) -> CompiledWorld:
        """Like `get`; also an error if a server behind its tools may not be reached or started here."""
        return self._checked(self.get(hash), where)

    def keep(self, compiled: CompiledWorld) -> str:
        """Store the world; return its hash."""
        self._archive.worlds.keep(
            compiled.hash, compiled.world.model_dump(mode="json", by_alias=True, exclude_unset=True)
        )
        return compiled.hash

    def get(self, hash: str) -> CompiledWorld:
        """A stored world, compiled."""
        with self._mutex:
            found = self._compiled.get(hash)
            if found is not None:
                self._compiled.move_to_end(hash)
                return found
        world = World.model_validate(self._archive.worlds.read(hash))
        return self._remember(compile_world(world, code=self._code, remote=self._remote))

    def _checked(self, compiled: CompiledWorld, where: str) -> CompiledWorld:
        if self._remote is not None:
            self._remote.check(compiled.world, where)
        return compiled

    def _remember(self, compiled: CompiledWorld) -> CompiledWorld:
        with self._mutex:
            kept = self._compiled.setdefault(compiled.hash, compiled)
            while len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
            return kept

    def _read_shipped(self, name: str) -> WorldSource:
        assert self._shipped is not None
        folder = self._shipped / name

        def text(file: str) -> str:
            path = folder / file
            return path.read_text(encoding="utf-8") if path.is_file() else ""

        def rows(file: str) -> list[dict[str, Any]]:
            return json.loads(text(file) or "[]")

        document = json.loads(text("world.json"))
        if not document.get("policy"):
            document["policy"] = text("policy.md")
        return WorldSource(
            document,
            name=name,
            instructions=text("instructions.md").strip(),
            personas=rows("personas.json"),
            scenarios=rows("scenarios.json"),
            shipped=True,
        )

    def _of_file(self, value: Any, name: str, where: str) -> WorldSource:
        if not isinstance(value, dict):
            raise InvalidArgument(
                "A world is a JSON object.",
                where=where,
                allowed='{"format": "world/1", "db": {...}, "tools": [...]}',
                next=[NextCall("get_item", {"kind": "guide", "id": "world-format"})],
            )
        document = cast("dict[str, Any]", value)
        if "world" in document and isinstance(document["world"], dict):
            unknown = set(document) - {"world", "personas", "scenarios"}
            if unknown:
                raise InvalidArgument(
                    f"Unknown field `{min(unknown)}`.", where=where, allowed="world, personas, scenarios"
                )
            inner = self._of_file(document["world"], name, f"{where}.world")
            inner.personas = _records(document, "personas", where)
            inner.scenarios = _records(document, "scenarios", where)
            return inner
        fields = {f.alias or key for key, f in World.model_fields.items()}
        if document and not fields & set(document):
            return WorldSource({"db": document}, name=name, state_only=True)
        return WorldSource(document, name=name)


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A world document laid over another: records by key, tools and rules by name, everything else replaced."""
    result = dict(base)
    for key, value in over.items():
        if key in _DEPTH and isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], cast("Mapping[str, Any]", value), _DEPTH[key])
        elif key in _BY_NAME and isinstance(value, list) and isinstance(result.get(key), list):
            result[key] = _by_name(result[key], cast("list[Any]", value), _BY_NAME[key])
        else:
            result[key] = copy.deepcopy(cast("Any", value))
    return result


def _records(document: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not isinstance(found, list):
        raise InvalidArgument(f"`{name}` is no list.", where=f"{where}.{name}", allowed="a list of objects")
    return cast("list[dict[str, Any]]", found)


def _merged(base: Mapping[str, Any], over: Mapping[str, Any], depth: int) -> dict[str, Any]:
    result: dict[str, Any] = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if depth > 1 and isinstance(value, Mapping) and isinstance(below, dict):
            result[key] = _merged(cast("dict[str, Any]", below), cast("Mapping[str, Any]", value), depth - 1)
        else:
            result[key] = value
    return result


def _by_name(base: list[Any], over: list[Any], name: str) -> list[Any]:
    def key(item: Any) -> Any:
        return item.get(name) if isinstance(item, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]

    replaced = {key(item): item for item in over}
    kept = [replaced.pop(key(item), item) for item in base]
    return kept + [item for item in over if key(item) in replaced]


def world_errors(error: CasehardenError, where: str) -> CasehardenError:
    """A world's error, located in the argument it came in with."""
    text = error.where.removeprefix("world")
    return type(error)(
        error.what, where=f"{where}{text}", allowed=error.allowed, next=error.next, quoted=error.quoted
    )
