"""Imports as jobs: a folder of thousands of cases, or a run of thousands of conversations, is imported in the
background. Every format goes through the one seam, `Importer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from pydantic import TypeAdapter

from ..exchange import IMPORTERS, Imported, Importer, Roots, find_importer
from ..exchange.importer import AUTO
from ..ids import check_slug
from ..records.job import Job
from .archive import Archive
from .discretion import import_without_secrets
from .environment_drafts import EnvironmentDrafts
from .environments import Environments
from .importing_runs import RunImporter
from .jobs import Jobs, Progress, check_wait
from .past_runs import PastRuns
from .results import EnvironmentReport, ImportReport

_REPORT: Final = TypeAdapter(EnvironmentReport)


class Importing:
    """Starts imports and reports on them."""

    def __init__(
        self,
        archive: Archive,
        environments: Environments,
        runs: RunImporter,
        past_runs: PastRuns,
        drafts: EnvironmentDrafts,
        roots: Roots,
        jobs: Jobs,
    ) -> None:
        self._archive = archive
        self._drafts = drafts
        self._environments = environments
        self._runs = runs
        self._past_runs = past_runs
        self._roots = roots
        self._jobs = jobs
        self._read: dict[str, Imported] = {}
        """What was read when a job was started, until it runs in this process; after a restart it is read again."""
        jobs.handle("import", self._perform, means=self._check_means)
        jobs.on_end(self._forget)

    async def start(
        self,
        path: str,
        id: str = "",
        *,
        format: str = AUTO,
        dry_run: bool = False,
        wait_s: float = 20,
        on_progress: Progress | None = None,
    ) -> ImportReport:
        """Import a folder or file of a known format; `auto`: any that recognises it (see `engine.exchange.formats`).

        Returns the job after `wait_s` seconds (0..45). Unreadable input is refused at once; a mistake in the records of
        a Caseharden folder is the job's error, one in the files of another system a line of `lost`.
        """
        check_wait(wait_s)
        importer, place, read = await anyio.to_thread.run_sync(self._looked_at, path, format)
        name = check_slug(id or read.id, "id")
        if read.cases is None and read.exported is None:
            name = self._past_runs.check(read, id).id
        elif read.cases is not None:
            self._drafts.same_folder_or_conflict(name, read.cases, "id")
        spec = {"path": str(place), "id": name, "format": importer.name, "dry_run": dry_run}
        job, _ = self._jobs.create("import", spec, total=1, environment=name)
        self._read[job.id] = read
        self._jobs.launch(job)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    def report_of(self, job: Job) -> ImportReport:
        """What a job imported, as of the end of the job. Its error if it failed."""
        self._jobs.raise_failure(job)
        report = _REPORT.validate_python(job.result["report"]) if job.result else None
        return ImportReport(job.spec["id"], job, report)

    async def _check_means(self, job: Job) -> None:
        """The folder must be below a root of this process."""
        await anyio.to_thread.run_sync(self._roots.resolve, job.spec["path"], "path")

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        report = await self._imported(job)
        self._archive.store.jobs.progress(job.id, completed=1, total=1)
        return {"report": _REPORT.dump_python(report, mode="json")}

    async def _imported(self, job: Job) -> EnvironmentReport:
        spec, read = job.spec, self._read.pop(job.id, None)
        if read is None:
            format = spec.get("format", AUTO)
            *_, read = await anyio.to_thread.run_sync(self._looked_at, spec["path"], format)
        read, warnings = await anyio.to_thread.run_sync(import_without_secrets, read, self._archive.redactor)
        if read.exported is not None:
            report = await self._runs.take(read.exported, spec["id"], job, dry_run=spec["dry_run"])
        elif read.cases is not None:
            report = await self._environments.take(read, spec["id"], dry_run=spec["dry_run"])
        else:
            report = await self._past_runs.take(read, spec["id"], job, dry_run=spec["dry_run"])
        report.warnings += warnings
        return report

    async def _forget(self, job: Job) -> None:
        """Drop what was read for a job that was cancelled before it began."""
        self._read.pop(job.id, None)

    def _looked_at(self, path: str, format: str) -> tuple[Importer, Path, Imported]:
        """The importer for a path, the real path, and what it reads; unreadable input is refused."""
        found = self._roots.resolve(path, "path")
        if not found.exists():
            self._roots.folder(path, "path")
        importer = find_importer(found, format, IMPORTERS, self._roots, path)
        return importer, found, importer.read(found, self._roots)
