"""Failed attempts, kept apart and counted only in costs: trials that ended in error and will be run again, and those
that the simulated user spoiled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..evaluate import ERROR_ENDS
from ..records.run import TrialRecord
from ..simulate import USER_FAULTS
from .archive import Archive

TABLE = "attempts"


class Attempts:
    """The failed attempts of runs, in the order they were made."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def set_aside(
        self, run: str, which: Collection[str] | None = None, table: str = "trials"
    ) -> list[tuple[str, int]]:
        """Move trials that ended in an error out of a run, all or those with these ids; (simulation, trial) of each.

        One in which only the judge failed stays: its conversation is whole, and is judged again. Repeatable: one that
        was copied but not removed is copied onto itself. Run in a worker thread.
        """
        shelf, kept = self._archive.trials(run, table), self._archive.trials(run, _beside(table))
        broken = [record for record in shelf.where(verdict="error") if record.end in ERROR_ENDS]
        chosen = [record for record in broken if which is None or record.id in which]
        kept.put_many({f"{record.id}/{record.attempt}": record for record in chosen})
        shelf.delete(record.id for record in chosen)
        return [(record.simulation, record.trial) for record in chosen]

    def keep(self, run: str, record: TrialRecord, table: str = "trials") -> None:
        """Keep an attempt that never became a trial of the run, because it is repeated."""
        self._archive.trials(run, _beside(table)).put(f"{record.id}/{record.attempt}", record)

    def of_trial(self, run: str, id: str, table: str = "trials") -> list[TrialRecord]:
        """The failed attempts of one trial, `simulation/trial`."""
        kept = self._archive.trials(run, _beside(table))
        found: list[TrialRecord] = []
        while (record := kept.find(f"{id}/{len(found) + 1}")) is not None:
            found.append(record)
        return found

    def of_run(self, run: str, tables: Sequence[str] = ("trials", "again")) -> list[TrialRecord]:
        """All failed attempts of a run."""
        return [record for table in tables for record in self._archive.trials(run, _beside(table)).where()]


def is_spoiled(end: str, error: str) -> bool:
    """Whether a trial ended because its simulated user broke role."""
    return end == "user_fault" and error in USER_FAULTS


def _beside(table: str) -> str:
    return TABLE if table == "trials" else f"{table}_{TABLE}"
