"""Imports an exported run: as a past run of an existing environment, or with one made from the file.

The file is not trusted: all of it is checked before anything is stored, and graded again afterwards; if grading reaches
another verdict than the file states, that is reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio.to_thread
from pydantic import BaseModel

from ..canonical import digest
from ..errors import InvalidArgument
from ..exchange.run_file import LOCAL_AGENT, FileTrial, RunFile
from ..ids import check_slug
from ..records.authored import load
from ..records.environment import AgentSpec, EnvironmentRecord
from ..records.job import Job
from ..records.run import RunRecord
from ..records.verdict import Verdict
from ..world import CompiledWorld
from .archive import Archive, Shelf, utc_now
from .environment_drafts import EnvironmentDrafts
from .exporting import IMPORTED, Exporting, run_identity
from .instructions import check_instructions, new_version
from .judging import Judging
from .looks import LookLedger
from .results import EnvironmentReport
from .scenarios import Scenarios
from .scoring import Scoring
from .sight import shown_by_file, spend
from .trials import TrialRunner
from .worlds import Worlds

SHOWN = 3
"""How many conversations a warning names."""
R = TypeVar("R", bound=BaseModel)


@dataclass(slots=True)
class Taken:
    """What an import has found out and done so far."""

    environment: EnvironmentRecord
    created: bool
    run: str
    known: bool
    """Whether the run is already here."""
    identity: str
    lost: list[dict[str, Any]]
    warnings: list[str]


class RunImporter:
    """Imports a run."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        drafts: EnvironmentDrafts,
        scenarios: Scenarios,
        trials: TrialRunner,
        scoring: Scoring,
        exporting: Exporting,
        judging: Judging,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._drafts = drafts
        self._scenarios = scenarios
        self._trials = trials
        self._scoring = scoring
        self._exporting = exporting
        self._judging = judging

    async def take(self, whole: RunFile, id: str, job: Job, *, dry_run: bool = False) -> EnvironmentReport:
        """Bring the run of a file into the environment `id`; the same file again changes nothing."""
        compiled = await anyio.to_thread.run_sync(self._world, whole)
        taken = await anyio.to_thread.run_sync(self._plan, whole, id, compiled)
        again = job.attempt > 1
        """The process that began it is gone: what it stored need not be proven and graded yet."""
        if not dry_run and not taken.known:
            await anyio.to_thread.run_sync(self._store, whole, taken, compiled, job)
        if not dry_run and (again or not taken.known):
            if taken.created or again:
                taken.warnings += await self._scenarios.prove_again(taken.environment)
            taken.warnings += await self._graded_again(taken.run)
        return self._report(whole, taken, compiled, stored=not dry_run)

    def _world(self, whole: RunFile) -> CompiledWorld:
        compiled = self._worlds.compile(whole.world, "world")
        if compiled.hash != whole.run.world:
            raise InvalidArgument(
                "The world is not the one that the run was made in.",
                where="world",
                allowed="the file as it was exported",
            )
        return compiled

    def _plan(self, whole: RunFile, id: str, compiled: CompiledWorld) -> Taken:
        """Where the run goes, and under which id; stores nothing."""
        name = check_slug(id or whole.environment.id, "id")
        load(AgentSpec, whole.run.agent, "run.agent")
        existing = self._archive.environments.find(name)
        lost: list[dict[str, Any]] = []
        environment = existing or self._draft(whole, name, compiled, lost)
        identity = run_identity(whole)
        known = self._known(whole, name, identity)
        taken = Taken(environment, existing is None, known or whole.run.id, bool(known), identity, lost, [])
        if existing is not None and existing.world != compiled.hash:
            taken.warnings.append(f"{whole.run.id} was made in another world than {name} has now.")
        return taken

    def _draft(
        self, whole: RunFile, id: str, compiled: CompiledWorld, lost: list[dict[str, Any]]
    ) -> EnvironmentRecord:
        """The environment of the file; an agent or models not available here are left out, and reported."""
        told = whole.environment
        agent = told.agent.model_dump(exclude_unset=True, exclude={*LOCAL_AGENT, "recordings"})
        settings = told.settings.model_dump(exclude_unset=True, exclude={"instructions_file"})
        if told.name:
            settings["name"] = told.name
        models = told.models.model_dump(exclude_unset=True)
        draft = self._drafts.draft_of_others(id, compiled, agent, models, settings, lost)
        if whole.recordings and draft.agent.kind == "recorded":
            recordings = digest(whole.recordings)
            draft.agent = draft.agent.model_copy(update={"recordings": recordings})
        draft.source = f"export of {whole.run.id}"
        return draft

    def _known(self, whole: RunFile, environment: str, identity: str) -> str:
        """The run already imported from this file, or ""."""
        for row in self._archive.runs.table.walk({"environment": environment}):
            source: dict[str, Any] = row["options"].get(IMPORTED) or {}
            if source.get("sha256") == identity:
                return str(row["id"])
        found = self._archive.runs.find(whole.run.id)
        here = found is not None and found.environment == environment and found.state != "running"
        return found.id if found is not None and here and self._exporting.identity(found) == identity else ""

    def _store(self, whole: RunFile, taken: Taken, compiled: CompiledWorld, job: Job) -> None:
        self._worlds.keep(compiled)
        if whole.recordings:
            self._archive.recordings.keep(digest(whole.recordings), whole.recordings)
        if whole.knowledge:
            self._archive.knowledge.keep(digest(whole.knowledge), whole.knowledge)
        taken.run = self._claim(whole.run.id, job)
        self._spend(whole, taken)  # before any of it can be read here, even if we are killed in between
        if taken.created:
            self._store_environment(whole, taken.environment)
        run = self._record(whole, taken)
        self._archive.forget_run(run.id)
        for table, rows in (
            ("scenarios", {r.scenario.id: r for r in whole.scenarios}),
            ("personas", {r.persona.id: r for r in whole.personas}),
            ("simulations", {r.slug: r for r in whole.simulations}),
        ):
            documents = {key: row.model_dump(mode="json", by_alias=True) for key, row in rows.items()}
            if documents:
                self._archive.store.run_table(run.id, table).put_many(documents)
        shelf = self._archive.trials(run.id)
        shelf.put_many({trial.record.id: self._kept(trial, run) for trial in whole.trials})
        self._archive.runs.put(run.id, run)
        self._score(run)
        self._archive.runs.audit("import", run.id)

    def _score(self, run: RunRecord) -> None:
        """Score the run from its trials; from the file keep only what they cannot show."""
        self._scoring.score(run.id, run.state)
        said = {name: getattr(run, name) for name in ("models_used", "wall_s", "updated_at")}
        self._archive.runs.change(run.id, lambda stored: stored.model_copy(update=said))

    def _claim(self, wanted: str, job: Job) -> str:
        """The id of the run: the file's if free, else a new one; the same one when the job is resumed."""
        row = self._archive.store.jobs.table.find(job.id)
        if row is not None and row.get("run"):
            return str(row["run"])
        id = wanted
        found = re.fullmatch(r"run-([0-9]{1,9})", wanted)
        if found is None or not self._archive.store.claim_id("run", int(found[1])):
            id = self._archive.store.next_id("run")
        self._archive.store.jobs.table.update({"run": id}, doc_ids=[job.id])
        return id

    def _record(self, whole: RunFile, taken: Taken) -> RunRecord:
        run = whole.run
        source = {"run": run.id, "environment": run.environment, "sha256": taken.identity}
        knowledge = digest(whole.knowledge) if whole.knowledge else ""
        return run.model_copy(
            update={
                "id": taken.run,
                "environment": taken.environment.id,
                **self._place(run, taken),
                "purpose": "run",
                "hardening": "",
                "job": "",
                "instructions": self._label(run, taken.environment.id),
                "options": {
                    **run.options,
                    **({"knowledge": knowledge} if knowledge else {}),
                    IMPORTED: source,
                },
            }
        )

    def _place(self, run: RunRecord, taken: Taken) -> dict[str, Any]:
        """Its place in the series if the rounds before it were imported too; else it begins one."""
        before: dict[str, RunRecord] = {}
        for other in self._archive.runs.where(environment=taken.environment.id):
            source: Mapping[str, Any] = other.options.get(IMPORTED) or {}
            if source.get("environment") == run.environment:
                before[str(source.get("run"))] = other
        first, last = before.get(run.series), before.get(run.previous)
        if first is None or last is None or last.round >= run.round:
            return {"series": taken.run, "round": 1, "previous": ""}
        return {"series": first.series, "round": run.round, "previous": last.id}

    def _label(self, run: RunRecord, environment: str) -> str:
        """The version or candidate that the run was made with, marked if that id means another text here."""
        owner, at, number = run.instructions.partition("@")
        label = f"{environment}@{number}" if at and owner == run.environment else run.instructions
        found = self._archive.instructions.find(label)
        return label if found is not None and found.text == run.instructions_text else f"{label} (imported)"

    def _kept(self, trial: FileTrial, run: RunRecord) -> Any:
        """The trial's record, with its conversation stored under the run."""
        belongs = {"id": f"{run.id}/{trial.record.id}", "run": run.id, "environment": run.environment}
        belongs["instructions"] = run.instructions
        document = {**trial.conversation.dumped(), **belongs}
        pointer = self._archive.keep_conversation(run.id, document)
        return trial.record.model_copy(update={"pointer": {"at": str(pointer)}})

    def _store_environment(self, whole: RunFile, draft: EnvironmentRecord) -> None:
        """Store the environment with the cases of the run and the text that it was made with."""
        run, id = whole.run, draft.id
        text = check_instructions(run.instructions_text, "run.instructions_text")
        found = re.fullmatch(r".*@([1-9][0-9]{0,6})", run.instructions)
        number = int(found[1]) if found else 1
        version = new_version(id, number, text, "file")
        draft.instructions_version = number
        draft.created_at = draft.updated_at = utc_now()
        self._archive.instructions.put(version.id, version)
        looks = LookLedger(self._archive)
        scenarios = {r.scenario.id: r for r in whole.scenarios}
        for slug, record in scenarios.items():
            scenarios[slug] = record.model_copy(update={"spent": looks.is_spent(f"{id}/{slug}")})
        self._store_cases(self._archive.scenarios, id, scenarios)
        self._store_cases(self._archive.personas, id, {r.persona.id: r for r in whole.personas})
        self._store_cases(self._archive.simulations, id, {r.slug: r for r in whole.simulations})
        self._archive.environments.add(id, draft)
        self._archive.environments.audit("create", id)

    def _store_cases(self, shelf: Shelf[R], id: str, records: Mapping[str, R]) -> None:
        moved: dict[str, R] = {}
        for slug, record in records.items():
            fields = {"id": f"{id}/{slug}", "environment": id, "source": "imported"}
            moved[f"{id}/{slug}"] = record.model_copy(update=fields)
        shelf.put_many(moved)

    def _spend(self, whole: RunFile, taken: Taken) -> None:
        """Whoever has the file has its held-out scenarios and their conversations: spend them."""
        id = taken.environment.id
        hidden = {row.scenario.id for row in whole.scenarios if row.split == "held_out"}
        for slug in {t.record.scenario for t in whole.trials} - hidden:
            here = self._archive.scenarios.find(f"{id}/{slug}")
            if here is not None and here.split == "held_out":
                hidden.add(slug)
        for slug in sorted(hidden):
            spend(self._archive, f"{id}/{slug}")
        if hidden:
            taken.warnings.append(shown_by_file(len(hidden)))

    async def _graded_again(self, run: str) -> list[str]:
        """Warnings where grading reaches another verdict than the file states."""
        cases = self._trials.cases(self._archive.runs.get(run))
        trials = await anyio.to_thread.run_sync(self._archive.trials(run).where)
        other: list[str] = []
        for trial in trials:
            found = await self._judging.regraded(cases, trial)
            if found is not None and _other(found, trial.graded):
                other.append(f"{run}/{trial.id}")
        if not other:
            return []
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        return [
            f"Grading finds another verdict than the file says for {', '.join(other[:SHOWN])}{more}: "
            "it was graded by another version, or changed by hand."
        ]

    def _report(
        self, whole: RunFile, taken: Taken, compiled: CompiledWorld, *, stored: bool
    ) -> EnvironmentReport:
        id = taken.environment.id
        rows = list(self._archive.scenarios.table.walk({"environment": id}))
        totals = whole.run.totals
        return EnvironmentReport(
            environment=taken.environment,
            created=taken.created and stored,
            agent={"kind": taken.environment.agent.kind},
            world={"name": compiled.world.name, "tools": len(compiled.world.tools)},
            counts={
                "personas": self._archive.personas.count(environment=id),
                "scenarios": len(rows),
                "simulations": self._archive.simulations.count(environment=id),
                "runs": self._archive.runs.count(environment=id, purpose="run"),
            },
            models={},
            proven=sum(row["solution"]["status"] == "proven" for row in rows),
            instructions_chars=len(whole.run.instructions_text),
            taken={
                "format": "caseharden run",
                "run": taken.run,
                "unchanged": taken.known,
                "from": whole.run.id,
                "conversations": len(whole.trials),
                "passed": totals.passed,
                "failed": totals.failed,
            },
            lost=taken.lost if taken.created else [],
            warnings=taken.warnings,
            stored=stored,
        )


def _other(found: Verdict, said: Verdict) -> bool:
    return found.model_dump(exclude={"grading"}) != said.model_dump(exclude={"grading"})
