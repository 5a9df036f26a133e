"""The entry point of the store: a data folder.

<home>/tables/<table>.jsonl         one journal a table, and its .lock
<home>/runs/<run>/<table>.jsonl     what belongs to one run; deleting the run deletes the folder
<home>/runs/<run>/segments/…        its conversations
<home>/jobs/<job>/units.jsonl       the units of one job
<home>/owners/…                     one locked file for each living process
<home>/turns/…                      locks of what trials of all processes share, such as a tool server with a reset
<home>/damaged/<table>.jsonl        damaged lines of a table, `runs.run-7.trials` for one of a run
<home>/audit.jsonl                  a line for every change; `audit.1.jsonl` to `audit.9.jsonl` are older
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ..errors import StorageError
from ..ids import check_slug
from .audit import Audit
from .clock import Clock
from .documents import Database, Table
from .folder import make_folder, most_open_files, need_locks, telling
from .jobs import JOB_INDEXES, Jobs
from .journal import Journal
from .keeper import Keeper
from .owner import Owner
from .segments import Segments
from .units import LEASE_S

OPEN_PARTITIONS: Final = 64
OPEN_TABLES: Final = 150
"""Most tables of partitions with open files, up to two descriptors each; fewer where the system allows few files."""
_GRAVES: Final = ".gone-"
_log = logging.getLogger("caseharden.store")


@dataclass(frozen=True, slots=True)
class Damage:
    """Damaged lines of one table that were put aside; `file` holds them as they were."""

    table: str
    lines: int
    file: Path


class Store:
    """A data folder, shared with other processes. Made if missing; use it as a context manager, or `close` it.

    `durable`: every write survives a power cut (about 5 ms each, for worker threads); otherwise a killed process loses
    nothing and a power cut at most the last half second of writes. `actor`: named in the audit unless `acting_as`
    names another. `lease_s`: a process that gives no sign of life for that many seconds loses its jobs to another.
    Methods may be called from any thread.

    Raises StorageError if the folder cannot be made or written, Unavailable if there are no POSIX file locks.
    """

    def __init__(
        self,
        home: Path,
        *,
        durable: bool = False,
        clock: Clock | None = None,
        actor: str = "python",
        lease_s: float = LEASE_S,
    ) -> None:
        need_locks()
        self.home = Path(home).absolute()
        make_folder(self.home)
        self._durable = durable
        self._clock = clock or Clock()
        self._mutex = threading.RLock()
        self._partitions: dict[Path, Database] = {}
        self._loaded: OrderedDict[Path, Database] = OrderedDict()
        """The partitions with open files, the least recently used first."""
        self._owner = Owner(self.home / "owners", self._clock)
        self.segments = Segments(self.home / "runs", durable=durable, on_write=self._wrote_segment)
        """The conversations."""
        self._keeper = Keeper(self.segments, [self._write_progress])
        self._main = Database(self.home / "tables", self._open_journal)
        self._audit = Audit(self.home / "audit.jsonl", self._clock, actor=actor, durable=durable)
        self.jobs = Jobs(
            self.table("jobs", JOB_INDEXES), self._units, self.next_id, self._owner, self._clock, lease_s
        )
        """Jobs, and in `jobs.work` their units."""
        self._bury()

    def table(self, name: str, indexes: tuple[str, ...] = ()) -> Table:
        """The table of that name; `indexes` are the fields that its lists can filter by.

        The first access reads the file, about 10 us a document: use a worker thread if it may be large.
        """
        return self._main.table(name, indexes)

    def tables(self) -> set[str]:
        """The names of the tables that have a file."""
        return self._main.tables()

    def run_table(self, run: str, name: str, indexes: tuple[str, ...] = ()) -> Table:
        """The table of that name in a run's own folder. Do not keep it for long: ask again."""
        return self._partition("runs", run).table(name, indexes)

    def runs(self) -> list[str]:
        """The runs that have a folder, in no meaningful order."""
        folder = self.home / "runs"
        names = (p.name for p in folder.iterdir()) if folder.is_dir() else ()
        return sorted(name for name in names if not name.startswith("."))

    def delete_run(self, run: str) -> bool:
        """Delete everything stored in a run's folder, at once; return whether there was any.

        For a worker thread.
        """
        check_slug(run, "run")
        self.segments.forget(run)
        grave = self._set_aside("runs", run)
        self._empty(grave)
        return grave is not None

    def delete_jobs(self, jobs: Collection[str], *, ended: bool = False) -> None:
        """Delete the records and units of those jobs that exist. For a worker thread.

        `ended`: Conflict, and none is deleted, if one of them goes on, perhaps for a moment only.
        """
        with self.jobs.table.transaction() as change:
            if ended:
                self.jobs.check_ended(change, jobs)
            graves = [self._set_aside("jobs", check_slug(job, "job")) for job in jobs]
            for job in jobs:
                change.remove(job)
        for grave in graves:
            self._empty(grave)
        self.jobs.table.delete(jobs)

    def job_table(self, job: str, name: str) -> Table:
        """The table of that name in a job's own folder. Do not keep it for long: ask again."""
        return self._partition("jobs", job).table(name)

    def drop_job_table(self, job: str, name: str) -> None:
        """Delete a table of a job's folder, if it is there."""
        self._partition("jobs", job).drop_table(name)

    def next_id(self, kind: str) -> str:
        """The next id of a kind (`run` gives `run-1`, `run-2`, …), never given twice, by any process."""
        check_slug(kind, "kind")
        with self.table("sequences").transaction() as change:
            last = (change.get(kind) or {}).get("last", 0)
            change.put(kind, {"last": last + 1})
        return f"{kind}-{last + 1}"

    def claim_id(self, kind: str, number: int) -> bool:
        """Take the id with this number, so that `next_id` gives a later one; False if it may be taken already."""
        check_slug(kind, "kind")
        with self.table("sequences").transaction() as change:
            if number <= (change.get(kind) or {}).get("last", 0):
                return False
            change.put(kind, {"last": number})
        return True

    def audit(self, action: str, kind: str, id: str, **details: Any) -> None:
        """Add a line to `audit.jsonl`: time, what was done, to which kind of thing, its id, and who did it."""
        self._audit.add(action, kind, id, **details)

    @property
    def actor(self) -> str:
        """Who is making changes here, as named in the audit."""
        return self._audit.actor

    def audited(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest lines of the audit, oldest of them first; damaged ones are left out."""
        return self._audit.newest(limit)

    def damage(self) -> list[Damage]:
        """The tables from which damaged lines were put aside; reads one small folder."""
        found: list[Damage] = []
        with telling("Cannot read", self.home / "damaged"):
            for path in sorted((self.home / "damaged").glob("*.jsonl")):
                count = path.read_bytes().count(b"\n")
                if count:
                    found.append(Damage(path.stem.replace(".", "/"), count, path))
        return found

    def flush(self) -> None:
        """Make everything written survive a power cut. Milliseconds or more: for a worker thread."""
        self._keeper.flush()

    def close(self) -> None:
        """Flush, give up what this process holds, close the files. For a worker thread."""
        try:
            self._keeper.close()
        finally:
            self._owner.close()
            self.segments.close()
            self._audit.close()
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
        name = self._table_name(path)
        return Journal(
            path,
            name,
            self.home / "damaged" / f"{name.replace('/', '.')}.jsonl",
            durable=self._durable,
            on_open=self._opening,
            on_write=self._keeper.wrote,
            on_damage=self._damaged,
        )

    def _damaged(self, journal: Journal, count: int) -> None:
        """Report damage once, in the log and in the audit; it must not stop the caller that found it."""
        _log.error("%d damaged lines of %s were put aside in %s", count, journal.name, journal.aside)
        with suppress(StorageError):
            self.audit("damage", "table", journal.name, lines=count)

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
            found = self._partitions.get(folder)
            if found is None:
                found = self._partitions[folder] = Database(folder, self._open_journal)
            if folder in self._loaded:
                self._loaded.move_to_end(folder)
        return found

    def _opening(self, journal: Journal) -> None:
        """Unload the least recently used partitions if this journal makes too many."""
        folder = journal.path.parent
        with self._mutex:
            found = self._partitions.get(folder)
            if found is None:
                return
            self._loaded[folder] = found
            self._loaded.move_to_end(folder)
            tables = sum(len(one.journals) for one in self._loaded.values())
            most = min(OPEN_TABLES, most_open_files() // 4)
            for old, database in list(self._loaded.items())[:-1]:
                if len(self._loaded) <= OPEN_PARTITIONS and tables <= most:
                    return
                if all([one.unload() for one in database.journals]):
                    tables -= len(database.journals)
                    del self._loaded[old]

    def _set_aside(self, group: str, name: str) -> Path | None:
        """Put a partition where only its deletion is left to do; None if there was none."""
        folder = self.home / group / name
        with self._mutex:
            known = self._partitions.pop(folder, None)
            self._loaded.pop(folder, None)
        if known is not None:
            known.close()
        for damaged in (self.home / "damaged").glob(f"{group}.{name}.*"):
            damaged.unlink(missing_ok=True)
        grave = self.home / group / f"{_GRAVES}{secrets.token_hex(8)}"
        with telling("Cannot delete", folder):
            try:
                os.rename(folder, grave)
            except FileNotFoundError:
                return None
        return grave

    def _empty(self, grave: Path | None) -> None:
        if grave is not None:
            with telling("Cannot delete", grave):
                shutil.rmtree(grave, ignore_errors=True)  # a process that starts deletes it too
                if grave.is_dir():
                    shutil.rmtree(grave)

    def _bury(self) -> None:
        """Finish the deletions of processes that were killed during one, and forget those processes."""
        self._owner.bury()
        for group in ("runs", "jobs"):
            for grave in (self.home / group).glob(f"{_GRAVES}*"):
                shutil.rmtree(grave, ignore_errors=True)

    def _write_progress(self) -> None:
        self.jobs.write_progress()
