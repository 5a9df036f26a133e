"""A run for people: figures, what failed and why, and the conversations that did not pass, as Markdown.

What agents, users, tools and checks said is only in fenced blocks, and foreign text in tables is escaped: it is shown
verbatim and cannot become markup, a link or an image.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from ..plural import plural
from ..records.conversation import Conversation, EventEntry, NotifyEntry, SayEntry, ToolEntry
from ..records.run import RunRecord, TrialRecord
from .exporter import EVERYTHING, NOTHING, Material, Omissions, RunParts, Written
from .run_tables import reasons

TRANSCRIPTS: Final = 50
"""Conversations of one run that are shown turn by turn."""
LONG: Final = 2000
"""Characters of one text that are shown."""
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>#!|~&@])")
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Markdown:
    """One section per run: totals, thresholds, clusters, a table of trials, transcripts of those that did not pass."""

    name = "markdown"
    suffix = ".md"
    says = "a report to read, with the conversations that did not pass"
    record = "trial"
    sources = EVERYTHING
    chooses = True
    trains = False
    writes_cases = NOTHING

    def write(self, material: Material) -> Written:
        left = Omissions()
        lines = [f"# {_plain(material.source)}", ""]
        if material.where:
            chosen = ", ".join(f"{name} {value}" for name, value in material.where.items())
            lines += [f"Only the trials of {_plain(chosen)}; the totals are those of the whole runs.", ""]
        for parts in material.runs:
            lines += _run(parts, left)
        records = sum(len(parts.trials) for parts in material.runs)
        return Written("\n".join(lines).rstrip() + "\n", records, left.lines)


def _run(parts: RunParts, left: Omissions) -> Iterator[str]:
    run = parts.run
    yield from (f"## {run.id}", "")
    if run.name:
        yield from (_plain(run.name), "")
    yield from (_figures(run), "")
    if run.thresholds:
        rows = [(row.threshold, row.result, row.why) for row in run.thresholds]
        yield from _table(("threshold", "result", "why"), rows)
    if run.clusters:
        found = [
            (c.id, c.check, c.severity, c.simulations, c.held_out, c.scenarios, c.name or c.cause)
            for c in run.clusters
        ]
        heads = ("cluster", "check", "severity", "train simulations", "held out", "scenarios", "cause")
        yield from _table(heads, found)
    yield from _table(
        ("conversation", "verdict", "reward", "turns", "end", "failed checks"), map(_row, parts.trials)
    )
    shown = [trial for trial in parts.trials if trial.verdict != "pass"]
    for trial in shown[:TRANSCRIPTS]:
        yield from _transcript(run, trial, parts.talk(trial))
    for _ in shown[TRANSCRIPTS:]:
        left.add("transcript", f"a run shows {TRANSCRIPTS} at most; choose with `where`")


def _figures(run: RunRecord) -> str:
    told = run.totals
    counted = told.passed + told.failed + told.inconclusive
    rate = "" if told.rate is None else f" ({told.rate:.0%}"
    if rate and told.interval is not None:
        rate += f", 95% interval {told.interval[0]:.0%} to {told.interval[1]:.0%}"
    rate += ")" if rate else ""
    apart = (
        f"; {told.error:,} error and {told.invalid:,} invalid, in no rate"
        if told.error + told.invalid
        else ""
    )
    return (
        f"{told.passed:,} of {plural(counted, 'trial')} passed{rate}{apart}. Environment {run.environment}, "
        f"instructions {_plain(run.instructions)}, {plural(told.scenarios, 'scenario')}, "
        f"{plural(told.simulations, 'simulation')}, {run.state}."
    )


def _row(trial: TrialRecord) -> tuple[Any, ...]:
    reward = "" if trial.graded.reward is None else f"{trial.graded.reward:g}"
    return (trial.id, trial.verdict, reward, trial.turns, trial.end, " ".join(trial.failed_checks))


def _transcript(run: RunRecord, trial: TrialRecord, talk: Conversation) -> Iterator[str]:
    yield from (f"### {run.id}/{trial.id}: {trial.verdict}", "")
    yield from _fenced([*reasons(trial)])
    yield from _fenced([line for entry in talk.log for line in _entry(entry)])


def _entry(entry: Any) -> Iterator[str]:
    """One or more lines of a transcript."""
    if isinstance(entry, SayEntry):
        mark = " (rejected)" if entry.rejected else ""
        yield f"[{entry.turn}] {entry.by}{mark}: {_short(entry.say)}"
    elif isinstance(entry, ToolEntry):
        called = entry.raw if entry.raw is not None else _json(entry.args)
        yield f"[{entry.turn}] {entry.by} calls {_short(entry.tool)} {_short(called)}"
        error = "" if entry.ok else f" {entry.error or 'error'}"
        yield f"[{entry.turn}]  {'=>' if entry.ok else '!>'}{error} {_short(_json(entry.result))}"
    elif isinstance(entry, NotifyEntry):
        yield f"[{entry.turn}] notice to {entry.to}: {_short(entry.notify)}"
    elif isinstance(entry, EventEntry):
        yield f"[{entry.turn}] event {_short(entry.event)}: {entry.status}"


def _fenced(lines: Sequence[str]) -> Iterator[str]:
    """The lines in a block whose fence is longer than any in them."""
    if not lines:
        return
    text = _CONTROL.sub("\ufffd", "\n".join(lines))
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", text, fence, "")


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join('---' for _ in head)}|"
    for row in rows:
        yield f"| {' | '.join(_plain(str(cell)) for cell in row)} |"
    yield ""


def _plain(text: str) -> str:
    """A text on one line, escaped so that no reader takes it for markup."""
    shown = _CONTROL.sub("\ufffd", " ".join(text.split()))
    return _MARKUP.sub(r"\\\1", shown[:LONG])


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    """A text with all further lines indented below the first."""
    left = len(text) - LONG
    shown = text if left <= 0 else f"{text[:LONG]}… ({left:,} more characters)"
    return "\n      ".join(shown.splitlines())
