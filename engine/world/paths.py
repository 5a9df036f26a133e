"""Paths, the one syntax for places in the state: `db.orders['#W1'].items[0].sku`; `[*]` in patterns.

A path is a tuple of keys that begins with `db` or `user_db`: texts for objects, whole numbers for lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from ..errors import InvalidArgument, did_you_mean

Path = tuple[str | int, ...]
ROOTS: Final = ("db", "user_db")
MAX_PATH_CHARS: Final = 2_000


class _Wild(str):
    """`[*]` in a pattern; not equal to any key a state can hold."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return hash("[*]")


WILD: Final = _Wild("[*]")

_FIRST = re.compile(r"[^\W\d]\w*")
_STEP = re.compile(
    r"""\.(?P<name>[^\W\d]\w*)
      | \[\s*(?:(?P<index>-?\d{1,9})|(?P<wild>\*)
          |'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)")\s*\]""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0"}
_EXAMPLE = "a path such as db.orders['#W1'].status"


def parse_path(text: str, where: str) -> Path:
    """The keys of a literal path; otherwise InvalidArgument that names the column."""
    path = parse_pattern(text, where)
    if any(key is WILD for key in path):
        raise InvalidArgument(f"`{text[:80]}` names many places; `[*]` stands only in patterns.", where=where)
    return path


def parse_pattern(text: str, where: str) -> Path:
    """The keys of a path in which `[*]` (WILD) is any one key or index."""
    first = _FIRST.match(text)
    if len(text) > MAX_PATH_CHARS or not first:
        raise InvalidArgument(f"`{text[:80]}` is not a path.", where=where, allowed=_EXAMPLE)
    if first[0] not in ROOTS:
        what = f"A path starts with `db` or `user_db`, not `{first[0][:40]}`.{did_you_mean(first[0], ROOTS)}"
        raise InvalidArgument(what, where=where, allowed=_EXAMPLE)
    return (first[0], *_steps(text, first.end(), where))


def parse_inner(text: str, where: str) -> Path:
    """The keys of a path inside a record, without root: `items[*].sku`, `['due-date']`."""
    start = text if text.startswith("[") else f".{text}"
    if len(text) > MAX_PATH_CHARS or not text:
        raise InvalidArgument(
            "Not a path inside a record.", where=where, allowed="sku, items[*].sku or ['due-date']"
        )
    return tuple(_steps(start, 0, where))


def show_path(path: Sequence[str | int]) -> str:
    """A path as text; `parse_pattern(show_path(p))` is p. Dots for identifiers, `['…']` for other keys."""
    return str(path[0]) + "".join(_show_key(key) for key in path[1:]) if path else ""


def covers(pattern: Path, path: Path) -> bool:
    """Whether the pattern matches the path or something above it."""
    if len(pattern) > len(path):
        return False
    return all(p is WILD or (p == k and type(p) is type(k)) for p, k in zip(pattern, path, strict=False))


def covered(path: Path, patterns: Iterable[Path]) -> bool:
    """Whether any of the patterns covers the path."""
    return any(covers(pattern, path) for pattern in patterns)


def _steps(text: str, at: int, where: str) -> list[str | int]:
    keys: list[str | int] = []
    while at < len(text):
        step = _STEP.match(text, at)
        if not step:
            what = f"`{text[:80]}` is not a path: it cannot go on at column {at + 1}."
            raise InvalidArgument(what, where=where, allowed=_EXAMPLE)
        keys.append(_key(step))
        at = step.end()
    return keys


def _key(step: re.Match[str]) -> str | int:
    if step["index"] is not None:
        return int(step["index"])
    if step["wild"] is not None:
        return WILD
    if step["name"] is not None:
        return step["name"]
    quoted = step["single"] if step["single"] is not None else step["double"]
    return _ESCAPE.sub(_unescaped, quoted)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code is None:
        return _ESCAPES.get(found[4], found[4])
    number = int(code, 16)
    return chr(number) if number < 0x110000 else "\ufffd"


def _show_key(key: str | int) -> str:
    if key is WILD:
        return "[*]"
    if isinstance(key, str) and _FIRST.fullmatch(key):
        return f".{key}"
    return f"[{key!r}]"
