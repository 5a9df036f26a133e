"""Labelling: labels read from files, and what people are shown to label, without the judge's answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

from ..errors import InvalidArgument
from ..exchange import Roots, parse_jsonl
from ..ids import Place
from ..records.run import RunRecord, TrialRecord
from ..seeds import shuffled
from .archive import Archive
from .conversation_views import conversation_turns
from .judging import metrics_of
from .labels import MOST, VERDICTS, Labels
from .parts import Body
from .run_cases import RunCases
from .worlds import Worlds

COLUMNS: Final = ("conversation", "check", "label", "by")


class Ask(NamedTuple):
    """A check or metric, what it asks, and the valid answers."""

    check: str
    asks: str
    allowed: Sequence[str]


@dataclass(frozen=True, slots=True)
class ToLabel:
    """A conversation with what to label in it."""

    conversation: str
    """run/simulation/trial"""
    turns: list[Body]
    """What was said and done; no checks and no reasons."""
    asks: list[Ask]


class Labelling:
    """Chooses what people are to label. Run in a worker thread."""

    def __init__(self, archive: Archive, worlds: Worlds) -> None:
        self._archive = archive
        self._worlds = worlds
        self._labels = Labels(archive)

    def of_run(self, run: RunRecord, limit: int) -> list[ToLabel]:
        """Conversations with judged results that nobody has labelled: from train, drawn at random, at most `limit`."""
        done = {(label.conversation, label.check) for label in self._labels.of_run(run.id)}
        found: list[ToLabel] = []
        for row in shuffled(self._archive.trials(run.id).where(split="train"), run.seed, "labels"):
            if len(found) == limit:
                break
            asks = [ask for ask in self._asks(run, row) if (row.id, ask[0]) not in done]
            if asks:
                found.append(self._shown(run, row, asks))
        return found

    def _shown(self, run: RunRecord, trial: TrialRecord, asks: list[Ask]) -> ToLabel:
        place = Place(run.id, trial.simulation, trial.trial)
        conversation = self._archive.conversation(place)[1]
        return ToLabel(place.conversation, conversation_turns(conversation, ()), asks)

    def _asks(self, run: RunRecord, trial: TrialRecord) -> list[Ask]:
        """The judged checks and metrics of a trial, in words."""
        words = dict(self._check_texts(run, trial.simulation))
        found = [Ask(c.id, words.get(c.id, c.id), VERDICTS) for c in trial.graded.checks if c.judged]
        for name, metric in metrics_of(run).items():
            if metric.rubric and metric.answer in ("score", "label"):
                allowed = metric.labels or (f"{metric.scale[0]:g} to {metric.scale[1]:g}",)
                found.append(Ask(name, metric.rubric, allowed))
        return found

    def _check_texts(self, run: RunRecord, simulation: str) -> Iterator[tuple[str, str]]:
        for check in RunCases(self._archive, self._worlds, run).case(simulation).plan.checks:
            yield check.id, check.predicate.describe()


def label_rows(rows: Sequence[Any], roots: Roots) -> list[tuple[str, Any]]:
    """The labels of a call with their places, including those in files: `{"file": "labels.csv"}`, .json, .jsonl.

    InvalidArgument for a file without labels.
    """
    found: list[tuple[str, Any]] = []
    for i, row in enumerate(rows):
        file = _file_of(row)
        place = f"labels[{i}]"
        if file is None:
            found.append((place, row))
            continue
        inside = _of_file(file, roots, f"{place}.file")
        found += [(f"{place}.file, row {n}", one) for n, one in enumerate(inside, 1)]
        if len(found) > MOST:
            raise InvalidArgument(
                f"More than {MOST:,} labels.", where=f"labels[{i}]", allowed=f"at most {MOST:,} a call"
            )
    return found


def _file_of(row: Any) -> Any:
    return cast("Mapping[str, Any]", row).get("file") if isinstance(row, Mapping) else None


def _of_file(file: Any, roots: Roots, where: str) -> list[Any]:
    if not isinstance(file, str):
        raise InvalidArgument(
            "`file` is no text.", where=where, allowed="the path of a .csv, .json or .jsonl"
        )
    text = roots.read_text(file, where)
    if file.endswith(".csv"):
        return _of_csv(text, where)
    value: Any = parse_jsonl(text, where) if file.endswith(".jsonl") else roots.read_json(file, where)
    inner: Any = cast("Mapping[str, Any]", value).get("labels") if isinstance(value, Mapping) else value
    if not isinstance(inner, list):
        raise InvalidArgument(
            f"`{file[:200]}` holds no list of labels.", where=where, allowed="a JSON list, JSONL or CSV"
        )
    return cast("list[Any]", inner)


def _of_csv(text: str, where: str) -> list[dict[str, Any]]:
    """The rows of a table whose first line names `COLUMNS`, in any order; other columns are ignored."""
    try:
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
        rows = [dict(row) for row in reader]
    except csv.Error as error:
        raise InvalidArgument(
            f"This is no CSV: {error}.", where=where, allowed="a table with a head"
        ) from None
    missing = [name for name in COLUMNS[:3] if name not in (reader.fieldnames or ())]
    if missing:
        words = f"a first line with {', '.join(COLUMNS)}"
        raise InvalidArgument(f"The table has no column `{missing[0]}`.", where=where, allowed=words)
    return [{name: _value(name, row[name]) for name in COLUMNS if row.get(name)} for row in rows]


def _value(name: str, text: str) -> str | float:
    if name != "label":
        return text.strip()
    try:
        return float(text)
    except ValueError:
        return text.strip()
