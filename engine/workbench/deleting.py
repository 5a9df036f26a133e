"""Deletes stored things: what goes along is reported first, what is in use is refused, what is deleted is purged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import Conflict, InvalidArgument, NextCall, UserError
from ..ids import parse_place, split_nested
from ..plural import plural
from ..records.environment import knowledge_hash
from ..records.job import Job
from ..records.run import RunRecord
from .archive import Archive, Shelf
from .generating import DRAFTS
from .jobs import Jobs
from .kept_calls import CLUSTERS, forget_part_calls, judged_part, played_part
from .looks import LookLedger
from .results import Changes
from .run_drafts import trials_wanted
from .scoring import Scoring

DELETED = ("environment", "persona", "scenario", "simulation", "run", "conversation", "hardening", "session")
MOST = 1000
_CASES = ("persona", "scenario", "simulation")
_AT_WORK_ON_CASES = ("hardening", "simulations")
"""Kinds of jobs."""
_OPEN = ("open", "running")
_DELETED = "deleted"
_DELETING = "deleting"
"""Options of a run: the trials deleted from it, and those of them whose deletion was begun."""


class Deleting:
    """Deletes by kind and id. Run in a worker thread."""

    def __init__(self, archive: Archive, jobs: Jobs, scoring: Scoring) -> None:
        self._archive = archive
        self._jobs = jobs
        self._scoring = scoring
        self._looks = LookLedger(archive)
        self._shelves: Mapping[str, Shelf[Any]] = {
            "environment": archive.environments,
            "persona": archive.personas,
            "scenario": archive.scenarios,
            "simulation": archive.simulations,
            "run": archive.runs,
            "hardening": archive.hardenings,
            "session": archive.sessions,
        }

    def delete(self, kind: str, ids: Sequence[str], confirm: bool) -> Changes:
        """What goes with the items; deleted only with `confirm`. An unknown id, or one in use, stops everything."""
        if kind not in DELETED:
            raise InvalidArgument(
                f"`{kind[:40]}` cannot be deleted by itself in this version.", where="kind", allowed=DELETED
            )
        if not 1 <= len(ids) <= MOST:
            raise InvalidArgument(f"`ids` holds {len(ids)}.", where="ids", allowed=f"1 to {MOST:,} ids")
        chosen = list(dict.fromkeys(ids))
        for k, id in enumerate(ids):
            self._check(kind, id, f"ids[{k}]", chosen)
        goes: Counter[str] = Counter()
        for id in chosen:
            goes.update(self._goes_with(kind, id))
        changes = Changes(kind, chosen, goes_with={k: n for k, n in goes.items() if n}, done=confirm)
        changes.warnings = self._notes(kind, chosen)
        if confirm and kind == "conversation":
            self._remove_conversations(chosen)
        elif confirm:
            for id in chosen:
                self._remove(kind, id)
                self._archive.store.audit("delete", kind, id)
        return changes

    def retire(self, kind: str, ids: Sequence[str]) -> list[str]:
        """Delete what has passed its age limit, skipping what is in use or already deleted.

        Returns the deleted ids.
        """
        gone: list[str] = []
        for id in ids:
            with suppress(UserError):
                self._not_in_use(kind, id, self._shelves[kind].get(id), "id")
                if kind == "hardening":
                    self._remove_hardening(id)
                gone.append(id)
        if kind in ("run", "session"):
            self._remove_runs(gone)
            self._archive.sessions.delete(gone)
        for id in gone:
            self._archive.store.audit("retention", kind, id)
        return gone

    def refuse_in_use(self, environment: str) -> None:
        """Conflict while a job works on the environment's cases."""
        for job in self._jobs_of(environment):
            if job.active and job.kind in _AT_WORK_ON_CASES:
                raise Conflict(
                    f"{job.id} is at work on the cases of {environment}.",
                    where="id",
                    allowed="the same when it is over",
                    next=[NextCall("cancel_job", {"job": job.id})],
                )

    def _check(self, kind: str, id: str, where: str, chosen: Sequence[str]) -> None:
        try:
            if kind == "conversation":
                self._check_conversation(id, where)
                return
            record = self._shelves[kind].get(id, where)
            self._not_in_use(kind, id, record, where)
            if kind == "persona":
                self._no_default_partner(id, where)
        except UserError as error:
            raise type(error)(
                f"{error.what} Nothing was deleted.", where=where, allowed=error.allowed, next=error.next
            ) from None

    def _check_conversation(self, id: str, where: str) -> None:
        """Conflict if it is evidence of a hardening, or its run goes on."""
        place = parse_place(id, where)
        if place.turn:
            raise InvalidArgument(f"`{id}` is a turn.", where=where, allowed=place.conversation)
        run = self._archive.runs.get(place.run, where)
        trial = f"{place.simulation}/{place.trial}"
        interrupted = trial in run.options.get(_DELETING, ())
        if not interrupted and self._archive.trials(place.run).table.find(trial) is None:
            self._archive.conversation(place, where)  # raises NotFound, naming similar ids
        self._not_in_use("run", place.run, run, where)
        owner = run.hardening or next(
            (
                h.id
                for h in self._archive.hardenings.where(environment=run.environment)
                if h.state in _OPEN and h.base_run == place.run
            ),
            "",
        )
        if owner:
            call = NextCall("delete_items", {"kind": "hardening", "ids": [owner]})
            raise Conflict(
                f"{id} is evidence of {owner}.", where=where, allowed="the whole hardening", next=[call]
            )

    def _notes(self, kind: str, ids: Sequence[str]) -> list[str]:
        """What the caller should know besides the counts."""
        if kind == "conversation":
            gone = Counter(parse_place(id, "ids").run for id in ids)
            wanted = {run: trials_wanted(self._archive.runs.get(run)) for run in gone}
            return [
                f"{run} is scored anew without {'it' if count == 1 else 'them'}: its thresholds count {count:,} of "
                f"{plural(wanted[run], 'trial')} as missing, and nothing is run again."
                for run, count in gone.items()
            ]
        if kind == "hardening":
            return ["Its looks at held-out scenarios stay counted, and what it promoted stays a version."]
        if kind != "run":
            return []
        folder = self._archive.store.home / "exports"
        left = sorted(p.name for id in ids for p in folder.glob(f"{id}.*"))
        notes = [f"Exports are files of your own and stay: {', '.join(left[:5])}."] if left else []
        begun = {h.id: h.base_run for h in self._archive.hardenings.where() if h.base_run in ids}
        notes += [
            f"{hardening} began with {run}: its outcome and proof stay, but its report loses the base's conversations."
            for hardening, run in begun.items()
        ]
        return notes

    def _not_in_use(self, kind: str, id: str, record: Any, where: str) -> None:
        """Conflict while a job works on it."""
        if kind == "run":
            self._no_session(id, record, where)
            jobs = [self._archive.store.jobs.get(record.job)] if self._has_job(record.job) else []
            if record.hardening:
                jobs = self._jobs_of(record.environment, hardening=record.hardening)
        elif kind == "hardening":
            jobs = self._jobs_of(record.environment, hardening=id)
        elif kind == "session":
            jobs = []
        elif kind in _CASES:
            jobs = [job for job in self._jobs_of(record.environment) if job.kind in _AT_WORK_ON_CASES]
        else:
            jobs = self._jobs_of(id)
        job = next((job for job in jobs if job.active), None)
        if job is not None:
            busy = (
                f"{id} is running ({job.id})"
                if kind in ("run", "hardening")
                else f"{job.id} is at work on it"
            )
            raise Conflict(f"{busy}.", where=where, next=[NextCall("cancel_job", {"job": job.id})])

    def _no_session(self, id: str, record: RunRecord, where: str) -> None:
        if record.purpose == "session":
            call = NextCall("delete_items", {"kind": "session", "ids": [id]})
            raise Conflict(f"{id} is a session.", where=where, allowed="kind session", next=[call])

    def _no_default_partner(self, id: str, where: str) -> None:
        environment, slug = split_nested(id)
        rows = self._archive.scenarios.table.walk({"environment": environment})
        named = [str(row["id"]) for row in rows if row["scenario"].get("persona") == slug]
        if named:
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            raise Conflict(
                f"{id} is the partner in {', '.join(named[:3])}{more}.",
                where=where,
                allowed="give them another persona first, or delete them",
                next=[
                    NextCall(
                        "update_item", {"kind": "scenario", "id": named[0], "changes": {"persona": None}}
                    )
                ],
            )

    def _goes_with(self, kind: str, id: str) -> dict[str, int]:
        archive = self._archive
        if kind == "run":
            return {"conversation": self._conversations([id])}
        if kind == "hardening":
            runs = [r.id for r in archive.runs.where(hardening=id)]
            candidates = len(archive.hardenings.get(id).candidates)
            return {"candidate": candidates, "run": len(runs), "conversation": self._conversations(runs)}
        if kind == "environment":
            every = [r.id for r in archive.runs.where(environment=id)]
            runs = [run for run in every if archive.sessions.find(run) is None]
            return {
                "persona": archive.personas.count(environment=id),
                "scenario": archive.scenarios.count(environment=id),
                "simulation": archive.simulations.count(environment=id),
                "hardening": archive.hardenings.count(environment=id),
                "instructions": archive.instructions.count(environment=id),
                "run": len(runs),
                "session": len(every) - len(runs),
                "conversation": self._conversations(every),
            }
        if kind == "session":
            return {"conversation": self._conversations([id])}
        if kind in ("simulation", "conversation"):
            return {}
        environment, slug = split_nested(id)
        return {"simulation": archive.simulations.count(environment=environment, **{kind: slug})}

    def _conversations(self, runs: Iterable[str]) -> int:
        tables = ("trials", "again")
        return sum(self._archive.trials(run, table).count() for run in runs for table in tables)

    def _remove(self, kind: str, id: str) -> None:
        if kind in ("run", "session"):
            self._remove_runs([id])
            self._archive.sessions.delete([id])
        elif kind == "hardening":
            self._remove_hardening(id)
        elif kind == "environment":
            self._remove_environment(id)
        else:
            environment, slug = split_nested(id)
            if kind != "simulation":
                gone = self._archive.simulations.where(environment=environment, **{kind: slug})
                self._archive.simulations.delete([s.id for s in gone])
            self._shelves[kind].delete([id])
            if kind != "simulation":
                self._forget_drafts(environment, f"{kind}s")

    def _forget_drafts(self, environment: str, kind: str) -> None:
        """Drafts that stopped jobs wrote but have not stored yet may concern what is deleted."""
        rows = self._archive.store.jobs.table.walk({"environment": environment, "kind": kind})
        for id in [str(row.doc_id) for row in rows if row["state"] in ("cancelled", "failed", "paused")]:
            self._archive.store.drop_job_table(id, DRAFTS)

    def _remove_conversations(self, ids: Sequence[str]) -> None:
        """Erase their bytes, forget them, and score their runs anew; repeatable if interrupted."""
        of: dict[str, set[str]] = {}
        for id in ids:
            place = parse_place(id, "ids")
            of.setdefault(place.run, set()).add(f"{place.simulation}/{place.trial}")
        for run, trials in of.items():
            self._note_deleted(run, trials)
        for run, trials in of.items():
            self._forget_calls(run, trials)
            for table in ("attempts", "trials"):  # the trial last: it tells how many attempts there were
                self._erase(run, table, trials)
            self._scoring.score(run, self._archive.runs.get(run).state)
        self._archive.runs.table.journal.purge()  # its earlier score quotes what is being deleted
        for id in ids:
            self._archive.store.audit("delete", "conversation", str(parse_place(id, "ids")))
        with self._archive.runs.table.transaction():
            for run, trials in of.items():
                self._note_gone(run, trials)

    def _note_deleted(self, run: str, trials: set[str]) -> None:
        """Record in the run which trials are deleted on purpose, and that their deletion is not over.

        Resuming the run does not play them again, and deleting them again completes what was interrupted.
        """

        def noted(stored: RunRecord) -> RunRecord:
            more = {key: sorted(trials | set(stored.options.get(key) or ())) for key in (_DELETED, _DELETING)}
            return stored.model_copy(update={"options": {**stored.options, **more}})

        self._archive.runs.change(run, noted)

    def _note_gone(self, run: str, trials: set[str]) -> None:
        """Record in the run that nothing is left of these trials."""

        def noted(stored: RunRecord) -> RunRecord:
            options = dict(stored.options)
            left = sorted(set(options.pop(_DELETING, ())) - trials)
            return stored.model_copy(update={"options": {**options, **({_DELETING: left} if left else {})}})

        self._archive.runs.change(run, noted)

    def _forget_calls(self, run: str, trials: set[str]) -> None:
        """Forget what a client was asked in and about these trials, in every job that has read the run."""
        record, played = self._archive.runs.get(run), self._archive.trials(run).table
        parts = {judged_part(trial) for trial in trials} | {CLUSTERS}
        for id in trials:
            row = played.find(id)
            last = int(row["attempt"]) if row else 0
            parts.update(played_part("trials", id, attempt) for attempt in range(1, last + 1))
        jobs = {job.id for job in self._jobs_of(record.environment, run=run)}
        for hardening in self._archive.hardenings.where(environment=record.environment):
            if hardening.base_run == run:
                jobs.update(j.id for j in self._jobs_of(record.environment, hardening=hardening.id))
        if self._has_job(record.job):
            jobs.add(record.job)
        for job in jobs:
            forget_part_calls(self._archive.store, job, run, parts)

    def _erase(self, run: str, table: str, trials: set[str]) -> None:
        shelf = self._archive.trials(run, table)
        simulations = {trial.partition("/")[0] for trial in trials}
        rows = [row for slug in simulations for row in shelf.table.walk({"simulation": slug})]
        gone = [row for row in rows if f"{row['simulation']}/{row['trial']}" in trials]
        shelf.erase(gone)
        shelf.delete([str(row.doc_id) for row in gone] or trials)

    def _remove_runs(self, runs: Sequence[str]) -> None:
        """Remove several at once: each table is compacted once."""
        archive = self._archive
        records = [record for record in map(archive.runs.find, runs) if record is not None]
        again = [job.id for record in records for job in self._jobs_of(record.environment, run=record.id)]
        # First: without its job nobody writes into a run, nor resumes it.
        archive.store.delete_jobs({*again, *(record.job for record in records if record.job)}, ended=True)
        for run in runs:
            archive.forget_run(run)
        archive.runs.delete(runs)
        recordings = {str(record.agent.get("recordings", "")) for record in records}
        knowledge = {str(record.options.get("knowledge") or "") for record in records}
        archive.forget_unused({record.world for record in records}, recordings, knowledge)

    def _remove_hardening(self, id: str) -> None:
        record = self._archive.hardenings.get(id)
        jobs = [job.id for job in self._jobs_of(record.environment, hardening=id)]
        self._archive.store.delete_jobs(jobs, ended=True)
        self._remove_runs([r.id for r in self._archive.runs.where(hardening=id)])
        self._archive.forget_run(id)
        self._archive.hardenings.delete([id])
        if record.snapshot is not None:
            agent = record.snapshot.agent
            self._archive.forget_unused([record.snapshot.world], [str(agent.get("recordings", ""))])

    def _remove_environment(self, id: str) -> None:
        archive = self._archive
        record, runs = archive.environments.get(id), archive.runs.where(environment=id)
        worlds = {record.world, *(run.world for run in runs)}
        recordings = {record.agent.recordings, *(str(run.agent.get("recordings", "")) for run in runs)}
        archive.store.delete_jobs([job.id for job in self._jobs_of(id)], ended=True)
        for owner in (*runs, *archive.hardenings.where(environment=id)):
            archive.forget_run(owner.id)
        for shelf in (
            archive.runs,
            archive.hardenings,
            archive.sessions,
            archive.simulations,
            archive.scenarios,
            archive.personas,
            archive.instructions,
        ):
            shelf.delete([r.id for r in shelf.where(environment=id)])
        archive.environments.delete([id])
        self._looks.forget(id)
        knowledge = {str(run.options.get("knowledge") or "") for run in runs}
        archive.forget_unused(
            worlds, recordings, {*knowledge, knowledge_hash(record.settings.knowledge_base)}
        )

    def _has_job(self, job: str) -> bool:
        return bool(job) and self._archive.store.jobs.table.find(job) is not None

    def _jobs_of(self, environment: str, **fields: str) -> list[Job]:
        """The jobs of an environment, or those of its hardening or run."""
        rows = self._archive.store.jobs.table.walk({"environment": environment})
        found = [str(row.doc_id) for row in rows if all(row.get(k) == v for k, v in fields.items())]
        return [self._jobs.get(id) for id in found]
