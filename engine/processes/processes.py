"""Start processes and make sure that none outlives a cancellation, or us."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio.abc import Process, TaskStatus

from ..depth import VARIABLE, one_deeper, too_deep
from .code import Command
from .errors import NotStarted
from .resting import IDLE_S, Resting
from .talk import Talk

KEEPER: Final = Path(__file__).with_name("keeper.py")
MOST: Final = 64
"""Processes at the same time; more wait for their turn."""
WAITS_S: Final = 120.0
"""Seconds within which a lasting process must have its place and be started."""
CLOSING_S: Final = 1.0
"""Seconds between the end of its output and its own end."""
REAPED_S: Final = 15.0
"""Seconds beyond the grace until the keeper itself is killed."""
_ROOM: ContextVar[anyio.CapacityLimiter | None] = ContextVar("caseharden_room", default=None)
"""The places reserved together for whatever is started here."""


class Processes:
    """Runs commands, each under a keeper of its own. Use it as an async context: leaving it ends them all.

    A process sees its command's environment, a new folder as HOME and TMPDIR that is deleted with it, and its working
    folder. This keeps accidents small and keys out of sight; it does not protect against malicious code.
    """

    def __init__(self, most: int = MOST, waits_s: float = WAITS_S, idle_s: float = IDLE_S) -> None:
        self._limiter_of = most
        self._waits_s = waits_s
        self._resting = Resting(self.soon, idle_s)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Processes:
        self._limiter = anyio.CapacityLimiter(self._limiter_of)
        self._lasting = anyio.CapacityLimiter(self._limiter_of)
        self._collecting = anyio.Lock()
        async with AsyncExitStack() as stack:
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(self._tasks.cancel_scope.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(None, None, None)

    async def start(self, command: Command, *, lasting: bool = False) -> Talk:
        """Start the command. It runs until its `stop`, its own end or ours; waits while too many are running.

        `lasting`: it serves many trials and is counted separately, so that none of them has to wait for it; if there is
        no place, the one that has rested longest is ended. NotStarted if its program or folder is missing, if a lasting
        one finds no place in time, or if we are too deep inside another Caseharden.
        """
        if os.name != "posix":
            raise NotStarted("cannot be run on this system: processes of others need Linux or macOS")
        why = too_deep()
        if why:
            raise NotStarted(why)
        limiter = self._lasting if lasting else _ROOM.get() or self._limiter
        if not lasting:
            return await self._tasks.start(self._run, command, limiter)
        with anyio.move_on_after(self._waits_s):
            if limiter.available_tokens < 1:
                await self._resting.end_one()
            return await self._tasks.start(self._run, command, limiter)
        raise NotStarted(
            f"was not started within {self._waits_s:g} s: at most {self._limiter_of} warm processes run at a time"
        )

    @asynccontextmanager
    async def together(self, number: int) -> AsyncGenerator[None]:
        """Reserve places for that many processes at once; those started inside the block use them.

        Taken one by one, two callers could each hold their first place and wait for the second forever. A nested block
        reserves nothing more.
        """
        if number < 1 or _ROOM.get() is not None:
            yield
            return
        number = min(number, self._limiter_of)
        taken: list[object] = []
        try:
            async with self._collecting:
                while len(taken) < number:
                    place = object()
                    await self._limiter.acquire_on_behalf_of(place)
                    taken.append(place)
            before = _ROOM.set(anyio.CapacityLimiter(number))
            try:
                yield
            finally:
                _ROOM.reset(before)
        finally:
            for place in taken:
                self._limiter.release_on_behalf_of(place)

    def rest(self, talk: Talk) -> None:
        """Nobody needs a lasting process at present: it is ended when it has been idle for a while, or in the way."""
        if self._lasting.statistics().tasks_waiting:
            self.soon(talk.stop)
        else:
            self._resting.add(talk)

    def wake(self, talk: Talk) -> bool:
        """Whether a process that was put to rest can be used again; then it rests no more."""
        return self._resting.wake(talk)

    def soon(self, what: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run something beside the processes, ended with them; it must not raise."""
        self._tasks.start_soon(what, *args)

    async def _run(
        self, command: Command, limiter: anyio.CapacityLimiter, *, task_status: TaskStatus[Talk]
    ) -> None:
        async with limiter:
            home = await anyio.to_thread.run_sync(tempfile.mkdtemp, "", "caseharden-")
            try:
                await self._kept(command, home, task_status)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(lambda: shutil.rmtree(home, ignore_errors=True))

    async def _kept(self, command: Command, home: str, task_status: TaskStatus[Talk]) -> None:
        control, ours = os.pipe()
        try:
            process = await _opened(command, home, control)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(control)
        assert process.stdin and process.stdout and process.stderr
        talk = Talk(process.stdin, command.limits)
        try:
            async with anyio.create_task_group() as pumps:
                pumps.start_soon(talk.listen_aside, process.stderr)
                pumps.start_soon(talk.answer_requests)
                pumps.start_soon(_until_closed, talk, process, pumps.cancel_scope)
                task_status.started(talk)
                await talk.to_be_ended()
                pumps.cancel_scope.cancel()
        finally:
            # The keeper sees the end of its pipe, and ends the command it keeps.
            os.close(ours)
            with anyio.CancelScope(shield=True):
                await _reaped(process, command.limits.grace_s)
                talk.gone(process.returncode)


async def _until_closed(talk: Talk, process: Process, scope: anyio.CancelScope) -> None:
    """Listen to it until it has ended or closed its output; then there is nothing more to wait for."""
    assert process.stdout
    await talk.listen(process.stdout)
    with anyio.move_on_after(CLOSING_S):
        await process.wait()
        await talk.silent()
    scope.cancel()


async def _opened(command: Command, home: str, control: int) -> Process:
    limits = command.limits
    row = {
        "DATA": limits.memory_bytes,
        "FSIZE": limits.file_bytes,
        "NOFILE": limits.open_files,
        "CPU": limits.cpu_s,
        "CORE": 0,
    }
    kept = ",".join(f"{name}={value}" for name, value in row.items() if value is not None)
    keeper = [sys.executable, "-I", "-S", str(KEEPER), str(control), str(limits.grace_s), kept]
    try:
        return await anyio.open_process(
            [*keeper, *command.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=command.cwd,
            env={**command.env, "HOME": home, "TMPDIR": home, VARIABLE: one_deeper()},
            pass_fds=[control],
            start_new_session=True,
        )
    except OSError as error:
        raise NotStarted(f"cannot be started: {error.strerror}") from None


async def _reaped(process: Process, grace_s: float) -> None:
    with anyio.move_on_after(grace_s + REAPED_S) as scope:
        await process.wait()
    if scope.cancelled_caught:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await process.aclose()
