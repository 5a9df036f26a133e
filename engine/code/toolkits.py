"""tau2's tool kits: methods over a pydantic database, here made from our state for each call.

Runs in the worker; pydantic is needed there only if such a tool is called. A collection of records is validated record
by record as the code accesses them, and only those are compared afterwards.
"""

# It imitates dict, list and users' models: their types are unknown here.
# pyright: basic
from __future__ import annotations

import datetime
import inspect
import json
import sys
import typing
from pathlib import Path
from typing import Any


class Records(dict):  # pyright: ignore[reportMissingTypeArgument]
    """A collection: raw records become models when they are accessed."""

    def __init__(self, raw: dict[str, Any], adapter: Any) -> None:
        super().__init__(raw)
        self._raw, self._adapter = raw, adapter
        self.seen: set[Any] = set()

    def _see(self, key: Any) -> None:
        if key not in self.seen:
            self.seen.add(key)
            super().__setitem__(key, self._adapter.validate_python(_copy(super().__getitem__(key))))

    def __getitem__(self, key):
        if key in self:
            self._see(key)
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self.seen.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key):
        self.seen.add(key)
        super().__delitem__(key)

    def get(self, key, default=None):
        if key in self:
            self._see(key)
        return super().get(key, default)

    def setdefault(self, key, default=None):
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key, *default):
        if key in self:
            self._see(key)
        return super().pop(key, *default)

    def update(self, *args, **words):
        for key, value in dict(*args, **words).items():
            self[key] = value

    def values(self):
        return [self[key] for key in self]

    def items(self):
        return [(key, self[key]) for key in self]

    def copy(self):
        return dict(self.items())

    def __eq__(self, other):
        return dict(self.items()) == other

    def __ne__(self, other):
        return not self == other

    __hash__ = None


class Toolkits:
    """Calls of methods, on one base."""

    def __init__(self, root: dict[str, Any], loader: Any, tracked: Any) -> None:
        self.root, self.loader, self.tracked = root, loader, tracked
        self.syncs: dict[str, Any] = {}

    def call(self, found: Any, question: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(found, tuple):
            return _failed("a tau2 tool is `FILE.py:Class.method`", "runtime")
        kit_class, method = found
        side, args = question["side"], question["args"]
        state = _with_writes(self.root, question["writes"])
        other = self.loader.find(question["user"]) if question["user"] else None
        classes = {side: kit_class}
        if other is not None and other is not kit_class:
            classes["user_db" if side == "db" else "db"] = other
        try:
            databases, kits = _made(classes, state)
        except Exception as error:
            return _failed(f"its database cannot be made: {type(error).__name__}: {error}"[:1500], "runtime")
        memory = Memory(kits, state["db"].get(question["keep"]))
        sync = self._sync(question["python"])
        made = self._run(kits, side, method, args, sync)
        made["writes"] = [
            [op, [name, *path], value]
            for name, database in databases.items()
            for op, path, value in database.writes(self.tracked)
        ]
        made["writes"] += [["set", ["db", question["keep"]], now] for now in memory.changed()]
        try:
            json.dumps(made, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            return _failed(f"it gave or wrote what is no JSON: {error}", "runtime")
        return made

    def _run(
        self, kits: dict[str, Any], side: str, method: str, args: dict[str, Any], sync: Any
    ) -> dict[str, Any]:
        function = getattr(kits[side], method)
        try:
            result = function(**args)
            if sync is not None:
                environment = sync.__new__(sync)
                environment.tools = kits.get("db")
                environment.user_tools = kits.get("user_db")
                environment.solo_mode = False
                environment.sync_tools()
            return {
                "result": result if isinstance(result, bool) else as_text(result),
                "failed": "",
                "writes": [],
            }
        except Exception as error:
            kind = "refused"
            if isinstance(error, TypeError) and not _fits(function, args):
                kind = "arguments"
            return _failed(f"Error: {error}", kind)

    def _sync(self, python: str) -> Any:
        """The domain's environment class if it keeps both sides consistent; None if there is none."""
        file = Path(python.rpartition(":")[0]).with_name("environment.py")
        if str(file) not in self.syncs:
            self.syncs[str(file)] = None
            if file.is_file() and "def sync_tools" in file.read_text(encoding="utf-8", errors="replace"):
                module = self.loader.module(file)
                for value in vars(module).values():
                    if (
                        inspect.isclass(value)
                        and "sync_tools" in vars(value)
                        and value.__module__ == module.__name__
                    ):
                        self.syncs[str(file)] = value
        return self.syncs[str(file)]


def _made(classes: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Database], dict[str, Any]]:
    """The databases by side, and the kits over them; if both sides name one database class, they share it."""
    kinds = {side: _database(kit_class) for side, kit_class in classes.items()}
    shared = len(kinds) == 2 and kinds["db"] is kinds["user_db"]
    databases = {side: Database(kinds[side], state[side]) for side in (["db"] if shared else classes)}
    kits = {side: made(databases["db" if shared else side].db) for side, made in classes.items()}
    return databases, kits


class Memory:
    """State that kits keep beside their database between calls: its JSON, if our state has a place for it."""

    def __init__(self, kits: dict[str, Any], kept: Any) -> None:
        self.kits = kits if isinstance(kept, dict) else {}
        self.kept = kept
        for side, kit in self.kits.items():
            for name, value in kept.get(side, {}).items():
                fresh = vars(kit).get(name)
                vars(kit)[name] = set(value) if isinstance(fresh, set) else _copy(value)
        self.before = self._state()

    def changed(self) -> list[dict[str, Any]]:
        """Everything to keep from now on; nothing if the call changed none of it."""
        now = self._state()
        return [] if now == self.before else [{**self.kept, **now}]

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for side, kit in self.kits.items():
            for name, value in vars(kit).items():
                if name == "db":
                    continue
                value = sorted(value, key=str) if isinstance(value, set) else value
                try:
                    found.setdefault(side, {})[name] = json.loads(json.dumps(value, allow_nan=False))
                except (TypeError, ValueError, RecursionError):
                    continue
        return found


class Database:
    """The database of a tool kit on one side of a state."""

    def __init__(self, db_class: Any, raw: dict[str, Any]) -> None:
        from pydantic import TypeAdapter

        self.raw = raw
        self.adapters: dict[str, Any] = {}
        self.filled: dict[str, Any] = {}
        """The model's values for fields the state lacks."""
        fields: dict[str, Any] = {}
        for name, field in db_class.model_fields.items():
            record = _record_type(field.annotation)
            if record is not None and isinstance(raw.get(name), dict):
                self.adapters[name] = TypeAdapter(record)
                fields[name] = Records(raw[name], self.adapters[name])
                continue
            self.adapters[name] = TypeAdapter(field.annotation)
            if name in raw:
                fields[name] = self.adapters[name].validate_python(_copy(raw[name]))
            elif not field.is_required():
                fields[name] = field.get_default(call_default_factory=True)
                self.filled[name] = _dump(self.adapters[name], fields[name])
        self.db = db_class.model_construct(**fields)

    def writes(self, tracked: Any) -> list[list[Any]]:
        """What the call changed, compared with the state before it."""
        found: list[list[Any]] = []
        for name, adapter in self.adapters.items():
            now = getattr(self.db, name, tracked.GONE)
            if now is tracked.GONE:
                continue
            raw = self.raw.get(name, tracked.GONE)
            if isinstance(now, Records):
                for key in sorted(now.seen, key=str):
                    before = _normal(adapter, raw[key]) if key in raw else tracked.GONE
                    after = _dump(adapter, dict.__getitem__(now, key)) if key in now else tracked.GONE
                    found += _against(tracked, before, after, raw.get(key, tracked.GONE), [name, key])
            else:
                before = self.filled[name] if name in self.filled else _normal(adapter, raw)
                after = _dump(adapter, now)
                found += _against(tracked, before, after, raw, [name])
        return found


def _against(tracked: Any, before: Any, after: Any, raw: Any, path: list[Any]) -> list[list[Any]]:
    """Writes that do to the raw value what the call did to the models; values that models fill in are not written."""
    writes = tracked.differences(before, after, path)
    if raw is tracked.GONE or before is tracked.GONE or after is tracked.GONE:
        return [["set", path, after]] if writes and raw is tracked.GONE else writes
    made: list[list[Any]] = []
    for op, place, value in writes:
        missing = _first_missing(raw, before, place[len(path) :])
        if missing is None:
            made.append([op, place, value])
        else:
            whole = ["set", [*path, *missing], _at(after, missing)]
            made += [] if whole in made else [whole]
    return made


def _first_missing(raw: Any, before: Any, place: list[Any]) -> list[Any] | None:
    """The shortest path to a container that a write needs and the raw value lacks or has differently; None: none."""
    for depth, key in enumerate(place[:-1]):
        before = before[key]
        raw = raw.get(key) if isinstance(raw, dict) else raw[key] if len(raw) > key else None
        if type(raw) is not type(before) or (isinstance(raw, list) and len(raw) != len(before)):
            return place[: depth + 1]
    return None


def _at(value: Any, way: list[Any]) -> Any:
    for key in way:
        value = value[key]
    return value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _normal(adapter: Any, raw: Any) -> Any:
    return _dump(adapter, adapter.validate_python(raw))


def _dump(adapter: Any, value: Any) -> Any:
    return adapter.dump_python(value, mode="json", warnings=False)


def _database(kit_class: Any) -> Any:
    """The database class that a kit declares for its `db`."""
    for made in kit_class.__mro__:
        note = vars(made).get("__annotations__", {}).get("db")
        if note is None:
            continue
        if isinstance(note, str):
            note = eval(note, vars(sys.modules[made.__module__]))
        note = next((part for part in typing.get_args(note) if part is not type(None)), note)
        if hasattr(note, "model_fields"):
            return note
    raise TypeError(f"{kit_class.__name__} does not say the class of its `db`")


def _record_type(annotation: Any) -> Any:
    """The value type of `dict[str, X]`; None for anything else."""
    if typing.get_origin(annotation) is dict:
        return typing.get_args(annotation)[1]
    return None


def _with_writes(root: dict[str, Any], writes: list[list[Any]]) -> dict[str, Any]:
    """The root with writes on top; everything not written is shared."""
    made: dict[str, Any] = {side: dict(value) for side, value in root.items()}
    own: set[int] = {id(value) for value in made.values()}
    for op, path, value in writes:
        box: Any = made
        for key in path[:-1]:
            inner = box[key]
            if id(inner) not in own and isinstance(inner, (dict, list)):
                inner = inner.copy()
                own.add(id(inner))
                box[key] = inner
            box = inner
        if op == "insert":
            box.insert(path[-1], value)
        elif op == "remove":
            del box[path[-1]]
        else:
            box[path[-1]] = value
    return made


def as_text(result: Any) -> Any:
    """A result in the form tau2 puts into a message."""
    return result if isinstance(result, str) else json.dumps(_processed(result), default=str)


def _processed(result: Any) -> Any:
    if hasattr(result, "model_dump"):
        return result.model_dump()
    if isinstance(result, (int, float, bool)):
        return str(result)
    if isinstance(result, list):
        return [_processed(item) for item in result]
    if isinstance(result, tuple):
        return tuple(_processed(item) for item in result)
    if isinstance(result, dict):
        return {key: _processed(value) for key, value in result.items()}
    if isinstance(result, (datetime.datetime, datetime.date)):
        return result.isoformat()
    if result is None or isinstance(result, str):
        return result
    raise ValueError(f"Unsupported type: {type(result)}")


def _fits(function: Any, args: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(**args)
    except (TypeError, ValueError):
        return False
    return True


def _failed(text: str, kind: str) -> dict[str, Any]:
    return {"result": text, "failed": kind, "writes": []}
