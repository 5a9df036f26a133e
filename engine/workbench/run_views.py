"""Views of runs: clusters, rounds, checks."""

from __future__ import annotations

import anyio.to_thread

from ..evaluate import COUNTED, describe_agreement
from ..plural import plural
from ..records.environment import played_by
from ..records.run import Cluster, RunRecord
from ..records.verdict import GRADING
from .archive import Archive
from .parts import Body, paged
from .results import Item
from .rows import run_row
from .run_drafts import trials_wanted
from .sight import proving

_SAID = [f"item.clusters[].{field}" for field in ("name", "cause", "rule", "fix")]


class RunViews:
    """Shows one run. Callers check views and limits."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def run(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = self._archive.runs.get(id)
        if view == "clusters":
            rows = [_whole(cluster) for cluster in record.clusters]
            return paged(
                Item(
                    "run",
                    id,
                    view,
                    {"environment": record.environment},
                    _SAID,
                    summary=_summary(record, len(rows)),
                ),
                "clusters",
                rows,
                limit,
                skip,
            )
        if view == "rounds":
            rows = self.rounds(record.series)
            return paged(
                Item(
                    "run",
                    id,
                    view,
                    {"series": record.series},
                    summary=f"Series {record.series} has {plural(len(rows), 'round')}.",
                ),
                "rounds",
                rows,
                limit,
                skip,
            )
        if view == "checks":
            rows = await anyio.to_thread.run_sync(self._checks_of, record)
            return paged(
                Item("run", id, view, {}, summary=f"{id}: {plural(len(rows), 'check')}."),
                "checks",
                rows,
                limit,
                skip,
            )
        if view == "agreement":
            return self._agreement(record, limit, skip)
        exclude = {"instructions_text", "format", "simulations"} if view == "summary" else {"format"}
        body = {
            k: v
            for k, v in record.model_dump(mode="json", exclude=exclude).items()
            if v not in ("", None, [], {})
        }
        body["simulations"] = len(record.simulations) if view == "summary" else record.simulations
        if view == "summary":
            body["models"] = played_by(record.models, record.agent)
        if view == "summary" and record.clusters:
            body["clusters"] = [_short(cluster) for cluster in record.clusters]
        row = run_row(record.model_dump(mode="json"))
        return Item(
            "run",
            id,
            view,
            body,
            ["item.instructions_text", *_SAID],
            summary=f"{id} (round {record.round}, {record.instructions}): "
            f"{row.get('passed', 0)} of {row.get('counted', 0)} pass; {record.state}.",
            warnings=[*_old(record), *record.warnings],
        )

    def _agreement(self, run: RunRecord, limit: int, skip: int) -> Item:
        """Every disagreement of the judge with human labels, with kappa and confusion by check."""
        found = run.agreement
        if found is None:
            text = f"{run.id}: nobody has labelled its conversations; score_run takes labels."
            return Item("run", run.id, "agreement", {"labels": 0}, summary=text)
        body = found.model_dump(mode="json", exclude={"disagree", "without"})
        body["without"] = [row for row in found.model_dump(mode="json")["without"][:limit]]
        text = f"{run.id}: the judge {describe_agreement(found)}."
        untrusted = ["item.disagree[].why", "item.without[].why"]
        item = Item("run", run.id, "agreement", body, untrusted, summary=text)
        return paged(item, "disagree", found.disagree, limit, skip)

    def rounds(self, series: str) -> list[Body]:
        """Every round of a series: number, run, version, counts, rate, whether it is complete."""
        runs = sorted(self._archive.runs.where(series=series), key=lambda r: (r.round, r.created_at))
        return [
            {
                "number": run.round,
                "version": run.instructions,
                "run": run.id,
                "total": trials_wanted(run),
                "passed": run.totals.passed,
                "failed": run.totals.failed,
                "inconclusive": run.totals.inconclusive,
                "error": run.totals.error,
                "invalid": run.totals.invalid,
                "rate": run.totals.rate,
                "completed": run.state == "done",
            }
            for run in runs
        ]

    def _checks_of(self, run: RunRecord) -> list[Body]:
        counts: dict[str, Body] = {}
        hidden = bool(proving(self._archive, run.environment))
        for trial in self._archive.trials(run.id).where():
            if trial.verdict not in COUNTED or (hidden and trial.split == "held_out"):
                continue
            for check in trial.graded.checks:
                row = {"id": check.id, "kind": check.kind, "pass": 0, "fail": 0, "inconclusive": 0}
                counts.setdefault(check.id, {**row, "counts": check.counts})[check.verdict] += 1
        return sorted(counts.values(), key=lambda c: (-c["fail"], c["id"]))


def _whole(cluster: Cluster) -> Body:
    """All of it; what it counts as simulations are those of train, which is how it is told."""
    row = cluster.model_dump(mode="json", exclude_defaults=True)
    return {"train" if name == "simulations" else name: value for name, value in row.items()} | {
        "severity": cluster.severity
    }


def _short(cluster: Cluster) -> Body:
    """What failed, how badly, how often and where to look; the rest is in the view `clusters`."""
    shown = ("id", "check", "name", "severity", "train", "held_out", "not_understood", "cause", "see")
    told = _whole(cluster)
    return {name: told[name] for name in shown if name in told}


def _summary(run: RunRecord, clusters: int) -> str:
    counted = run.totals
    failed = f"{counted.failed:,} of {plural(counted.trials, 'trial')} failed"
    return f"{run.id} ({run.state}): {failed}; {plural(clusters, 'failure cluster')}."


def _old(run: RunRecord) -> list[str]:
    if run.grading in (0, GRADING):
        return []
    return [
        f"{run.id} was graded by version {run.grading}; score_run grades it by version {GRADING}, offline."
    ]
