"""Environments: what is tested, with its versioned instructions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..canonical import digest
from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, NotFound
from ..evaluate import check_thresholds
from ..exchange import CaseFolder, Roots, read_folder, write_instructions
from ..harden import unified_diff
from ..ids import check_slug
from ..llm import open_model
from ..records.authored import load
from ..records.environment import AgentSpec, EnvironmentRecord, InstructionsRecord, ModelChoice, Settings
from ..records.scenario import Limits
from ..world import CompiledWorld
from .archive import Archive, utc_now
from .personas import Personas
from .results import Creation, EnvironmentReport
from .scenarios import Scenarios
from .simulations import Simulations
from .trials import check_agent
from .worlds import Worlds, WorldSource, overlay, world_errors

ROLES = ("agent", "user", "judge", "writer")
MAX_INSTRUCTIONS = 200_000
OFFLINE_WARNING = (
    "Models are offline (rule-based): this proves world, checks and proof, not how a real model behaves."
)


class Environments:
    """Creates environments and keeps their instructions."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        roots: Roots,
        personas: Personas,
        scenarios: Scenarios,
        simulations: Simulations,
        models: ModelChoice,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._personas = personas
        self._scenarios = scenarios
        self._simulations = simulations
        self.server_models = models

    async def create(
        self,
        id: str,
        *,
        instructions: str = "",
        world: str = "",
        world_data: Mapping[str, Any] | None = None,
        agent: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> EnvironmentReport:
        """Make an environment with what came with its world; the same content again changes nothing.

        Raises Conflict when the id has other content, InvalidArgument or NotFound with the path of a mistake.
        """
        check_slug(id, "id")
        source = self._worlds.find(world, "world")
        document = overlay(source.document, world_data or {})
        warnings: list[str] = []
        if source.state_only:
            warnings.append(
                f"`{world}` holds {len(source.document['db'])} collections and no world: they became its db."
            )
        compiled = self._compile(document, source, id, bool(world_data))
        text = instructions or source.instructions
        if len(text) > MAX_INSTRUCTIONS:
            raise InvalidArgument(
                f"`instructions` has {len(text):,} characters.",
                where="instructions",
                allowed=f"up to {MAX_INSTRUCTIONS:,}",
            )
        draft = EnvironmentRecord(
            id=id,
            agent=load(AgentSpec, agent or {}, "agent"),
            models=load(ModelChoice, models or {}, "models"),
            settings=self.check_settings(settings or {}, "settings"),
            world=compiled.hash,
            world_name=compiled.world.name,
            source=world,
        )
        draft.name = draft.settings.name
        check_agent(draft.agent, "agent")
        self.models(draft, ModelChoice())
        existing = self._archive.environments.find(id)
        if existing is not None:
            self._same_or_conflict(existing, draft, text)
            return self._report(existing, compiled, created=False, warnings=warnings)
        self._worlds.keep(compiled)
        self._store(draft, text, "file" if draft.settings.instructions_file else "created")
        report = self._report(draft, compiled, created=True, warnings=warnings)
        await self._take_along(draft, source, report)
        if not text:
            report.warnings.append("The instructions are empty: there is nothing to harden yet.")
        return report

    async def import_folder(self, path: str, id: str = "", *, dry_run: bool = False) -> EnvironmentReport:
        """An environment from a folder of files, as `caseharden run DIR` reads it; again, it is brought up to date.

        Records that the folder no longer holds stay; changed instructions become a new version.
        """
        return await self.from_folder(read_folder(path, self._roots), id, dry_run=dry_run)

    async def from_folder(
        self, folder: CaseFolder, id: str = "", *, dry_run: bool = False
    ) -> EnvironmentReport:
        """The same from a folder that was read already. Errors name file and path."""
        try:
            return await self._take_folder(folder, check_slug(id or folder.id, "environment.id"), dry_run)
        except CasehardenError as error:
            where = folder.place(error.where)
            raise type(error)(
                error.what, where=where, allowed=error.allowed, next=error.next, quoted=error.quoted
            ) from None

    def current(self, environment: EnvironmentRecord) -> InstructionsRecord:
        """The instructions in force."""
        return self._archive.instructions.get(
            f"{environment.id}@{environment.instructions_version}", "instructions"
        )

    def version(self, environment: EnvironmentRecord, text: str, where: str) -> InstructionsRecord:
        """A version by number or id: `2`, `support@2`."""
        owner, at, number = text.rpartition("@")
        if not number.isascii() or not number.isdigit() or (at and owner != environment.id):
            raise InvalidArgument(
                f"`{text[:80]}` is no version of {environment.id}.",
                where=where,
                allowed=f"1 to {self.last_version(environment.id)}, {environment.id}@N, or a candidate id",
            )
        found = self._archive.instructions.find(f"{environment.id}@{int(number[:9])}")
        if found is None:
            raise NotFound(
                f"{environment.id} has no version {number[:9]}.",
                where=where,
                allowed=f"1 to {self.last_version(environment.id)}",
                next=[NextCall("list_items", {"kind": "instructions", "environment": environment.id})],
            )
        return found

    def last_version(self, id: str) -> int:
        return self._archive.instructions.count(environment=id)

    def new_version(self, id: str, text: str, **fields: Any) -> InstructionsRecord:
        """Append a version and put it in force; `fields` are the record's (origin, candidate, outcome, marks)."""
        environment = self._archive.environments.get(id)
        number = self.last_version(id) + 1
        base = f"{id}@{environment.instructions_version}"
        record = InstructionsRecord(
            id=f"{id}@{number}",
            environment=id,
            number=number,
            text=text,
            sha256=text_sha(text),
            base=base,
            created_at=utc_now(),
            **fields,
        )
        if not self._archive.instructions.add(record.id, record):
            raise Conflict(
                f"Somebody else made {record.id} at the same moment.",
                where="id",
                allowed="the same call again",
            )
        self._put_in_force(id, number)
        self._archive.store.audit("promote" if record.candidate else "edit", "instructions", record.id)
        return record

    def roll_back(self, id: str, number: int) -> EnvironmentRecord:
        """Put an older version in force; newer ones are kept."""
        self._archive.store.audit("roll_back", "instructions", f"{id}@{number}")
        return self._put_in_force(id, number)

    def write_file(self, environment: EnvironmentRecord, text: str) -> str:
        """Write the text to the environment's instructions file, if it has one; the path written, or ""."""
        file = environment.settings.instructions_file
        if not file:
            return ""
        return str(write_instructions(file, text, self._roots))

    def diff(self, before: str, after: str, before_name: str, after_name: str) -> str:
        """Unified diff of two texts."""
        return unified_diff(before, after, before_name, after_name)

    def models(self, environment: EnvironmentRecord, chosen: ModelChoice) -> dict[str, str]:
        """The model of each role: the call's, else the environment's, else the server's, else offline."""
        result: dict[str, str] = {}
        for role in ROLES:
            sources = (chosen, environment.models, self.server_models)
            result[role] = next((getattr(s, role) for s in sources if getattr(s, role)), "offline")
            try:
                open_model(result[role])
            except CasehardenError as error:
                raise error.at(f"models.{role}") if not error.where else error from None
        return result

    def report(self, environment: EnvironmentRecord) -> EnvironmentReport:
        """How an environment stands."""
        return self._report(environment, self._worlds.get(environment.world), created=False, warnings=[])

    def check_settings(self, settings: Any, where: str) -> Settings:
        """Settings that can hold, or an error with the path below `where`."""
        loaded = load(Settings, settings, where)
        load(Limits, loaded.limits, f"{where}.limits")
        check_thresholds(loaded.thresholds, f"{where}.thresholds")
        if loaded.instructions_file:
            self._roots.resolve(loaded.instructions_file, f"{where}.instructions_file")
        return loaded

    def _compile(self, document: dict[str, Any], source: WorldSource, id: str, inline: bool) -> CompiledWorld:
        document.setdefault("format", "world/1")
        document.setdefault("name", source.name or id)
        try:
            return self._worlds.compile(document, "world")
        except CasehardenError as error:
            raise world_errors(error, "world_data" if inline else "world") from None

    def _same_or_conflict(self, existing: EnvironmentRecord, draft: EnvironmentRecord, text: str) -> None:
        differ = [
            name
            for name in ("agent", "models", "settings")
            if digest(getattr(existing, name).model_dump(mode="json"))
            != digest(getattr(draft, name).model_dump(mode="json"))
        ]
        if existing.world != draft.world:
            differ.append("world")
        first = self._archive.instructions.get(f"{existing.id}@1")
        if text not in (first.text, self.current(existing).text):
            differ.append("instructions")
        if differ:
            call = NextCall(
                "update_item",
                {"kind": "environment", "id": existing.id, "changes": dict.fromkeys(differ[:1], "...")},
            )
            raise Conflict(
                f"Environment `{existing.id}` exists with other content ({', '.join(differ)}).",
                where="id",
                allowed="another id, or update_item",
                next=[call],
            )

    def _store(self, draft: EnvironmentRecord, text: str, origin: str) -> None:
        draft.created_at = draft.updated_at = utc_now()
        number = self.last_version(draft.id) + 1
        draft.instructions_version = number
        version = InstructionsRecord.model_validate(
            {
                "id": f"{draft.id}@{number}",
                "environment": draft.id,
                "number": number,
                "text": text,
                "sha256": text_sha(text),
                "origin": origin,
                "created_at": draft.created_at,
            }
        )
        self._archive.instructions.put(version.id, version)
        if not self._archive.environments.add(draft.id, draft):
            raise Conflict(f"Somebody else made environment `{draft.id}` at the same moment.", where="id")
        self._archive.store.audit("create", "environment", draft.id)

    def _put_in_force(self, id: str, number: int) -> EnvironmentRecord:
        def put(record: EnvironmentRecord) -> EnvironmentRecord:
            fields = {"instructions_version": number, "version": record.version + 1, "updated_at": utc_now()}
            return record.model_copy(update=fields)

        return self._archive.environments.change(id, put)

    async def _take_along(
        self, environment: EnvironmentRecord, source: WorldSource, report: EnvironmentReport
    ) -> None:
        """Store the personas and scenarios that came with the world."""
        origin = "shipped" if source.shipped else "imported"
        made: list[Creation] = []
        if source.personas:
            made.append(await self._personas.create(environment.id, source.personas, source=origin))
        if source.scenarios:
            made.append(await self._scenarios.create(environment.id, source.scenarios, source=origin))
            report.proven = int(made[-1].checked.get("proven", 0))
        for creation in made:
            report.warnings += creation.warnings
            report.lost += [
                {"what": creation.kind, "at": r["at"], "why": r["what"]} for r in creation.refused
            ]
        report.counts = self._counts(environment.id)

    async def _take_folder(self, folder: CaseFolder, id: str, dry_run: bool) -> EnvironmentReport:
        existing = self._archive.environments.find(id)
        settings = dict(folder.settings)
        if folder.instructions_file is not None:
            settings["instructions_file"] = str(folder.instructions_file)
        source = (
            self._worlds.of_document(folder.world_data, "world")
            if folder.world_data is not None
            else self._worlds.find(folder.world, "world")
        )
        compiled = self._compile(dict(source.document), source, id, False)
        draft = EnvironmentRecord(
            id=id,
            name=str(settings.get("name", "")),
            agent=load(AgentSpec, folder.agent, "environment.agent"),
            models=load(ModelChoice, folder.models, "environment.models"),
            settings=self.check_settings(settings, "environment.settings"),
            world=compiled.hash,
            world_name=compiled.world.name,
            source=str(folder.path),
        )
        check_agent(draft.agent, "environment.agent")
        self.models(draft, ModelChoice())
        text = folder.instructions or source.instructions
        taken = {
            "format": "caseharden",
            "personas": len(folder.personas),
            "scenarios": len(folder.scenarios),
            "files": len(folder.files),
        }
        if not dry_run:
            self._worlds.keep(compiled)
            if existing is None:
                self._store(draft, text, "file")
            else:
                self._bring_up_to_date(existing, draft, text)
        record = self._archive.environments.find(id) or draft
        report = self._report(record, compiled, created=existing is None and not dry_run, warnings=[])
        report.taken = taken
        await self._folder_records(record, folder, source, report, dry_run)
        return report

    def _bring_up_to_date(self, existing: EnvironmentRecord, draft: EnvironmentRecord, text: str) -> None:
        same = all(
            getattr(existing, name) == getattr(draft, name)
            for name in ("agent", "models", "settings", "world")
        )
        if not same:
            fields = {
                name: getattr(draft, name)
                for name in ("agent", "models", "settings", "world", "world_name", "name", "source")
            }

            def change(record: EnvironmentRecord) -> EnvironmentRecord:
                return record.model_copy(
                    update={**fields, "version": record.version + 1, "updated_at": utc_now()}
                )

            self._archive.environments.change(existing.id, change)
            self._archive.store.audit("update", "environment", existing.id)
        if self.current(existing).text != text:
            self.new_version(existing.id, text, origin="file")

    async def _folder_records(
        self,
        environment: EnvironmentRecord,
        folder: CaseFolder,
        source: WorldSource,
        report: EnvironmentReport,
        dry_run: bool,
    ) -> None:
        personas = [item.value for item in folder.personas] or source.personas
        scenarios = [item.value for item in folder.scenarios] or source.scenarios
        refused: list[dict[str, str]] = []
        if dry_run:
            refused += self._personas.lint(personas, environment)
            refused += self._scenarios.lint(scenarios, environment)
        else:
            made = (
                await self._personas.create(environment.id, personas, source="imported", replace=True)
                if personas
                else Creation(environment.id, "persona")
            )
            cases = (
                await self._scenarios.create(environment.id, scenarios, source="imported", replace=True)
                if scenarios
                else Creation(environment.id, "scenario")
            )
            refused += made.refused + cases.refused
            report.proven = int(cases.checked.get("proven", 0))
            report.warnings += made.warnings + cases.warnings
        if refused:
            first = refused[0]
            more = f" {len(refused) - 1} more mistakes." if len(refused) > 1 else ""
            raise InvalidArgument(first["what"] + more, where=first["at"], allowed=first.get("allowed", ""))
        if not dry_run:
            self._simulations.of_folder(environment, folder)
            report.counts = self._counts(environment.id)

    def _counts(self, id: str) -> dict[str, int]:
        return {
            "personas": self._archive.personas.count(environment=id),
            "scenarios": self._archive.scenarios.count(environment=id),
            "simulations": self._archive.simulations.count(environment=id),
            "runs": self._archive.runs.count(environment=id),
        }

    def _report(
        self, environment: EnvironmentRecord, compiled: CompiledWorld, *, created: bool, warnings: list[str]
    ) -> EnvironmentReport:
        models = self.models(environment, ModelChoice())
        shown = {role: open_model(name).name for role, name in models.items()}
        version = self._archive.instructions.find(f"{environment.id}@{environment.instructions_version}")
        scenarios = self._archive.scenarios.where(environment=environment.id)
        if all(name.startswith("offline") for name in models.values()) and environment.agent.kind == "prompt":
            warnings = [*warnings, OFFLINE_WARNING]
        return EnvironmentReport(
            environment=environment,
            created=created,
            agent={"kind": environment.agent.kind, "probed": "ok"},
            world={
                "name": compiled.world.name,
                "tools": len(compiled.world.tools),
                "collections": {
                    name: len(rows)
                    for name, rows in (*compiled.world.db.items(), *compiled.world.user_db.items())
                    if hasattr(rows, "__len__") and not isinstance(rows, str)
                },
                "policy_chars": len(compiled.world.policy),
            },
            counts=self._counts(environment.id),
            models=shown,
            proven=sum(s.solution.status == "proven" for s in scenarios),
            instructions_chars=len(version.text) if version else 0,
            warnings=warnings,
        )


def text_sha(text: str) -> str:
    """SHA-256 of a text as UTF-8, 64 hex digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
