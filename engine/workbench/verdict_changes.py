"""Verdicts of a run before and after it was scored again, trial by trial. The earlier ones stay stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..records.run import RunRecord, TrialRecord
from ..records.verdict import GRADING, Verdict
from .archive import Archive
from .sight import proving

SHOWN: Final = 20
_TABLE: Final = "scored"
"""One document per score set of the run: the segment document that names the verdict of each trial at that time."""


@dataclass(slots=True)
class VerdictChanges:
    """What became of the verdicts of a run when it was scored again."""

    before: list[int] = field(default_factory=list[int])
    """Grading versions of the earlier verdicts, ascending."""
    now: list[int] = field(default_factory=list[int])
    compared: int = 0
    """Trials that have both verdicts."""
    pass_to_fail: int = 0
    fail_to_pass: int = 0
    other: int = 0
    """Other changes of the verdict: to or from inconclusive, error or invalid."""
    other_reward: int = 0
    """Trials with equal verdicts but different rewards."""
    first: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """The first `SHOWN` trials whose verdict changed: conversation, was, now. Held-out ones are only counted while a
    proof runs."""

    @property
    def changed(self) -> int:
        """Trials whose verdict changed."""
        return self.pass_to_fail + self.fail_to_pass + self.other


def gradings(archive: Archive, run: str) -> list[int]:
    """The grading versions of a run's verdicts, ascending. Run in a worker thread."""
    shelf = archive.trials(run)
    return sorted({int(shelf.whole(row)["graded"]["grading"]) for row in shelf.table.walk()})


def put_aside(archive: Archive, run: RunRecord) -> None:
    """Note each trial's verdict for the score set that is put aside next. Run in a worker thread."""
    rows = archive.trials(run.id).table.walk()
    at = {str(row.doc_id): row["pointer"]["graded"][-1] for row in rows if "graded" in row["pointer"]}
    pointer = archive.store.segments.append(run.id, {"verdicts": at})
    archive.store.run_table(run.id, _TABLE).put(str(len(run.score_sets)), {"at": str(pointer)})


def earlier(archive: Archive, run: RunRecord, trial: TrialRecord) -> list[Verdict]:
    """The verdicts that a trial had in the score sets of its run, oldest first, without its present one.

    A verdict between the simulation and its first scoring does not count. Run in a worker thread.
    """
    read, places = archive.store.segments.read, dict[str, None]()
    for number in range(len(run.score_sets)):
        noted = archive.store.run_table(run.id, _TABLE).find(str(number))
        at: Mapping[str, str] = read(noted["at"])["verdicts"] if noted else {}
        if trial.id in at:
            places[at[trial.id]] = None
    now = str(trial.pointer["graded"][-1]) if "graded" in trial.pointer else ""
    return [Verdict.model_validate(read(place)) for place in places if place != now]


def verdict_changes(archive: Archive, run: RunRecord) -> VerdictChanges | None:
    """The present verdicts of a run beside those of its last score set; None without one. Run in a worker thread."""
    noted = archive.store.run_table(run.id, _TABLE).find(str(len(run.score_sets) - 1))
    if noted is None:
        return None
    read = archive.store.segments.read
    before: Mapping[str, str] = read(noted["at"])["verdicts"]
    hidden = bool(proving(archive, run.environment))
    found, versions = VerdictChanges(), (set[int](), set[int]())
    for row in archive.trials(run.id).table.walk(oldest_first=True):
        id, now = str(row.doc_id), row["pointer"]["graded"][-1]
        if id not in before:
            continue
        sides = [read(place) for place in dict.fromkeys((before[id], now))]
        for seen, side in zip(versions, (sides[0], sides[-1]), strict=True):
            seen.add(int(side["grading"]))
        shown = not (hidden and row["split"] == "held_out")
        _count(found, f"{run.id}/{id}", sides[0], sides[-1], shown)
    found.before, found.now = sorted(versions[0]), sorted(versions[1])
    return found


def outdated(versions: list[int]) -> bool:
    """Whether a grading version other than ours has decided a verdict."""
    return any(version != GRADING for version in versions)


def _count(
    found: VerdictChanges, place: str, was: Mapping[str, Any], now: Mapping[str, Any], shown: bool
) -> None:
    found.compared += 1
    pair = (was["verdict"], now["verdict"])
    if pair[0] == pair[1]:
        found.other_reward += was["reward"] != now["reward"]
        return
    if pair == ("pass", "fail"):
        found.pass_to_fail += 1
    elif pair == ("fail", "pass"):
        found.fail_to_pass += 1
    else:
        found.other += 1
    if shown and len(found.first) < SHOWN:
        found.first.append({"conversation": place, "was": pair[0], "now": pair[1]})
