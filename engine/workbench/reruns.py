"""Reruns of failure clusters: whether a run made to reproduce a cluster of an earlier run did so.

It is the same cluster if the same check fails, or the same wording of one without a name. A case changed since then
shows something else, and is counted separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..evaluate import COUNTED
from ..plural import be, plural
from ..records.run import ClusterRerun, RunRecord, TrialRecord
from .archive import Archive
from .case_hashes import case_digest
from .select import clusters_of
from .trials import TrialRunner


class Reruns:
    """The clusters that a run was asked to reproduce."""

    def __init__(self, archive: Archive, trials: TrialRunner) -> None:
        self._archive = archive
        self._trials = trials

    def asked(self, select: Sequence[str]) -> list[ClusterRerun]:
        """What the selectors `cluster:RUN/K` of a call name, each once."""
        return [
            ClusterRerun(
                cluster=f"{run.id}/{cluster.id}",
                check=cluster.check,
                key=cluster.key or cluster.check,
                cause=cluster.name or cluster.cause,
                members=cluster.members,
            )
            for run, cluster in clusters_of(self._archive, select)
        ]

    def weighed(self, run: RunRecord) -> list[ClusterRerun]:
        """How many of their cases are gone or changed; call once the run's own were copied."""
        return [self._weighed(run, one) for one in run.reruns]

    def _weighed(self, run: RunRecord, rerun: ClusterRerun) -> ClusterRerun:
        source = self._archive.runs.find(rerun.cluster.partition("/")[0])
        there = [slug for slug in rerun.members if slug in set(run.simulations)]
        changed: list[str] = []
        if source is not None and source.id != run.id:
            mine, theirs = self._trials.cases(run), self._trials.cases(source)
            changed = [s for s in there if case_digest(mine.parts(s)) != case_digest(theirs.parts(s))]
        gone = len(rerun.members) - len(there)
        return rerun.model_copy(update={"changed": len(changed), "gone": gone})


def counted(rerun: ClusterRerun, trials: Sequence[TrialRecord], keys: Mapping[str, set[str]]) -> ClusterRerun:
    """What became of a cluster. `keys`: for each failed trial the keys of its clusters."""
    counts: dict[str, int] = {"again": 0, "otherwise": 0, "passed": 0, "undecided": 0}
    of: dict[str, list[TrialRecord]] = {slug: [] for slug in rerun.members}
    for trial in trials:
        if trial.simulation in of:
            of[trial.simulation].append(trial)
    for played in of.values():
        if played:
            counts[_fared(rerun.key, played, keys)] += 1
    return rerun.model_copy(update=counts)


def rerun_warnings(run: RunRecord) -> list[str]:
    """Warnings if what was run is not what had failed."""
    found: list[str] = []
    for one in run.reruns:
        of = f"of {plural(len(one.members), 'simulation')} of {one.cluster}"
        if one.gone:
            found.append(f"{one.gone:,} {of} {be(one.gone)} not there any more.")
        if one.changed:
            found.append(
                f"{one.changed:,} {of} {be(one.changed)} made of something else: that shows something else too."
            )
    return found


def _fared(key: str, trials: Sequence[TrialRecord], keys: Mapping[str, set[str]]) -> str:
    if any(key in keys.get(trial.id, ()) for trial in trials):
        return "again"
    if any(trial.verdict == "fail" for trial in trials):
        return "otherwise"
    counts = [trial for trial in trials if trial.verdict in COUNTED]
    return "passed" if counts and all(trial.verdict == "pass" for trial in counts) else "undecided"
