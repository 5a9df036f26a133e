"""Places for processes: how many run at once, and who waits for whom."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from caseharden.engine.processes import (
    AllowedCode,
    Command,
    NotStarted,
    Processes,
    Talk,
)
from caseharden.tests.their_program import ECHO, written

pytestmark = pytest.mark.anyio


async def test_no_more_than_the_limit_run_at_once(tmp_path: Path) -> None:
    command = AllowedCode([tmp_path]).command(["python", written(tmp_path, ECHO)], "argv")
    async with Processes(most=1) as processes, anyio.create_task_group() as tasks:
        first = await processes.start(command)
        with anyio.move_on_after(0.1) as scope:
            await processes.start(command)
        assert scope.cancelled_caught
        second: list[Talk] = []

        async def start() -> None:
            second.append(await processes.start(command))

        tasks.start_soon(start)
        await first.stop()
        with anyio.fail_after(20):
            while not second:
                await anyio.lowlevel.checkpoint()
        assert await second[0].ask({"say": "hi"}, 20) == {"said": "hi"}


async def test_those_who_need_several_take_them_together_and_wait_for_nobody_who_waits(
    tmp_path: Path,
) -> None:
    command = AllowedCode([tmp_path]).command(["python", written(tmp_path, ECHO)], "argv")
    said: list[str] = []
    async with Processes(most=3) as processes:

        async def talks(name: str) -> None:
            async with processes.together(2):
                first = await processes.start(command)
                second = await processes.start(command)
                for talk in (first, second):
                    said.append((await talk.ask({"say": name}, 20))["said"])
                    await talk.stop()

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for name in ("a", "b", "c"):
                    tasks.start_soon(talks, name)
            async with anyio.create_task_group() as tasks:
                async with processes.together(9), processes.together(2):
                    lasting = await processes.start(command, lasting=True)
                    assert await lasting.ask({"say": "beside"}, 20) == {"said": "beside"}
                tasks.start_soon(talks, "d")
    assert sorted(said) == sorted("abcd" * 2)


async def test_a_lasting_process_that_finds_no_place_is_refused_in_words(tmp_path: Path) -> None:
    command = Command((sys.executable, "-c", ECHO), tmp_path, {"PATH": os.environ["PATH"]})
    with anyio.fail_after(60):
        async with Processes(1, waits_s=5) as processes:
            first = await processes.start(command, lasting=True)
            with pytest.raises(NotStarted, match="at most 1 warm processes run at a time"):
                await processes.start(command, lasting=True)
            await first.stop()
            second = await processes.start(command, lasting=True)
            assert await second.ask({"say": "now"}, 20) == {"said": "now"}
