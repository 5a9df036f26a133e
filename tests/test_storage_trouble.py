"""A data folder in trouble, as clients meet it: a clear error, nothing lost, and work goes on afterwards."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.store import Store
from caseharden.tests.served import WITHOUT_ROOTS_RIGHTS, Served, desk_at, finished, served, until
from caseharden.tests.server_desk import desk as desk_in_memory
from caseharden.tests.workbench_cases import bench_at

pytestmark = pytest.mark.anyio
PEOPLE: list[dict[str, Any]] = [{"id": "nina"}, {"id": "olga"}]


@contextmanager
def limited(pid: int, what: int, most: int) -> Generator[None]:
    """Another process may not go beyond `most`, until the block is left."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


async def refused(server: Served, home: Path, tool: str, **arguments: Any) -> str:
    """What the error of the store says; it names a file of the data folder and what would do."""
    error = await server.error(tool, **arguments)
    assert error["code"] == "storage" and str(home) in error["where"] and error["allowed"], error
    return f"{error['what']} {error['allowed']}"


async def personas(server: Served) -> list[str]:
    rows = (await server.ok("list_items", kind="persona", environment="desk"))["items"]
    return sorted(row["id"] for row in rows)


async def test_a_full_disk_is_told_and_work_goes_on_when_there_is_room(tmp_path: Path) -> None:
    home = await desk_at(tmp_path / "home")
    start: dict[str, Any] = {"environment": "desk", "trials": 30}
    with anyio.fail_after(120):
        async with served(home) as server:
            job = (await server.ok("run_simulations", **start, wait_s=0))["job"]["id"]
            await until(lambda: len(finished(home, "run-1")) > 20)
            with limited(server.pid, resource.RLIMIT_FSIZE, 1):
                told = await refused(server, home, "create_personas", environment="desk", personas=PEOPLE)
                assert "may not grow" in told and "free space" in told
                kept = finished(home, "run-1")
                assert await personas(server) == ["desk/dana", "desk/omar"], "reading goes on"
            await server.ok("create_personas", environment="desk", personas=PEOPLE)
            ended = (await server.ok("wait_job", job=job, wait_s=45))["job"]
            if ended["state"] == "failed":
                await server.ok("run_simulations", environment="desk", options={"resume": "run-1"}, wait_s=45)
            after = finished(home, "run-1")
            assert len(after) == 720 and kept.items() <= after.items()
            assert len(await personas(server)) == 4


async def test_too_many_open_files_are_told_and_work_goes_on(tmp_path: Path) -> None:
    home = await desk_at(tmp_path / "home")
    with anyio.fail_after(120):
        async with served(home) as server:
            assert len(await personas(server)) == 2
            held = len(os.listdir(f"/proc/{server.pid}/fd"))
            with limited(server.pid, resource.RLIMIT_NOFILE, held):
                told = await refused(server, home, "run_simulations", environment="desk", trials=1, wait_s=20)
                assert "too many files open" in told and "ulimit -n" in told
            whole = await server.ok("run_simulations", environment="desk", trials=1, wait_s=45)
            assert whole["totals"]["trials"] == 24
            await server.ok("create_personas", environment="desk", personas=PEOPLE)
            assert len(await personas(server)) == 4


async def test_a_folder_that_may_only_be_read_is_told_at_the_start_and_in_a_call(tmp_path: Path) -> None:
    home = await desk_at(tmp_path / "home")
    serve = ("-m", "caseharden", "serve", "--home")
    with anyio.fail_after(120):
        async with served(home, "-c", WITHOUT_ROOTS_RIGHTS, *serve) as server:
            with only_read(home):
                told = await refused(server, home, "create_personas", environment="desk", personas=PEOPLE)
                assert "permission is denied" in told and "CASEHARDEN_HOME" in told
                started = await anyio.to_thread.run_sync(start_without_rights, home, *serve)
                assert started.returncode == 3 and "Traceback" not in started.stderr
                assert "audit.jsonl: Cannot write the data folder: permission is denied" in started.stderr
            await server.ok("create_personas", environment="desk", personas=PEOPLE)
            assert len(await personas(server)) == 4


async def test_a_table_of_a_newer_version_is_told_and_the_others_are_served(tmp_path: Path) -> None:
    home = await desk_at(tmp_path / "home")
    newer = b'{"format":"journal/9","next":1}\n'
    (home / "tables" / "personas.jsonl").write_bytes(newer)
    async with desk_in_memory(home) as client:
        error = await client.error("create_personas", environment="desk", personas=PEOPLE)
        assert error["code"] == "storage" and "newer version (journal/9)" in error["what"]
        assert (await client.ok("list_items", kind="scenario"))["total"] == 24
    assert (home / "tables" / "personas.jsonl").read_bytes() == newer


async def test_damaged_lines_are_told_in_the_overview_and_are_in_the_audit(tmp_path: Path) -> None:
    home = await desk_at(tmp_path / "home")
    file = home / "tables" / "scenarios.jsonl"
    with Store(home) as store:
        store.table("scenarios").change("desk/close-1", lambda row: {**row, "source": "imported"})
    file.write_bytes(file.read_bytes().replace(b"imported", b"imporTed"))
    async with desk_in_memory(home) as client:
        await client.ok("list_items", kind="scenario")
        overview = await client.ok("list_items")
        assert overview["items"][0]["problems"] == [
            "1 damaged line of scenarios put aside in damaged/scenarios.jsonl; all else is whole"
        ]
    async with bench_at(home) as bench:
        [damage] = await bench.damage()
        assert (damage.table, damage.lines) == ("scenarios", 1)
    with Store(home) as store:
        told = store.audited()[-1]
        assert (told["action"], told["id"], told["lines"]) == ("damage", "scenarios", 1)


@contextmanager
def only_read(home: Path) -> Generator[None]:
    """Nothing in the folder may be written, as on a read-only disk."""
    every = [home, *home.rglob("*")]
    for path in every:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        yield
    finally:
        for path in every:
            path.chmod(path.stat().st_mode | 0o200)


def start_without_rights(home: Path, *serve: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_ROOTS_RIGHTS, *serve, str(home)]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
