"""Storage of model calls that a client answers: where they are, to which conversation they belong, when they are
deleted.

A job's folder has a table of its calls, with their answers, and one of their requests; calls outside of jobs use the
store's own. A row of the second is removed when its call is answered, but the file keeps the text until compaction.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, get_args

from ..canonical import digest
from ..records.model_call import ModelCall
from ..store import Store, Table

CLUSTERS: Final = "clusters"
"""The part of a run's job that names its failures: its call quotes many conversations."""
_ROLES: Final[tuple[str, ...]] = get_args(ModelCall.model_fields["role"].annotation)


def calls_of(store: Store, job: str) -> Table:
    """The calls of a job and their answers; "": those outside of jobs."""
    if not job:
        return store.table("model_calls", ("state",))
    table = store.job_table(job, "model_calls")
    table.declare(("state",))
    return table


def requests_of(store: Store, job: str) -> Table:
    """The requests of a job's calls, until they are answered."""
    return store.job_table(job, "model_requests") if job else store.table("model_requests")


def played_part(table: str, trial: str, attempt: int) -> str:
    """The part of a job that plays an attempt of `simulation/trial`."""
    return f"{table}/{trial}/{attempt}"


def judged_part(trial: str) -> str:
    """The part of a job that judges a stored `simulation/trial`."""
    return f"judge/{trial}"


def conversation_of(job: str, run: str, part: str, role: str) -> str:
    """The mark shared by all calls of a role in a part of a job; it reveals nothing about the part."""
    return f"v-{digest([job, run, part, role])[:8]}"


def forget_run_calls(store: Store, run: str) -> None:
    """Delete what was asked for a run outside of jobs, as a session does. Run in a worker thread."""
    _forget(store, "", run, None)


def forget_part_calls(store: Store, job: str, run: str, parts: Collection[str]) -> None:
    """Delete what a job asked in these parts, and purge the requests of its answered calls. Run in a worker thread."""
    _forget(store, job, run, {conversation_of(job, run, part, role) for part in parts for role in _ROLES})


def _forget(store: Store, job: str, run: str, conversations: Collection[str] | None) -> None:
    calls, requests = calls_of(store, job), requests_of(store, job)
    if not calls.tally():
        return
    gone = [
        str(row.doc_id)
        for row in calls.walk()
        if row.get("run") == run and (conversations is None or row["conversation"] in conversations)
    ]
    calls.delete(gone)
    requests.remove(doc_ids=gone)
    if gone or job:
        requests.journal.purge()
