"""Warm processes for users' code end when nobody needs them, and give way; what they run is as the files are now."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from caseharden.engine.code import MetricCode, PythonTools, imports
from caseharden.engine.code.imports import Sources, hash_of
from caseharden.engine.errors import InvalidArgument
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.world import CodeAnswer, CodeBase, CodeCall

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SG-8")]
PID = "import os\n\ndef pid(db):\n    return os.getpid()\n"
Call = Callable[[str], Awaitable[CodeAnswer]]


@asynccontextmanager
async def tools(folder: Path, **limits: Any) -> AsyncGenerator[Call]:
    """Calls the function `pid` of a package's tools.py."""
    base = CodeBase({"db": {}, "user_db": {}}, "none")
    async with Processes(**limits) as processes:
        code = PythonTools(AllowedCode([folder]), processes)

        async def call(package: str) -> CodeAnswer:
            asked = CodeCall(f"{package}/tools.py:pid", "function", "", "db", {}, base, [])
            return await anyio.to_thread.run_sync(code.call, asked)

        with anyio.fail_after(60):
            yield call


def packages(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir()
        (folder / name / "tools.py").write_text(PID, encoding="utf-8")


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_the_process_of_a_package_ends_when_it_is_idle_and_the_next_call_starts_another(
    tmp_path: Path,
) -> None:
    packages(tmp_path, "a")
    async with tools(tmp_path, idle_s=0.05) as call:
        first = (await call("a")).result
        while runs(first):
            await anyio.sleep(0.01)
        second = await call("a")
        assert second.error is None and second.result != first


async def test_more_packages_than_places_are_all_served_and_one_that_is_used_stays(tmp_path: Path) -> None:
    packages(tmp_path, "a", "b", "c", "d")
    async with tools(tmp_path, most=2, waits_s=20) as call:
        first = await call("a")
        assert (await call("b")).error is None
        assert (await call("a")).result == first.result
        third = await call("c")
        assert third.error is None and runs(third.result)
        assert (await call("a")).result == first.result, "b had rested longer"
        found: list[CodeAnswer] = []

        async def ask(package: str) -> None:
            found.append(await call(package))

        async with anyio.create_task_group() as tasks:
            for package in "abcd" * 2:
                tasks.start_soon(ask, package)
        assert [answer.error for answer in found] == [None] * 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "main.py"
    place.write_text("from helpers import word\nimport kit.deep\n", encoding="utf-8")
    return place


async def hashes(sources: Sources, file: Path, *changes: Callable[[], Any]) -> list[str]:
    """The hash at first, and after each change."""
    found = [(await sources.now(file)).hash]
    for change in changes:
        await anyio.to_thread.run_sync(change)
        found.append((await sources.now(file)).hash)
    return found


async def test_a_module_that_appears_or_goes_changes_the_hash_of_what_imports_it(file: Path) -> None:
    helpers, kit = file.with_name("helpers.py"), file.with_name("kit")
    found = await hashes(
        Sources(lambda _: file.parent),
        file,
        lambda: helpers.write_text("word = 1\n", encoding="utf-8"),
        kit.mkdir,
        lambda: (kit / "deep.py").write_text("x = 1\n", encoding="utf-8"),
        lambda: (kit / "unrelated.py").write_text("x = 1\n", encoding="utf-8"),
        lambda: (kit / "deep.py").unlink(),
        helpers.unlink,
    )
    first, helped, empty, deep, beside, gone, bare = found
    assert len({first, helped, deep}) == 3
    assert helped == empty == gone and deep == beside and first == bare
    assert found[-1] == hashlib.sha256(file.read_bytes()).hexdigest() == hash_of(file, file.parent)


async def test_a_change_of_the_same_size_in_the_same_tick_of_the_clock_is_seen(file: Path) -> None:
    helpers = file.with_name("helpers.py")
    helpers.write_text("word = 1\n", encoding="utf-8")
    tick = helpers.stat().st_mtime_ns

    def change() -> None:
        helpers.write_text("word = 2\n", encoding="utf-8")
        os.utime(helpers, ns=(tick, tick))

    first, second = await hashes(Sources(lambda _: file.parent), file, change)
    assert first != second


async def test_files_are_looked_at_beside_the_event_loop_and_read_only_when_they_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers = file.with_name("helpers.py")
    helpers.write_text("word = 1\n", encoding="utf-8")
    monkeypatch.setattr(imports, "UNSETTLED_S", -3600)  # as if all of it had been there for an hour
    monkeypatch.setattr(imports, "HELD_S", 0)
    read: list[Path] = []
    threads: set[int] = set()
    usual, stat = Path.read_bytes, os.stat

    def reading(path: Path) -> bytes:
        read.append(path)
        return usual(path)

    def looking(*args: Any, **more: Any) -> os.stat_result:
        threads.add(threading.get_ident())
        return stat(*args, **more)

    monkeypatch.setattr(Path, "read_bytes", reading)
    monkeypatch.setattr(imports.os, "stat", looking)
    sources = Sources(lambda _: file.parent)
    await hashes(sources, file, lambda: None, lambda: None)
    assert read == [file, helpers]
    await hashes(sources, file, lambda: helpers.write_text("word = 20\n", encoding="utf-8"))
    assert read == [file, helpers] * 2
    assert threading.get_ident() not in threads and threads


async def test_more_imports_than_are_followed_are_told_and_the_nearest_are_followed(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(imports, "MOST_FILES", 3)
    file.write_text("import near\nimport near_too\n", encoding="utf-8")
    near, far = file.with_name("near.py"), file.with_name("far.py")
    near.write_text("import far\n", encoding="utf-8")
    for other in ("near_too", "far"):
        file.with_name(f"{other}.py").write_text("x = 1\n", encoding="utf-8")
    sources = Sources(lambda _: file.parent)
    first, second, third = await hashes(
        sources,
        file,
        lambda: far.write_text("x = 2\n", encoding="utf-8"),
        lambda: file.with_name("near_too.py").write_text("x = 2\n", encoding="utf-8"),
    )
    assert first == second != third
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}: it imports more than 3 files from below its allowed folder; changes of the others are not seen"
    ]
    async with Processes() as processes:
        code = MetricCode(AllowedCode([file.parent]), processes)
        with pytest.raises(InvalidArgument, match="imports more than 3 files"):
            code.pinned([{"name": "m", "code": "main.py:m", "scale": [0, 1]}], "metrics")
