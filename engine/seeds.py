"""Draws: every random choice as a pure function of its purpose.

A draw has no generator state: the i-th draw for a purpose has i in its key, so that both arms of a comparison
meet the same world whatever else they do. Keys never hold instructions or times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from .canonical import canonical

T = TypeVar("T")


def draw(*key: str | int) -> float:
    """A number in [0, 1): top 53 bits of BLAKE2b-64 of the canonical JSON of the key, over 2^53."""
    return (_bits(key) >> 11) / 2**53


def seed_of(*key: str | int) -> int:
    """A seed for a model: 31 bits, 0..2^31-1."""
    return _bits(key) >> 33


def choose(items: Sequence[T], *key: str | int) -> T:
    """One of the items, uniformly; `items` must not be empty."""
    return items[int(draw(*key) * len(items))]


def shuffled(items: Sequence[T], *key: str | int) -> list[T]:
    """The items in an order that depends only on the key and their number."""
    order = sorted(range(len(items)), key=lambda i: _bits((*key, i)))
    return [items[i] for i in order]


def _bits(key: tuple[str | int, ...]) -> int:
    raw = canonical(list(key)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")
