"""Cassettes: recorded model calls in a file that can be read, committed and appended to by several processes.

One JSON object a line: `key` (the canonical hash of the request), `role`, `model`, what was `asked` last (for
readers), and the `reply`. Only key and model are looked up. It contains no secrets and no times.
"""

# Foreign files are inspected with isinstance: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from ..errors import InvalidArgument, NotFound, StorageError, Unavailable
from ..net import Secrets
from .chat_format import MOST_CALLS
from .client import ModelReply, ModelRequest, ToolCall, Usage
from .endpoint import without_secrets
from .request_key import RequestKeys

try:
    import fcntl
except ImportError:  # not on this operating system: the store reports it
    fcntl = None

FORMAT: Final = "cassette/1"
MOST_BYTES: Final = 2**28
SHOWN: Final = 200
"""Characters of the last message that a line shows."""
_TAIL: Final = 256
_HEX: Final = frozenset("0123456789abcdef")
FindFile = Callable[[str, str], Path]
"""(name, where) to the real path of a file a caller names; UserError if it may not be used."""
OpenFile = Callable[[Path, int], int]
"""(real path, flags) to a descriptor of it, following no link; OSError if that cannot be done."""


class Cassette:
    """One file. Created, with its first line, by the first stored call; may be used from several threads.

    `shown`: the file as callers know it; `where`: its place in their call, for errors.
    """

    def __init__(
        self, path: Path, shown: str, secrets: Secrets, where: str, open_file: OpenFile | None = None
    ) -> None:
        self._open_file = open_file or _opened
        self.path = path
        self.shown = shown
        self._secrets = secrets
        self._where = where
        self._keys = RequestKeys()
        self._mutex = threading.Lock()
        self._of_model: dict[tuple[str, str], ModelReply] = {}
        self._any: dict[str, tuple[str, ModelReply]] = {}
        self._read_to = 0
        self._lines = 0
        self._tail = b""
        """The last bytes read: if others are there now, it is another file."""
        self._file: tuple[int, int, int] = (0, 0, 0)
        self.damaged: list[int] = []
        """Lines, from 1, that hold no call and were skipped."""

    @property
    def exists(self) -> bool:
        return self.path.is_file()

    def key(self, request: ModelRequest) -> str:
        """The key under which the request is stored."""
        return self._keys.of(request)

    def find(self, key: str, model: str = "") -> ModelReply | None:
        """The stored reply to a request, of that model ("": of whichever comes first).

        Reads the file if it has grown and the reply is not known yet; about 10 us a line.
        """
        with self._mutex:
            found = self._known(key, model)
            if found is None and self._has_changed():
                self._read()
                found = self._known(key, model)
            return found

    def check_there(self) -> None:
        """Raise NotFound if there is no such file."""
        if not self.exists:
            raise NotFound(
                f"There is no cassette `{self.shown[:200]}`.",
                where=self._where,
                allowed="a file that an earlier run has made with mode record or replay: run once with one of them",
            )

    def read(self) -> None:
        """Read the file now; NotFound if there is none. For a worker thread."""
        self.check_there()
        with self._mutex:
            if self._has_changed():
                self._read()

    def keep(self, key: str, model: str, request: ModelRequest, reply: ModelReply) -> ModelReply:
        """Append a call as one line; return the reply as stored, without secrets. For a worker thread."""
        kept = without_secrets(reply, self._secrets)
        line = json.dumps(self._line(key, model, request, kept), ensure_ascii=False, separators=(",", ":"))
        data = line.encode("utf-8", "surrogatepass") + b"\n"
        with (
            self._mutex,
            self._opened(os.O_RDWR | os.O_APPEND | os.O_CREAT) as file,
            _locked(file, shared=False),
        ):
            size = os.fstat(file).st_size
            torn = size and os.pread(file, 1, size - 1) != b"\n"
            whole = b"\n" + data if torn else data
            if os.write(file, whole) != len(whole):
                raise StorageError(f"`{self.shown[:200]}` could not be written whole.", where=self._where)
            self._learn(key, model, kept)
        return kept

    # inside

    def _line(self, key: str, model: str, request: ModelRequest, reply: ModelReply) -> dict[str, Any]:
        last = request.messages[-1].content if request.messages else ""
        row: dict[str, Any] = {
            "format": FORMAT,
            "key": key,
            "role": request.role,
            "model": model,
            "asked": {"messages": len(request.messages), "last": self._secrets.hide(last)[:SHOWN]},
        }
        answer: dict[str, Any] = {"text": reply.text}
        if reply.tool_calls:
            answer["tool_calls"] = [
                {"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.tool_calls
            ]
        tokens = [reply.usage.input_tokens, reply.usage.output_tokens]
        return {**row, "reply": answer, "tokens": tokens}

    def _known(self, key: str, model: str) -> ModelReply | None:
        return self._of_model.get((model, key)) if model else self._any.get(key, (None, None))[1]

    def _learn(self, key: str, model: str, reply: ModelReply) -> None:
        """The last line of a model counts; among several models the first."""
        self._of_model[model, key] = reply
        if self._any.get(key, (model,))[0] == model:
            self._any[key] = model, reply

    def _has_changed(self) -> bool:
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return _state(found) != self._file

    def _read(self) -> None:
        """Read what was appended, or the whole file if it is another one by now."""
        with self._opened(os.O_RDONLY) as file, _locked(file, shared=True):
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
                raise InvalidArgument(
                    f"`{self.shown[:200]}` is no cassette: no regular file, or too large.",
                    where=self._where,
                    allowed=f"a file of at most {MOST_BYTES:,} bytes",
                )
            if _pread(file, self._read_to - len(self._tail), self._read_to) != self._tail:
                self._read_to = self._lines = 0
                self._of_model, self._any, self.damaged = {}, {}, []
            data = _pread(file, self._read_to, found.st_size)
        for line in data.splitlines():
            self._lines += 1
            if line.strip():
                self._take(line)
        self._read_to = found.st_size
        self._tail = (self._tail + data)[-_TAIL:]
        self._file = _state(found)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            key, reply = row["key"], _reply(row)
            if len(key) != 64 or not set(key) <= _HEX:
                raise ValueError("no key")
        except (ValueError, KeyError, TypeError, RecursionError):
            self.damaged.append(self._lines)
            return
        self._learn(key, str(row.get("model", "")), reply)

    @contextmanager
    def _opened(self, flags: int) -> Generator[int]:
        try:
            file = self._open_file(self.path, flags)
        except OSError as error:
            raise StorageError(
                f"The cassette `{self.shown[:200]}` cannot be used: {error.strerror}.",
                where=self._where,
                allowed="a file in a folder that is there and can be written",
            ) from None
        try:
            yield file
        finally:
            os.close(file)


class Cassettes:
    """The cassettes in use, each file once; one that no run uses any more is forgotten when another is opened."""

    def __init__(self, find: FindFile, secrets: Secrets, open_file: OpenFile | None = None) -> None:
        self._find = find
        self._open_file = open_file
        self._secrets = secrets
        self._open: WeakValueDictionary[Path, Cassette] = WeakValueDictionary()
        self._last: Cassette | None = None
        """The one opened last: whoever checks it will run with it."""

    def at(self, file: str, where: str) -> Cassette:
        """The cassette of a file, which need not exist; UserError if it may not be used."""
        path = self._find(file, where)
        found = self._open.get(path)
        if found is None:
            found = self._open[path] = Cassette(path, file, self._secrets, where, self._open_file)
        self._last = found
        return found


def _opened(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)


@contextmanager
def _locked(file: int, *, shared: bool) -> Generator[None]:
    """Keep other processes from writing meanwhile; the lock is released with the file."""
    if fcntl is None:
        raise Unavailable("Cassettes need the file locks of a POSIX system (fcntl), which are not here.")
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    yield


def _state(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _pread(file: int, start: int, end: int) -> bytes:
    parts: list[bytes] = []
    while start < end and (part := os.pread(file, end - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _reply(row: Any) -> ModelReply:
    """The reply of a line; ValueError, KeyError or TypeError if it holds none."""
    told = row["reply"]
    text, listed = told["text"], told.get("tool_calls", [])
    tokens = row.get("tokens", [0, 0])
    if not isinstance(text, str) or not isinstance(listed, list) or len(listed) > MOST_CALLS:
        raise ValueError("no reply")
    parts = [(call["id"], call["name"], call["arguments"]) for call in listed]
    if not all(isinstance(part, str) for call in parts for part in call):
        raise ValueError("no call")
    calls = tuple(ToolCall(*call) for call in parts)
    if not all(isinstance(count, int) and 0 <= count < 2**53 for count in tokens):
        raise ValueError("no tokens")
    return ModelReply(text, calls, Usage(*tokens), cost_usd=0.0, recorded=True)
