"""Matching expected with actual steps if order matters; if it does not, see `world.matching`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MATCH_NODES: Final = 10_000
"""Steps of the search for an order-preserving matching; beyond them it is undecided."""


def in_order(edges: Sequence[Sequence[int]]) -> dict[int, int]:
    """Increasing right nodes for the left nodes in order, up to the first left node that has none.

    Taking the earliest remaining node never costs a later one its place, so this is exact.
    """
    found: dict[int, int] = {}
    last = -1
    for left, rights in enumerate(edges):
        later = [right for right in rights if right > last]
        if not later:
            break
        last = min(later)
        found[left] = last
    return found


def match_in_partial_order(
    edges: Sequence[Sequence[int]], after: Mapping[int, Sequence[int]], nodes: int = MATCH_NODES
) -> dict[int, int] | None:
    """A matching that covers all left nodes, each at a greater right node than those in `after[left]`.

    Backtracking over at most `nodes` tries. {} if there is none (and there are left nodes), None if undecided. `after`
    must be free of cycles.
    """
    order = _topological(len(edges), after)
    search = _Search(edges, after, order, nodes)
    complete = search.place(0)
    if search.left <= 0 and not complete:
        return None
    return dict(search.chosen) if complete else {}


class _Search:
    def __init__(
        self, edges: Sequence[Sequence[int]], after: Mapping[int, Sequence[int]], order: list[int], nodes: int
    ) -> None:
        self.edges = [sorted(rights) for rights in edges]
        self.after = after
        self.order = order
        self.left = nodes
        self.chosen: dict[int, int] = {}
        self.used: set[int] = set()

    def place(self, at: int) -> bool:
        """Whether the left nodes from `order[at]` on find places; if so, they are in `chosen`."""
        if at == len(self.order):
            return True
        node = self.order[at]
        floor = max((self.chosen[before] for before in self.after.get(node, ())), default=-1)
        for right in self.edges[node]:
            if right <= floor or right in self.used:
                continue
            self.left -= 1
            if self.left <= 0:
                return False
            self.chosen[node] = right
            self.used.add(right)
            if self.place(at + 1):
                return True
            self.used.discard(right)
            del self.chosen[node]
        return False


def _topological(count: int, after: Mapping[int, Sequence[int]]) -> list[int]:
    order: list[int] = []
    open_ = list(range(count))
    while open_:
        ready = [i for i in open_ if all(b in order for b in after.get(i, ()))]
        if not ready:
            raise ValueError("`after` has a cycle")
        order += ready
        open_ = [i for i in open_ if i not in ready]
    return order
