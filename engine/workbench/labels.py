"""Labels: people's verdicts on checks and metrics of a run, kept with it, with time and author."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from pydantic import Field

from ..errors import InvalidArgument, NextCall, did_you_mean
from ..evaluate import Metric
from ..ids import parse_place
from ..records.authored import Authored, load
from ..records.opinion import HumanLabel
from ..records.run import RunRecord, TrialRecord
from .archive import Archive, utc_now
from .judging import metrics_of
from .plain import check_plain
from .sight import refuse_while_proving, spend

MOST: Final = 1_000
TABLE: Final = "labels"
VERDICTS: Final = ("pass", "fail", "inconclusive")


class LabelRow(Authored):
    """A label as given by the caller."""

    conversation: str = Field(max_length=300)
    """RUN/SIMULATION/TRIAL; the run may be omitted."""
    check: str = Field(min_length=1, max_length=100)
    """The id of a check, or a metric."""
    label: str | float
    """pass, fail or inconclusive; for a metric its number or label."""
    by: str = Field(default="", max_length=100)
    """Who labelled; default: the caller."""


class Labels:
    """Keeps and reads labels."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def of_run(self, run: str) -> list[HumanLabel]:
        """All labels of a run, in the order of its conversations. Run in a worker thread."""
        rows = self._archive.store.run_table(run, TABLE).walk()
        found = [HumanLabel.model_validate(row) for row in rows]
        return sorted(found, key=lambda label: (label.conversation, label.check))

    def keep(self, run: RunRecord, rows: Sequence[tuple[str, Any]]) -> list[str]:
        """Check all labels, then store them; a later one on the same check replaces it. Run in a worker thread.

        `rows`: each with its place for errors. Returns warnings. Labelling a held-out conversation counts as reading
        it; refused while a proof runs.
        """
        if len(rows) > MOST:
            raise InvalidArgument(f"{len(rows)} labels.", where="labels", allowed=f"at most {MOST:,} a call")
        check_plain([row for _, row in rows], "labels")
        found = [self._label(run, row, where) for where, row in rows]
        hidden = sorted({trial.scenario for trial, _ in found if trial.split == "held_out"})
        if hidden:
            refuse_while_proving(self._archive, run.environment)
        for scenario in hidden:
            spend(self._archive, f"{run.environment}/{scenario}")
        documents = {f"{one.conversation}#{one.check}": one.model_dump(mode="json") for _, one in found}
        self._archive.store.run_table(run.id, TABLE).put_many(documents)
        self._archive.store.audit("label", "run", run.id, labels=len(documents))
        if not hidden:
            return []
        text = "1 labelled scenario is" if len(hidden) == 1 else f"{len(hidden)} labelled scenarios are"
        return [f"{text} held out: once read, it counts as train for any text that you submit."]

    def _label(self, run: RunRecord, row: Any, where: str) -> tuple[TrialRecord, HumanLabel]:
        given = load(LabelRow, row, where)
        trial = self._trial(run, given.conversation, f"{where}.conversation")
        said = _said(run, trial, given, where)
        by = given.by or self._archive.store.actor
        label = HumanLabel(conversation=trial.id, check=given.check, label=said, by=by, at=utc_now())
        return trial, label

    def _trial(self, run: RunRecord, conversation: str, where: str) -> TrialRecord:
        name = conversation.removeprefix(f"{run.id}/")
        other = conversation.partition("/")[0]
        if conversation.count("/") == 2 and other != run.id:
            raise InvalidArgument(
                f"`{conversation[:120]}` is of {other[:60]}, and {run.id} is labelled.",
                where=where,
                allowed=f"conversations of {run.id}; the labels of another run in a call of their own",
            )
        place = parse_place(f"{run.id}/{name}", where)
        shelf = self._archive.trials(run.id)
        found = shelf.find(f"{place.simulation}/{place.trial}")
        if found is None:
            call = NextCall("list_items", {"kind": "conversation", "where": {"run": run.id}})
            raise InvalidArgument(
                f"{run.id} has no conversation `{name[:120]}`.",
                where=where,
                allowed="RUN/SIM/TRIAL",
                next=[call],
            )
        return found


def _said(run: RunRecord, trial: TrialRecord, given: LabelRow, where: str) -> str | float:
    """The label as stored. InvalidArgument for an unknown check, metric or label."""
    if any(check.id == given.check for check in trial.graded.checks):
        if given.label not in VERDICTS:
            shown = str(given.label)[:40]
            raise InvalidArgument(f"`{shown}` is no verdict.", where=f"{where}.label", allowed=VERDICTS)
        return given.label
    metric = metrics_of(run).get(given.check)
    if metric is None:
        known = [*(check.id for check in trial.graded.checks), *metrics_of(run)]
        what = f"{trial.id} has no check and no metric `{given.check}`.{did_you_mean(given.check, known)}"
        raise InvalidArgument(what, where=f"{where}.check", allowed=known)
    return _value(metric, given.label, f"{where}.label")


def _value(metric: Metric, label: str | float, where: str) -> str | float:
    """A label of a metric, or a number on its scale, which may be given as text."""
    if metric.labels:
        if label not in metric.labels:
            raise InvalidArgument(f"`{str(label)[:40]}` is no label.", where=where, allowed=metric.labels)
        return label
    least, most = metric.scale
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < least or (most is not None and number > most):
        allowed = f"{least:g} to {most:g}" if most is not None else f"a number of at least {least:g}"
        raise InvalidArgument(f"`{str(label)[:40]}` is not on the scale.", where=where, allowed=allowed)
    return number
