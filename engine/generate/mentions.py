"""Which records a text mentions, and which of its ids are made up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Final, cast

from ..world import as_text
from .rows import Rows

_TOKEN: Final = re.compile(r"[#\w][\w@#/.:+-]*")
_NUMBERED: Final = re.compile(r"\D*\d+")
_KEYS_READ: Final = 2_000
_TOKENS_READ: Final = 500_000


class Mentions:
    """Finds ids in texts. A made-up id is built like the keys of a collection but occurs nowhere in the state."""

    def __init__(self, rows: Rows, base: Mapping[str, Any]) -> None:
        self._rows = rows
        self._base = base
        self._shapes = {
            _shape(key)
            for box in rows.collections.values()
            for key, _ in zip(box, range(_KEYS_READ), strict=False)
            if _is_id(key)
        }

    def known(self, value: Any) -> set[str]:
        """The keys of records in all texts of a value."""
        return {token for token in _tokens(value) if _is_id(token) and self._rows.holds(token)}

    def made_up(self, value: Any, own: Any = None) -> str:
        """The first id that names no record, neither of the world nor of `own`, or ""."""
        brought = set(_parts(as_text(own))) if own else set[str]()
        for token in _tokens(value):
            if token in brought or not _is_id(token) or _shape(token) not in self._shapes:
                continue
            if not self._rows.holds(token) and token not in self._in_values:
                return token
        return ""

    @cached_property
    def _in_values(self) -> frozenset[str]:
        """Ids that occur in values of the state: parcel numbers that are not keys, codes."""
        return frozenset(token for token in islice(_tokens(dict(self._base)), _TOKENS_READ) if _is_id(token))


def _parts(text: str) -> Iterator[str]:
    """The ids in a text, and those that are keys in a path."""
    for token in _TOKEN.findall(text):
        yield from (token, *re.split(r"[./]", token))


def _is_id(token: str) -> bool:
    """Whether a word can only be an id: digits, and something besides them."""
    return any(c.isdigit() for c in token) and not token.isdigit() and "-" not in token[:1]


def _shape(token: str) -> str:
    """The form of an id: `W10240` is `W0`, letters and a number; for mixed codes length and kinds of characters."""
    if _NUMBERED.fullmatch(token):
        return re.sub(r"\d+", "0", token)
    kinds = {"0" if c.isdigit() else "A" if c.isupper() else "a" if c.isalpha() else c for c in token}
    return f"{len(token)} of {''.join(sorted(kinds))}"


def _tokens(value: Any) -> Iterator[str]:
    waiting: list[Any] = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            waiting += list(cast("dict[str, Any]", here).values())
        elif isinstance(here, list | tuple):
            waiting += list(cast("list[Any]", here))
        elif isinstance(here, str):
            for token in _TOKEN.findall(here):
                yield token.rstrip(".:/-+")
