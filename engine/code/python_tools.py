"""Calls of Python tools: one warm process per package, asked one call at a time, ended if it does not answer.

The process keeps the base of a world; a call sends the writes on top of it and returns those of the tool, so that it
costs only what changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ..errors import CasehardenError, UserError
from ..processes import AllowedCode, Answered, ProcessError, Processes, TimedOut
from ..records.impl import KIT_STATE
from ..world import CodeAnswer, CodeBase, CodeCall
from .imports import Sources, package_root
from .rooms import Room
from .waited import waited

SERVICE: Final = Path(__file__).with_name("service.py")
CALL_S: Final = 20.0
"""Wall seconds for one call."""
KINDS: Final = ("arguments", "refused", "runtime")
OPS: Final = ("set", "insert", "remove")


class PythonTools:
    """`CodeTools` over processes. Use it within the context of its `processes`."""

    def __init__(self, allowed: AllowedCode, processes: Processes, call_s: float = CALL_S) -> None:
        self.allowed = allowed
        self._processes = processes
        self._call_s = call_s
        self._rooms: dict[Path, Room] = {}
        self._sources = Sources(allowed.folder)

    def why_not(self, python: str) -> str:
        """Why a tool may not be run here; "" if it may."""
        try:
            self.allowed.file(python.rpartition(":")[0], "impl.python")
        except UserError as error:
            return f"{error.what} Allowed: {error.allowed}." if error.allowed else error.what
        return ""

    def call(self, asked: CodeCall) -> CodeAnswer:
        """The answer of the tool; see `CodeTools`."""
        try:
            file = self.allowed.file(asked.python.rpartition(":")[0], "impl.python")
            user = self._target(asked.user) if asked.user else None
        except CasehardenError as error:
            return CodeAnswer(f"its code is not run: {error}", "runtime")
        question = {
            "do": "call",
            "key": asked.base.hash,
            "python": f"{file}:{asked.python.rpartition(':')[2]}",
            "style": asked.style,
            "user": "{}:{}".format(*user) if user else "",
            "side": asked.side,
            "args": dict(asked.args),
            "keep": KIT_STATE,
            "writes": [[op, path, None if op == "remove" else value] for op, path, value in asked.writes],
        }
        text = "its code is run in trials only"
        files = [file, user[0]] if user else [file]
        return waited(self._asked, files, question, asked.base, elsewhere=text)

    async def _asked(self, files: Sequence[Path], question: dict[str, Any], base: CodeBase) -> CodeAnswer:
        file = files[0]
        top = package_root(file)
        room = self._rooms.setdefault(top, Room(self._processes, self.allowed, SERVICE, file))
        try:
            mark = "".join([(await self._sources.now(one)).hash for one in files])
            return _answer(await room.ask(question, file, self._call_s, mark, base))
        except OSError as error:
            return CodeAnswer(f"its code cannot be read: {error.strerror}", "runtime")
        except Answered as error:
            return CodeAnswer(f"its code {error}", "runtime")
        except TimedOut:
            return CodeAnswer(f"its code gave no answer within {self._call_s:g} s and was ended", "runtime")
        except ProcessError as error:
            return CodeAnswer(f"the process of its code {error}", "runtime")

    def _target(self, target: str) -> tuple[Path, str]:
        path, _, name = target.rpartition(":")
        return self.allowed.file(path, "impl.user"), name


def _answer(told: Mapping[str, Any]) -> CodeAnswer:
    """The process's answer, trusted only after checking its shape."""
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
