"""Files that callers name: only below allowed roots, no link out, no silent overwriting."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import InvalidArgument, NotAllowed, NotFound, StorageError, did_you_mean
from .documents import parse_json

TEXT_LIMIT: Final = 10_000_000
"""Bytes of one file that is read whole; a world's state may have this many."""


class Roots:
    """The folders below which files may be read and written.

    A relative path is looked for below each root in turn; an absolute one must lie below a root. Links are
    followed first and judged by where they lead.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self.paths: tuple[Path, ...] = tuple(Path(p).resolve() for p in paths)

    def resolve(self, path: Path | str, where: str) -> Path:
        """The real path below a root, whether or not anything is there."""
        text = str(path)
        if not text or "\0" in text or "\\" in text or len(text) > 4096:
            raise InvalidArgument(f"{text[:80]!r} is not a path.", where=where, allowed=self._allowed())
        candidates = [self._real(root / text) for root in self.paths]
        inside = [c for c in candidates if c is not None and any(c.is_relative_to(r) for r in self.paths)]
        if not inside:
            raise NotAllowed(
                f"`{text[:200]}` is outside the allowed roots.", where=where, allowed=self._allowed()
            )
        return next((c for c in inside if c.exists()), inside[0])

    def folder(self, path: Path | str, where: str) -> Path:
        """A folder that is there."""
        found = self.resolve(path, where)
        if not found.is_dir():
            kind = "is not a folder" if found.exists() else "does not exist"
            raise NotFound(f"`{path}` {kind}.{self._near(found)}", where=where, allowed=self._allowed())
        return found

    def read_bytes(self, path: Path | str, where: str, limit: int = TEXT_LIMIT) -> bytes:
        """The whole of a regular file of at most `limit` bytes."""
        found = self.resolve(path, where)
        try:
            handle = os.open(found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            what = f"`{path}` does not exist.{self._near(found)}"
            raise NotFound(what, where=where, allowed=self._allowed()) from None
        except OSError as error:
            raise NotAllowed(f"`{path}` cannot be read: {error.strerror}.", where=where) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise InvalidArgument(f"`{path}` is not a file.", where=where, allowed="a regular file")
        with os.fdopen(handle, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidArgument(f"`{path}` is too large.", where=where, allowed=f"at most {limit:,} bytes")
        return data

    def read_text(self, path: Path | str, where: str, limit: int = TEXT_LIMIT) -> str:
        """UTF-8 text with line ends as LF."""
        return decode(self.read_bytes(path, where, limit), where or str(path))

    def read_json(self, path: Path | str, where: str, limit: int = TEXT_LIMIT) -> Any:
        """A JSON value; NaN, doubled keys and deep nesting are refused."""
        return parse_json(self.read_text(path, where, limit), where or str(path))

    def write_text(self, path: Path | str, text: str, where: str, *, overwrite: bool = False) -> Path:
        """Write whole or not at all. An existing file is refused without `overwrite`; its mode is kept."""
        found = self.resolve(path, where)
        if found.exists() and not overwrite:
            raise NotAllowed(f"`{path}` exists.", where=where, allowed="another name, or overwrite")
        if found.exists() and not found.is_file():
            raise InvalidArgument(f"`{path}` is not a file.", where=where)
        try:
            _replace(found, text.encode("utf-8", "surrogatepass"), overwrite)
        except FileExistsError:
            raise NotAllowed(f"`{path}` exists.", where=where, allowed="another name, or overwrite") from None
        except OSError as error:
            raise StorageError(f"`{path}` cannot be written: {error.strerror}.", where=where) from None
        return found

    def show(self, path: Path) -> str:
        """The path as people write it: relative to its root."""
        root = next((r for r in self.paths if path.is_relative_to(r)), None)
        return str(path.relative_to(root)) if root else path.name

    @staticmethod
    def _real(path: Path) -> Path | None:
        try:
            return path.resolve()
        except (OSError, RuntimeError):
            return None

    def _allowed(self) -> str:
        if not self.paths:
            return "no folder: the operator allows one with --root DIR"
        return f"paths below {', '.join(str(p) for p in self.paths)}; the operator adds roots with --root DIR"

    def _near(self, missing: Path) -> str:
        try:
            return did_you_mean(missing.name, [f.name for f in missing.parent.iterdir()])
        except OSError:
            return ""


def decode(data: bytes, where: str) -> str:
    """UTF-8 text with line ends as LF and no byte order mark; InvalidArgument names the first bad byte."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(
            f"Line {line} is not UTF-8 (byte 0x{data[error.start]:02x}).", where=where, allowed="UTF-8 text"
        ) from None
    return text.replace("\r\n", "\n")


def _replace(path: Path, data: bytes, overwrite: bool) -> None:
    """The new file takes its name in one step: a reader sees the old or the new, never half of one.

    One that is new has the mode that the umask gives.
    """
    name = path.parent / f".{path.name[:200]}.{secrets.token_hex(8)}"
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        if path.exists():
            os.chmod(name, stat.S_IMODE(path.stat().st_mode))
        if overwrite:
            os.replace(name, path)
        else:
            os.link(name, path)
            os.unlink(name)
    except BaseException:
        os.unlink(name)
        raise
