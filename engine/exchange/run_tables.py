"""Trials for other programs: a table of them (CSV), and a report of a run for CI servers (JUnit XML)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from ..plural import plural
from ..records.run import RunRecord, TrialRecord
from .exporter import EVERYTHING, NOTHING, ONE_RUN, Material, Written, one_of

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of texts that a spreadsheet would take for a formula."""
_WITHHELD: Final = "held out: the reason is not shown, so that it can still prove a text"
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
COLUMNS: Final = (
    "conversation",
    "environment",
    "instructions",
    "simulation",
    "scenario",
    "persona",
    "trial",
    "seed",
    "split",
    "verdict",
    "reward",
    "score",
    "failed_checks",
    "why",
    "turns",
    "end",
    "wall_s",
    "cost_usd",
)


class Csv:
    """One row per trial."""

    name = "csv"
    suffix = ".csv"
    says = "one row a trial"
    record = "trial"
    sources = EVERYTHING
    chooses = True
    trains = False
    writes_cases = NOTHING

    def write(self, material: Material) -> Written:
        rows = [(parts.run, trial) for parts, trial in material.each()]
        return Written(csv_table(rows), len(rows), ["what was said: sft or json has it"])


class Junit:
    """One test case per trial. Why a held-out one failed is left out: CI writes this file at every run."""

    name = "junit"
    suffix = ".xml"
    says = "one test case a trial"
    record = "trial"
    sources = ONE_RUN
    chooses = True
    trains = False
    writes_cases = NOTHING

    def write(self, material: Material) -> Written:
        parts = one_of(material)
        hidden = sum(withheld(trial) for trial in parts.trials)
        left = [
            f"why {plural(hidden, 'held-out trial')} did not pass: csv or markdown has it, and spends them"
        ]
        text = junit_report(parts.run, parts.trials)
        return Written(text, len(parts.trials), left if hidden else (), spends=False)


def csv_table(trials: Iterable[tuple[RunRecord, TrialRecord]]) -> str:
    """One row per trial. A text that begins like a formula gets an apostrophe in front; an unknown cost is empty.

    No cell contains a carriage return: it would begin a row that nobody checked.
    """
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for run, trial in trials:
        row = _row(run, trial)
        table.writerow([_cell(row[name]) for name in COLUMNS])
    return out.getvalue()


def junit_report(run: RunRecord, trials: Sequence[TrialRecord]) -> str:
    """One test case per trial: fail and inconclusive are failures, error is an error, invalid is skipped."""
    verdicts = [trial.verdict for trial in trials]
    failures = verdicts.count("fail") + verdicts.count("inconclusive")
    counts = (
        f'tests="{len(trials)}" failures="{failures}" errors="{verdicts.count("error")}" '
        f'skipped="{verdicts.count("invalid")}" time="{run.wall_s:.3f}"'
    )
    name = _attribute(f"{run.id} {run.environment} {run.instructions}")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    lines.append(f"<testsuite name={name} {counts} timestamp={_attribute(run.created_at.rstrip('Z'))}>")
    for trial in trials:
        lines += _test_case(run, trial)
    return "\n".join([*lines, "</testsuite>", "</testsuites>", ""])


def _row(run: RunRecord, trial: TrialRecord) -> dict[str, Any]:
    costs = [use.cost_usd for use in trial.models.values()]
    return {
        **{name: getattr(trial, name) for name in COLUMNS if hasattr(trial, name)},
        "conversation": f"{run.id}/{trial.id}",
        "environment": run.environment,
        "instructions": run.instructions,
        "reward": trial.graded.reward,
        "score": trial.graded.score,
        "failed_checks": " ".join(trial.failed_checks),
        "why": "; ".join(reasons(trial)),
        "cost_usd": None if None in costs else sum(cost or 0.0 for cost in costs),
    }


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        plain = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        plain = plain.replace("\r\n", "\n").replace("\r", "\n")
        return f"'{plain}" if plain.startswith(FORMULA) else plain
    return value


def withheld(trial: TrialRecord) -> bool:
    """Whether a trial is held out and has reasons that somebody who writes instructions had better not read."""
    return trial.split == "held_out" and trial.verdict != "pass"


def reasons(trial: TrialRecord) -> Iterator[str]:
    """Why the trial did not pass. A trial that ended in error failed no check: it was not played to its end."""
    if trial.verdict == "pass":
        return
    if trial.graded.why:
        yield trial.graded.why
    if trial.verdict == "error":
        return
    for check in trial.graded.checks:
        if check.counts and check.verdict != "pass":
            yield f"{check.id}: {check.why or check.verdict}"


def _test_case(run: RunRecord, trial: TrialRecord) -> list[str]:
    where = _attribute(f"{run.environment}.{trial.scenario}")
    head = f'<testcase classname={where} name={_attribute(trial.id)} time="{trial.wall_s:.3f}"'
    if trial.verdict == "pass":
        return [f"{head}/>"]
    element = {"error": "error", "invalid": "skipped"}.get(trial.verdict, "failure")
    kind = "" if element == "skipped" else f' type="{trial.verdict}"'
    hidden = withheld(trial)
    how = f"{trial.error}; " if trial.error else ""
    why = [f"{how}{_WITHHELD}"] if hidden else [*reasons(trial)]
    first = why[0] if why and (hidden or trial.verdict == "error") else " ".join(trial.failed_checks)
    message = _attribute(f"{trial.verdict}: {first or trial.end}")
    text = _xml("\n".join([*why, f"{run.id}/{trial.id}"]))
    return [f"{head}>", f"<{element}{kind} message={message}>{text}</{element}>", "</testcase>"]


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("\ufffd", text))


def _xml(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", text))
