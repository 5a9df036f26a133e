"""Imports: the files a Python file depends on, read from its source without running it.

Imports by names that exist only at run time are not seen.
"""

from __future__ import annotations

import ast
import hashlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

MOST_FILES: Final = 5000
"""Most files that are followed, those that are imported most directly first."""
UNSETTLED_S: Final = 2.0
"""Seconds after a change within which another one may leave time and size of a file as they are."""
HELD_S: Final = 0.1
"""Seconds for which a look holds at files that have not changed lately."""
SLOW_S: Final = 0.05
SPARED: Final = 10
"""A look that took longer than `SLOW_S` holds for that many times as long."""
Name = tuple[int, tuple[str, ...]]
"""(leading dots, parts): `from ..a import b` has (2, ("a", "b"))."""
Stamp = tuple[int, ...] | None
"""Times, size and number of a file or folder; None: there is none."""
_log = logging.getLogger("caseharden.code")


@dataclass(frozen=True, slots=True)
class Seen:
    """A file and what it imports, as they were.

    `hash`: SHA-256 of the file and of the modules below its allowed folder that it imports, directly or indirectly; if
    there are none, that of the file alone. `capped`: there are more than are followed. `names`: what each source
    imports, by its hash. `settled`: no change can hide behind the same stamps. `began`: by the monotonic clock.
    """

    hash: str
    capped: bool
    stamps: Mapping[Path, Stamp]
    names: Mapping[str, Sequence[Name]]
    settled: bool
    began: float
    took_s: float


class TooManyFiles(Exception):
    """A file imports more files than are followed, so that its hash says nothing of the others."""

    def __init__(self) -> None:
        super().__init__(f"it imports more than {MOST_FILES:,} files from below its allowed folder")


def hash_of(file: Path, folder: Path) -> str:
    """The hash of a file and of what it imports from below `folder`; see `Seen`.

    Raises OSError if one cannot be read, and TooManyFiles. For a worker thread.
    """
    seen = _look(file, folder, None)
    if seen.capped:
        raise TooManyFiles
    return seen.hash


class Sources:
    """Files as they are now, with what they import from below `folder`. Their contents are read when they change."""

    def __init__(self, folder: Callable[[Path], Path]) -> None:
        self._folder = folder
        self._seen: dict[Path, Seen] = {}
        self._looking: dict[Path, anyio.Lock] = {}

    async def now(self, file: Path) -> Seen:
        """The file as it is; those who ask together share a look, which may hold a moment. Raises OSError."""
        asked = time.monotonic()
        async with self._looking.setdefault(file, anyio.Lock()):
            known = self._seen.get(file)
            if known is None or known.began < asked - _held_s(known):
                seen = await anyio.to_thread.run_sync(_look, file, self._folder(file), known)
                if seen.capped and not (known and known.capped):
                    _log.warning("%s: %s; changes of the others are not seen", file, TooManyFiles())
                self._seen[file] = seen
            return self._seen[file]


def package_root(file: Path) -> Path:
    """The folder of the topmost package around a file, or the file's own."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _held_s(seen: Seen) -> float:
    slow = SPARED * seen.took_s if seen.took_s > SLOW_S else 0.0
    return max(slow, HELD_S if seen.settled else 0.0)


def _look(file: Path, folder: Path, known: Seen | None) -> Seen:
    """The file as it is now; what was seen before if nothing can have changed since."""
    began, today = time.monotonic(), time.time_ns()
    if known is not None and known.settled and all(_stamp(p) == s for p, s in known.stamps.items()):
        return replace(known, began=began, took_s=time.monotonic() - began)
    walk = _Walk(file, folder, known.names if known else {})
    walk.go()
    newest = max((max(stamp[:2]) for stamp in walk.stamps.values() if stamp), default=0)
    settled = newest < today - UNSETTLED_S * 1e9
    took_s = time.monotonic() - began
    return Seen(walk.hash(), walk.capped, walk.stamps, walk.names, settled, began, took_s)


@dataclass(slots=True)
class _Walk:
    """Follows the imports of a file below a folder, and notes what was looked at before it is read."""

    file: Path
    folder: Path
    known: Mapping[str, Sequence[Name]]
    names: dict[str, Sequence[Name]] = field(default_factory=dict[str, Sequence[Name]])
    hashes: dict[Path, str] = field(default_factory=dict[Path, str])
    stamps: dict[Path, Stamp] = field(default_factory=dict[Path, Stamp])
    capped: bool = False

    def go(self) -> None:
        top = package_root(self.file)
        for one in (top.parent, top, *(p for p in self.file.parents if p.is_relative_to(top))):
            self._note(one)
        starts = list(dict.fromkeys((top, self.file.parent)))
        waiting, met = deque([self.file]), {self.file}
        while waiting:
            one = waiting.popleft()
            self._note(one)
            source = one.read_bytes()
            sha = self.hashes[one] = hashlib.sha256(source).hexdigest()
            self.names[sha] = self.known[sha] if sha in self.known else _names(source)
            for path in self._imported(one, self.names[sha], starts):
                if path not in met and len(met) < MOST_FILES:
                    met.add(path)
                    waiting.append(path)
                self.capped = self.capped or path not in met

    def hash(self) -> str:
        found = dict(self.hashes)
        first = found.pop(self.file)
        if not found:
            return first
        lines = sorted(f"{p.relative_to(self.folder)} {sha}\n" for p, sha in found.items())
        text = "".join([f"{first}\n", *lines])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def _imported(self, file: Path, names: Sequence[Name], starts: Sequence[Path]) -> Iterator[Path]:
        """The files below the folder that importing what a file names would run."""
        for dots, parts in names:
            beside = [file.parents[dots - 1]] if 0 < dots <= len(file.parents) else starts
            for start in beside:
                for path in self._modules(start, parts):
                    real = path.resolve()
                    if real.is_relative_to(self.folder):
                        yield real

    def _modules(self, start: Path, parts: Sequence[str]) -> Iterator[Path]:
        """The files that importing these parts, starting at a folder, would run; a folder they may come to is noted."""
        folder = start
        for part in parts:
            self._note(folder)
            for path in (folder / f"{part}.py", folder / part / "__init__.py"):
                if path.is_file():
                    yield path
            folder /= part
        self._note(folder)

    def _note(self, path: Path) -> None:
        if path not in self.stamps:
            self.stamps[path] = _stamp(path)


def _stamp(path: Path) -> Stamp:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


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
