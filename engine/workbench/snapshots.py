"""Snapshots: what a hardening's trials are made of, copied once when it begins, so that both arms get the same."""

from __future__ import annotations

from typing import Any

from ..plural import plural
from ..records.hardening import Hardening, Snapshot
from ..records.persona import Persona
from ..records.run import RunRecord
from ..records.scenario import Scenario
from .archive import Archive
from .case_hashes import case_hash
from .run_cases import CaseParts, RunCases
from .run_drafts import agent_of
from .trials import TrialRunner

_TABLES = ("scenarios", "personas", "simulations")


class Snapshots:
    """Takes snapshots, and lays them out for the runs of a hardening. Run in a worker thread."""

    def __init__(self, archive: Archive, trials: TrialRunner) -> None:
        self._archive = archive
        self._trials = trials

    def taken(self, record: Hardening) -> Hardening:
        """The hardening with its snapshot, taken now if there is none yet.

        An unfinished copy is made again.
        """
        if record.snapshot is not None:
            return record
        owner = self._archive.environments.get(record.environment)
        chosen, left_out = set(record.simulations), set(record.left_out)
        known = self._archive.simulations.where(environment=owner.id)
        simulations = [s for s in known if s.slug in chosen | left_out]
        record.simulations = [s.slug for s in simulations if s.slug in chosen]
        record.left_out = [s.slug for s in simulations if s.slug in left_out]
        record.snapshot = Snapshot(
            world=owner.world,
            agent=agent_of(owner),
            limits=owner.settings.limits,
            user_guidelines=owner.settings.user_guidelines,
        )
        self.cases(record).copy(self._archive, simulations)
        self._weigh_base(record)

        def keep(stored: Hardening) -> Hardening:
            fields = {
                name: getattr(record, name) for name in ("simulations", "left_out", "snapshot", "warnings")
            }
            return stored.model_copy(update=fields)

        return self._archive.hardenings.change(record.id, keep)

    def cases(self, record: Hardening) -> RunCases:
        """The copied cases."""
        return self._trials.cases(self.pattern(record))

    def personas(self, record: Hardening) -> list[Persona]:
        """The personas in the cases."""
        rows = self._archive.store.run_table(record.id, "personas").walk()
        return [Persona.model_validate(row["persona"]) for row in rows]

    def pattern(self, record: Hardening) -> RunRecord:
        """A run of the hardening, all but its id, text and time; its id is the snapshot's own folder."""
        taken = record.snapshot or Snapshot()
        options: dict[str, Any] = {"limits": taken.limits, "user_guidelines": taken.user_guidelines}
        if record.limits.cassette:
            options["cassette"] = record.limits.cassette
        return RunRecord(
            id=record.id,
            environment=record.environment,
            purpose="hardening",
            hardening=record.id,
            world=taken.world,
            models=record.models,
            agent=taken.agent,
            simulations=[*record.simulations, *record.left_out],
            seed=record.seed,
            options=options,
        )

    def alike(self, one: Hardening, other: Hardening) -> bool:
        """Whether a proof would be the same in both: base, models, seed, and every case."""
        if self._made_of(one) != self._made_of(other):
            return False
        mine, theirs = self.cases(one), self.cases(other)
        every = [*one.simulations, *one.left_out]
        return all(case_hash(mine.parts(slug)) == case_hash(theirs.parts(slug)) for slug in every)

    def _made_of(self, record: Hardening) -> list[Any]:
        """What decides a proof besides the cases themselves."""
        taken = record.snapshot or Snapshot()
        return [
            *(record.base_text, record.models, record.seed, record.trials, record.limits.target),
            *(sorted(record.simulations), sorted(record.left_out)),
            taken.model_dump(exclude={"base_serves"}),
        ]

    def copy(self, record: Hardening, run: str) -> None:
        """Copy the cases into the folder of a run."""
        store = self._archive.store
        for name in _TABLES:
            rows = {str(row.doc_id): dict(row) for row in store.run_table(record.id, name).walk()}
            if rows:
                store.run_table(run, name).put_many(rows)

    def _weigh_base(self, record: Hardening) -> None:
        """Decide whether the run that the hardening started from serves as its base; a warning says why not."""
        base = self._archive.runs.find(record.base_run) if record.base_run else None
        if base is None or record.snapshot is None:
            return
        other = self._differences(base, record)
        record.snapshot.base_serves = not other
        if other:
            text = f"{base.id} was made under other settings ({', '.join(other)}); the base is run anew."
            record.warnings.append(text)

    def _differences(self, base: RunRecord, record: Hardening) -> list[str]:
        """How a base run was made differently from the hardening, in words."""
        pattern = self.pattern(record)
        same = {
            "state": base.state == "done",
            "instructions": base.instructions_text == record.base_text,
            "world": base.world == pattern.world,
            "seed": base.seed == pattern.seed,
            "models": base.models == pattern.models,
            "agent": base.agent == pattern.agent,
            "limits": base.options.get("limits") == pattern.options["limits"]
            and not base.options.get("limits_over"),
            "hints": not base.options.get("hints"),
            "scoring": base.options.get("score", True),
            "user guidelines": base.options.get("user_guidelines", "") == pattern.options["user_guidelines"],
        }
        found = [name for name, is_same in same.items() if not is_same]
        return found or self._other_cases(base, record)

    def _other_cases(self, base: RunRecord, record: Hardening) -> list[str]:
        mine, theirs = self.cases(record), self._trials.cases(base)
        known, slugs = set(base.simulations), [*record.simulations, *record.left_out]
        other = [
            slug
            for slug in slugs
            if slug in known and case_hash(mine.parts(slug)) != case_hash(theirs.parts(slug))
        ]
        return [f"{len(other)} of {plural(len(slugs), 'case')}"] if other else []


def with_stored_split(parts: CaseParts) -> Scenario:
    """The scenario of a case with the split under which it was stored."""
    return parts.scenario.model_copy(update={"split": parts.split})
