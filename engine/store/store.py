"""The one face of the store: a data folder.

<home>/tables/<table>.jsonl         one journal a table, its .lock, and .bad when lines of it were damaged
<home>/runs/<run>/<table>.jsonl     what belongs to one run; deleting the run deletes the folder
<home>/runs/<run>/segments/…        its conversations
<home>/jobs/<job>/units.jsonl       the units of one job
<home>/owners/…                     one locked file for each living process
<home>/audit.jsonl                  a line for every change
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ..ids import check_slug
from . import lines
from .clock import Clock
from .documents import Database, Table
from .folder import FileLock, make_folder, need_locks, open_file, telling, write_all
from .jobs import JOB_INDEXES, Jobs
from .journal import Journal
from .keeper import Keeper
from .owner import Owner
from .segments import Segments

OPEN_PARTITIONS: Final = 64
_TAIL_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """Damaged lines of one table that were put aside; `file` holds them as they were."""

    table: str
    lines: int
    file: Path


class Store:
    """A data folder, shared with other processes. Made when it is not there; use it as a context manager, or
    `close`.

    `durable`: every write survives a power cut (about 5 ms each, for worker threads); otherwise a killed
    process loses nothing and a power cut at most what was written in the last half second. Methods may be
    called from any thread. Raises StorageError when the folder cannot be made or written, Unavailable where
    there are no POSIX file locks.
    """

    def __init__(self, home: Path, *, durable: bool = False, clock: Clock | None = None) -> None:
        need_locks()
        self.home = Path(home).absolute()
        make_folder(self.home)
        self._durable = durable
        self._clock = clock or Clock()
        self._mutex = threading.RLock()
        self._partitions: OrderedDict[Path, Database] = OrderedDict()
        self._owner = Owner(self.home / "owners", self._clock)
        self.segments = Segments(self.home / "runs", durable=durable, on_write=self._wrote_segment)
        """The conversations."""
        self._keeper = Keeper(self.segments, self._tidy)
        self._main = Database(self.home / "tables", self._open_journal)
        self._audit_lock = FileLock(self.home / "audit.lock")
        self.jobs = Jobs(self.table("jobs", JOB_INDEXES), self._units, self.next_id, self._owner, self._clock)
        """Jobs, and in `jobs.work` their units."""
        with telling("Cannot write the data folder", self.home):
            os.close(open_file(self.home / "audit.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT))

    def table(self, name: str, indexes: tuple[str, ...] = ()) -> Table:
        """The table of that name; `indexes` are the fields that its lists can ask for.

        The first access reads the file, about 10 us a document: in a worker thread when it may be large.
        """
        return self._main.table(name, indexes)

    def tables(self) -> set[str]:
        """The names of the tables that have a file."""
        return self._main.tables()

    def run_table(self, run: str, name: str, indexes: tuple[str, ...] = ()) -> Table:
        """The table of that name in a run's own folder. Do not keep it for long: ask again."""
        return self._partition("runs", run).table(name, indexes)

    def runs(self) -> list[str]:
        """The runs that have a folder, in no order that means anything."""
        folder = self.home / "runs"
        names = (p.name for p in folder.iterdir()) if folder.is_dir() else ()
        return sorted(name for name in names if not name.startswith("."))

    def delete_run(self, run: str) -> bool:
        """Delete all that is stored in a run's folder, at once; whether there was any.

        For a worker thread.
        """
        check_slug(run, "run")
        self.segments.forget(run)
        return self._delete_partition("runs", run)

    def delete_job(self, job: str) -> bool:
        """Delete a job's record and units; whether there was such a job. For a worker thread."""
        check_slug(job, "job")
        units = self._delete_partition("jobs", job)
        return bool(self.jobs.table.delete([job])) or units

    def next_id(self, kind: str) -> str:
        """The next id of a kind (`run` gives `run-1`, `run-2`, …), never given twice, in whatever process."""
        check_slug(kind, "kind")
        with self.table("sequences").transaction() as change:
            last = (change.get(kind) or {}).get("last", 0)
            change.put(kind, {"last": last + 1})
        return f"{kind}-{last + 1}"

    def claim_id(self, kind: str, number: int) -> bool:
        """Take the id with this number, so that `next_id` gives a later one; False where it may be taken already."""
        check_slug(kind, "kind")
        with self.table("sequences").transaction() as change:
            if number <= (change.get(kind) or {}).get("last", 0):
                return False
            change.put(kind, {"last": number})
        return True

    def audit(self, action: str, kind: str, id: str, **details: Any) -> None:
        """Add a line to `audit.jsonl`: time, what was done, to which kind of thing, and its id."""
        line = lines.to_bytes(
            lines.encode({"time": self._clock.stamp(), "action": action, "kind": kind, "id": id, **details})
        )
        path = self.home / "audit.jsonl"
        with self._mutex, telling("Cannot write the audit", path):
            self._audit_lock.acquire()
            try:
                descriptor = open_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
                try:
                    size = os.fstat(descriptor).st_size
                    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                    write_all(descriptor, b"\n" + line if torn else line)
                    if self._durable:
                        os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            finally:
                self._audit_lock.release()

    def audited(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest lines of the audit, oldest of them first; what is damaged is left out."""
        path = self.home / "audit.jsonl"
        with telling("Cannot read the audit", path), open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            raw = file.read().split(b"\n")
        found: list[dict[str, Any]] = []
        for line in reversed(raw):
            if len(found) == limit:
                break
            try:
                value = json.loads(line.decode("utf-8", "surrogatepass"))
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)  # pyright: ignore[reportUnknownArgumentType]
        return found[::-1]

    def damage(self) -> list[Damage]:
        """The tables of which damaged lines were put aside. Looks through the folders:
        for a worker thread.
        """
        found: list[Damage] = []
        for path in sorted(self.home.glob("*/**/*.bad")):
            count = path.read_bytes().count(b"\n")
            if count:
                found.append(Damage(self._table_name(path), count, path))
        return found

    def flush(self) -> None:
        """Make all that was written survive a power cut. Milliseconds or more: for a worker thread."""
        self._keeper.flush()

    def close(self) -> None:
        """Flush, give up what this process holds, close the files. For a worker thread."""
        try:
            self._keeper.close()
        finally:
            self._owner.close()
            self.segments.close()
            self._audit_lock.close()
            for database in [self._main, *self._partitions.values()]:
                database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # inside

    def _open_journal(self, path: Path) -> Journal:
        return Journal(path, self._table_name(path), durable=self._durable, on_write=self._keeper.wrote)

    def _table_name(self, path: Path) -> str:
        name = path.relative_to(self.home).with_suffix("").as_posix()
        return name.removeprefix("tables/")

    def _wrote_segment(self) -> None:
        self._keeper.wrote()

    def _units(self, job: str) -> Table:
        return self._partition("jobs", job).table("units", ("state",))

    def _partition(self, group: str, name: str) -> Database:
        check_slug(name, group.removesuffix("s"))
        folder = self.home / group / name
        with self._mutex:
            found = self._partitions.pop(folder, None)
            if found is None:
                found = Database(folder, self._open_journal)
            self._partitions[folder] = found
        return found

    def _delete_partition(self, group: str, name: str) -> bool:
        folder = self.home / group / name
        with self._mutex:
            known = self._partitions.pop(folder, None)
        if known is not None:
            known.close()
        grave = self.home / group / f".gone-{secrets.token_hex(8)}"
        with telling("Cannot delete", folder):
            try:
                os.rename(folder, grave)
            except FileNotFoundError:
                return False
            shutil.rmtree(grave)
        return True

    def _tidy(self) -> None:
        """Called by the keeper: write told progress, unload the partitions that were not asked for lately."""
        self.jobs.write_progress()
        with self._mutex:
            spare = list(self._partitions.values())[:-OPEN_PARTITIONS]
        for database in spare:
            for journal in database.journals:
                journal.sync()
                journal.unload()
