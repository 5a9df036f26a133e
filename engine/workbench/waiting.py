"""Waiting for jobs and cancelling them, whatever their kind; the result is what the starter would have given."""

from __future__ import annotations

from ..errors import Conflict
from ..records.job import Job
from .hardenings import Hardenings
from .jobs import Jobs, Progress
from .results import Creation, HardeningReport, JobReport, RunReport
from .runs import Runs
from .simulations import Simulations


class Waiting:
    """The jobs of all services."""

    def __init__(self, jobs: Jobs, runs: Runs, hardenings: Hardenings, simulations: Simulations) -> None:
        self._jobs = jobs
        self._runs = runs
        self._hardenings = hardenings
        self._simulations = simulations

    async def wait(self, job: str, wait_s: float = 30, on_progress: Progress | None = None) -> JobReport:
        """The job after at most `wait_s` seconds (0..45), with its result once it is over."""
        return self._report(await self._jobs.settled(job, wait_s, on_progress))

    async def cancel(self, job: str, reason: str = "") -> JobReport:
        """Stop a job; what it finished is kept. The starting call, or `options.resume`, goes on with it."""
        return self._report(await self._jobs.cancel(job, reason))

    def _report(self, job: Job) -> JobReport:
        return JobReport(job, self._result(job), job.waiting_for)

    def _result(self, job: Job) -> Creation | RunReport | HardeningReport | None:
        if job.state in ("queued", "running", "waiting"):
            return None
        if job.kind == "run":
            return self._runs.report_of(job)
        if job.kind == "simulations":
            return self._simulations.report(job.spec["environment"], job.result or {})
        try:
            return self._hardenings.report_of(job)
        except Conflict:
            return None
