"""Jobs and their units as durable records: owned once, answered once, found again after a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from caseharden.engine.errors import Conflict, NotFound
from caseharden.engine.records.job import Job, unit_id
from caseharden.engine.store import Clock, Store

pytestmark = pytest.mark.anyio

WORKER = """
import sys, time
from pathlib import Path
from caseharden.engine.store import Store
store = Store(Path(sys.argv[1]))
job, _ = store.jobs.create("run", {"n": 20}, run="run-1")
store.jobs.work.enqueue(job.id, ({"trial": n} for n in range(20)))
store.jobs.take(job.id)
for unit in store.jobs.work.claim(job.id, 8)[:5]:
    store.jobs.work.complete(unit, {"by": "first", "trial": unit.spec["trial"]})
    print(unit.id, flush=True)
print("ready", flush=True)
time.sleep(60)
"""


class Times:
    """A clock that goes only when it is told to."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.steady = 1000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def store(tmp_path: Path, times: Times) -> Iterator[Store]:
    with Store(tmp_path, clock=times.clock()) as made:
        yield made


@pytest.fixture
def other(store: Store, times: Times) -> Iterator[Store]:
    with Store(store.home, clock=times.clock()) as made:
        yield made


def made(store: Store, units: int = 3) -> Job:
    job, new = store.jobs.create("run", {"simulations": units})
    assert new
    store.jobs.work.enqueue(job.id, ({"trial": n} for n in range(units)))
    return job


@pytest.mark.requirement("AS-7")
async def test_a_job_that_is_done_has_every_unit_completed_or_failed(store: Store) -> None:
    job = made(store, 5)
    assert store.jobs.take(job.id)
    units = store.jobs.work.claim(job.id, 10)
    assert [u.spec["trial"] for u in units] == [0, 1, 2, 3, 4] and {u.attempt for u in units} == {1}
    assert store.jobs.get(job.id).units.running == 5
    for unit in units[:3]:
        assert store.jobs.work.complete(unit, {"verdict": "pass"})
    with pytest.raises(Conflict, match="2 of 5 units are not"):
        store.jobs.mark(job.id, "done")
    for unit in units[3:]:
        assert store.jobs.work.fail(unit, {"what": "agent is dead"})
    done = store.jobs.mark(job.id, "done", result={"run": "run-1"})
    assert (done.state, done.result, done.owner) == ("done", {"run": "run-1"}, "")
    assert done.units.model_dump() == {"total": 5, "pending": 0, "running": 0, "completed": 3, "failed": 2}
    with pytest.raises(Conflict, match="done already"):
        store.jobs.mark(job.id, "running")


async def test_putting_units_in_the_queue_twice_is_harmless(store: Store, other: Store) -> None:
    job = made(store)
    assert other.jobs.work.enqueue(job.id, [{"trial": 0}, {"trial": 7}, {"trial": 7}]) == 1
    [first] = store.jobs.work.claim(job.id)
    store.jobs.work.complete(first, {"a": 1})
    assert store.jobs.work.enqueue(job.id, [first.spec]) == 0
    assert first.id == unit_id({"trial": 0})
    kept = other.jobs.work.find(job.id, first.id)
    assert kept is not None and kept.result == {"a": 1}
    assert other.jobs.work.stats(job.id).total == 4


async def test_a_key_gives_one_job_and_other_arguments_are_a_conflict(store: Store, other: Store) -> None:
    job, new = store.jobs.create("run", {"a": 1}, key="k", environment="support")
    again, newly = other.jobs.create("run", {"a": 1}, key="k")
    assert new and not newly and again.id == job.id == "job-1"
    with pytest.raises(Conflict, match="used for job-1"):
        other.jobs.create("run", {"a": 2}, key="k")
    assert other.jobs.create("score", {"a": 2}, key="k")[1]
    assert [j.id for j in other.jobs.page({"environment": "support"}).items] == ["job-1"]
    with pytest.raises(NotFound, match="No job `job-11`; nearest `job-"):
        store.jobs.get("job-11")


async def test_an_answer_of_an_older_claim_is_refused(store: Store, other: Store, times: Times) -> None:
    job = made(store, 1)
    [slow] = store.jobs.work.claim(job.id, lease_s=30)
    times.pass_by(29)
    assert other.jobs.work.claim(job.id) == []
    store.jobs.work.heartbeat()
    times.pass_by(29)
    assert other.jobs.work.claim(job.id) == []
    times.pass_by(2)
    [again] = other.jobs.work.claim(job.id)
    assert again.id == slow.id and again.attempt == 2
    assert not store.jobs.work.complete(slow, {"by": "slow"}) and not store.jobs.work.fail(slow, {})
    assert other.jobs.work.complete(again, {"by": "again"})
    assert not other.jobs.work.complete(again, {"by": "twice"})
    kept = store.jobs.work.find(job.id, slow.id)
    assert kept is not None and kept.result == {"by": "again"}


async def test_leases_do_not_mind_a_calendar_that_is_set_back(
    store: Store, other: Store, times: Times
) -> None:
    job = made(store, 2)
    [held, later] = store.jobs.work.claim(job.id, 2, lease_s=30)
    store.jobs.work.fail(later, {"what": "429"}, retry_in_s=60)
    times.wall -= 86_400
    retried = other.jobs.work.claim(job.id, 5)
    assert [u.id for u in retried] == [later.id], "neither the lease ends early nor does the retry wait a day"
    assert store.jobs.work.complete(held)


async def test_a_retry_waits_for_its_time(store: Store, times: Times) -> None:
    job = made(store, 1)
    [unit] = store.jobs.work.claim(job.id)
    assert store.jobs.work.fail(unit, {"what": "429"}, retry_in_s=10)
    assert store.jobs.work.claim(job.id) == [] and store.jobs.work.stats(job.id).pending == 1
    times.pass_by(10)
    [again] = store.jobs.work.claim(job.id)
    assert again.attempt == 2 and store.jobs.work.release(again)
    assert [u.state for u in store.jobs.work.units(job.id)] == ["pending"]


async def test_a_second_process_does_not_run_a_job_that_has_an_owner(
    store: Store, other: Store, times: Times
) -> None:
    job = made(store)
    assert store.jobs.take(job.id) and other.jobs.take(job.id) is None
    assert other.jobs.orphans() == []
    with pytest.raises(Conflict, match="another process"):
        other.jobs.mark(job.id, "failed")
    times.pass_by(61)
    assert [j.id for j in other.jobs.orphans()] == [job.id] and store.jobs.orphans() == []
    taken = other.jobs.take(job.id)
    assert taken is not None and taken.attempt == 2 and other.jobs.is_mine(taken)


async def test_what_a_closed_process_held_is_free_at_once(store: Store, other: Store) -> None:
    job = made(store)
    store.jobs.take(job.id)
    store.jobs.work.claim(job.id, 2)
    store.close()
    assert [j.id for j in other.jobs.orphans()] == [job.id]
    assert other.jobs.take(job.id) and len(other.jobs.work.claim(job.id, 10)) == 3


async def test_a_killed_process_leaves_an_orphan_that_goes_on_without_repeating(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        answered: list[str] = []
        for line in worker.stdout:
            if line.strip() == "ready":
                break
            answered.append(line.strip())
        with Store(tmp_path) as store:
            assert store.jobs.orphans() == [], "its owner lives"
        os.kill(worker.pid, signal.SIGKILL)
    with Store(tmp_path) as store:
        [orphan] = store.jobs.orphans()
        assert orphan.spec == {"n": 20} and orphan.units.completed == 5 and orphan.units.running == 3
        assert store.jobs.take(orphan.id)
        left = store.jobs.work.claim(orphan.id, 100)
        assert len(left) == 15 and not {u.id for u in left} & set(answered)
        assert sorted(u.attempt for u in left) == [1] * 12 + [2] * 3
        for unit in left:
            store.jobs.work.complete(unit, {"by": "second"})
        assert store.jobs.mark(orphan.id, "done").units.completed == 20
        first = [u for u in store.jobs.work.units(orphan.id) if u.result and u.result["by"] == "first"]
        assert {u.id for u in first} == set(answered)
        assert not [p for p in (tmp_path / "owners").iterdir() if str(worker.pid) in p.name]


def test_the_files_of_processes_that_died_long_ago_are_removed_and_no_others(tmp_path: Path) -> None:
    owners, old = tmp_path / "owners", time.time() - 7200
    with Store(tmp_path) as living:
        living.jobs.take(made(living, 1).id)
        [alive] = owners.iterdir()
        dead, starting = owners / f"p1-{'0' * 16}", owners / f"p2-{'0' * 16}"
        for path in (dead, starting):
            path.touch()
        for path in (dead, alive):
            os.utime(path, (old, old))
        Store(tmp_path).close()
        assert set(owners.iterdir()) == {alive, starting}


@pytest.mark.requirement("AS-7")
async def test_cancel_asks_the_owner_or_ends_an_orphan_at_once(store: Store, other: Store) -> None:
    job = made(store, 4)
    store.jobs.take(job.id)
    units = store.jobs.work.claim(job.id, 2)
    store.jobs.work.complete(units[0])
    assert other.jobs.request_cancel(job.id).state == "running"
    assert store.jobs.get(job.id).cancel_requested
    ended = store.jobs.mark(job.id, "cancelled")
    assert ended.units.model_dump() == {"total": 4, "pending": 3, "running": 0, "completed": 1, "failed": 0}
    assert not store.jobs.work.complete(units[1]), "what runs on is not answered any more"
    with pytest.raises(Conflict, match="nothing to cancel"):
        store.jobs.request_cancel(job.id)
    lone = made(store, 1)
    store.close()
    assert other.jobs.request_cancel(lone.id).state == "cancelled"


async def test_a_paused_or_cancelled_job_goes_on_where_it_was(store: Store) -> None:
    job = made(store, 3)
    store.jobs.take(job.id)
    units = store.jobs.work.claim(job.id, 2)
    store.jobs.work.complete(units[0])
    store.jobs.work.fail(units[1], {"what": "no key"})
    paused = store.jobs.mark(job.id, "paused", error={"what": "3 equal failures"})
    assert paused.error == {"what": "3 equal failures"} and store.jobs.take(job.id) is None
    assert store.jobs.resume(job.id, retry_failed=True).state == "queued"
    taken = store.jobs.take(job.id)
    assert taken is not None and taken.started_with == 1 and taken.error is None
    assert {u.spec["trial"] for u in store.jobs.work.claim(job.id, 9)} == {1, 2}


async def test_progress_without_units_is_seen_at_once_and_written_in_groups(
    store: Store, other: Store, times: Times
) -> None:
    job, _ = store.jobs.create("personas", {}, total=200)
    store.jobs.take(job.id)
    journal = store.home / "tables" / "jobs.jsonl"
    before = journal.read_bytes().count(b"\n")
    for n in range(1, 101):
        store.jobs.progress(job.id, completed=n)
    assert store.jobs.get(job.id).units.completed == 100
    assert journal.read_bytes().count(b"\n") == before + 1
    times.pass_by(0.1)
    store.jobs.progress(job.id, completed=101, failed=2, total=150)
    assert other.jobs.get(job.id).units.model_dump() == {
        "total": 150, "pending": 47, "running": 0, "completed": 101, "failed": 2,
    }  # fmt: skip
    store.jobs.progress(job.id, completed=148, failed=2)
    assert store.jobs.mark(job.id, "done").units.finished == 150


async def test_a_waiter_wakes_by_changes_here_in_threads_and_elsewhere(store: Store, other: Store) -> None:
    job = made(store, 3)
    store.jobs.take(job.id)
    seen: list[int] = []

    async def watch() -> None:
        known = store.jobs.get(job.id)
        while known.units.completed < 3:
            known = await store.jobs.changed(job.id, 10, known)
            seen.append(known.units.completed)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.lowlevel.checkpoint()
            units = store.jobs.work.claim(job.id, 3)
            store.jobs.work.complete(units[0])
            while 1 not in seen:
                await anyio.sleep(0.01)
            await anyio.to_thread.run_sync(store.jobs.work.complete, units[1])
            while 2 not in seen:
                await anyio.sleep(0.01)
            other.jobs.work.complete(units[2])
        store.jobs.heartbeat()
        unchanged = await store.jobs.changed(job.id, 0.01)
        assert unchanged.units.completed == 3


async def test_settled_returns_at_the_end_when_it_waits_for_the_caller_or_when_time_is_up(
    store: Store,
) -> None:
    job = made(store, 1)
    store.jobs.take(job.id)
    with anyio.fail_after(20):
        assert (await store.jobs.settled(job.id, 0.01)).state == "running"
        store.jobs.mark(job.id, "waiting", waiting_for="take_model_calls")
        assert (await store.jobs.settled(job.id, 10)).waiting_for == "take_model_calls"
        store.jobs.mark(job.id, "running")
        async with anyio.create_task_group() as group:
            group.start_soon(store.jobs.settled, job.id, 10)
            await anyio.lowlevel.checkpoint()
            [unit] = store.jobs.work.claim(job.id)
            store.jobs.work.complete(unit)
            store.jobs.mark(job.id, "done")


async def test_a_deleted_job_is_gone_with_its_units(store: Store) -> None:
    job = made(store)
    store.delete_jobs([job.id, "job-9"])
    assert not (store.home / "jobs" / job.id).exists()
    with pytest.raises(NotFound):
        store.jobs.get(job.id)


async def test_the_pace_tells_how_long_the_rest_will_take(store: Store, times: Times) -> None:
    job = made(store, 10)
    store.jobs.take(job.id)
    clock = times.clock()
    assert store.jobs.get(job.id).eta_s(clock.now()) is None
    for unit in store.jobs.work.claim(job.id, 4):
        store.jobs.work.complete(unit)
    times.pass_by(8)
    assert store.jobs.get(job.id).eta_s(clock.now()) == 12.0
