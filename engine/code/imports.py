"""Imports: the files a Python file depends on, read from its source without running it.

Imports by names that exist only at run time are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import anyio.to_thread

MOST_FILES: Final = 1000
"""Most files that are followed."""
Name = tuple[int, tuple[str, ...]]
"""(leading dots, parts): `from ..a import b` has (2, ("a", "b"))."""


def hash_of(file: Path, folder: Path) -> str:
    """SHA-256 of a file and of the modules below `folder` that it imports, directly or indirectly.

    If there are none, it is that of the file alone. Raises OSError if one cannot be read. For a worker thread.
    """
    found = {path: hashlib.sha256(source).hexdigest() for path, source in _files(file, folder).items()}
    if len(found) == 1:
        return found[file]
    lines = [f"{found.pop(file)}\n", *sorted(f"{p.relative_to(folder)} {sha}\n" for p, sha in found.items())]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


class Sources:
    """Marks of files, which differ whenever a file, or one that it imports from below `folder`, has changed."""

    def __init__(self, folder: Callable[[Path], Path]) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[list[Path], str]] = {}

    async def mark(self, file: Path) -> str:
        """The mark of a file as it is now.

        Only time and size of the files are checked until one has changed; raises OSError if one cannot be read.
        """
        paths, known = self._known.get(file, ([], ""))
        now = _stamps(paths)
        if not known or now != known:
            found = await anyio.to_thread.run_sync(lambda: list(_files(file, self._folder(file))))
            now = _stamps(found)
            self._known[file] = found, now
        return now


def package_root(file: Path) -> Path:
    """The folder of the topmost package around a file, or the file's own."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _stamps(paths: Sequence[Path]) -> str:
    """Time and size of each file."""
    found: list[object] = []
    for path in paths:
        try:
            state = os.stat(path)
            found.append((str(path), state.st_mtime_ns, state.st_size))
        except OSError:
            found.append((str(path), None))
    return str(found)


def _files(file: Path, folder: Path) -> dict[Path, bytes]:
    """The source of each file."""
    paths = list(dict.fromkeys((package_root(file), file.parent)))
    found: dict[Path, bytes] = {}
    waiting = [file]
    while waiting and len(found) < MOST_FILES:
        one = waiting.pop()
        if one not in found:
            source = found[one] = one.read_bytes()
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
    """What a source imports; nothing if it is not Python."""
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
    """The files that importing these parts, starting at a folder, would run."""
    folder = start
    for part in parts:
        for path in (folder / f"{part}.py", folder / part / "__init__.py"):
            if path.is_file():
                yield path
        folder /= part
