"""The state of one live world: copy on write over a shared base, and one journal of all writes.

A write copies the containers on its path, once per snapshot; everything else stays shared with the base, so that a
trial costs only what it changes. Old snapshots never change.
"""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import did_you_mean
from .overlay import LARGE, Overlay
from .paths import Path, show_path
from .values import MISSING, Fault, copied, kind_of

WriteOp = Literal["set", "insert", "remove"]


@dataclass(frozen=True, slots=True)
class Patch:
    """One write. `old` and `new` are MISSING if there was or is nothing; neither may be changed.

    `by`: agent, user, sync, init, event:<id>, noise or persona. `at`: position of a removed key among the keys of its
    object, so that undoing restores the order too.
    """

    op: WriteOp
    path: Path
    old: Any
    new: Any
    by: str
    at: int = -1

    @property
    def shown(self) -> str:
        """The path as text."""
        return show_path(self.path)

    def record(self) -> dict[str, Any]:
        """`{op, path, by, old?, new?}`, as conversations store it."""
        made: dict[str, Any] = {"op": self.op, "path": self.shown, "by": self.by}
        if self.old is not MISSING:
            made["old"] = self.old
        if self.new is not MISSING:
            made["new"] = self.new
        return made


class State:
    """A root object such as `{"db": …, "user_db": …}`, which it never changes, and the writes on top of it.

    Readers must not change what `get`, `root` and `snapshot` return; written values are copied.
    """

    __slots__ = ("_owned", "journal", "root")

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.journal: list[Patch] = []
        self._owned: dict[int, Any] = {}

    def get(self, path: Sequence[Any], default: Any = None) -> Any:
        """The value at a path, or the default if any part of the path does not exist."""
        here: Any = self.root
        for key in path:
            if isinstance(here, dict):
                here = here.get(key, MISSING)
                if here is MISSING:
                    return default
            elif isinstance(here, list) and type(key) is int and -len(here) <= key < len(here):
                here = here[key]
            else:
                return default
        return here

    def write(self, op: WriteOp, path: Path, value: Any, by: str) -> int:
        """Write a copy of the value and return its weight (characters and elements).

        `set` creates the last key but not those before it; `insert` takes an index 0..len of a list; `remove` removes
        a key or an element (the value is ignored). Raises Fault if the path does not exist, the index is out of range,
        or the value is too large.
        """
        new, weighs = (MISSING, 0) if op == "remove" else copied(value)
        if len(path) < 2:
            raise Fault(f"{show_path(path)} as a whole cannot be written")
        box, key = self._way(path[:-1]), path[-1]
        if isinstance(box, list):
            patch = _write_element(op, box, path, new, by)
        elif isinstance(box, dict):
            patch = _write_key(op, box, path, new, by)
        else:
            raise Fault(f"{show_path(path[:-1])} is {kind_of(box)} and cannot hold {key!r}")
        self.journal.append(patch)
        return weighs

    def mark(self) -> int:
        """The current position in the journal, for `rollback`."""
        return len(self.journal)

    def rollback(self, mark: int) -> None:
        """Undo everything written since the mark, including the order of keys."""
        if len(self.journal) <= mark:
            return
        self._owned = {}
        while len(self.journal) > mark:
            self._undo(self.journal.pop())
        self._owned = {}

    def snapshot(self) -> dict[str, Any]:
        """The root as it is now; later writes do not change it."""
        self._owned = {}
        return self.root

    def branch(self) -> State:
        """An independent state with the same content and journal."""
        other = State(self.snapshot())
        other.journal = list(self.journal)
        return other

    def restore(self, root: dict[str, Any], journal: Sequence[Patch]) -> None:
        """Switch to a snapshot and the journal that belongs to it."""
        self.root, self.journal, self._owned = root, list(journal), {}

    def _undo(self, patch: Patch) -> None:
        box, key = self._way(patch.path[:-1]), patch.path[-1]
        if patch.op == "remove" and isinstance(box, list):
            box.insert(int(key), patch.old)
        elif patch.op == "remove":
            _put_back(box, patch)
        elif patch.op == "insert" or patch.old is MISSING:
            del box[key]
        else:
            box[key] = patch.old

    def _way(self, path: Path) -> Any:
        """The container at a path, after making our own copies of everything along it."""
        owned = self._owned
        here: Any = self.root
        if id(here) not in owned:
            here = self.root = dict(here)
            owned[id(here)] = here
        for depth, key in enumerate(path):
            below = _below(here, key)
            if below is MISSING:
                raise Fault(_no_way(here, path, depth))
            if isinstance(below, dict | list) and id(below) not in owned:
                below = _own_copy(below)
                owned[id(below)] = below
                here[key] = below
            here = below
        return here


def _own_copy(box: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    if isinstance(box, list):
        return list(box)
    return Overlay.over(box) if isinstance(box, Overlay) or len(box) > LARGE else dict(box)


def _below(box: Any, key: str | int) -> Any:
    if isinstance(box, dict):
        return box.get(key, MISSING)
    if isinstance(box, list) and type(key) is int and 0 <= key < len(box):
        return box[key]
    return MISSING


def _write_element(op: WriteOp, box: list[Any], path: Path, new: Any, by: str) -> Patch:
    index = path[-1]
    end = len(box) + (1 if op == "insert" else 0)
    if type(index) is not int:
        raise Fault(f"{show_path(path[:-1])} is a list and has no key {index!r}")
    if not 0 <= index < end:
        raise Fault(f"index {index} is outside {show_path(path[:-1])}, which has {len(box)} elements")
    if op == "insert":
        box.insert(index, new)
        return Patch(op, path, MISSING, new, by)
    old = box[index]
    if op == "remove":
        del box[index]
    else:
        box[index] = new
    return Patch(op, path, old, new, by)


def _write_key(op: WriteOp, box: dict[str, Any], path: Path, new: Any, by: str) -> Patch:
    key = path[-1]
    if op == "insert":
        raise Fault(f"{show_path(path[:-1])} is an object, not a list")
    if not isinstance(key, str):
        raise Fault(f"{show_path(path[:-1])} is an object: its keys are texts, {key!r} is {kind_of(key)}")
    old = box.get(key, MISSING)
    if op == "set":
        box[key] = new
        return Patch(op, path, old, new, by)
    if old is MISSING:
        raise Fault(f"there is nothing at {show_path(path)} to remove.{did_you_mean(key, box)}")
    at = list(box).index(key)
    del box[key]
    return Patch(op, path, old, MISSING, by, at)


def _put_back(box: dict[str, Any], patch: Patch) -> None:
    key = str(patch.path[-1])
    if isinstance(box, Overlay):
        box.put_at(patch.at, key, patch.old)
        return
    behind = list(box.items())[patch.at :]
    for name, _ in behind:
        del box[name]
    box[key] = patch.old
    box.update(behind)


def _no_way(here: Any, path: Path, depth: int) -> str:
    key = path[depth]
    at = show_path(path[:depth]) if depth else "the state"
    if isinstance(here, dict):
        hint = did_you_mean(key, here) if isinstance(key, str) and len(here) < 10_000 else ""
        return f"there is no {key!r} in {at}.{hint}"
    if isinstance(here, list):
        return f"there is no element {key!r} in {at}, which has {len(here)}"
    return f"{at} is {kind_of(here)} and has no {key!r}"
