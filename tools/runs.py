"""Runs: simulate and score, and tell what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from ..engine.evaluate import describe_agreement
from ..engine.records.environment import played_by
from ..engine.records.run import Cluster as StoredCluster, ClusterRerun, RunRecord, WhatIf
from ..engine.workbench.results import RunReport
from ..engine.workbench.run_drafts import trials_wanted
from ..engine.workbench.verdict_changes import VerdictChanges
from .arguments import NOT_GIVEN, EnvironmentId, IdempotencyKey, Models, WaitS, given
from .replies import Cluster, JobCounts, Link, NextCall, RunReply, counts, goes_on, then
from .spec import Call, tool
from .wording import offline_roles, plural, rate, rounded, with_offline

SHOWN_CLUSTERS = 8
SHOWN_METRICS = 20
SHOWN_RERUNS = 3
SHOWN_DISAGREEMENTS = 5
SHOWN_CHANGES = 10
_FIGURES = ("mean", "scored")
"""Of a metric: what says something where it is 0, too."""


@tool("Run simulations", toolset="run", open_world=True)
async def run_simulations(
    call: Call,
    environment: EnvironmentId,
    select: Annotated[
        Sequence[str],
        Field(
            description="Ids, all, tag:X, persona:X, scenario:X, failed:RUN, cluster:RUN/K, or RUN/SIM/TRIAL@TURN "
            "to branch there"
        ),
    ] = ("all",),
    instructions: Annotated[str, Field(description="Version or candidate id; default current")] = "",
    trials: Annotated[int, Field(ge=0, le=50, description="0 = environment's")] = 0,
    metrics: Annotated[Sequence[Any], Field(description="Names, {name, rubric or code, scale}")] = (),
    models: Models = NOT_GIVEN,
    options: Annotated[
        Mapping[str, Any],
        Field(description="name, seed, thresholds, budget, limits, score, ... Guide: run-options"),
    ] = NOT_GIVEN,
    continue_run: Annotated[str, Field(description="Run id: make this its round n+1")] = "",
    wait_s: WaitS = 20,
    idempotency_key: IdempotencyKey = "",
) -> RunReply:
    """Returns pass rate with interval and failure clusters, or a job for wait_job. Simulates and scores in
    one go. Use to evaluate, rerun failures, try what-if. To score again: score_run; to prove a text:
    submit_candidate.
    """
    report = await call.bench.runs.start(
        environment,
        select=tuple(select),
        instructions=instructions,
        trials=trials,
        metrics=tuple(metrics),
        models=given(models),
        options=given(options),
        continue_run=continue_run,
        wait_s=wait_s,
        idempotency_key=idempotency_key,
        on_progress=call.on_progress,
    )
    return run_reply(report)


def run_reply(report: RunReport) -> RunReply:
    """The reply of a run, finished or still going on."""
    run = report.run
    going_on = report.job is not None and report.job.active
    return RunReply(
        summary=_going_on(report) if going_on else _again(report) if report.again else _summary(run),
        next=_after_scoring(report) if report.again else _next(report),
        warnings=with_offline(report.warnings, played_by(run.models, run.agent)),
        links=[] if going_on else [Link(uri=f"caseharden://run/{run.id}", what="whole run")],
        run=run.id,
        round=run.round,
        round_number=run.round,
        instructions_version=run.instructions,
        models=played_by(run.models, run.agent),
        totals=_totals(run) if run.totals.trials else {},
        clusters=[_cluster(one) for one in run.clusters[:SHOWN_CLUSTERS]],
        clusters_total=len(run.clusters) if len(run.clusters) > SHOWN_CLUSTERS else None,
        what_if=[] if going_on else [_if(one) for one in run.what_ifs[:SHOWN_CLUSTERS]],
        reruns=[] if going_on else [_rerun(one) for one in run.reruns[:SHOWN_RERUNS]],
        metrics=metric_rows(run),
        thresholds=[one.model_dump() for one in run.thresholds],
        changed=_changed(report),
        agreement=_agreement(run),
        cost={} if going_on else _cost(report),
        untrusted=["clusters[].name", "clusters[].cause"] if run.clusters else [],
        job=_job(report),
    )


def _summary(run: RunRecord) -> str:
    offline = offline_roles(played_by(run.models, run.agent))
    if run.state != "done":
        return f"{run.id}{offline}: {part_of(run)}."
    text = f"{run.id}{offline}: {rate(run.totals)}."
    if run.clusters:
        worst = run.clusters[0]
        size = plural(worst.simulations + worst.held_out, "simulation")
        size += f", {worst.held_out} of them held out" if worst.held_out else ""
        text += f" {plural(len(run.clusters), 'failure cluster')}; worst: {worst.check} ({worst.severity}, {size})."
    text += "".join(f" {_reran(one)}" for one in run.reruns[:SHOWN_RERUNS])
    text += "".join(f" {_went_on(one)}" for one in run.what_ifs[:SHOWN_RERUNS])
    missed = sum(one.result == "fail" for one in run.thresholds)
    if run.thresholds:
        text += f" {plural(len(run.thresholds), 'threshold')}, {missed} missed."
    return text


def _reran(rerun: ClusterRerun) -> str:
    """`run-1/k2 (confirmed): 7 of 9 simulations fail it again, 1 otherwise, 1 passes.`"""
    counts = (
        (rerun.otherwise, "fail otherwise"),
        (rerun.passed, "pass"),
        (rerun.undecided, "undecided"),
    )
    rest = "".join(f", {number:,} {word}" for number, word in counts if number)
    of = plural(rerun.again + rerun.otherwise + rerun.passed + rerun.undecided, "simulation")
    return f"{rerun.cluster} ({rerun.check}): {rerun.again:,} of {of} fail it again{rest}."


def _went_on(one: WhatIf) -> str:
    """`From run-1/x-dana/1@3, which was fail (confirmed): 4 of 5 continuations pass, 1 fail it again.`"""
    failed = f" ({', '.join(one.failed[:2])}{', ...' if len(one.failed) > 2 else ''})" if one.failed else ""
    between = f" (interval {100 * one.interval[0]:.0f}-{100 * one.interval[1]:.0f})" if one.interval else ""
    counts = ((one.again, "fail it again"), (one.otherwise, "fail otherwise"), (one.undecided, "undecided"))
    rest = "".join(f", {number:,} {word}" for number, word in counts if number)
    of = plural(one.trials, "continuation")
    return f"From {one.place}, which was {one.was}{failed}: {one.passed:,} of {of} pass{between}{rest}."


def _again(report: RunReport) -> str:
    """What scoring it again came to, beside what it was before."""
    run, changes = report.run, report.changes
    before = run.score_sets[-1].totals if run.score_sets else None
    was = f" (was {before.passed:,})" if before is not None and before != run.totals else ""
    judge = run.models_used.get("judge")
    by = f" with judge {judge.name}" if judge else ""
    anew = changes is not None and changes.before != changes.now
    by += (
        f" by grading {_versions(changes.now)} (was {_versions(changes.before)})" if changes and anew else ""
    )
    text = f"{run.id} scored{' again' if run.score_sets else ''}{by}: {rate(run.totals)}{was}."
    if changes is not None and (anew or changes.changed):
        text += f" {describe_changes(changes)}."
    missed = sum(one.result == "fail" for one in run.thresholds)
    if run.thresholds:
        text += f" {plural(len(run.thresholds), 'threshold')}, {missed} missed."
    found = run.agreement
    if found is not None:
        text += f" The judge {describe_agreement(found)}."
    return text


def describe_changes(found: VerdictChanges) -> str:
    """`Verdicts changed: 2 of 3 trials (1 pass to fail, 0 fail to pass, 1 other)`"""
    text = f"{found.pass_to_fail:,} pass to fail, {found.fail_to_pass:,} fail to pass, {found.other:,} other"
    return f"Verdicts changed: {found.changed:,} of {plural(found.compared, 'trial')} ({text})"


def _changed(report: RunReport) -> dict[str, Any]:
    """What became of the verdicts; the first trials that have another, all of them by get_item."""
    found = report.changes
    if found is None:
        return {}
    counted = ("compared", "pass_to_fail", "fail_to_pass", "other", "other_reward")
    row: dict[str, Any] = {name: getattr(found, name) for name in counted}
    row["grading"] = {"before": found.before, "now": found.now}
    return {**row, "first": found.first[:SHOWN_CHANGES]} if found.first else row


def _versions(found: list[int]) -> str:
    return " and ".join(map(str, found)) or "none"


def part_of(run: RunRecord) -> str:
    """`cancelled: 63 of 384 trials done (40 pass, 23 fail)`: counts, for a part of a run has no rate."""
    counted = run.totals
    numbers = (
        (counted.passed, "pass"),
        (counted.failed, "fail"),
        (counted.inconclusive, "inconclusive"),
        (counted.error, "error"),
        (counted.invalid, "invalid"),
    )
    text = ", ".join(f"{number:,} {word}" for number, word in numbers if number)
    done = f"{run.state}: {counted.trials - counted.error:,} of {plural(trials_wanted(run), 'trial')} done"
    return f"{done} ({text})" if text else done


def _going_on(report: RunReport) -> str:
    job = report.job
    if job is None:
        return f"{report.run.id} goes on."
    total = job.units.total or trials_wanted(report.run)
    what = f"{job.units.finished:,} of {plural(total, 'trial')} done"
    scored = " is being scored" if report.again else " goes on"
    waits = f" It waits for answers: call {job.waiting_for}." if job.waiting_for else ""
    return f"{report.run.id}{scored} as {job.id} ({job.state}): {what}.{waits}"


def _job(report: RunReport) -> JobCounts | None:
    """The job's counts; before its work is queued all trials are pending."""
    text = counts(report.job)
    if text is None or text.total or text.state not in ("queued", "running"):
        return text
    total = trials_wanted(report.run)
    return text.model_copy(update={"total": total, "pending": total})


def _totals(run: RunRecord) -> dict[str, Any]:
    unsaid: set[str] = set() if run.totals.pass_k else {"pass_k"}
    if run.state in ("cancelled", "failed", "paused"):
        unsaid |= {"rate", "interval", "pass_k"}
    totals = run.totals.model_dump(exclude_none=True, exclude=unsaid)
    return rounded(totals, 3)


def metric_rows(run: RunRecord) -> dict[str, Any]:
    """Each metric with its mean or labels, scale and direction; of those left unscored how many."""
    fields: dict[str, Any] = {}
    for name, found in list(run.metrics.items())[:SHOWN_METRICS]:
        row = found.model_dump(mode="json", exclude_none=True, exclude={"judged"})
        fields[name] = rounded({k: v for k, v in row.items() if k in _FIGURES or v not in ({}, "none", 0)}, 3)
    return fields


def _agreement(run: RunRecord) -> dict[str, Any]:
    """How the judge agrees with people: counts, kappa and the first disagreements."""
    found = run.agreement
    if found is None:
        return {}
    fields = found.model_dump(mode="json", include={"judge", "labels", "compared", "agree", "verdicts"})
    shown = [
        {key: value for key, value in row.items() if key != "why"}
        for row in found.disagree[:SHOWN_DISAGREEMENTS]
    ]
    kappa = "undefined" if found.kappa is None else round(found.kappa, 3)
    return {**fields, "kappa": kappa, "disagree": shown, "disagree_total": len(found.disagree)}


def _cluster(cluster: StoredCluster) -> Cluster:
    row = {name: getattr(cluster, name) for name in Cluster.model_fields if name != "train"}
    return Cluster.model_validate({**row, "train": cluster.simulations})


def _rerun(rerun: ClusterRerun) -> dict[str, Any]:
    row = rerun.model_dump(mode="json", exclude={"key", "cause", "members"})
    return {name: value for name, value in row.items() if value or name == "again"}


def _if(one: WhatIf) -> dict[str, Any]:
    row = one.model_dump(mode="json", exclude_none=True)
    return rounded({name: value for name, value in row.items() if value or name == "passed"}, 3)


def _cost(report: RunReport) -> dict[str, Any]:
    cost: dict[str, Any] = {"model_calls": report.model_calls, "seconds": round(report.run.wall_s, 2)}
    if report.tokens:
        cost["tokens"] = report.tokens
    return {"usd": "unknown" if report.usd is None else round(report.usd, 6), **cost}


def _next(report: RunReport) -> list[NextCall]:
    run, job = report.run, report.job
    if job is not None and job.active:
        return [goes_on(job)]
    if job is not None and job.error and job.error.get("next"):
        return [NextCall(**call) for call in job.error["next"]][:3]
    calls: list[NextCall] = []
    if run.state != "done":
        resume = {"resume": run.id}
        calls.append(
            then("run_simulations", "runs what is missing", environment=run.environment, options=resume)
        )
    see = next((one.see for one in run.clusters if one.see), "")
    if run.totals.failed and run.clusters:
        calls.append(_harden(run))
    if see:
        calls.append(then("get_item", "see one failure", kind="conversation", id=see, view="turns"))
    if run.state == "done" and run.totals.error:
        resume = {"resume": run.id}
        why = f"runs the {plural(run.totals.error, 'error')} again"
        calls.append(then("run_simulations", why, environment=run.environment, options=resume))
    if run.totals.error or run.totals.invalid:
        verdict = "error" if run.totals.error else "invalid"
        where = {"run": run.id, "verdict": verdict}
        calls.append(then("list_items", "what was left out of the rate", kind="conversation", where=where))
    if not calls:
        calls = _nothing_to_harden(run)
    if run.previous and run.state == "done":
        calls.insert(1, then("compare_runs", "what changed", base=run.previous, run=run.id))
    return calls[:3]


def _nothing_to_harden(run: RunRecord) -> list[NextCall]:
    """What to do after a run that shows no failure: because there is none, it is held out, or nothing was decided."""
    counted, trials = run.totals, {"run": run.id}
    if not run.options.get("score", True):
        return [then("score_run", "it is not scored yet", run=run.id)]
    if counted.inconclusive and not counted.passed + counted.failed:
        where = {**trials, "verdict": "inconclusive"}
        return [
            then("list_items", "nothing was decided: see which checks", kind="conversation", where=where),
            then("score_run", "scores it again, `judge` a model that can decide", run=run.id),
        ]
    cases: dict[str, Any] = {"environment": run.environment, "kinds": ["edge", "must_refuse"]}
    if counted.failed:
        where = {**trials, "verdict": "fail"}
        return [
            then("list_items", "all that fails is held out", kind="conversation", where=where),
            then("generate_scenarios", "more cases, of which failures may be looked at", **cases),
        ]
    if "/" in run.instructions and counted.passed:
        found = {"kind": "candidate", "id": run.instructions}
        return [then("get_item", "what of it is proven: this run is no proof", **found)]
    why = "harder cases: nothing fails" if counted.passed else "other cases: nothing was counted"
    return [then("generate_scenarios", why, **cases), then("list_items", kind="conversation", where=trials)]


def _after_scoring(report: RunReport) -> list[NextCall]:
    found, calls = report.run.agreement, _next(report)
    if found is not None and found.disagree and report.job is None:
        see = then("get_item", "all disagreements", kind="run", id=report.run.id, view="agreement")
        calls = [see, *calls]
    return calls[:3]


def _harden(run: RunRecord) -> NextCall:
    """A run of a candidate is no base; one of a part names the whole that it was taken from."""
    whole = run.options.get("part_of", run.id)
    if "/" in run.instructions or not whole:
        return then("harden_agent", environment=run.environment)
    return then("harden_agent", environment=run.environment, run=whole)
