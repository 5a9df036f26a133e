"""Files that callers name: only below allowed roots, no links leading out, no silent overwriting."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..errors import CasehardenError, InvalidArgument, NotAllowed, NotFound, StorageError, did_you_mean
from .documents import parse_json

TEXT_LIMIT: Final = 10_000_000
"""Bytes of one file that is read whole; a world's state may be this large."""
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class Roots:
    """The folders below which files may be read and written.

    A relative path is tried below each root in turn; an absolute one must be below a root. Links are followed first
    and judged by where they lead.
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self.paths: tuple[Path, ...] = tuple(Path(p).resolve() for p in paths)

    def resolve(self, path: Path | str, where: str) -> Path:
        """The real path below a root, whether or not it exists."""
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
        """An existing folder."""
        found = self.resolve(path, where)
        if not found.is_dir():
            kind = "is not a folder" if found.exists() else "does not exist"
            raise NotFound(f"`{path}` {kind}.{self._near(found)}", where=where, allowed=self._below())
        return found

    def read_bytes(self, path: Path | str, where: str, limit: int = TEXT_LIMIT) -> bytes:
        """The contents of a regular file of at most `limit` bytes."""
        with self._opened(path, where) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise InvalidArgument(f"`{path}` is too large.", where=where, allowed=f"at most {limit:,} bytes")
        return data

    def peek(self, path: Path | str, size: int, *, end: bool = False) -> str:
        """The first or, with `end`, the last bytes of a file as text; "" where `read_bytes` would refuse it."""
        try:
            with self._opened(path, "path") as file:
                if end:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - size))
                return file.read(size).decode("utf-8", "replace")
        except (CasehardenError, OSError):
            return ""

    def open(self, real: Path, flags: int) -> int:
        """A descriptor of a path that `resolve` gave; OSError if a part of it has become a link since."""
        with self._beside(real) as (folder, name):
            return os.open(name, flags | _SAFE, 0o644, dir_fd=folder)

    def read_text(self, path: Path | str, where: str, limit: int = TEXT_LIMIT) -> str:
        """UTF-8 text with line ends as LF."""
        return decode(self.read_bytes(path, where, limit), where or str(path))

    def read_json(self, path: Path | str, where: str, limit: int = TEXT_LIMIT) -> Any:
        """A JSON value; NaN, duplicate keys and deep nesting are refused."""
        return parse_json(self.read_text(path, where, limit), where or str(path))

    def write_text(self, path: Path | str, text: str, where: str, *, overwrite: bool = False) -> Path:
        """Write all or nothing. An existing file is refused without `overwrite`; its mode is kept."""
        found = self.resolve(path, where)
        if found.exists() and not overwrite:
            raise NotAllowed(f"`{path}` exists.", where=where, allowed="another name, or overwrite")
        if found.exists() and not found.is_file():
            raise InvalidArgument(f"`{path}` is not a file.", where=where)
        try:
            with self._beside(found) as (folder, name):
                _replace(folder, name, text.encode("utf-8", "surrogatepass"), overwrite)
        except FileExistsError:
            raise NotAllowed(f"`{path}` exists.", where=where, allowed="another name, or overwrite") from None
        except OSError as error:
            raise StorageError(f"`{path}` cannot be written: {error.strerror}.", where=where) from None
        return found

    def show(self, path: Path) -> str:
        """The path as people write it: relative to its root."""
        root = next((r for r in self.paths if path.is_relative_to(r)), None)
        return str(path.relative_to(root)) if root else path.name

    @contextmanager
    def _opened(self, path: Path | str, where: str) -> Generator[BinaryIO]:
        """An open regular file."""
        found = self.resolve(path, where)
        try:
            handle = self.open(found, os.O_RDONLY)
        except FileNotFoundError:
            what = f"`{path}` does not exist.{self._near(found)}"
            raise NotFound(what, where=where, allowed=self._below()) from None
        except OSError as error:
            raise NotAllowed(f"`{path}` cannot be read: {error.strerror}.", where=where) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise InvalidArgument(f"`{path}` is not a file.", where=where, allowed="a regular file")
        with os.fdopen(handle, "rb") as file:
            yield file

    @contextmanager
    def _beside(self, real: Path) -> Generator[tuple[int, str]]:
        """A descriptor of the folder that contains a real path, and its name there.

        The folders are opened one by one from the root; one that has become a link since raises OSError.
        """
        root = next(r for r in self.paths if real.is_relative_to(r))
        *folders, name = real.relative_to(root).parts or (".",)
        with ExitStack() as opened:
            at = os.open(root, _FOLDER)
            opened.callback(os.close, at)
            for part in folders:
                at = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
                opened.callback(os.close, at)
            yield at, name

    @staticmethod
    def _real(path: Path) -> Path | None:
        try:
            return path.resolve()
        except (OSError, RuntimeError):
            return None

    def _allowed(self) -> str:
        if not self.paths:
            return "no folder: the operator allows one with --root DIR"
        return f"{self._below()}; the operator adds roots with --root DIR"

    def _below(self) -> str:
        return f"paths below {', '.join(dict.fromkeys(map(str, self.paths)))}"

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


def _replace(folder: int, name: str, data: bytes, overwrite: bool) -> None:
    """Give the new file its name in one step: a reader sees the old or the new one, never half of it.

    A new file has the mode given by the umask.
    """
    draft = f".{name[:200]}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    handle = os.open(draft, flags, 0o666, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            with suppress(FileNotFoundError):
                known = os.stat(name, dir_fd=folder, follow_symlinks=False)
                os.fchmod(handle, stat.S_IMODE(known.st_mode))
            os.fsync(handle)
        if overwrite:
            os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.unlink(draft, dir_fd=folder)
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise
