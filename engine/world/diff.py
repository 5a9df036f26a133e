"""Structural difference of two states, and maximum matching, used to compare lists as multisets."""

# JSON is inspected with isinstance: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import is_not
from typing import Any, NamedTuple

from ..canonical import canonical, equal_scalars
from .overlay import Overlay
from .paths import Path, covered, covers
from .state import Patch
from .values import MISSING


class Difference(NamedTuple):
    """One place where two values differ; a side with nothing there is MISSING."""

    path: Path
    expected: Any
    actual: Any


@dataclass(frozen=True, slots=True)
class _Terms:
    ignore: Sequence[Path]
    unordered: Sequence[Path]
    tolerance: float

    def unordered_below(self, path: Path) -> bool:
        return any(len(pattern) > len(path) for pattern in self.unordered)


def diff(
    expected: Any,
    actual: Any,
    *,
    path: Path = (),
    ignore: Iterable[Path] = (),
    unordered: Iterable[Path] = (),
    tolerance: float = 0.0,
) -> list[Difference]:
    """Where two JSON values differ: objects by key, lists by index, in canonical order; shared parts are skipped.

    `path` is the place of the values. `ignore`: patterns whose subtrees are left out. `unordered`: patterns of lists
    to compare as multisets, by a maximum matching. `tolerance`: absolute, numbers only.
    """
    return list(_differences(expected, actual, path, _Terms(tuple(ignore), tuple(unordered), tolerance)))


def delta(base: Any, now: Any) -> list[Patch]:
    """The net difference of two states as `set` and `remove` patches, in canonical order; `by` is empty."""
    found = diff(base, now)
    return [
        Patch("remove" if d.actual is MISSING else "set", d.path, d.expected, d.actual, "") for d in found
    ]


def matching(edges: Sequence[Sequence[int]]) -> dict[int, int]:
    """A maximum bipartite matching: `edges[i]` are the right nodes that left node i may take -> {i: j}.

    Augmenting paths, found breadth first; earlier left nodes and earlier edges are preferred.
    """
    owner: dict[int, int] = {}
    taken: dict[int, int] = {}
    for start in range(len(edges)):
        _augment(start, edges, owner, taken)
    return taken


def _augment(
    start: int, edges: Sequence[Sequence[int]], owner: dict[int, int], taken: dict[int, int]
) -> None:
    came: dict[int, int] = {}
    waiting = deque([start])
    while waiting:
        left = waiting.popleft()
        for right in edges[left]:
            if right in came:
                continue
            came[right] = left
            if right not in owner:
                _flip(right, came, owner, taken)
                return
            waiting.append(owner[right])


def _flip(right: int, came: dict[int, int], owner: dict[int, int], taken: dict[int, int]) -> None:
    at: int | None = right
    while at is not None:
        left = came[at]
        before = taken.get(left)
        owner[at], taken[left] = left, at
        at = before


def _differences(a: Any, b: Any, path: Path, terms: _Terms) -> Iterator[Difference]:
    if a is b or (terms.ignore and covered(path, terms.ignore)):
        return
    if isinstance(a, dict) and isinstance(b, dict):
        for key in _keys(a, b):
            yield from _differences(a.get(key, MISSING), b.get(key, MISSING), (*path, key), terms)
    elif isinstance(a, list) and isinstance(b, list):
        if any(len(p) == len(path) and covers(p, path) for p in terms.unordered):
            a, b = _unmatched(a, b, path, terms)
        for i in range(max(len(a), len(b))):
            left = a[i] if i < len(a) else MISSING
            right = b[i] if i < len(b) else MISSING
            yield from _differences(left, right, (*path, i), terms)
    elif a is MISSING or b is MISSING or not equal_scalars(a, b, terms.tolerance):
        yield Difference(path, a, b)


def _keys(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    if isinstance(a, Overlay) or isinstance(b, Overlay):
        found = _changed(a, b)
        if found is not None:
            return sorted(key for key in found if key in a or key in b)
    elif a.keys() == b.keys():
        return sorted(compress(a, map(is_not, a.values(), map(b.get, a))))
    return sorted(
        [key for key in a if key not in b or a[key] is not b[key]] + [key for key in b if key not in a]
    )


def _changed(a: dict[str, Any], b: dict[str, Any]) -> set[str] | None:
    left = a if isinstance(a, Overlay) else Overlay(a)
    right = b if isinstance(b, Overlay) else Overlay(b)
    return left.same_as_base(right)


def _unmatched(a: list[Any], b: list[Any], path: Path, terms: _Terms) -> tuple[list[Any], list[Any]]:
    """The elements of two multisets left without a partner."""
    if not terms.tolerance and not terms.unordered_below(path) and not terms.ignore:
        return _unmatched_exactly(a, b)

    def same(i: int, j: int) -> bool:
        return next(_differences(a[i], b[j], (*path, i), terms), None) is None

    pairs = matching([[j for j in range(len(b)) if same(i, j)] for i in range(len(a))])
    used = set(pairs.values())
    return [x for i, x in enumerate(a) if i not in pairs], [x for j, x in enumerate(b) if j not in used]


def _unmatched_exactly(a: list[Any], b: list[Any]) -> tuple[list[Any], list[Any]]:
    there: dict[str, int] = {}
    for item in b:
        key = canonical(item)
        there[key] = there.get(key, 0) + 1
    left: list[Any] = []
    for item in a:
        key = canonical(item)
        if there.get(key, 0):
            there[key] -= 1
        else:
            left.append(item)
    right: list[Any] = []
    for item in reversed(b):
        key = canonical(item)
        if there.get(key, 0):
            there[key] -= 1
            right.append(item)
    return left, right[::-1]
