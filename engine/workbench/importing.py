"""Imports as jobs: a folder of thousands of cases, or a run of thousands of conversations, is taken while nobody
needs to wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from pydantic import TypeAdapter

from ..errors import InvalidArgument
from ..exchange import CONFIG_NAMES, Roots, read_folder
from ..exchange.run_file import read_run_file
from ..ids import check_slug
from ..records.job import Job
from .archive import Archive
from .environment_drafts import EnvironmentDrafts
from .environments import Environments
from .importing_runs import RunImporter
from .jobs import Jobs, Progress, check_wait
from .results import EnvironmentReport, ImportReport

_REPORT: Final = TypeAdapter(EnvironmentReport)


class Importing:
    """Starts imports and says how they stand."""

    def __init__(
        self,
        archive: Archive,
        environments: Environments,
        runs: RunImporter,
        drafts: EnvironmentDrafts,
        roots: Roots,
        jobs: Jobs,
    ) -> None:
        self._archive = archive
        self._drafts = drafts
        self._environments = environments
        self._runs = runs
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
        """Import a folder (see `Environments.import_folder`) or a file that holds an exported run.

        After `wait_s` seconds (0..45) its job. What cannot be read is refused at once; a mistake in the records of a
        folder is the job's error.
        """
        check_wait(wait_s)
        name, place = await anyio.to_thread.run_sync(self._looked_at, path, id)
        spec = {"path": place, "id": name, "dry_run": dry_run}
        job, _ = self._jobs.create("import", spec, total=1, environment=name)
        self._jobs.launch(job)
        return self.report_of(await self._jobs.settled(job.id, wait_s, on_progress))

    def report_of(self, job: Job) -> ImportReport:
        """What a job imported, as it was when the job ended. Its error when it failed."""
        self._jobs.raise_failure(job)
        report = _REPORT.validate_python(job.result["report"]) if job.result else None
        return ImportReport(job.spec["id"], job, report)

    async def _perform(self, job: Job) -> Mapping[str, Any]:
        report = await self._imported(job)
        self._archive.store.jobs.progress(job.id, completed=1, total=1)
        return {"report": _REPORT.dump_python(report, mode="json")}

    async def _imported(self, job: Job) -> EnvironmentReport:
        spec = job.spec
        if not Path(spec["path"]).is_file():
            return await self._environments.import_folder(spec["path"], spec["id"], dry_run=spec["dry_run"])
        whole = await anyio.to_thread.run_sync(read_run_file, spec["path"], self._roots)
        return await self._runs.take(whole, spec["id"], job, dry_run=spec["dry_run"])

    def _looked_at(self, path: str, id: str) -> tuple[str, str]:
        """The environment that an import is for, and the real path; what cannot be read is refused."""
        found = self._roots.resolve(path, "path")
        if not found.is_file():
            folder = read_folder(path, self._roots)
            name = check_slug(id or folder.id, "id")
            self._drafts.same_folder_or_conflict(name, folder.path, "id")
            return name, str(folder.path)
        if found.name in CONFIG_NAMES:
            raise InvalidArgument(
                f"`{path}` belongs to a folder of cases.", where="path", allowed="the folder that holds it"
            )
        if found.suffix.lower() != ".json":
            raise InvalidArgument(
                f"`{path}` is no exported run.",
                where="path",
                allowed="a folder that holds caseharden.yaml, or a .json file that export_run wrote",
            )
        whole = read_run_file(path, self._roots)
        return check_slug(id or whole.environment.id, "id"), str(found)
