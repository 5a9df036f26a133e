"""A large object over a shared base: a write costs only what has changed, not what the object holds."""

# The body of a dict subclass: the checker cannot follow the types that `super()` gives.
# pyright: reportIncompatibleMethodOverride=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from .values import MISSING, Missing

LARGE: Final = 4096
"""Objects with more keys than this are overlaid instead of copied."""
_GONE: Final = Missing()


class Overlay(dict[str, Any]):
    """Reads like a plain object but holds only what differs from `base`, which it never changes.

    Keys of the base keep their order; new keys follow in the order in which they were added. The underlying dict is
    never empty (JSON's fast encoder would take it for `{}`).
    """

    __slots__ = ("base",)

    def __init__(self, base: dict[str, Any], changes: dict[str, Any] | None = None) -> None:
        super().__init__(changes if changes is not None else {_MARK: _GONE})
        self.base = base

    @classmethod
    def over(cls, whole: dict[str, Any]) -> Overlay:
        """A writable copy of an object; folded into a new base when a quarter of it has changed."""
        if not isinstance(whole, Overlay):
            return cls(whole)
        if dict.__len__(whole) * 4 > len(whole.base):
            return cls(dict(whole.items()))
        return cls(whole.base, {key: dict.__getitem__(whole, key) for key in dict.__iter__(whole)})

    def __getitem__(self, key: str) -> Any:
        value = dict.get(self, key, MISSING)
        if value is MISSING:
            return self.base[key]
        if value is _GONE:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        value = dict.get(self, key, MISSING)
        if value is MISSING:
            return self.base.get(key, default)
        return default if value is _GONE else value

    def __contains__(self, key: object) -> bool:
        value = dict.get(self, key, MISSING)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return key in self.base if value is MISSING else value is not _GONE

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        if key in self.base:
            dict.__setitem__(self, key, _GONE)
        else:
            dict.__delitem__(self, key)

    def __iter__(self) -> Iterator[str]:
        for key in self.base:
            if dict.get(self, key, MISSING) is not _GONE:
                yield key
        for key in dict.__iter__(self):
            if key not in self.base and dict.__getitem__(self, key) is not _GONE:
                yield key

    def __len__(self) -> int:
        change = 0
        for key in dict.__iter__(self):
            gone = dict.__getitem__(self, key) is _GONE
            change += (0 if gone else 1) - (1 if key in self.base else 0)
        return len(self.base) + change

    def __bool__(self) -> bool:
        return len(self) > 0

    def keys(self) -> list[str]:
        return list(self)

    def values(self) -> list[Any]:
        return [self[key] for key in self]

    def items(self) -> list[tuple[str, Any]]:
        return [(key, self[key]) for key in self]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and dict(self.items()) == other

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def put_at(self, at: int, key: str, value: Any) -> None:
        """Restore a removed key at its former position."""
        if key in self.base:
            dict.__setitem__(self, key, value)
            return
        behind = [k for k in list(self)[at:] if k not in self.base]
        moved = {k: dict.pop(self, k) for k in behind}
        dict.__setitem__(self, key, value)
        dict.update(self, moved)

    def same_as_base(self, other: Overlay) -> set[str] | None:
        """The keys in which two overlays of one base can differ; None if their bases differ."""
        return set(dict.__iter__(self)) | set(dict.__iter__(other)) if self.base is other.base else None


class _Mark(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return 0


_MARK: Final = _Mark("")
