"""Imports as jobs: a folder of thousands of cases is played and stored while nobody needs to wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio.to_thread
from pydantic import TypeAdapter

from ..exchange import Roots, read_folder
from ..ids import check_slug
from ..records.job import Job
from .archive import Archive
from .environment_drafts import EnvironmentDrafts
from .environments import Environments
from .jobs import Jobs, Progress, check_wait
from .results import EnvironmentReport, ImportReport

_REPORT: Final = TypeAdapter(EnvironmentReport)


class Importing:
    """Starts imports and says how they stand."""

    def __init__(
        self,
        archive: Archive,
        environments: Environments,
        drafts: EnvironmentDrafts,
        roots: Roots,
        jobs: Jobs,
    ) -> None:
        self._archive = archive
        self._drafts = drafts
        self._environments = environments
        self._roots = roots
        self._jobs = jobs
        jobs.handle("import", self._perform)

    async def start(
        self,
        path: str,
        id: str = "",
        *,
        dry_run: bool = False,
        wait_s: float = 20,
        on_progress: Progress | None = None,
    ) -> ImportReport:
        """Import a folder (see `Environments.import_folder`); after `wait_s` seconds (0..45) its job.

        A folder that cannot be read is refused at once; a mistake in its records is the job's error.
        """
        check_wait(wait_s)
        folder = await anyio.to_thread.run_sync(read_folder, path, self._roots)
        name = check_slug(id or folder.id, "id")
        self._drafts.same_folder_or_conflict(name, folder.path, "id")
        spec = {"path": str(folder.path), "id": name, "dry_run": dry_run}
        job, _ = self._jobs.create("import", spec, total=1, environment=name)
        self._jobs.launch(job)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    def report_of(self, job: Job) -> ImportReport:
        """What a job imported, as it was when the job ended. Its error when it failed."""
        self._jobs.raise_failure(job)
        report = _REPORT.validate_python(job.result["report"]) if job.result else None
        return ImportReport(job.spec["id"], job, report)

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        spec = job.spec
        report = await self._environments.import_folder(spec["path"], spec["id"], dry_run=spec["dry_run"])
        self._archive.store.jobs.progress(job.id, completed=1, total=1)
        return {"report": _REPORT.dump_python(report, mode="json")}
