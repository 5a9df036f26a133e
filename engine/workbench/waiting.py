"""Waits for and cancels jobs of every kind; the result is what the starter would have returned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ..errors import NotFound
from ..records.job import Job
from .hardenings import Hardenings
from .importing import Importing
from .jobs import Jobs, Progress
from .personas import Personas
from .rescoring import Rescoring
from .results import Creation, HardeningReport, ImportReport, JobReport, RunReport
from .runs import Runs
from .scenarios import Scenarios
from .simulations import Simulations

Result = Creation | RunReport | HardeningReport | ImportReport


class Waiting:
    """The jobs of all services."""

    def __init__(
        self,
        jobs: Jobs,
        runs: Runs,
        scores: Rescoring,
        hardenings: Hardenings,
        simulations: Simulations,
        personas: Personas,
        scenarios: Scenarios,
        imports: Importing,
    ) -> None:
        self._jobs = jobs
        self._reports: dict[str, Callable[[Job], Result]] = {
            "run": runs.report_of,
            "score": scores.report_of,
            "hardening": hardenings.report_of,
            "simulations": simulations.report,
            "personas": personas.generating.report,
            "scenarios": scenarios.generating.report,
            "import": imports.report_of,
        }

    async def wait(self, job: str, wait_s: float = 30, on_progress: Progress | None = None) -> JobReport:
        """The job after at most `wait_s` seconds (0..45), with its result once it is over."""
        return self.report(await self._jobs.settled(job, wait_s, on_progress))

    async def cancel(self, job: str, reason: str = "") -> JobReport:
        """Stop a job; finished work is kept. The starting call, or `options.resume`, resumes it."""
        return self.report(await self._jobs.cancel(job, reason))

    def on_end(self, listener: Callable[[JobReport], Awaitable[None]]) -> Callable[[], None]:
        """Call `listener` for every job that ends in this process, with its result; call what is returned to stop."""

        async def notify(job: Job) -> None:
            await listener(self.report(job))

        return self._jobs.on_end(notify)

    def report(self, job: Job) -> JobReport:
        """A job so far, with its result once it is over."""
        return JobReport(job, self._result(job), job.waiting_for)

    def _result(self, job: Job) -> Result | None:
        """The result; None while it goes on, if it failed before anything was made, or if that was deleted since."""
        if job.state in ("queued", "running", "waiting"):
            return None
        if job.state == "failed" and job.kind != "run":
            return None
        try:
            return self._reports[job.kind](job)
        except NotFound:
            return None
