"""The same folder imported and run several times at once, as CI jobs that share a data folder do."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest

from caseharden.engine.errors import Conflict
from caseharden.engine.store import Store
from caseharden.engine.workbench import Workbench
from caseharden.engine.workbench.results import EnvironmentReport
from caseharden.mcp_server.scaffold import write
from caseharden.tests.workbench_cases import INSTRUCTIONS, WORLDS, tickets

pytestmark = pytest.mark.anyio
AT_ONCE = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `caseharden init` writes."""
    write(tmp_path / "desk")
    return tmp_path / "desk"


async def imported_at_once(home: Path, folder: Path) -> list[EnvironmentReport]:
    """What each of several processes of one data folder is told about the same import."""
    reports: list[EnvironmentReport] = []
    async with AsyncExitStack() as stack:
        benches = [
            await stack.enter_async_context(Workbench(home, worlds=WORLDS, roots=[folder]))
            for _ in range(AT_ONCE)
        ]

        async def take(bench: Workbench) -> None:
            reports.append(await bench.environments.import_folder(str(folder)))

        async with anyio.create_task_group() as tasks:
            for bench in benches:
                tasks.start_soon(take, bench)
    return reports


def versions(home: Path) -> list[str]:
    with Store(home) as store:
        return sorted(str(row.doc_id) for row in store.table("instructions").walk())


@pytest.mark.requirement("CH-5")
async def test_a_folder_imported_by_several_at_once_is_one_environment_with_one_version(
    folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    reports = await imported_at_once(home, folder)
    assert [report.environment.id for report in reports] == ["desk"] * AT_ONCE
    assert len({(report.counts["scenarios"], report.proven) for report in reports}) == 1
    assert versions(home) == ["desk@1"]
    (folder / "instructions.md").write_text("Look a ticket up before you close it.\n")
    reports = await imported_at_once(home, folder)
    assert {report.environment.instructions_version for report in reports} == {2}
    assert versions(home) == ["desk@1", "desk@2"]


@pytest.mark.requirement("CH-5")
async def test_an_environment_made_by_two_at_once_is_refused_only_with_other_content(tmp_path: Path) -> None:
    home = tmp_path / "home"
    told: dict[str, list[bool | str]] = {"same": [], "other": []}
    async with Workbench(home, worlds=WORLDS) as one, Workbench(home, worlds=WORLDS) as two:

        async def make(bench: Workbench, id: str, text: str) -> None:
            try:
                report = await bench.environments.create(id, instructions=text, world_data=tickets(2))
                told[id].append(report.created)
            except Conflict as error:
                told[id].append(error.what)

        async with anyio.create_task_group() as tasks:
            for bench, other in ((one, ""), (two, " Be kind.")):
                tasks.start_soon(make, bench, "same", INSTRUCTIONS)
                tasks.start_soon(make, bench, "other", INSTRUCTIONS + other)
    assert sorted(told["same"]) == [False, True]
    [refused] = [one for one in told["other"] if isinstance(one, str)]
    assert "exists" in refused and len(told["other"]) == 2


@pytest.mark.requirement("CH-5")
def test_a_folder_run_by_several_commands_at_once_in_a_fresh_data_folder_passes_in_all(
    folder: Path, tmp_path: Path
) -> None:
    env = {**os.environ, "CASEHARDEN_HOME": str(tmp_path / "home"), "COLUMNS": "100"}
    command = [sys.executable, "-m", "caseharden", "run", str(folder), "--plain"]
    started = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(AT_ONCE)
    ]
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0] * AT_ONCE, said
    with Store(tmp_path / "home") as store:
        runs = {str(row.doc_id): row["state"] for row in store.table("runs").walk()}
    assert runs == {f"run-{n}": "done" for n in range(1, AT_ONCE + 1)}
