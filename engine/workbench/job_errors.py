"""Errors of jobs in the form in which they are stored with them, and back."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

from ..errors import CasehardenError, InternalError, NextCall, error_kinds
from ..records.job import Job

_log = logging.getLogger("caseharden.jobs")


def error_row(error: CasehardenError) -> dict[str, Any]:
    """An error in the form stored with a job."""
    calls = [{"tool": call.tool, "args": dict(call.args), "why": call.why} for call in error.next]
    return {
        "code": error.code,
        "what": error.what,
        "where": error.where,
        "allowed": error.allowed,
        "next": calls,
    }


def raised_row(raised: Exception) -> dict[str, Any]:
    """Any error in the form stored: ours as it is, any other only as the id that finds it in the log."""
    found = next(_own_errors(raised), None)
    if found is not None:
        return error_row(found)
    mark = uuid.uuid4().hex[:12]
    _log.error("an internal error (%s)", mark, exc_info=raised)
    return {"code": "internal", "what": f"An internal error; the server's log has it under {mark}."}


def left_here(job: Job, error: CasehardenError) -> dict[str, Any]:
    """Why a process may not go on with a job that another one left, as stored with it."""
    found = error_row(error)
    lacks = f"{error.what} Allowed: {error.allowed}." if error.allowed else error.what
    found["what"] = (
        f"Nobody goes on with {job.id}: the process that ran it is gone, and this one may not. {lacks} "
        "A server on this data folder that may run it goes on by itself."
    )
    found["next"] = [
        {"tool": "cancel_job", "args": {"job": job.id}, "why": "gives it up; what is finished is kept"}
    ]
    return found


def failure(job: Job) -> CasehardenError:
    """The error of a failed job, as it was raised."""
    error = job.error or {}
    return error_kinds().get(error.get("code", ""), InternalError)(
        f"{job.id} failed: {error.get('what', '')}",
        where=str(error.get("where") or "job"),
        allowed=str(error.get("allowed", "")),
        next=[NextCall(**call) for call in error.get("next", [])],
    )


def standstill(job: Job | None) -> list[str]:
    """Why nothing moves in a job, as a warning: it is paused, or left by everybody."""
    if job is None or not job.error or not (job.state == "paused" or job.left):
        return []
    what = str(job.error.get("what", ""))
    return [what if job.left else f"{job.id} is paused: {what}"]


def _own_errors(raised: BaseException) -> Iterator[CasehardenError]:
    """Our errors within it, looking into exception groups."""
    if isinstance(raised, CasehardenError):
        yield raised
    elif isinstance(raised, BaseExceptionGroup):
        for one in raised.exceptions:  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            yield from _own_errors(one)  # pyright: ignore[reportUnknownArgumentType]
