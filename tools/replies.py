"""What tools answer: one envelope, and the fields of each kind of answer.

Every reply has `summary` (one or two sentences with the figures that matter), `next` (at most three calls,
best first), `warnings` and `links`. Empty fields are left out on the wire.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..engine.records.job import Job
from ..engine.shapes import is_list


class Sent(BaseModel):
    """What goes out: exactly the fields that are declared."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class NextCall(Sent):
    """A call to make next: complete, or `why` names the argument that only the caller can give."""

    tool: str
    args: dict[str, Any] = Field(default_factory=dict[str, Any])
    why: str = ""


class Link(Sent):
    """A resource to read; also sent as a resource link. `bytes` 0: not known."""

    uri: str
    what: str
    bytes: int = 0


class JobCounts(Sent):
    """A job. `state`: queued, running, waiting, paused, done, failed, cancelled; done: completed + failed =
    total.
    """

    id: str
    kind: str
    state: str
    total: int = 0
    pending: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    eta_s: float | None = None


class Reply(Sent):
    """The envelope, which is also the published output schema."""

    summary: str = Field(min_length=1)
    next: list[NextCall] = Field(default_factory=list[NextCall], max_length=3)
    warnings: list[str] = Field(default_factory=list[str])
    links: list[Link] = Field(default_factory=list[Link])


class EnvironmentMade(Reply):
    """An environment that was made or imported. `taken` and `lost` are of an import."""

    environment: str
    instructions_version: int = 1
    created: bool = True
    agent: dict[str, Any] = Field(default_factory=dict[str, Any])
    world: dict[str, Any] = Field(default_factory=dict[str, Any])
    counts: dict[str, int] = Field(default_factory=dict[str, int])
    models: dict[str, str] = Field(default_factory=dict[str, str])
    taken: dict[str, Any] = Field(default_factory=dict[str, Any])
    lost: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    job: JobCounts | None = None


class Created(Reply):
    """Personas, scenarios or simulations that were stored. `refused` rows have at, what, allowed."""

    environment: str
    made: list[str] = Field(default_factory=list[str])
    unchanged: list[str] = Field(default_factory=list[str])
    refused: list[dict[str, str]] = Field(default_factory=list[dict[str, str]])
    checked: dict[str, Any] = Field(default_factory=dict[str, Any])
    counts: dict[str, int] = Field(default_factory=dict[str, int])
    job: JobCounts | None = None


class Page(Reply):
    """One page of rows, newest first; each row has the `id` that get_item takes."""

    kind: str
    items: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    total: int = 0
    next_cursor: str = ""
    untrusted: list[str] = Field(default_factory=list[str])


class Item(Reply):
    """One thing in one view. `untrusted`: paths whose text was said by agents, users, tools or files."""

    kind: str
    id: str
    view: str
    item: dict[str, Any] = Field(default_factory=dict[str, Any])
    untrusted: list[str] = Field(default_factory=list[str])
    next_cursor: str = ""


class Changed(Reply):
    """What an update or a deletion did, or would do (`done` false); `goes_with` counts by kind."""

    kind: str
    ids: list[str] = Field(default_factory=list[str])
    version: int | None = None
    changed: dict[str, str] = Field(default_factory=dict[str, str])
    goes_with: dict[str, int] = Field(default_factory=dict[str, int])
    done: bool = True


class Cluster(Sent):
    """A failed check over the run. `train`, `held_out`: how many simulations of each fail it; `see`: a place of train
    to open; `not_understood`: trials in which the offline user did not understand a question.
    """

    id: str
    check: str
    name: str = ""
    train: int = 0
    severity: str = "major"
    cause: str = ""
    see: str = ""
    held_out: int = 0
    not_understood: int = 0


class RunReply(Reply):
    """A run: totals with a 95% interval that knows its scenarios, clusters of failures, cost. `changed`: what scoring
    again made of the verdicts before.
    """

    run: str
    round: int = 1
    round_number: int = 1
    instructions_version: str = ""
    models: dict[str, str] = Field(default_factory=dict[str, str])
    totals: dict[str, Any] = Field(default_factory=dict[str, Any])
    clusters: list[Cluster] = Field(default_factory=list[Cluster])
    clusters_total: int | None = None
    what_if: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    reruns: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    metrics: dict[str, Any] = Field(default_factory=dict[str, Any])
    thresholds: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    changed: dict[str, Any] = Field(default_factory=dict[str, Any])
    agreement: dict[str, Any] = Field(default_factory=dict[str, Any])
    cost: dict[str, Any] = Field(default_factory=dict[str, Any])
    untrusted: list[str] = Field(default_factory=list[str])
    job: JobCounts | None = None


class Comparison(Reply):
    """Two runs over the same trials. Simulations: `fixed` fail in every trial before and pass in every trial now,
    `broken` the other way round, `flaky` disagree within a run; `evidence` counts scenarios; `by` persona, tag and
    scenario what changed.
    """

    base: str
    run: str
    evidence: dict[str, Any] = Field(default_factory=dict[str, Any])
    differs: dict[str, str] = Field(default_factory=dict[str, str])
    fixed: list[str] = Field(default_factory=list[str])
    broken: list[str] = Field(default_factory=list[str])
    flaky: list[str] = Field(default_factory=list[str])
    unchanged: int | None = None
    by: dict[str, list[dict[str, Any]]] = Field(default_factory=dict[str, list[dict[str, Any]]])
    left_out: dict[str, int] = Field(default_factory=dict[str, int])
    instructions_diff: str = ""
    first_difference: dict[str, Any] = Field(default_factory=dict[str, Any])
    untrusted: list[str] = Field(default_factory=list[str])


class Export(Reply):
    """A file that was written below the export folder; `records`: how many are in it, `text`: its beginning."""

    source: str
    format: str
    file: str
    bytes: int
    sha256: str
    records: int
    text: str = ""
    left_out: list[str] = Field(default_factory=list[str])
    untrusted: list[str] = Field(default_factory=list[str])


class CandidateView(Sent):
    """A candidate text: what it was made from, how it differs, what became of it. `chars`: [base,
    candidate].
    """

    id: str
    base: str = ""
    state: str = ""
    diff: str = ""
    chars: list[int] = Field(default_factory=list[int])
    by: str = ""
    why: str = ""
    became: str = ""


class HardeningReply(Reply):
    """A hardening: its candidate, the guards, the evidence, the outcome. `round_number`: round, in A-Sim's word."""

    hardening: str = ""
    state: str = ""
    round: int = 0
    round_number: int = 0
    stop_reason: str = ""
    brief: dict[str, Any] = Field(default_factory=dict[str, Any])
    candidate: CandidateView | None = None
    guards: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    evidence: dict[str, Any] = Field(default_factory=dict[str, Any])
    outcome: str = ""
    marks: list[str] = Field(default_factory=list[str])
    original_config: dict[str, str] = Field(default_factory=dict[str, str])
    improved_config: dict[str, str] = Field(default_factory=dict[str, str])
    untrusted: list[str] = Field(default_factory=list[str])
    job: JobCounts | None = None


class SessionReply(Reply):
    """A session after a step: what was said, the tools where there is news of them, what a call gave and
    changed, and at the end the reward with its components.
    """

    session: str
    role: str
    turn: int
    messages: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    tools: list[dict[str, str]] = Field(default_factory=list[dict[str, str]])
    result: dict[str, Any] = Field(default_factory=dict[str, Any])
    changes: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    done: bool | None = None
    reward: dict[str, Any] = Field(default_factory=dict[str, Any])
    untrusted: list[str] = Field(default_factory=list[str])


class JobReply(Reply):
    """A job, and once it is over what the tool that started it would have returned."""

    job: JobCounts
    result: dict[str, Any] = Field(default_factory=dict[str, Any])
    untrusted: list[str] = Field(default_factory=list[str])
    waiting_for: str = ""


class ModelCalls(Reply):
    """Model calls to answer, by role. `uses` of a call names texts in `shared`; its `reply` says what is wanted: text,
    text or tool_calls, data as `schema` shows. `new`: how many of the last entries of its history came since your last
    answer. `left`: further calls that wait. `refused` rows have id, what, at, allowed. `result`: of the job, when it is
    over.
    """

    accepted: int = 0
    refused: list[dict[str, str]] = Field(default_factory=list[dict[str, str]])
    shared: dict[str, Any] = Field(default_factory=dict[str, Any])
    calls: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    left: int = 0
    result: dict[str, Any] = Field(default_factory=dict[str, Any])
    untrusted: list[str] = Field(default_factory=list[str])
    job: JobCounts | None = None


def goes_on(job: Job) -> NextCall:
    """What is to be called while a job goes on: one that waits for answers wants these first."""
    if job.state == "waiting":
        return then("take_model_calls", "it waits for your answers", job=job.id)
    return then("wait_job", "once a server is there that may run it" if job.left else "", job=job.id)


def then(tool: str, why: str = "", **args: Any) -> NextCall:
    """A call to make next."""
    return NextCall(tool=tool, args=args, why=why)


def counts(job: Job | None) -> JobCounts | None:
    """The counts of a job, or None where there is none."""
    if job is None:
        return None
    return job_counts(job)


def job_counts(job: Job) -> JobCounts:
    """The counts of a job, and about how many seconds it will go on."""
    units = job.units
    return JobCounts(
        id=job.id,
        kind=job.kind,
        state=job.state,
        total=units.total,
        pending=units.pending,
        running=units.running,
        completed=units.completed,
        failed=units.failed,
        eta_s=job.eta_s(datetime.now(UTC)),
    )


def payload(reply: Reply) -> dict[str, Any]:
    """The reply as JSON, empty fields left out (of the reply and of its own parts, not inside quoted data)."""
    return _shown(reply)


def _shown(part: BaseModel) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in type(part).model_fields:
        value = _plain(getattr(part, name))
        if value not in (None, "", [], {}) or name == "args":  # a call without arguments is complete
            shown[name] = value
    return shown


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _shown(value)
    if is_list(value):
        return [_plain(one) for one in value]
    return value
