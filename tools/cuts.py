"""What is cut off a reply that is too long: each part is measured once, and the largest is halved first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from typing import Any, Final

from ..engine.shapes import is_list, is_object

LONG_TEXT: Final = 1_000
"""Texts up to here are not cut."""
WHOLE: Final = ("next", "links", "warnings", "summary")
"""Fields of a reply that nothing is cut off."""
SMALL: Final = 200
"""Characters up to which an object is never left out."""
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_MARK: Final = re.compile(r" … \((\d+) characters left out\)\Z")


def size(value: Any) -> int:
    """Characters of the compact JSON."""
    return len(_ENCODE(value))


class Part:
    """A list, object or text in a payload. `size`: characters of its JSON as it will be; `shown`: items or characters
    that stay; `sizes`: of a list's items.
    """

    __slots__ = ("key", "left_out", "owner", "shown", "size", "sizes", "value")

    def __init__(self, value: Any, key: str | int, owner: Part | None) -> None:
        self.value, self.key, self.owner = value, key, owner
        self.size, self.shown, self.left_out = 0, len(value), 0
        self.sizes: list[int] = []

    @property
    def path(self) -> str:
        """Where it stands: `items[2].turns`."""
        if self.owner is None:
            return ""
        before = self.owner.path
        if isinstance(self.key, int):
            return f"{before}[{self.key}]"
        return f"{before}.{self.key}" if before else self.key

    def stands(self) -> bool:
        """Whether it is in no part that was cut off."""
        part = self
        while part.owner is not None:
            if isinstance(part.key, int) and part.key >= part.owner.shown:
                return False
            part = part.owner
        return True

    def shrink(self, by: int) -> None:
        """It and all that it stands in are so many characters shorter."""
        part: Part | None = self
        while part is not None:
            part.size -= by
            if part.owner is not None and isinstance(part.key, int):
                part.owner.sizes[part.key] -= by
            part = part.owner


class Cuts:
    """Decides what is cut off a payload, and cuts it off in `settle`."""

    def __init__(self, payload: dict[str, Any]) -> None:
        self._lists: list[tuple[int, int, Part]] = []
        self._texts: list[tuple[int, int, Part]] = []
        self._cut: dict[Part, None] = {}
        self._whole = Part(payload, "", None)
        self._whole.size = self._measured(self._whole)
        heapify(self._lists)
        heapify(self._texts)

    @property
    def size(self) -> int:
        """Characters that the payload will have."""
        return self._whole.size

    def cut_a_list(self) -> bool:
        """Halve the longest list of more than one item; False where there is none."""
        part = _largest(self._lists)
        if part is None:
            return False
        keep = max(1, part.shown // 2)
        part.shrink(sum(part.sizes[keep : part.shown]) + part.shown - keep)
        part.shown = keep
        if keep == 1:
            heappop(self._lists)
        self._cut[part] = None
        return True

    def cut_a_text(self) -> bool:
        """Halve the longest text of those that are long; False where there is none."""
        part = _largest(self._texts)
        if part is None:
            return False
        if part not in self._cut and (mark := _MARK.search(part.value)):
            part.shown, part.left_out = mark.start(), int(mark[1])
        half = part.shown // 2
        part.left_out, part.shown = part.left_out + part.shown - half, half
        part.shrink(part.size - size(_shortened(part)))
        if half <= LONG_TEXT:
            heappop(self._texts)
        self._cut[part] = None
        return True

    def settle(self) -> list[tuple[str, int, int]]:
        """Cut off what was decided; path, items shown and items in all of each list that lost some."""
        kept: list[tuple[str, int, int]] = []
        for part in self._cut:
            if not is_list(part.value):
                assert part.owner is not None
                part.owner.value[part.key] = _shortened(part)
            elif part.stands():
                kept.append((part.path, part.shown, len(part.value)))
        for part in self._cut:
            if is_list(part.value):
                del part.value[part.shown :]
        return kept

    def _measured(self, part: Part) -> int:
        """Its size; what can be cut in it is noted."""
        value = part.value
        if isinstance(value, str):
            if part.shown > LONG_TEXT:
                self._note(self._texts, part)
            return size(value)
        if is_object(value):
            inside = [len(_ENCODE(str(key))) + 1 + self._inner(part, key, one) for key, one in value.items()]
        else:
            inside = part.sizes = [self._inner(part, key, one) for key, one in enumerate(value)]
        return 2 + sum(inside) + max(0, len(inside) - 1)

    def _inner(self, owner: Part, key: str | int, value: Any) -> int:
        if not isinstance(value, str | dict | list) or (owner is self._whole and key in WHOLE):
            return size(value)
        part = Part(value, key, owner)
        part.size = self._measured(part)
        if is_list(value) and len(value) > 1:
            self._note(self._lists, part)
        return part.size

    def _note(self, heap: list[tuple[int, int, Part]], part: Part) -> None:
        heap.append((-part.size, len(heap), part))


def dropped(payload: dict[str, Any], room: int) -> list[str]:
    """Replace the largest objects of a payload by how much was left out, until it takes no more than `room`; their
    paths.
    """
    total, paths = size(payload), list[str]()
    for length, path, owner, key in sorted(_objects(payload), key=lambda one: one[0], reverse=True):
        if total <= room or length <= SMALL:
            break
        owner[key] = {"left_out": f"{len(owner[key])} fields, {length} characters"}
        total += size(owner[key]) - length
        paths.append(path)
    return paths


def _objects(payload: dict[str, Any]) -> Iterator[tuple[int, str, Any, str | int]]:
    """The outermost objects of a payload's fields: size, path, what holds it, its key there."""
    level: list[tuple[str, Any, str | int]] = [
        (name, payload, name) for name in payload if name not in (*WHOLE, "job")
    ]
    while level:
        path, owner, key = level.pop()
        if is_object(owner[key]):
            yield size(owner[key]), path, owner, key
        elif is_list(owner[key]):
            level.extend((f"{path}[{number}]", owner[key], number) for number in range(len(owner[key])))


def _largest(heap: list[tuple[int, int, Part]]) -> Part | None:
    """The largest part that still stands; the heap keeps sizes of earlier until they come up."""
    while heap:
        known, number, part = heap[0]
        if not part.stands():
            heappop(heap)
        elif part.size != -known:
            heapreplace(heap, (-part.size, number, part))
        else:
            return part
    return None


def _shortened(part: Part) -> str:
    return f"{part.value[: part.shown]} … ({part.left_out} characters left out)"
