"""A state that notes which of its records are changed, so that a call costs what it changes and not what there is.

Standard library only: it runs in the worker, under whatever interpreter the operator chose.

The state is an object of collections, a collection an object of records. A *home* is `(collection, record)`, or
`(collection,)` if a collection as a whole was changed. Reading works as with plain dicts and lists; changing a
container first notes its home. Copies of any kind are plain.
"""

# It imitates dict, list and users' models: their types are unknown here.
# pyright: basic
from __future__ import annotations

from typing import Any

Home = tuple[str, ...]
Marks = set[Home]


class TrackedDict(dict):  # pyright: ignore[reportMissingTypeArgument]
    """An object of the state. `depth` 0 is the state, 1 a collection; everything below belongs to one record."""

    __slots__ = ("depth", "home", "marks")

    def _note(self, key: Any = None) -> None:
        if self.depth > 1 or key is None:
            self.marks.add(self.home or ("",))
        else:
            self.marks.add((*self.home, key))

    def __setitem__(self, key, value):
        self._note(key)
        super().__setitem__(key, value)

    def __delitem__(self, key):
        self._note(key)
        super().__delitem__(key)

    def __ior__(self, other):
        self.update(other)
        return self

    def update(self, *args, **words):
        for key, value in dict(*args, **words).items():
            self[key] = value

    def setdefault(self, key, default=None):
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key, *default):
        if key in self:
            self._note(key)
        return super().pop(key, *default)

    def popitem(self):
        if self:
            self._note(next(reversed(self)))
        return super().popitem()

    def clear(self):
        for key in list(self):
            self._note(key)
        super().clear()

    def __deepcopy__(self, memo):
        return plain(self)

    def __reduce_ex__(self, protocol):
        return dict, (dict(self),)


class TrackedList(list):  # pyright: ignore[reportMissingTypeArgument]
    """A list of the state."""

    __slots__ = ("home", "marks")

    def __deepcopy__(self, memo):
        return plain(self)

    def __reduce_ex__(self, protocol):
        return list, (list(self),)


def _noting(name):
    inner = getattr(list, name)

    def change(self, *args, **words):
        self.marks.add(self.home)
        return inner(self, *args, **words)

    change.__name__ = name
    return change


for _name in (
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "clear",
    "sort",
    "reverse",
    "__setitem__",
    "__delitem__",
    "__iadd__",
    "__imul__",
):
    setattr(TrackedList, _name, _noting(_name))


def tracked(value: Any, home: Home, marks: Marks, depth: int) -> Any:
    """The value with all its containers tracked."""
    if isinstance(value, dict):
        made = TrackedDict()
        made.depth, made.home, made.marks = depth, home, marks
        put = dict.__setitem__
        for key, item in value.items():
            inner = (*home, key) if depth < 2 else home
            put(made, key, tracked(item, inner, marks, depth + 1) if isinstance(item, (dict, list)) else item)
        return made
    made_list = TrackedList(
        tracked(item, home, marks, 9) if isinstance(item, (dict, list)) else item for item in value
    )
    made_list.home, made_list.marks = home, marks
    return made_list


def plain(value: Any) -> Any:
    """A copy of JSON values without tracking."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


GONE = object()
"""Marks that there is nothing."""


class State:
    """One base, and the live state that a call sees: the base with some writes on top, restored after each call."""

    def __init__(self, base: dict[str, Any]) -> None:
        self.base = base
        self.marks: Marks = set()
        self.live = tracked(base, (), self.marks, 0)

    def prepare(self, writes: list[list[Any]]) -> None:
        """Bring the live state to the base with these writes `[op, path, value]`."""
        self.marks.clear()
        for op, path, value in writes:
            apply(self.live, op, path, value)
        self.set_up = set(self.marks)
        self.before = {home: plain(self._at(self.live, home)) for home in self.set_up}
        self.marks.clear()

    def writes(self) -> list[list[Any]]:
        """What has been changed since `prepare`, as writes."""
        found: list[list[Any]] = []
        whole = {home[0] for home in self.marks if len(home) == 1}
        for home in sorted(self.marks, key=lambda h: (len(h), h)):
            if len(home) == 2 and home[0] in whole:
                continue
            found += differences(self._before(home), self._at(self.live, home), list(home))
        return found

    def put_back(self) -> None:
        """Restore the live state to the base."""
        homes = self.set_up | self.marks
        whole = {home[0] for home in homes if len(home) == 1}
        for name in whole:
            self._put_back_whole(name)
        for home in homes:
            if len(home) == 2 and home[0] not in whole:
                self._put_back_record(*home)
        self.marks.clear()

    def _put_back_whole(self, name: str) -> None:
        if name not in self.base:
            dict.pop(self.live, name, None)
        else:
            value = self.base[name]
            kept = tracked(value, (name,), self.marks, 1) if isinstance(value, (dict, list)) else value
            dict.__setitem__(self.live, name, kept)

    def _put_back_record(self, name: str, key: str) -> None:
        box, base = self.live[name], self.base[name]
        if key not in base:
            dict.pop(box, key, None)
            return
        was_there = key in box
        value = base[key]
        kept = tracked(value, (name, key), self.marks, 2) if isinstance(value, (dict, list)) else value
        dict.__setitem__(box, key, kept)
        if not was_there:
            items = {k: box[k] for k in base if k in box}
            dict.clear(box)
            for k, item in items.items():
                dict.__setitem__(box, k, item)

    def _before(self, home: Home) -> Any:
        if home in self.before:
            return self.before[home]
        if len(home) == 2 and (home[0],) in self.before:
            whole = self.before[(home[0],)]
            return whole.get(home[1], GONE) if isinstance(whole, dict) else GONE
        found = self._at(self.base, home)
        if len(home) == 2 or not isinstance(found, dict):
            return found
        changed = {h[1]: v for h, v in self.before.items() if len(h) == 2 and h[0] == home[0]}
        return {k: v for k, v in {**found, **changed}.items() if v is not GONE}

    @staticmethod
    def _at(state: dict[str, Any], home: Home) -> Any:
        found: Any = state
        for key in home:
            if not isinstance(found, dict) or key not in found:
                return GONE
            found = found[key]
        return found


def apply(state: Any, op: str, path: list[Any], value: Any) -> None:
    """Make one write: `set`, `insert` into a list, `remove`."""
    box = state
    for key in path[:-1]:
        box = box[key]
    if op == "insert":
        box.insert(path[-1], value)
    elif op == "remove":
        del box[path[-1]]
    else:
        box[path[-1]] = value


def differences(before: Any, now: Any, path: list[Any]) -> list[list[Any]]:
    """The writes that make `before` into `now`; types count, 1 is not 1.0."""
    if now is GONE:
        return [] if before is GONE else [["remove", path, None]]
    if before is GONE:
        return [["set", path, plain(now)]]
    if isinstance(before, dict) and isinstance(now, dict):
        if not _same_order(before, now):
            return [["set", path, plain(now)]]
        found: list[list[Any]] = [["remove", [*path, key], None] for key in before if key not in now]
        for key, item in now.items():
            found += differences(before.get(key, GONE), item, [*path, key])
        return found
    if isinstance(before, list) and isinstance(now, (list, tuple)):
        return _list_differences(before, list(now), path)
    return [] if type(before) is type(now) and before == now else [["set", path, plain(now)]]


def _same_order(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether the keys are in the same order, which is visible when a tool returns the object."""
    return [k for k in before if k in now] == [k for k in now if k in before]


def _list_differences(before: list[Any], now: list[Any], path: list[Any]) -> list[list[Any]]:
    if len(before) == len(now):
        return [w for k, item in enumerate(now) for w in differences(before[k], item, [*path, k])]
    shared = min(len(before), len(now))
    if any(differences(before[k], now[k], []) for k in range(shared)):
        return [["set", path, plain(now)]]
    if len(now) > shared:
        return [["insert", [*path, k], plain(now[k])] for k in range(shared, len(now))]
    return [["remove", [*path, k], None] for k in range(len(before) - 1, shared - 1, -1)]
