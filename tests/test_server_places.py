"""What trials share when their tools are a server's: places for its processes, and turns at its state."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from caseharden.engine.errors import InvalidArgument
from caseharden.engine.processes import AllowedCode, Processes
from caseharden.engine.workbench import workbench
from caseharden.tests.fake_endpoint import Answer, Seen
from caseharden.tests.plain_mcp import write_plain
from caseharden.tests.served_desk import (
    COUNT,
    DESK,
    RULED,
    Endpoint,
    Service,
    bench,
    by_http,
    by_mcp,
    played,
)
from caseharden.tests.warm import warm
from caseharden.tests.workbench_cases import closing

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CH-11")]
SILENT = """
import json, sys
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line)["id"], "text": "I cannot do that."}), flush=True)
"""


async def test_starting_a_worlds_process_needs_no_thread_that_a_waiting_trial_holds(tmp_path: Path) -> None:
    write_plain(tmp_path / "desk.py", DESK)
    threads = anyio.to_thread.current_default_thread_limiter()
    before, threads.total_tokens = threads.total_tokens, 1
    try:
        async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
            made, run = await played(desk, by_mcp(command=["python", "desk.py"]), 2)
    finally:
        threads.total_tokens = before
    assert made.checked["proven"] == 2 and run.totals.passed == 2


async def test_trials_that_need_several_processes_each_do_not_wait_for_each_other_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path / "desk.py", DESK)
    command = ["python", "desk.py"]
    monkeypatch.setattr(workbench, "Processes", partial(Processes, 3))
    world = by_mcp(command=command)
    world["servers"]["other"] = {"command": command}
    world["tools"][0]["impl"] = {"mcp": "other", "tool": "look"}
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        made, run = await played(desk, world)
    assert made.checked["proven"] == COUNT and (run.state, run.totals.passed) == ("done", COUNT)


async def test_an_agent_that_is_a_process_has_its_place_with_those_of_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path / "desk.py", DESK)
    (tmp_path / "agent.py").write_text(SILENT, encoding="utf-8")
    monkeypatch.setattr(workbench, "Processes", partial(Processes, 2))
    agent = {"kind": "command", "argv": ["python", "agent.py"]}
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        world = by_mcp(command=["python", "desk.py"])
        await desk.environments.create("desk", world_data=world, agent=agent)
        await desk.scenarios.create("desk", [closing(n) for n in range(1, COUNT + 1)])
        with anyio.fail_after(120):
            run = (await desk.runs.start("desk", wait_s=45)).run
    assert (run.state, run.totals.trials, run.totals.error) == ("done", COUNT, 0)


OTHER = """
import sys
from pathlib import Path
import anyio
from caseharden import Workbench

async def main(home, run):
    async with Workbench(Path(home), resume=False) as bench:
        Path(home, "ready").touch()
        print((await bench.runs.start("desk", trials=5, wait_s=45)).run.totals.passed)

anyio.run(main, *sys.argv[1:])
"""


class SlowService(Service):
    def __call__(self, seen: Seen) -> Answer:
        return super().__call__(seen).late(0.02)


async def test_trials_of_two_processes_on_one_data_folder_take_turns(tmp_path: Path) -> None:
    with Endpoint(SlowService()) as endpoint:
        async with bench(tmp_path) as desk:
            await played(desk, by_http(endpoint.url))
            endpoint.requests.clear()
            command = [*warm(), "-c", OTHER, str(tmp_path / "data"), ""]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
                with anyio.fail_after(120):
                    while not (tmp_path / "data" / "ready").exists():
                        await anyio.sleep(0.01)
                    run = (await desk.runs.start("desk", trials=5, wait_s=45)).run
                    told = await anyio.to_thread.run_sync(other.communicate)
        keys = [seen.headers["caseharden-trial"] for seen in endpoint.requests]
    assert run.totals.passed == 5 * COUNT and told[0].strip() == str(5 * COUNT)
    turns = [key for k, key in enumerate(keys) if not k or keys[k - 1] != key]
    assert len(turns) == len(set(turns)) >= 2 * 5 * COUNT, "no trial asked while another one had its turn"


async def test_a_world_with_too_many_servers_to_start_is_refused(tmp_path: Path) -> None:
    (tmp_path / "desk.py").write_text(DESK, encoding="utf-8")
    world = by_mcp(command=["python", "desk.py"])
    world["servers"] |= {f"s{n}": {"command": ["python", "desk.py"]} for n in range(16)}
    async with bench(tmp_path, code=AllowedCode([tmp_path])) as desk:
        with pytest.raises(InvalidArgument, match="17 servers") as wrong:
            await desk.environments.create("desk", world_data=world)
    assert wrong.value.where.endswith("servers") and "16" in wrong.value.allowed


async def test_a_lent_run_whose_trials_take_turns_says_that_it_waits(tmp_path: Path) -> None:
    with Endpoint(Service()) as endpoint:
        async with bench(tmp_path) as desk:
            await desk.environments.create("desk", instructions=RULED, world_data=by_http(endpoint.url))
            await desk.scenarios.create("desk", [closing(n) for n in range(1, 4)])
            run = (await desk.runs.start("desk", models={"user": "relay"}, wait_s=0)).run
            with anyio.fail_after(60):
                while (await desk.jobs.wait(run.job, wait_s=1)).job.state != "waiting":
                    pass
