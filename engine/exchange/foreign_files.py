"""Files of another system's folder, read leniently: one that is missing, too large or broken is lost, not fatal."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Sequence
from datetime import date, time
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

from ..errors import CasehardenError, InvalidArgument
from .documents import parse_json
from .files import Roots
from .importer import LISTED, Losses
from .python_source import NotReadable, parse_python

SOURCE_BYTES: Final = 5_000_000
"""Most bytes of one Python file."""
DATA_BYTES: Final = 64_000_000
_LFS: Final = "version https://git-lfs"


def plain_name(text: str, most: int = 64) -> str:
    """The name of a file or folder as a slug; "" for an empty one."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[:most]


def first_folders(path: Path, patterns: Sequence[str], fits: Callable[[Path], bool]) -> list[Path]:
    """The folders below a path that fit, from the first pattern that has any, at most 200; no links."""
    for pattern in patterns:
        try:
            found = sorted(p for p in islice(path.glob(pattern), LISTED) if fits(p) and not p.is_symlink())[
                :200
            ]
        except OSError:
            return []
        if found:
            return found
    return []


class ForeignFiles:
    """Reads below one folder; anything it cannot read is added to its losses."""

    def __init__(self, folder: Path, roots: Roots, losses: Losses) -> None:
        self.folder = folder
        self.losses = losses
        self.read: list[str] = []
        """Every file that was read, as people write it."""
        self._roots = roots

    def shown(self, path: Path) -> str:
        """The path relative to the folder."""
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else path.name

    def text(self, path: Path, what: str, limit: int = DATA_BYTES, *, must: bool = False) -> str | None:
        """A text; None if it cannot be read, which is a loss, or does not exist, which is one only with `must`."""
        if not path.exists() and not path.is_symlink():
            if must:
                self.losses.add(what, "the file is missing", self.shown(path))
            return None
        try:
            text = self._roots.read_text(path, "path", limit)
        except CasehardenError as error:
            self.losses.add(what, error.what, self.shown(path))
            return None
        if text.startswith(_LFS):
            self.losses.add(what, "the file is only a pointer of Git LFS", self.shown(path), "git lfs pull")
            return None
        self.read.append(self.shown(path))
        return text

    def json(self, path: Path, what: str, *, must: bool = False) -> Any:
        """A JSON value; None if it cannot be read."""
        text = self.text(path, what, must=must)
        if text is None:
            return None
        try:
            return parse_json(text, self.shown(path))
        except InvalidArgument as error:
            self.losses.add(what, error.what, error.where)
            return None

    def toml(self, path: Path, what: str) -> Any:
        """A TOML document with texts for dates; None if it cannot be read."""
        text = self.text(path, what)
        if text is None:
            return None
        try:
            return _with_texts(tomllib.loads(text))
        except (ValueError, RecursionError) as error:
            self.losses.add(what, f"it is no TOML: {str(error)[:200]}", self.shown(path))
            return None

    def python(self, path: Path, what: str, *, must: bool = False) -> ast.Module | None:
        """The syntax tree of a Python file; None if it cannot be read."""
        text = self.text(path, what, SOURCE_BYTES, must=must)
        if text is None:
            return None
        try:
            return parse_python(text)
        except NotReadable as error:
            self.losses.add(what, f"this is no Python: {error}", self.shown(path))
            return None


def _with_texts(value: Any) -> Any:
    """A TOML value with ISO texts for its dates and times."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _with_texts(one) for key, one in cast("dict[str, Any]", value).items()}
    return [_with_texts(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def files_below(folder: Path, pattern: str, most: int = 1000) -> list[Path]:
    """Files that match, by name, without links; empty if there is no folder."""
    try:
        return sorted(p for p in islice(folder.glob(pattern), LISTED) if p.is_file() and not p.is_symlink())[
            :most
        ]
    except OSError:
        return []
