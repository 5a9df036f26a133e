"""Jobs: wait for one, stop one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..engine.records.job import Job
from ..engine.workbench.results import Creation, HardeningReport, ImportReport, JobReport
from .arguments import WaitS
from .creation import created
from .environments import imported
from .outcomes import hardening_reply
from .replies import JobReply, NextCall, Reply, RunReply, goes_on, job_counts, payload, then
from .runs import run_reply
from .spec import Call, tool
from .wording import plural


@tool("Wait for a job", read_only=True, idempotent=True)
async def wait_job(
    call: Call,
    job: Annotated[str, Field(description="Job id")],
    wait_s: WaitS = 30,
) -> JobReply:
    """Returns the job's counts, and when done the result that its starter would have given. Use after any
    reply with a job. state=waiting names what it waits for, e.g. take_model_calls.
    """
    return _reply(await call.bench.jobs.wait(job, wait_s=wait_s, on_progress=call.on_progress))


@tool("Cancel a job", toolset="run", destructive=True, idempotent=True)
async def cancel_job(
    call: Call,
    job: Annotated[str, Field(description="Job id")],
    reason: str = "",
) -> JobReply:
    """Returns the job stopped, finished trials kept. The only way to stop one; to go on later repeat the
    starting call.
    """
    return _reply(await call.bench.jobs.cancel(job, reason=reason))


def _reply(report: JobReport) -> JobReply:
    job = report.job
    result = result_reply(report)
    parts = [job_state(job)]
    calls: list[NextCall] = [goes_on(job)] if job.active else []
    if job.left:
        calls += [NextCall(**call) for call in (job.error or {}).get("next", [])]
    if not job.active and result is not None:
        if job.kind == "score" and job.state == "cancelled" and not job.units.finished:
            result.summary = f"Nothing was judged: {_run_of(result)} keeps its scores."
        parts.append(result.summary)
        calls = [one for one in result.next if one.args.get("job") != job.id]
    return JobReply(
        summary=" ".join(parts),
        next=calls or [then("get_item", kind="job", id=job.id)],
        warnings=result.warnings if result else [],
        links=result.links if result else [],
        job=job_counts(job),
        result=own_fields(result) if result else {},
        untrusted=[f"result.{path}" for path in getattr(result, "untrusted", [])],
        waiting_for=report.waiting_for,
    )


def _run_of(result: Reply) -> str:
    return result.run if isinstance(result, RunReply) else "the run"


def job_state(job: Job) -> str:
    """How a job stands, in a sentence or two."""
    units = job.units
    failed = f", {units.failed:,} of them failed" if units.failed else ""
    why = (job.error or {}).get("what", "")
    waits = (
        f" It is waiting for answers: call {job.waiting_for}." if job.waiting_for and not job.ended else ""
    )
    done = f"{units.finished:,} of {plural(units.total, 'unit')} done{failed}"
    return f"{job.id} ({job.kind}) is {job.state}: {done}.{waits}" + (f" {why}" if why else "")


def result_reply(report: JobReport) -> Reply | None:
    """What the starter of the job would have returned; None where there is no result."""
    result = report.result
    if result is None:
        return None
    if isinstance(result, Creation):
        return created(result)
    if isinstance(result, ImportReport):
        return imported(result)
    if isinstance(result, HardeningReport):
        return hardening_reply(result)
    return run_reply(result)


def own_fields(reply: Reply) -> dict[str, Any]:
    """The result's fields; `next`, warnings and links stand once, in the envelope around it."""
    hoisted = ("next", "warnings", "links", "job", "untrusted")
    return {name: value for name, value in payload(reply).items() if name not in hoisted}
