"""A process that is asked over lines of JSON: one object per line each way, matched by `id`, many at a time.

A line of JSON-RPC with `method` is the process asking us: `ping` is answered, and no other method is known.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import AsyncIterator, Mapping
from itertools import groupby
from typing import Any, Final, cast

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

from .code import Limits
from .errors import Answered, Crashed, ProcessError, TimedOut, TooMuch

CHUNK: Final = 1 << 16
NOISE_CHARS: Final = 1000
"""How much is kept of what it wrote to standard output that is not an answer."""
SHOWN: Final = 500
MOST_OWED: Final = 100
"""Requests of the process that await our answer; beyond that the oldest are dropped."""
_COLOURS: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_NO_SUCH_METHOD: Final = {"code": -32601, "message": "Method not found"}


class Talk:
    """The exchange with a started process. `Processes.start` makes it.

    Any output line that is not a JSON object with the `id` of a question is noise: kept apart, never an answer.
    """

    def __init__(self, stdin: ByteSendStream, limits: Limits) -> None:
        self._stdin = stdin
        self._limits = limits
        self._lock = anyio.Lock()
        self._asked: dict[int, _Question] = {}
        self._owed: deque[dict[str, Any]] = deque(maxlen=MOST_OWED)
        self._requested = anyio.Event()
        self._last = 0
        self._stderr = self._noise = ""
        self._written = 0
        self._over: ProcessError | None = None
        self._status: int | None = None
        self._silent = anyio.Event()
        self._to_end = anyio.Event()
        self._ended = anyio.Event()

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._over is None and not self._to_end.is_set()

    @property
    def status(self) -> int | None:
        """How it ended; None while it is running. 128 and above: by a signal."""
        return self._status

    @property
    def waiting(self) -> int:
        """How many answers are awaited."""
        return len(self._asked)

    async def ask(self, question: Mapping[str, Any], timeout_s: float = math.inf) -> dict[str, Any]:
        """The answer to a question, without its `id`. May be called concurrently; raises ProcessError.

        `question` is a JSON object; it is sent with an `id` of ours. An answer with `error` (a text, `{kind, text}` or
        JSON-RPC's `{code, message}`) is raised as Answered. After TimedOut, or if the caller was cancelled, a later
        answer is dropped.
        """
        if not self.alive:
            raise self._over or Crashed("was ended")
        self._last += 1
        id, mine, before = self._last, _Question(), self._written
        self._asked[id] = mine
        try:
            with anyio.fail_after(timeout_s):
                await self._send({**question, "id": id})
                await mine.answered.wait()
        except TimeoutError:
            raise TimedOut(f"gave no answer within {timeout_s:g} s{self.heard()}") from None
        finally:
            del self._asked[id]
        if mine.failure is not None:
            raise mine.failure
        failed = mine.answer.get("error") is not None
        return _answer_or_error(mine.answer, self.heard(self._written - before) if failed else "")

    async def tell(self, notice: Mapping[str, Any]) -> None:
        """Send a message that has no answer."""
        await self._send(notice)

    async def stop(self) -> None:
        """End it and everything it started; returns when none of that is left. May be called again."""
        self._to_end.set()
        await self._ended.wait()

    def heard(self, last: int | None = None) -> str:
        """What it wrote that was not an answer, to append to an error text; "" if nothing.

        `last`: only so many characters of its standard error, without its output.
        """
        errors = self._stderr if last is None else self._stderr[-last:] if last else ""
        written = (("stderr", errors), ("output", "" if last is not None else self._noise))
        said = [f"its {n}: {_tail(_lines(t))}" for n, t in written if t.strip()]
        return f"; {'; '.join(said)}" if said else ""

    # For Processes, which runs these in its own tasks

    async def to_be_ended(self) -> None:
        """Wait until someone asks for its end, or an answer was too long."""
        await self._to_end.wait()

    async def silent(self) -> None:
        """Wait until its standard error is closed."""
        await self._silent.wait()

    async def answer_requests(self) -> None:
        """Answer what it asks, whether or not anybody asks it; until cancelled, or it no longer reads."""
        while True:
            await self._requested.wait()
            self._requested = anyio.Event()
            while self._owed:
                try:
                    await self._send(self._owed.popleft())
                except ProcessError:
                    return

    async def listen(self, stdout: ByteReceiveStream) -> None:
        """Read its answers until it closes its output."""
        lines, held = [b""], 0
        async for chunk in _chunks(stdout):
            first, *rest = chunk.split(b"\n")
            lines.append(first)
            held += len(first)
            for piece in rest:
                self._line(b"".join(lines))
                lines, held = [piece], len(piece)
            if held > self._limits.line_bytes:
                self.over(TooMuch(f"wrote a line longer than {self._limits.line_bytes:,} bytes"))
                self._to_end.set()
                return
        self._line(b"".join(lines))

    async def listen_aside(self, stderr: ByteReceiveStream) -> None:
        """Read what it writes to standard error, and keep the end."""
        async for chunk in _chunks(stderr):
            text = chunk.decode("utf-8", "replace")
            self._written += len(text)
            self._stderr = (self._stderr + text)[-self._limits.stderr_chars :]
        self._silent.set()

    def over(self, why: ProcessError) -> None:
        """Nothing more is to be expected of it: everyone waiting gets `why`. The first reason stands."""
        if self._over is None:
            self._over = why
        for question in self._asked.values():
            question.fail(self._over)

    def gone(self, status: int | None) -> None:
        """Note that the process has ended."""
        self._status = status
        self.over(Crashed(f"{_ending(status)}{self.heard()}"))
        self._ended.set()

    async def _send(self, message: Mapping[str, Any]) -> None:
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        async with self._lock:
            try:
                await self._stdin.send(text.encode("utf-8", "replace") + b"\n")
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                # It no longer reads, but may have answered or be ending; what it wrote until then is the
                # reason.
                await self._ended.wait()
                raise self._over or Crashed("was ended") from None

    def _line(self, line: bytes) -> None:
        if len(line) > self._limits.line_bytes:
            self.over(TooMuch(f"wrote a line longer than {self._limits.line_bytes:,} bytes"))
            self._to_end.set()
            return
        answer = _object(line)
        if answer is not None and "jsonrpc" in answer and "method" in answer:
            self._asked_of_us(answer)
            return
        id = None if answer is None else answer.get("id")
        question = self._asked.get(id) if type(id) is int else None
        if answer is not None and question is not None:
            question.succeed(answer)
        elif answer is None or type(id) is not int or not 0 < id <= self._last:
            self._noise = f"{self._noise}{line.decode('utf-8', 'replace')}\n"[-NOISE_CHARS:]

    def _asked_of_us(self, request: Mapping[str, Any]) -> None:
        """Owe an answer to a request; a notice, which has no id, needs none."""
        if "id" not in request:
            return
        known: dict[str, Any] = {"result": {}} if request["method"] == "ping" else {"error": _NO_SUCH_METHOD}
        self._owed.append({"jsonrpc": "2.0", "id": request["id"], **known})
        self._requested.set()


class _Question:
    """One question in progress."""

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.answer: dict[str, Any] = {}
        self.failure: ProcessError | None = None

    def succeed(self, answer: dict[str, Any]) -> None:
        if not self.answered.is_set():
            self.answer = answer
            self.answered.set()

    def fail(self, why: ProcessError) -> None:
        if not self.answered.is_set():
            self.failure = why
            self.answered.set()


async def _chunks(stream: ByteReceiveStream) -> AsyncIterator[bytes]:
    while True:
        try:
            yield await stream.receive(CHUNK)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _answer_or_error(answer: dict[str, Any], heard: str = "") -> dict[str, Any]:
    error = answer.get("error")
    if error is not None:
        row: dict[str, Any] = cast("dict[str, Any]", error) if isinstance(error, dict) else {"text": error}
        why = row.get("text") or row.get("message") or "it does not say why"
        code = row.get("code")
        raise Answered(
            _tail(str(row.get("kind", ""))),
            _tail(str(why)),
            code if isinstance(code, int) else 0,
            _tail(str(row.get("at", ""))),
            heard,
        )
    return {key: value for key, value in answer.items() if key != "id"}


def _lines(text: str) -> str:
    """Lines in one, without repetitions in a row: many conversations write the same."""
    return " | ".join(line for line, _ in groupby(line.strip() for line in text.splitlines()) if line)


def _tail(text: str) -> str:
    """The end of a foreign text, in one printable line without colours."""
    plain = _COLOURS.sub("", text)
    line = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return line if len(line) <= SHOWN else f"...{line[-SHOWN:]}"


def _ending(status: int | None) -> str:
    if status is None:
        return "was killed"
    return f"was ended by signal {status - 128}" if status > 128 else f"ended with status {status}"
