"""The store where threads and processes meet: each test forces one order of two things done at the same moment."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from caseharden.engine.errors import StorageError
from caseharden.engine.store import (
    Segments,
    Store,
    journal as journal_module,
    owner as owner_module,
    storage as storage_module,
)
from caseharden.engine.store.folder import make_folder
from caseharden.engine.store.journal import Journal


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "home") as made:
        yield made


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """A second store on the same folder, as another process would have it."""
    with Store(store.home) as made:
        yield made


class Beside:
    """A call in a thread of its own; what it raises is raised by `result`."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def start_until(self, function: str) -> None:
        """Start it, and return once it has ended or is in this function, where it may have to wait."""
        until = time.monotonic() + 60
        self._thread.start()
        while self._thread.is_alive():
            assert time.monotonic() < until, f"it never comes to {function}"
            frame = sys._current_frames().get(self._thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
            while frame is not None:
                if frame.f_code.co_name == function:
                    return
                frame = frame.f_back

    def result(self) -> Any:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error


def once(act: Callable[[], object], then: Callable[..., Any]) -> Callable[..., Any]:
    """`then`, with `act` called before it the first time."""
    left = [act]

    def hooked(*args: Any, **named: Any) -> Any:
        if left:
            left.pop()()
        return then(*args, **named)

    return hooked


def test_two_threads_that_first_need_the_name_of_their_process_have_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    beating = Beside(store.jobs.heartbeat)
    monkeypatch.setattr(owner_module, "make_folder", once(lambda: beating.start_until("token"), make_folder))
    job = store.jobs.create("run", {})[0]
    beating.result()
    assert store.jobs.is_mine(job)
    assert [path.name for path in (store.home / "owners").iterdir()] == [job.owner]


def test_two_threads_that_first_ask_for_a_table_have_one_journal(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Beside(lambda: store.run_table("run-1", "trials"))
    hooked = once(lambda: second.start_until(""), storage_module.check_slug)
    monkeypatch.setattr(storage_module, "check_slug", hooked)
    first = store.run_table("run-1", "trials")
    assert first.journal is second.result().journal
    with first.transaction():  # held by the other one, its lock would be waited for
        second.result().put("a", {"n": 1})
    assert store.run_table("run-1", "trials").find("a") == {"n": 1}


def test_a_store_may_be_closed_in_the_moment_of_its_first_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = Store(store.home)
    closing = Beside(another.close)
    start = threading.Thread.start

    def hooked(thread: threading.Thread) -> None:
        if thread.name == "caseharden-store":
            monkeypatch.setattr(threading.Thread, "start", start)
            closing.start_until("close")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", hooked)
    another.table("things").put("a", {"n": 1})
    closing.result()
    assert store.table("things").find("a") == {"n": 1}


def test_cancelling_an_orphan_that_another_process_is_about_to_take_cancels_it(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(store.home) as gone:
        job = gone.jobs.create("run", {})[0]
    taking = Beside(lambda: other.jobs.take(job.id))
    monkeypatch.setattr(store.jobs, "mark", once(lambda: taking.start_until("acquire"), store.jobs.mark))
    assert store.jobs.request_cancel(job.id).state == "cancelled"
    assert taking.result() is None


def test_a_process_killed_while_it_queues_a_job_again_leaves_no_failed_unit_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.jobs.create("run", {})[0]
    store.jobs.work.enqueue(job.id, [{"trial": 1}])
    store.jobs.take(job.id)
    store.jobs.work.fail(store.jobs.work.claim(job.id)[0], {"what": "the endpoint was down"})
    store.jobs.mark(job.id, "paused")
    append: Callable[[Journal, Any], None] = Journal._append  # pyright: ignore[reportPrivateUsage]

    def killed(journal: Journal, changes: Any) -> None:
        append(journal, changes)
        raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "_append", killed)  # after the first of its writes
    with pytest.raises(KeyboardInterrupt):
        store.jobs.resume(job.id, retry_failed=True)
    monkeypatch.undo()
    with Store(store.home) as later:
        if not later.jobs.get(job.id).active:
            later.jobs.resume(job.id, retry_failed=True)
        assert later.jobs.work.stats(job.id).failed == 0


def test_a_deletion_goes_on_when_a_killed_compaction_took_its_draft_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = store.table("things")
    table.put_many({"keep": {"text": "harmless"}, "go": {"text": "secret-word"}})

    def clear() -> None:
        """As another process does right before it replaces the file; it is killed in between."""
        for draft in (store.home / "tables").glob("*.tmp"):
            draft.unlink()

    monkeypatch.setattr(os, "replace", once(clear, os.replace))
    assert table.delete(["go"]) == ["go"]
    assert b"secret-word" not in table.journal.path.read_bytes()
    assert table.find("keep") == {"text": "harmless"}


def test_a_compaction_that_cannot_open_the_new_file_loses_nothing(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = store.table("things"), other.table("things")
    mine.put_many({f"d{n}": {"n": n} for n in range(50)})
    opened = journal_module.open_file

    def full(path: Path, flags: int) -> int:
        if path == mine.journal.path:
            monkeypatch.undo()
            raise OSError(errno.EMFILE, "too many")
        return opened(path, flags)

    monkeypatch.setattr(journal_module, "open_file", full)
    with pytest.raises(StorageError, match="too many files open"):
        mine.journal.compact()
    theirs.put("new", {"n": 50})
    mine.put("newer", {"n": 51})
    assert len(mine) == len(theirs) == 52 and other.damage() == []


def test_conversations_are_made_durable_one_by_one_whatever_becomes_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = Segments(tmp_path)
    for run in ("run-1", "run-2", "run-3"):
        segments.append(run, {"text": run})
    before = len(os.listdir("/dev/fd"))
    synced: list[int] = []

    def failing(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        if len(synced) == 1:
            raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="broken"):
        segments.sync()
    monkeypatch.undo()
    files = [path.stat().st_ino for path in tmp_path.glob("*/segments/*.jsonl")]
    assert len(files) == 3 and set(files) <= set(synced)
    assert len(os.listdir("/dev/fd")) == before
    segments.close()
