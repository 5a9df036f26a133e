"""The store through its public face: tables, lists, conversations, ids, audit."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tinydb import Query, where

from caseharden.engine.errors import Conflict, InvalidArgument, NotFound, StorageError
from caseharden.engine.store import Pointer, Row, Store, journal as journal_module
from caseharden.engine.store.folder import sync_folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "home") as made:
        yield made


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """A second store on the same folder, as another process would have it."""
    with Store(store.home) as made:
        yield made


def test_a_document_is_read_back_as_it_was_written(store: Store, other: Store) -> None:
    hostile = {
        "text": "a\x00b\n\r\u2028 \ud800 \ud83d\ude00 😀 \udfff",
        "nested": {"list": [1, 2.5, True, None, {"": ""}], "big": 2**70},
        "key \ud834\n": -0.0,
    }
    store.table("things").put("one", hostile)
    assert other.table("things").find("one") == hostile
    assert Row(hostile, "one") == other.table("things").fetch("one")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_is_no_json_is_refused_and_nothing_is_written(store: Store, value: object) -> None:
    table = store.table("things")
    with pytest.raises(InvalidArgument, match="cannot be stored"):
        table.put_many({"good": {"a": 1}, "bad": {"a": value}})
    assert len(table) == 0


def test_nesting_a_hundred_thousand_deep_is_refused_and_a_hundred_levels_are_kept(store: Store) -> None:
    deep: dict[str, Any] = {}
    for _ in range(99):
        deep = {"a": deep}
    store.table("things").put("deep", deep)
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidArgument, match="nested too deep"):
        store.table("things").put("deeper", deep)
    assert set(row.doc_id for row in store.table("things")) == {"deep"}
    while deep:  # taken apart step by step: the interpreter's own clearing is recursive
        deep = deep["a"]


def test_changing_what_was_read_changes_nothing_in_the_store(store: Store) -> None:
    table = store.table("things", ("kind",))
    table.put("one", {"kind": "x", "inner": {"list": [1]}})
    for row in (
        table.fetch("one"),
        table.all()[0],
        table.page().items[0],
        table.search(where("kind") == "x")[0],
    ):
        row["inner"]["list"].append(2)
    assert table.find("one") == {"kind": "x", "inner": {"list": [1]}}


def test_tinydb_queries_and_methods_work_on_our_tables(store: Store, other: Store) -> None:
    table, seen = store.table("parts"), other.table("parts")
    part = Query()
    random_id = table.insert({"name": "bolt", "size": 3, "tags": ["steel"]})
    assert table.insert(Row({"name": "nut", "size": 4}, "nut")) == "nut"
    assert table.insert_multiple([Row({"name": "cog", "size": 9}, "cog")]) == ["cog"]
    assert [row["name"] for row in seen.search((part.size > 3) & (part.name != "cog"))] == ["nut"]
    assert seen.get(part.tags.any(["steel"])) == {"name": "bolt", "size": 3, "tags": ["steel"]}
    assert seen.count(part.size >= 3) == 3
    assert seen.update({"size": 5}, part.name == "nut") == ["nut"]
    assert table.update(lambda d: d.update(new=d["size"] * 2), doc_ids=["nut", "missing"]) == ["nut"]
    assert seen.find("nut") == {"name": "nut", "size": 5, "new": 10}
    assert table.upsert({"name": "gear", "size": 1}, part.name == "gear") != []
    assert table.upsert(Row({"size": 2}, "cog")) == ["cog"]
    assert seen.update_multiple([({"size": 7}, part.size == 2), ({"size": 8}, part.size == 7)]) == ["cog"] * 2
    assert [row.doc_id for row in seen.get(doc_ids=["cog", "gone", random_id])] == ["cog", random_id]
    assert seen.remove(part.name.one_of(["bolt", "gear"])) != []
    assert table.contains(doc_id="nut") and not table.contains(part.name == "bolt")
    with pytest.raises(Conflict):
        table.insert(Row({}, "nut"))
    table.truncate()
    assert len(seen) == 0 and seen.all() == []


def test_a_value_that_only_changes_its_type_is_written(store: Store, other: Store) -> None:
    store.table("things").put("one", {"flag": 1})
    store.table("things").update({"flag": True}, doc_ids=["one"])
    assert (other.table("things").find("one") or {})["flag"] is True


def test_two_stores_see_each_others_writes_at_once(store: Store, other: Store) -> None:
    mine, theirs = store.table("things", ("n",)), other.table("things", ("n",))
    for n in range(50):
        (mine if n % 2 else theirs).put(f"d{n}", {"n": n % 5})
        assert len(mine) == len(theirs) == n + 1
        assert mine.tally({"n": n % 5}) == theirs.tally({"n": n % 5})
    assert [row.doc_id for row in mine.page(limit=3).items] == ["d49", "d48", "d47"]


def test_changes_under_the_lock_from_many_threads_lose_nothing(store: Store, other: Store) -> None:
    store.table("things").put("count", {"n": 0})

    def add(table_of: Store) -> None:
        for _ in range(50):
            table_of.table("things").change("count", lambda d: {"n": d["n"] + 1})

    threads = [threading.Thread(target=add, args=(s,)) for s in (store, other, store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.table("things").find("count") == {"n": 200}


def test_a_transaction_that_raises_writes_nothing(store: Store, other: Store) -> None:
    table = store.table("things")
    with pytest.raises(KeyError), table.transaction() as change:
        change.put("one", {"a": 1})
        raise KeyError
    assert other.table("things").find("one") is None
    with table.transaction() as change:
        change.put("one", {"a": 1})
        change.put("two", {"a": 2})
        assert change.remove("one") and not change.remove("three")
        assert change.get("two") == {"a": 2} and change.get("one") is None
    assert [row.doc_id for row in other.table("things")] == ["two"]


def test_add_keeps_what_is_there_and_fetch_names_the_nearest(store: Store) -> None:
    table = store.table("personas")
    assert table.add("support-dana", {"a": 1}) and not table.add("support-dana", {"a": 2})
    assert table.fetch("support-dana") == {"a": 1}
    with pytest.raises(NotFound, match="No persona `support-danna`; nearest `support-dana`"):
        table.fetch("support-danna", "persona")


def test_pages_are_newest_first_and_their_cursors_go_on_behind(store: Store, other: Store) -> None:
    table = store.table("runs", ("environment", "verdict", "tags"))
    for n in range(30):
        table.put(f"r{n}", {"environment": f"e{n % 2}", "verdict": n % 3, "tags": [f"t{n % 4}", "all"]})
    page = table.page({"environment": "e1"}, 4)
    assert [row.doc_id for row in page.items] == ["r29", "r27", "r25", "r23"]
    table.put("r30", {"environment": "e1"})
    table.remove(doc_ids=["r23", "r21"])
    onward = other.table("runs", ("environment", "verdict", "tags")).page(
        {"environment": "e1"}, 4, page.cursor
    )
    assert [row.doc_id for row in onward.items] == ["r19", "r17", "r15", "r13"]
    two = table.page({"environment": "e0", "tags": "t2"}, 100)
    assert two.cursor is None and [row.doc_id for row in two.items] == [
        "r26",
        "r22",
        "r18",
        "r14",
        "r10",
        "r6",
        "r2",
    ]
    assert table.tally({"environment": "e0", "tags": "t2"}) == 7 and table.tally({"tags": "all"}) == 28
    assert [r.doc_id for r in table.page(limit=2, match=lambda d: d.get("verdict") == 0).items] == [
        "r27",
        "r24",
    ]


def test_one_equals_one_point_zero_but_not_true_in_a_list(store: Store) -> None:
    table = store.table("things", ("v",))
    table.put_many(
        {"one": {"v": 1}, "float": {"v": 1.0}, "true": {"v": True}, "null": {"v": None}, "none": {}}
    )
    found = {repr(v): {r.doc_id for r in table.page({"v": v}).items} for v in (1, True, None, "1")}
    assert found == {"1": {"one", "float"}, "True": {"true"}, "None": {"null"}, "'1'": set()}


def test_a_list_refuses_unknown_fields_other_cursors_and_wrong_limits(store: Store) -> None:
    table = store.table("runs", ("environment", "state"))
    table.put_many({f"r{n}": {"environment": "a"} for n in range(5)})
    cursor = table.page({"environment": "a"}, 2).cursor
    with pytest.raises(InvalidArgument, match="Did you mean `state`"):
        table.page({"stat": "x"})
    for wrong in (cursor, "c2Vx", "%%%", "é", "[]"):
        with pytest.raises(InvalidArgument, match="cursor"):
            table.page({"environment": "b"}, 2, wrong)
    for limit in (0, -1, 10**9):
        with pytest.raises(InvalidArgument, match="1 to 1000"):
            table.page(limit=limit)
    with pytest.raises(InvalidArgument, match="object or a list"):
        table.page({"state": ["x"]})


def test_order_and_cursors_survive_compaction_and_a_new_start(store: Store) -> None:
    table = store.table("things", ("a",))
    table.put_many({f"d{n}": {"a": 1} for n in range(10)})
    table.put("d3", {"a": 1, "changed": True})
    table.remove(doc_ids=["d9", "d5"])
    table.put("d5", {"a": 1})
    cursor = table.page({"a": 1}, 2).cursor
    assert table.journal.compact()
    with Store(store.home) as again:
        rest = again.table("things", ("a",))
        assert [r.doc_id for r in rest.page({"a": 1}, 2).items] == ["d5", "d8"]
        assert [r.doc_id for r in rest.page({"a": 1}, 9, cursor).items] == [
            "d7",
            "d6",
            "d4",
            "d3",
            "d2",
            "d1",
            "d0",
        ]


def test_compaction_while_another_store_reads_is_seen_and_loses_nothing(store: Store, other: Store) -> None:
    mine, theirs = store.table("things", ("n",)), other.table("things", ("n",))
    stop = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        while not stop.is_set():
            if len(theirs) != 50 or theirs.find("d7") is None or theirs.tally({"n": 7}) > 50:
                wrong.append("a reader saw less than there is")

    mine.put_many({f"d{n}": {"n": n} for n in range(50)})
    reader = threading.Thread(target=read)
    reader.start()
    for n in range(20):
        mine.put(f"d{n}", {"n": 7})
        theirs.put(f"d{n + 20}", {"n": 7})
        assert (mine if n % 2 else theirs).journal.compact()
    stop.set()
    reader.join()
    assert not wrong
    assert mine.all() == theirs.all() and theirs.tally({"n": 7}) == 40
    assert not list((store.home / "tables").glob("*.tmp"))


def test_compactions_at_the_same_time_lose_no_write_of_either_store(store: Store, other: Store) -> None:
    store.table("things").put_many({f"old{n}": {"pad": "x" * 500} for n in range(300)})

    def write_and_compact(mine: Store, name: str) -> None:
        for n in range(60):
            mine.table("things").put(f"{name}{n}", {"n": n})
            mine.table("things").journal.compact()

    threads = [threading.Thread(target=write_and_compact, args=pair) for pair in ((store, "a"), (other, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store(store.home) as again:
        wanted = {f"{name}{n}" for name, count in (("old", 300), ("a", 60), ("b", 60)) for n in range(count)}
        assert {row.doc_id for row in again.table("things")} == wanted
        assert again.damage() == []


def test_a_compaction_that_begins_while_another_ends_finds_its_draft(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = store.table("things").journal, other.table("things").journal
    store.table("things").put_many({f"d{n}": {"n": n} for n in range(50)})
    done: list[bool] = []
    second = threading.Thread(target=lambda: done.append(theirs.compact()))

    def begin_the_second_then_sync(folder: Path) -> None:
        if not done and not second.ident:
            second.start()
            while not list(folder.glob("*.tmp")):  # it has copied the new file and waits for the lock
                assert second.is_alive()
        sync_folder(folder)

    monkeypatch.setattr(journal_module, "sync_folder", begin_the_second_then_sync)
    assert mine.compact()
    second.join()
    assert done == [True]
    assert len(other.table("things")) == 50 and not list((store.home / "tables").glob("*.tmp"))


def test_deleted_documents_are_purged_from_the_file_at_once(store: Store) -> None:
    table = store.table("things")
    table.put_many({"keep": {"text": "harmless"}, "go": {"text": "secret-word"}})
    assert table.delete(["go", "never-there"]) == ["go"]
    raw = (store.home / "tables" / "things.jsonl").read_text()
    assert "secret-word" not in raw and "harmless" in raw


def test_out_of_date_lines_are_compacted_away_by_themselves(store: Store) -> None:
    table = store.table("things")
    for n in range(2100):
        table.put("one", {"n": n})
    store.flush()
    assert (store.home / "tables" / "things.jsonl").read_bytes().count(b"\n") < 200
    assert table.find("one") == {"n": 2099}


def test_conversations_are_found_by_their_pointer_in_every_store(store: Store, other: Store) -> None:
    documents = [{"n": n, "text": "\x00\ud800é" * n} for n in range(20)]
    pointers = [(store if n % 2 else other).segments.append("run-1", d) for n, d in enumerate(documents)]
    assert [other.segments.read(str(p)) for p in pointers] == documents
    assert all(Pointer.parse(str(p)) == p for p in pointers)
    for wrong in ("../../etc/passwd:0:10", "run-1/0123456789abcdef:x:1", "", "run-1/../x:1:1"):
        with pytest.raises(InvalidArgument):
            store.segments.read(wrong)
    last = pointers[-1]
    with pytest.raises(StorageError, match="damaged"):
        store.segments.read(Pointer(last.segment, last.offset + 1, last.length))


def test_deleting_a_run_deletes_its_folder_and_nothing_else(store: Store, other: Store) -> None:
    for run in ("run-1", "run-2"):
        store.run_table(run, "trials").put("t", {"run": run})
    pointer = store.segments.append("run-1", {"a": 1})
    assert other.run_table("run-1", "trials").find("t") == {"run": "run-1"}
    assert store.runs() == ["run-1", "run-2"]
    assert store.delete_run("run-1") and not store.delete_run("run-1")
    assert not (store.home / "runs" / "run-1").exists() and store.runs() == ["run-2"]
    assert other.run_table("run-1", "trials").find("t") is None
    assert other.run_table("run-2", "trials").find("t") == {"run": "run-2"}
    with pytest.raises(NotFound):
        other.segments.read(pointer)
    with pytest.raises(StorageError, match="deleted meanwhile"):
        other.run_table("run-1", "trials").put("t2", {})


def test_ids_are_never_given_twice(store: Store, other: Store) -> None:
    given = [(store if n % 2 else other).next_id("run") for n in range(20)]
    assert given == [f"run-{n}" for n in range(1, 21)] and store.next_id("hard") == "hard-1"
    with pytest.raises(InvalidArgument):
        store.next_id("../x")


def test_every_audited_change_is_a_line_and_a_torn_one_harms_none(store: Store, other: Store) -> None:
    store.audit("create", "environment", "support")
    with open(store.home / "audit.jsonl", "ab") as file:
        file.write(b'{"time": "20')
    other.audit("delete", "run", "run-1", by="client")
    lines = store.audited()
    assert [(x["action"], x["kind"], x["id"]) for x in lines] == [
        ("create", "environment", "support"),
        ("delete", "run", "run-1"),
    ]
    assert lines[1]["by"] == "client" and lines[0]["time"].endswith("Z") and len(store.audited(1)) == 1


def test_folders_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(tmp_path / "a" / "home") as store:
            store.table("things").put("one", {})
            store.segments.append("run-1", {})
            store.run_table("run-1", "trials").put("t", {})
            store.jobs.create("run", {})
            store.audit("create", "thing", "one")
            store.table("things").journal.compact()
            paths = [store.home, *store.home.rglob("*")]
            modes = {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_file()}
            folders = {stat.S_IMODE(p.stat().st_mode) for p in paths if p.is_dir()}
    finally:
        os.umask(before)
    assert modes == {0o600} and folders == {0o700}


@pytest.mark.parametrize("name", ["../a", "", "A", "a/b", "a" * 65, "naïve"])
def test_names_that_are_no_slugs_are_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidArgument):
        store.table(name)
    with pytest.raises(InvalidArgument):
        store.run_table(name, "trials")
    with pytest.raises(InvalidArgument):
        store.segments.append(name, {})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ids = st.sampled_from(["a", "b", "c", "d", "e"])


class TableAgainstDict(RuleBasedStateMachine):
    """Two stores on one folder do what one dict does, whoever compacts or starts anew in between."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [Store(Path(self.folder.name)), Store(Path(self.folder.name))]
        self.model: dict[str, dict[str, Any]] = {}

    def table(self, which: int) -> Any:
        return self.stores[which].table("things", ("kind",))

    @rule(which=st.integers(0, 1), id=ids, kind=st.sampled_from("xy"), value=values)
    def put(self, which: int, id: str, kind: str, value: Any) -> None:
        document = {"kind": kind, "value": value}
        self.table(which).put(id, document)
        self.model[id] = document

    @rule(which=st.integers(0, 1), kind=st.sampled_from("xy"), value=values)
    def update(self, which: int, kind: str, value: Any) -> None:
        hit = self.table(which).update({"value": value}, where("kind") == kind)
        assert sorted(hit) == sorted(i for i, d in self.model.items() if d["kind"] == kind)
        for id in hit:
            self.model[id] = {**self.model[id], "value": value}

    @rule(which=st.integers(0, 1), id=ids)
    def remove(self, which: int, id: str) -> None:
        assert self.table(which).remove(doc_ids=[id]) == [id] * (self.model.pop(id, None) is not None)

    @rule(which=st.integers(0, 1))
    def compact(self, which: int) -> None:
        self.table(which).journal.compact()

    @rule(which=st.integers(0, 1))
    def tear(self, which: int) -> None:
        path = self.stores[which].home / "tables" / "things.jsonl"
        if path.exists():
            with open(path, "ab") as file:
                file.write(b'[7,{"a":{"val')

    @rule(which=st.integers(0, 1))
    def start_anew(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = Store(Path(self.folder.name))

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "model"):
            return
        for which in (0, 1):
            table = self.table(which)
            assert json.dumps({r.doc_id: r for r in table}) == json.dumps(self.model)
            for kind in "xy":
                newest = [i for i, d in reversed(self.model.items()) if d["kind"] == kind]
                assert [r.doc_id for r in table.page({"kind": kind}).items] == newest

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            self.folder.cleanup()


TestTableAgainstDict = TableAgainstDict.TestCase
TestTableAgainstDict.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
