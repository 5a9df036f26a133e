"""Folders, files and locks: what the operating system does for the store, with errors an operator can act on.

Folders are made 0700 and files 0600.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..errors import StorageError, Unavailable

try:
    import fcntl
    import resource
except ImportError:  # not on this operating system: need_locks reports it
    fcntl = resource = None

LOCK_PATIENCE_S: Final = 20.0
_FIX: Final = "a folder that can be written, with free space; set CASEHARDEN_HOME to use another one"
_FIXES: Final = {
    errno.EMFILE: "fewer runs at a time, or a higher limit of open files (ulimit -n), then the same again",
    errno.ENFILE: "fewer open files on this machine, then the same again",
}
_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file may not grow any further",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a file stands where a folder should be",
    errno.EEXIST: "a file stands where a folder should be",
    errno.EISDIR: "a folder stands where a file should be",
    errno.ENOENT: "it is not there (deleted meanwhile?)",
    errno.EMFILE: "this process has too many files open",
    errno.ENFILE: "the machine has too many files open",
    errno.EIO: "the disk cannot read or write there",
}


@contextmanager
def telling(what: str, path: Path) -> Generator[None]:
    """Turn an OSError inside into a StorageError: `what` (such as "Cannot write"), why, where, what would help."""
    try:
        yield
    except OSError as error:
        raise storage_error(what, path, error) from error


def storage_error(what: str, path: Path, error: OSError) -> StorageError:
    """The StorageError for an OSError."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"{what}: {reason}.", where=str(path), allowed=_FIXES.get(error.errno or 0, _FIX))


def need_locks() -> None:
    """Raise Unavailable if the operating system has no `fcntl` locks."""
    if fcntl is None:
        raise Unavailable(
            "The store needs the file locks of a POSIX system (fcntl), which are not here.",
            where="store",
            allowed="Linux, macOS, or Windows' WSL",
        )


def most_open_files() -> int:
    """How many files this process may have open, as it is limited now."""
    assert resource is not None
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def make_folder(path: Path) -> None:
    """Make the folder and those above it, each new one 0700."""
    if path.is_dir():
        return
    with telling("Cannot make the folder", path):
        _make(path)


def _make(path: Path) -> None:
    if not path.parent.is_dir():
        _make(path.parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not path.is_dir():
            raise


def open_file(path: Path, flags: int) -> int:
    """A descriptor that children do not inherit; new files are 0600. Raises OSError."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write_all(descriptor: int, data: bytes) -> None:
    """Write it all, or raise OSError with an unknown part written."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read_span(descriptor: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes from `offset`; fewer at the end of the file."""
    parts: list[bytes] = []
    while length > 0:
        part = os.pread(descriptor, min(length, 1 << 24), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file if nobody holds it. It disappears with the process, however that ends."""
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Release the lock of an open file."""
    assert fcntl is not None
    fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """An exclusive lock between processes on a file of its own. Not re-entrant, not for several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    @property
    def opened(self) -> bool:
        """Whether the lock file is open."""
        return self._descriptor >= 0

    def acquire(self) -> None:
        """Wait for the lock.

        StorageError if another process holds it for 20 s, OSError if it cannot be made.
        """
        deadline = time.monotonic() + LOCK_PATIENCE_S
        pause = 0.0001
        while True:
            if self._descriptor < 0:
                self._descriptor = open_file(self._path, os.O_RDWR | os.O_CREAT)
            if try_lock(self._descriptor):
                if self._still_named():
                    return
                self.close()
                continue
            if time.monotonic() > deadline:
                raise StorageError(
                    f"Another process has held the lock for {LOCK_PATIENCE_S:.0f} s.",
                    where=str(self._path),
                    allowed="end or resume the process that holds it, then try again",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 0.002)

    def release(self) -> None:
        unlock(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _still_named(self) -> bool:
        try:
            return os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino
        except FileNotFoundError:
            return False
