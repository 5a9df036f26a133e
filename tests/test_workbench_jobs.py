"""Jobs of the workbench: what goes wrong in one ends that one, never the server, and nothing is left behind."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from caseharden.engine.errors import NotAllowed
from caseharden.engine.records.job import Job
from caseharden.engine.store import Store
from caseharden.engine.workbench import jobs as jobs_module
from caseharden.engine.workbench.jobs import Jobs

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def jobs_at(home: Path) -> AsyncGenerator[tuple[Jobs, Store]]:
    """Jobs over a store, with their beat, as the workbench has them."""
    store = Store(home)
    try:
        async with anyio.create_task_group() as tasks:
            jobs = Jobs(store, tasks)
            tasks.start_soon(jobs.beat)
            yield jobs, store
            tasks.cancel_scope.cancel()
    finally:
        store.close()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "BEAT_EVERY_S", 0.01)
    monkeypatch.setattr(jobs_module, "LOOK_EVERY", 1)


async def work(job: Job) -> Mapping[str, Any]:
    return {"made": job.id}


async def forever(job: Job) -> Mapping[str, Any]:
    await anyio.sleep_forever()
    return {}


async def test_a_job_that_its_maker_did_not_launch_is_launched(tmp_path: Path) -> None:
    async with jobs_at(tmp_path) as (jobs, _):
        jobs.handle("sort", work)
        job, new = jobs.create("sort", {})
        assert new
        done = await jobs.settled(job.id, 20)
        assert (done.state, done.result, done.attempt) == ("done", {"made": job.id}, 1)


async def test_a_job_that_was_just_made_is_left_to_its_maker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "BEAT_EVERY_S", 3600)
    async with jobs_at(tmp_path) as (jobs, _):
        jobs.handle("sort", work)
        job, _ = jobs.create("sort", {})
        assert jobs.resume_orphans() == []
        jobs.launch(job)
        assert (await jobs.settled(job.id, 20)).attempt == 1
        assert jobs.resume_orphans() == []


@pytest.mark.parametrize("what", ["take", "mark"])
async def test_an_error_around_the_work_fails_the_job_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with jobs_at(tmp_path) as (jobs, store):
        jobs.handle("sort", work)
        usual = getattr(store.jobs, what)

        def once(*args: Any, **kwargs: Any) -> Any:
            monkeypatch.setattr(store.jobs, what, usual)
            raise OSError("the disk is gone")

        monkeypatch.setattr(store.jobs, what, once)
        job, _ = jobs.create("sort", {})
        jobs.launch(job)
        failed = await jobs.settled(job.id, 20)
        assert failed.state == "failed"
        assert failed.error is not None and failed.error["code"] == "internal"
        other, _ = jobs.create("sort", {})
        jobs.launch(other)
        assert (await jobs.settled(other.id, 20)).state == "done"


@pytest.mark.parametrize("what", ["heartbeat", "orphans"])
async def test_a_beat_that_breaks_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    async with jobs_at(tmp_path) as (jobs, store):
        jobs.handle("sort", forever)
        usual = getattr(store.jobs, what)
        broken: list[int] = []

        def thrice(*args: Any, **kwargs: Any) -> Any:
            broken.append(1)
            if len(broken) == 3:
                monkeypatch.setattr(store.jobs, what, usual)
            raise RuntimeError("a bug")

        monkeypatch.setattr(store.jobs, what, thrice)
        job, _ = jobs.create("sort", {})
        jobs.launch(job)
        with anyio.fail_after(20):
            while len(broken) < 3:
                await anyio.sleep(0.01)
            store.jobs.request_cancel(job.id)
            assert (await jobs.settled(job.id, 20)).state == "cancelled"


async def test_what_could_not_be_tidied_up_is_told_and_tried_again(tmp_path: Path) -> None:
    tidied: list[tuple[str, str]] = []

    async def stopped(job: Job, state: str) -> None:
        tidied.append((job.id, state))
        if len(tidied) < 3:
            raise OSError("locked")

    async with jobs_at(tmp_path) as (jobs, store):
        jobs.handle("sort", forever, stopped)
        job, _ = jobs.create("sort", {})
        jobs.launch(job)
        with anyio.fail_after(20):
            while jobs.get(job.id).state != "running":
                await anyio.sleep(0.01)
            ended = await jobs.cancel(job.id)
            assert ended.state == "failed"
            assert ended.error is not None and "internal error" in ended.error["what"]
            while store.jobs.table.fetch(job.id).get("untidy"):
                await anyio.sleep(0.01)
        assert tidied == [(job.id, "cancelled")] * 3
        await anyio.sleep(0.1)
        assert len(tidied) == 3


async def test_it_is_tried_again_by_the_next_process(tmp_path: Path) -> None:
    tidied: list[str] = []

    async def broken(job: Job, state: str) -> None:
        raise OSError("locked")

    async def stopped(job: Job, state: str) -> None:
        tidied.append(state)

    async def failing(job: Job) -> Mapping[str, Any]:
        raise ValueError("no")

    async with jobs_at(tmp_path) as (jobs, _):
        jobs.handle("sort", failing, broken)
        job, _ = jobs.create("sort", {})
        jobs.launch(job)
        assert (await jobs.settled(job.id, 20)).state == "failed"
    async with jobs_at(tmp_path) as (jobs, _):
        jobs.handle("sort", failing, stopped)
        with anyio.fail_after(20):
            while not tidied:
                await anyio.sleep(0.01)
    assert tidied == ["failed"]


async def test_what_another_process_left_is_never_failed_for_what_this_one_lacks(tmp_path: Path) -> None:
    """Found missing in the middle it pauses the job; a look that breaks leaves the job as it is."""

    async def refused(job: Job) -> Mapping[str, Any]:
        raise NotAllowed("Code is not run here.", where="agent.file", allowed="a folder of --allow-code DIR")

    async def broken(job: Job) -> None:
        raise RuntimeError("a bug")

    with Store(tmp_path) as dead:
        [middle, look] = [dead.jobs.create(kind, {})[0] for kind in ("sort", "count")]
    async with jobs_at(tmp_path) as (jobs, _):
        jobs.handle("sort", refused)
        jobs.handle("count", work, means=broken)
        with anyio.fail_after(20):
            while (paused := jobs.get(middle.id)).state != "paused":
                await anyio.sleep(0.01)
        assert paused.error is not None and paused.error["what"] == "Code is not run here."
        own, _ = jobs.create("sort", {})
        jobs.launch(own)
        assert (await jobs.settled(own.id, 20)).state == "failed"
        assert jobs.get(look.id).state == "queued"
    async with jobs_at(tmp_path) as (jobs, _):
        jobs.handle("count", work)
        assert (await jobs.settled(look.id, 20)).state == "done"
