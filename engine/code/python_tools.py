"""Calls of Python tools: one warm process a package, asked one call at a time, ended where it does not answer.

The process keeps the base of a world; a call sends the writes on top of it and gets back those of the tool, so that
its cost is that of what changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import anyio
import anyio.from_thread

from ..errors import CasehardenError, UserError
from ..processes import AllowedCode, Answered, Limits, ProcessError, Processes, Talk, TimedOut, python_worker
from ..records.impl import KIT_STATE
from ..world import CodeAnswer, CodeBase, CodeCall

SERVICE: Final = Path(__file__).with_name("service.py")
CALL_S: Final = 20.0
"""Wall seconds of one call."""
BASE_S: Final = 60.0
"""Wall seconds in which a process must have taken a base."""
LIMITS: Final = Limits(memory_bytes=4 << 30, line_bytes=8_000_000)
KINDS: Final = ("arguments", "refused", "runtime")
OPS: Final = ("set", "insert", "remove")


class PythonTools:
    """`CodeTools` over processes. Use it within the context of its `processes`."""

    def __init__(self, allowed: AllowedCode, processes: Processes, call_s: float = CALL_S) -> None:
        self.allowed = allowed
        self._processes = processes
        self._call_s = call_s
        self._rooms: dict[Path, _Room] = {}

    def why_not(self, python: str) -> str:
        """Why a tool may not be run here; "" where it may."""
        try:
            self.allowed.file(python.rpartition(":")[0], "impl.python")
        except UserError as error:
            return f"{error.what} Allowed: {error.allowed}." if error.allowed else error.what
        return ""

    def call(self, asked: CodeCall) -> CodeAnswer:
        """The answer of the tool; see `CodeTools`."""
        try:
            file = self.allowed.file(asked.python.rpartition(":")[0], "impl.python")
            user = self._target(asked.user) if asked.user else ""
        except CasehardenError as error:
            return CodeAnswer(f"its code is not run: {error}", "runtime")
        question = {
            "do": "call",
            "key": asked.base.hash,
            "python": f"{file}:{asked.python.rpartition(':')[2]}",
            "style": asked.style,
            "user": user,
            "side": asked.side,
            "args": dict(asked.args),
            "keep": KIT_STATE,
            "writes": [[op, path, None if op == "remove" else value] for op, path, value in asked.writes],
        }
        try:
            return anyio.from_thread.run(self._asked, file, question, asked.base)
        except RuntimeError as error:
            if "worker thread" not in str(error):
                raise
            return CodeAnswer("its code is run in trials only", "runtime")

    async def _asked(self, file: Path, question: dict[str, Any], base: CodeBase) -> CodeAnswer:
        top = package_root(file)
        room = self._rooms.setdefault(top, _Room(self._processes, self.allowed, top, file))
        try:
            return _answer(await room.ask(question, base, self._call_s))
        except Answered as error:
            return CodeAnswer(f"its code {error}", "runtime")
        except TimedOut:
            return CodeAnswer(f"its code gave no answer within {self._call_s:g} s and was ended", "runtime")
        except ProcessError as error:
            return CodeAnswer(f"the process of its code {error}", "runtime")

    def _target(self, target: str) -> str:
        path, _, name = target.rpartition(":")
        return f"{self.allowed.file(path, 'impl.user')}:{name}"


class _Room:
    """One process for the tools below one folder; started anew where it ended or its files changed."""

    def __init__(self, processes: Processes, allowed: AllowedCode, top: Path, file: Path) -> None:
        self._processes = processes
        self._command = python_worker(allowed, SERVICE, {}, file, LIMITS)
        self._top = top
        self._lock = anyio.Lock()
        self._talk: Talk | None = None
        self._seen: dict[str, tuple[int, int]] = {}

    async def ask(self, question: dict[str, Any], base: CodeBase, call_s: float) -> dict[str, Any]:
        """The answer to a call; where the process does not have the base yet, it is given first."""
        async with self._lock:
            talk = await self._started(question["python"].rpartition(":")[0])
            try:
                answer = await talk.ask(question, call_s)
                if answer.get("need") == "base":
                    await talk.ask({"do": "base", "key": base.hash, "root": base.root}, BASE_S)
                    answer = await talk.ask(question, call_s)
            except Answered:
                raise
            except BaseException:
                # An answer that comes late would be one to another question, and what hangs goes on hanging.
                self._talk = None
                with anyio.CancelScope(shield=True):
                    await talk.stop()
                raise
            return answer

    async def _started(self, file: str) -> Talk:
        state = os.stat(file)
        mark = (state.st_mtime_ns, state.st_size)
        changed = self._seen.setdefault(file, mark) != mark
        talk = self._talk
        if talk is not None and changed:
            self._talk = None
            await talk.stop()
        if changed:
            self._seen = {file: mark}
        if self._talk is None or not self._talk.alive:
            self._talk = await self._processes.start(self._command)
        return self._talk


def package_root(file: Path) -> Path:
    """The folder of the topmost package around a file, or the file's own."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and folder.parent != folder:
        folder = folder.parent
    return folder


def _answer(told: Mapping[str, Any]) -> CodeAnswer:
    """What the process said, believed no further than its shape."""
    writes: list[Any] = []
    given = told.get("writes")
    for row in cast("list[Any]", given) if isinstance(given, list) else []:
        op, path, value = (
            cast("list[Any]", row)
            if isinstance(row, list) and len(cast("list[Any]", row)) == 3
            else (None, None, None)
        )
        keys = cast("list[Any]", path) if isinstance(path, list) else []
        if op not in OPS or not keys or not all(type(key) in (str, int) for key in keys):
            return CodeAnswer("its process wrote what is no write", "runtime")
        writes.append((op, tuple(keys), value))
    failed = told.get("failed")
    if failed and failed not in KINDS:
        failed = "runtime"
    return CodeAnswer(told.get("result"), failed or None, writes)
