"""Imports: the files that a Python file is made of, read off its source and never run.

What is imported by a name that only exists at run time is not seen.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

from .rooms import package_root

MOST_FILES: Final = 1000
"""Files that are followed."""
Name = tuple[int, tuple[str, ...]]
"""(dots before it, its parts): `from ..a import b` has (2, ("a", "b"))."""


def hash_of(file: Path, folder: Path) -> str:
    """SHA-256 of a file, and of the modules below `folder` that it imports, which import others.

    Where there are none it is that of the file alone. Raises OSError where one cannot be read. For a worker thread.
    """
    found = _files(file, folder)
    if len(found) == 1:
        return found[file]
    lines = [f"{found.pop(file)}\n", *sorted(f"{p.relative_to(folder)} {sha}\n" for p, sha in found.items())]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _files(file: Path, folder: Path) -> dict[Path, str]:
    """The SHA-256 of each."""
    paths = list(dict.fromkeys((package_root(file), file.parent)))
    found: dict[Path, str] = {}
    waiting = [file]
    while waiting and len(found) < MOST_FILES:
        one = waiting.pop()
        if one not in found:
            source = one.read_bytes()
            found[one] = hashlib.sha256(source).hexdigest()
            waiting += [
                real
                for dots, parts in _names(source)
                for start in ([one.parents[dots - 1]] if 0 < dots <= len(one.parents) else paths)
                for path in _modules(start, parts)
                if (real := path.resolve()).is_relative_to(folder)
            ]
    return found


@lru_cache(maxsize=256)
def _names(source: bytes) -> tuple[Name, ...]:
    """What a source imports; nothing where it is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    return tuple(dict.fromkeys(name for node in ast.walk(tree) for name in _of_node(node)))


def _of_node(node: ast.AST) -> Iterator[Name]:
    if isinstance(node, ast.Import):
        yield from ((0, tuple(alias.name.split("."))) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = tuple(node.module.split(".")) if node.module else ()
        yield from ((node.level, (*parts, alias.name)) for alias in node.names)


def _modules(start: Path, parts: Sequence[str]) -> Iterator[Path]:
    """The files that importing these parts would run, from a folder on."""
    folder = start
    for part in parts:
        for path in (folder / f"{part}.py", folder / part / "__init__.py"):
            if path.is_file():
                yield path
        folder /= part
