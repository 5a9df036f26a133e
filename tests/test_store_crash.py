"""What the store does when things break: killed writers, damaged lines, full disks, foreign files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

from caseharden.benchmarks.torture import torture
from caseharden.engine.errors import StorageError
from caseharden.engine.store import Clock, Store

WRITER = """
import sys
from pathlib import Path
from caseharden.engine.store import Store
store = Store(Path(sys.argv[1]))
table = store.table("things", ("n",))
n = 0
while True:
    pointer = store.segments.append("run-1", {"n": n, "text": "x" * (n % 700)})
    table.put(f"d{n % 300}", {"n": n, "at": str(pointer), "pad": "y" * (n * 37 % 5000)})
    if n % 500 == 499:
        table.journal.compact()
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
    n += 1
"""

FULL_DISK = """
import json, resource, sys
from pathlib import Path
from caseharden.engine.errors import StorageError
from caseharden.engine.store import Store
store = Store(Path(sys.argv[1]))
table = store.table("things")
table.put("first", {"n": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
told = []
for name, write in {
    "table": lambda: table.put("big", {"text": "x" * 30_000}),
    "segment": lambda: store.segments.append("run-1", {"text": "x" * 30_000}),
}.items():
    try:
        write()
    except StorageError as error:
        told.append([name, str(error)])
table.put("second", {"n": 2})
print(json.dumps(told))
store.close()
"""

COLLECTED = """
import gc, sys, threading
from pathlib import Path
from caseharden.engine.store import Store, own_process

def read():
    with Store(Path(sys.argv[1])) as store:
        assert len(store.table("things")) == 2000
    return gc.isenabled() and gc.get_freeze_count()

with Store(Path(sys.argv[1])) as store:
    store.table("things").put_many({str(n): {"text": "x" * 5000} for n in range(2000)})
print(read())
own_process()
threads = [threading.Thread(target=read) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(read() > 0)
"""


def run_python(text: str, *args: str) -> str:
    done = subprocess.run([sys.executable, "-c", text, *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def things(home: Path) -> Path:
    return home / "tables" / "things.jsonl"


@pytest.mark.parametrize("acknowledged", [1, 40, 700])
def test_a_writer_killed_in_the_middle_loses_nothing_it_acknowledged(
    tmp_path: Path, acknowledged: int
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last == acknowledged:
                os.kill(writer.pid, signal.SIGKILL)
                break
        rest = [line for line in writer.stdout if line.endswith("\n")]
    last = int(rest[-1]) if rest else last
    with Store(tmp_path) as store:
        table = store.table("things")
        for n in range(max(0, last - 299), last + 1):
            row = table.fetch(f"d{n % 300}")
            assert row["n"] in (n, last + 1)
            assert store.segments.read(row["at"])["n"] == row["n"]
        table.put("after", {"n": -1})
        assert store.damage() == []
    with Store(tmp_path) as store:
        assert store.table("things").find("after") == {"n": -1}


def test_a_torn_last_line_is_passed_over_and_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        table = store.table("things")
        table.put_many({f"d{n}": {"n": n} for n in range(5)})
        whole = things(tmp_path).read_bytes()
        things(tmp_path).write_bytes(whole + b'[5,{"d9":{"n":')
        assert len(table) == 5 and other.table("things").find("d9") is None
        other.table("things").put("d5", {"n": 5})
        assert things(tmp_path).read_bytes().startswith(whole + b'[5,{"d5"')
        assert len(table) == 6 and store.damage() == []


def test_damaged_lines_in_the_middle_are_put_aside_counted_and_stop_nothing(tmp_path: Path) -> None:
    garbage = [b"\x00\xff garbage", b'[1,{"x":7}]', b'["a",{}]', b"[" * 5000, b"7"]
    with Store(tmp_path) as store:
        for n in range(4):
            store.table("things").put(f"d{n}", {"n": n})
    lines = things(tmp_path).read_bytes().split(b"\n")
    things(tmp_path).write_bytes(b"\n".join([*lines[:3], *garbage, b"", *lines[3:]]))
    with Store(tmp_path) as store, Store(tmp_path) as other:
        assert len(store.table("things")) == len(other.table("things")) == 4
        other.table("things").put("d4", {"n": 4})
        assert [(d.table, d.lines) for d in store.damage()] == [("things", len(garbage))]
        assert store.damage()[0].file.read_bytes().split(b"\n")[:-1] == garbage
        store.flush()
        assert b"garbage" not in things(tmp_path).read_bytes()
        assert len(other.table("things")) == 5 and other.damage()[0].lines == len(garbage)


def test_a_damaged_first_line_costs_only_itself(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.table("things").put("one", {"n": 1})
    raw = things(tmp_path).read_bytes()
    things(tmp_path).write_bytes(b"?" + raw[1:])
    with Store(tmp_path) as store:
        assert store.table("things").find("one") == {"n": 1}
        store.table("things").put("two", {"n": 2})
        assert [row.doc_id for row in store.table("things").page().items] == ["two", "one"]
        assert store.damage()[0].lines == 1


def test_an_empty_file_is_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    things(tmp_path).touch()
    with Store(tmp_path) as store:
        assert len(store.table("things")) == 0 and store.table("things").page().items == []
        store.table("things").put("one", {"n": 1})
    assert json.loads(things(tmp_path).read_text().split("\n")[0])["format"] == "journal/2"


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    newer = '{"format":"journal/3","next":1}\n{"something":"else"}\n'
    things(tmp_path).write_text(newer)
    with Store(tmp_path) as store:
        for act in (store.table("things").all, lambda: store.table("things").put("a", {})):
            with pytest.raises(StorageError, match=r"newer version \(journal/3\).*journal/2"):
                act()
        store.table("others").put("a", {})
        assert len(store.table("others")) == 1
    assert things(tmp_path).read_text() == newer


def test_a_folder_that_cannot_be_made_says_what_where_and_what_would_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(StorageError) as caught:
            Store(home)
        assert "a file stands where a folder should be" in caught.value.what
        assert caught.value.where == str(home) and "CASEHARDEN_HOME" in caught.value.allowed


def test_a_file_in_the_way_of_a_table_is_an_error_that_names_it_and_the_rest_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        (tmp_path / "runs").write_text("")
        with pytest.raises(StorageError, match="runs"):
            store.run_table("run-1", "trials").put("a", {})
        with pytest.raises(StorageError, match="runs"):
            store.segments.append("run-1", {})
        (tmp_path / "tables" / "things.jsonl").mkdir(parents=True)
        with pytest.raises(StorageError, match="things"):
            store.table("things").put("a", {})
        store.table("others").put("a", {})


def test_a_disk_that_is_full_is_told_and_keeps_what_was_there(tmp_path: Path) -> None:
    told = json.loads(run_python(FULL_DISK, str(tmp_path)))
    assert [name for name, _ in told] == ["table", "segment"]
    assert all("may not grow" in text and "free space" in text for _, text in told)
    with Store(tmp_path) as store:
        assert {row.doc_id for row in store.table("things")} == {"first", "second"}
        assert store.damage() == []


def test_a_durable_store_keeps_the_same_contract(tmp_path: Path) -> None:
    with Store(tmp_path, durable=True) as store:
        store.table("things").put("one", {"n": 1})
        pointer = store.segments.append("run-1", {"n": 1})
        store.audit("create", "thing", "one")
    with Store(tmp_path) as store:
        assert store.table("things").find("one") == {"n": 1} and store.segments.read(pointer) == {"n": 1}


@pytest.mark.anyio
async def test_large_work_can_go_to_worker_threads_while_the_loop_writes(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        table = store.table("things", ("n",))
        table.put_many({f"d{n}": {"n": n % 3} for n in range(300)})
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, table.journal.compact)
                group.start_soon(anyio.to_thread.run_sync, store.flush)
                group.start_soon(anyio.to_thread.run_sync, table.all)
                for n in range(100):
                    table.put(f"e{n}", {"n": 9})
                    await anyio.lowlevel.checkpoint()
        assert len(table) == 400 and table.tally({"n": 9}) == 100


def test_a_flipped_bit_is_never_read_as_what_was_not_written(tmp_path: Path) -> None:
    """Whatever bit of the file flips: what is read was written once, and what is missing is counted."""
    with Store(tmp_path) as store:
        for n in range(3):
            store.table("things").put(f"d{n}", {"n": n, "say": "hello 1"})
        store.table("things").put("d0", {"n": 10})
    whole = things(tmp_path).read_bytes()
    written = [("d0", 0), ("d1", 1), ("d2", 2), ("d0", 10)]
    for at in range(0, len(whole) - 1, 3):
        flipped = bytes([*whole[:at], whole[at] ^ (1 << at % 8), *whole[at + 1 :]])
        home = tmp_path / f"at-{at}"
        (home / "tables").mkdir(parents=True)
        things(home).write_bytes(flipped)
        with Store(home) as store:
            rows = {row.doc_id: dict(row) for row in store.table("things")}
            for id, row in rows.items():
                assert (id, row["n"]) in written and row.get("say") in (None, "hello 1"), flipped
            if rows != {"d0": {"n": 10}} | {f"d{n}": {"n": n, "say": "hello 1"} for n in (1, 2)}:
                assert store.damage()[0].lines >= 1, flipped


def test_a_flipped_bit_in_a_conversation_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        pointer = store.segments.append("run-1", {"said": "hello"})
        [segment] = (tmp_path / "runs" / "run-1" / "segments").iterdir()
        segment.write_bytes(segment.read_bytes().replace(b"hello", b"jello"))
        with pytest.raises(StorageError, match=r"damaged.*at byte 0.*run it again"):
            store.segments.read(pointer)
        unsealed = str(pointer).rpartition(":")[0]
        assert store.segments.read(unsealed) == {"said": "jello"}, "pointers of before have no checksum"


def test_a_journal_without_checksums_is_read_added_to_as_it_is_and_sealed_when_compacted(
    tmp_path: Path,
) -> None:
    old = b'{"format":"journal/1","next":2}\n[0,{"d0":{"n":0},"d1":{"n":1}}]\n'
    (tmp_path / "tables").mkdir()
    things(tmp_path).write_bytes(old)
    with Store(tmp_path) as store:
        table = store.table("things")
        table.put("d2", {"n": 2})
        assert things(tmp_path).read_bytes() == old + b'[2,{"d2":{"n":2}}]\n'
        table.delete(["d1"])
        sealed = things(tmp_path).read_bytes()
        assert sealed.startswith(b'{"format":"journal/2"') and b'[0,{"d0":{"n":0}},' in sealed
        assert [row.doc_id for row in table.page().items] == ["d2", "d0"] and store.damage() == []


def test_deleting_purges_what_was_put_aside_and_what_a_killed_deletion_left(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.table("things").put_many({"a": {"say": "marker"}, "b": {}})
        store.run_table("run-1", "trials").put("a", {"say": "marker"})
    for file in (things(tmp_path), tmp_path / "runs" / "run-1" / "trials.jsonl"):
        file.write_bytes(file.read_bytes() + b'{"damaged": "marker"}\n')
    (tmp_path / "runs" / ".gone-1").mkdir()
    (tmp_path / "runs" / ".gone-1" / "trials.jsonl").write_text("marker")
    with Store(tmp_path) as store:
        assert len(store.table("things")) == 2 and len(store.run_table("run-1", "trials")) == 1
        assert [damage.table for damage in store.damage()] == ["runs/run-1/trials", "things"]
        store.table("things").delete(["a"])
        store.delete_run("run-1")
        assert store.damage() == [] and store.table("things").find("b") == {}
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"marker" in path.read_bytes()]
    assert kept == []


def test_a_run_that_is_deleted_before_it_was_made_durable_is_no_trouble(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        table = store.run_table("run-1", "trials")
        table.put("a", {"n": 1})
        shutil.rmtree(tmp_path / "runs" / "run-1")  # by another process; this one has the file open
        store.flush()


def test_nobody_is_taken_for_dead_because_files_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        job, _ = store.jobs.create("run", {})

        def full(*args: object) -> int:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr("caseharden.engine.store.owner.open_file", full)
        with pytest.raises(StorageError, match=r"too many files open.*ulimit -n"):
            other.jobs.take(job.id)
        monkeypatch.undo()
        assert other.jobs.orphans() == [] and store.jobs.take(job.id) is not None


@pytest.mark.requirement("CH-4")
def test_writers_killed_at_random_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    found = torture(tmp_path, rounds=5, most_s=0.25)
    assert (found.rounds, found.broke, found.given_twice, found.damaged_lines) == (5, 0, 0, 0)
    assert found.lost == found.resurrected == found.half == []
    assert found.acknowledged > 50


def test_one_document_that_cannot_be_read_does_not_end_the_thread_that_makes_writes_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable, fsync = threading.Event(), os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        if "things" in os.readlink(f"/proc/self/fd/{descriptor}"):
            durable.set()

    store = Store(tmp_path, clock=Clock(steady=lambda: 7.0))
    job, _ = store.jobs.create("run", {})
    store.jobs.progress(job.id, completed=1, total=3)
    store.jobs.progress(job.id, completed=2, total=3)  # told, and too early to be written
    row = store.table("jobs").fetch(job.id)
    store.table("jobs").put(job.id, {name: row[name] for name in row if name != "units"})
    monkeypatch.setattr("os.fsync", noted)
    for _ in range(2):
        durable.clear()
        store.table("things").put("a", {"n": 1})
        assert durable.wait(10)
    with pytest.raises(StorageError, match=r"may not survive a power cut: 'units'"):
        store.close()


def test_what_was_deleted_is_purged_also_where_the_table_was_unloaded_in_between(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        table = store.run_table("run-1", "trials")
        table.put_many({"a": {"say": "marker"}, "b": {}})
        table.remove(doc_ids=["a"])
        store.flush()
        table.journal.unload()
        table.journal.purge()
        assert b"marker" not in (tmp_path / "runs" / "run-1" / "trials.jsonl").read_bytes()


def test_the_garbage_collector_is_left_alone_unless_the_process_is_ours(tmp_path: Path) -> None:
    assert run_python(COLLECTED, str(tmp_path)).split() == ["0", "True"]


def test_deleting_what_was_removed_before_purges_it(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        table = store.table("things")
        table.put_many({"a": {"say": "marker"}, "b": {}})
        table.remove(doc_ids=["a"])
        assert table.delete(["a"]) == []
        assert b"marker" not in things(tmp_path).read_bytes()


def test_a_delete_that_others_keep_compacting_over_says_so_and_is_purged_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store, Store(tmp_path) as other:
        table, theirs, fsync = store.table("things"), other.table("things").journal, os.fsync
        table.put_many({"a": {"say": "marker"}, "b": {}})
        theirs.refresh()
        busy: list[bool] = []

        def compacted_over(descriptor: int) -> None:
            fsync(descriptor)
            if not busy and ".tmp" in os.readlink(f"/proc/self/fd/{descriptor}"):
                busy.append(True)
                theirs.compact()
                busy.clear()

        monkeypatch.setattr("os.fsync", compacted_over)
        with pytest.raises(StorageError, match="compacted at the same time"):
            table.delete(["a"])
        monkeypatch.undo()
        assert table.find("a") is None
        store.flush()
        assert b"marker" not in things(tmp_path).read_bytes()


def test_a_table_that_is_unloaded_before_it_was_made_durable_is_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = list[str](), os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    with Store(tmp_path) as store:
        table = store.run_table("run-1", "trials")
        monkeypatch.setattr("os.fsync", noted)
        table.put("a", {"n": 1})
        table.journal.unload()
        store.flush()
        assert str(tmp_path / "runs" / "run-1" / "trials.jsonl") in synced


@pytest.mark.parametrize("writes", [False, True])
def test_a_store_that_looks_into_a_thousand_runs_keeps_few_files_open(tmp_path: Path, writes: bool) -> None:
    with Store(tmp_path) as store:
        for number in range(1, 1001):
            for name in ("trials", "simulations"):
                store.run_table(f"run-{number}", name).put("a", {"n": number})
    code = """
import resource, sys
from pathlib import Path
from caseharden.engine.store import Store

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
with Store(Path(sys.argv[1])) as store:
    kept = store.run_table("run-1", "trials")
    for number in range(1, 1001):
        for name in ("trials", "simulations"):
            table = store.run_table(f"run-{number}", name)
            assert table.fetch("a")["n"] == number
            if sys.argv[2] == "True":
                table.put("b", {"n": number})
        assert kept.fetch("a")["n"] == 1
    print("read")
"""
    command = [sys.executable, "-c", code, str(tmp_path), str(writes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_a_table_in_use_is_not_unloaded_and_the_next_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caseharden.engine.store.store.OPEN_PARTITIONS", 2)
    with Store(tmp_path) as store:
        for number in range(1, 6):
            store.run_table(f"run-{number}", "trials").put("a", {"n": number})
        with store.run_table("run-1", "trials").transaction() as change:
            change.put("b", {"n": 10})
            for number in range(2, 6):
                assert store.run_table(f"run-{number}", "trials").fetch("a")["n"] == number
            change.put("c", {"n": 11})
        seen = [row["n"] for row in store.run_table("run-1", "trials").walk(oldest_first=True)]
        assert seen == [1, 10, 11]

        def looks_elsewhere(_: object) -> bool:
            return all(store.run_table(f"run-{n}", "trials").fetch("a")["n"] == n for n in range(2, 6))

        page = store.run_table("run-1", "trials").page(match=looks_elsewhere)
        assert [row["n"] for row in page.items] == [11, 10, 1]
