"""Environments: the systems under test, with their versioned instructions."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio.to_thread

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall
from ..evaluate import near_copies_warning
from ..exchange import CaseFolder, Imported, Roots, imported_folder
from ..ids import check_slug
from ..plural import plural
from ..records.authored import load
from ..records.environment import EnvironmentRecord
from ..records.scenario import Scenario
from ..world import CompiledWorld
from .archive import Archive, Shelf, utc_now
from .deleting import Deleting
from .discretion import import_without_secrets
from .environment_drafts import EnvironmentDrafts
from .instructions import EMPTY, Instructions, MadeMeanwhile, Origin, check_instructions
from .personas import Personas
from .policies import unread_policy
from .results import Creation, EnvironmentReport
from .role_models import RoleModels
from .scenarios import Examined, Scenarios, solution_warnings
from .sight import shown_by_file, spend
from .simulations import Simulations
from .worlds import Worlds, WorldSource

_PARTS = ("agent", "models", "settings", "world")
_ORIGIN = ("source", "source_content")
_TRIES = 5
_MORE_MISTAKES = 4
"""How many besides the first are told in full."""
"""How often the same is begun while others keep making it first."""


class Environments:
    """Creates environments and reports their state."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        roots: Roots,
        drafts: EnvironmentDrafts,
        instructions: Instructions,
        models: RoleModels,
        personas: Personas,
        scenarios: Scenarios,
        simulations: Simulations,
        deleting: Deleting,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._drafts = drafts
        self._instructions = instructions
        self._models = models
        self._personas = personas
        self._scenarios = scenarios
        self._simulations = simulations
        self._deleting = deleting

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
        """Create an environment with what came with its world; identical content changes nothing.

        Raises Conflict if the id has other content, InvalidArgument or NotFound with the path of a mistake.
        """
        check_slug(id, "id")
        parts = agent or {}, models or {}, settings or {}
        return await _first_or_again(lambda: self._create(id, instructions, world, world_data or {}, *parts))

    async def _create(
        self,
        id: str,
        instructions: str,
        world: str,
        over: Mapping[str, Any],
        agent: Mapping[str, Any],
        models: Mapping[str, Any],
        settings: Mapping[str, Any],
    ) -> EnvironmentReport:
        source = await anyio.to_thread.run_sync(self._worlds.find, world, "world")
        compiled = await anyio.to_thread.run_sync(self._drafts.world, source, over, id)
        text = check_instructions(instructions or source.instructions, "instructions")
        draft = self._drafts.draft(id, compiled, agent, models, settings)
        draft.source = world
        warnings: list[str] = []
        probed = await self._drafts.probe(draft)
        if source.state_only:
            warnings.append(
                f"`{world}` holds {len(source.document['db'])} collections and no world: they became its db."
            )
        if not text:
            warnings.append(EMPTY)
        if self._archive.environments.find(id) is None:
            await anyio.to_thread.run_sync(self._worlds.keep, compiled)
        existing = self._archive.environments.find(id)
        if existing is not None:
            self._drafts.same_or_conflict(existing, draft, text)
            report = self._report(existing, compiled, created=False, warnings=warnings, probed=probed)
            if not report.counts["scenarios"]:
                await self._take_along(existing, source, report)
            return report
        self._store(draft, text, "created")
        warnings += await anyio.to_thread.run_sync(unread_policy, self._worlds, compiled, text, draft.agent)
        report = self._report(draft, compiled, created=True, warnings=warnings, probed=probed)
        await self._take_along(draft, source, report)
        return report

    async def import_folder(self, path: str, id: str = "", *, dry_run: bool = False) -> EnvironmentReport:
        """An environment from a folder of files, as `caseharden run DIR` reads it; importing it again updates it.

        Every solution is played before anything is stored: a mistake refuses the whole folder, and its error names file
        and path. Imported records no longer in the folder are deleted with their simulations; changed instructions
        become a new version. `dry_run`: everything but storing.
        """
        read = await anyio.to_thread.run_sync(imported_folder, path, self._roots)
        read, warnings = import_without_secrets(read, self._archive.redactor)
        report = await self.take(read, id or read.id, dry_run=dry_run)
        report.warnings += warnings
        return report

    async def take(self, read: Imported, id: str, *, dry_run: bool = False) -> EnvironmentReport:
        """The environment `id` of an import that brings cases, created or updated."""
        assert read.cases is not None
        folder = read.cases
        try:
            check_slug(id, "environment.id")
            return await _first_or_again(lambda: self._take_cases(folder, read, id, dry_run))
        except CasehardenError as error:
            where = folder.place(error.where)
            raise type(error)(
                error.what, where=where, allowed=error.allowed, next=error.next, quoted=error.quoted
            ) from None

    def report(self, environment: EnvironmentRecord) -> EnvironmentReport:
        """The state of an environment."""
        return self._report(environment, self._worlds.get(environment.world), created=False, warnings=[])

    def _store(
        self, draft: EnvironmentRecord, text: str, origin: Origin, folder: CaseFolder | None = None
    ) -> None:
        """Store an environment with its versions; MadeMeanwhile, and nothing is stored, if there is one."""
        with self._archive.environments.table.transaction():
            if self._archive.environments.find(draft.id) is not None:
                raise MadeMeanwhile(
                    f"Somebody else made environment `{draft.id}` at the same moment.",
                    where="id",
                    next=[NextCall("get_item", {"kind": "environment", "id": draft.id})],
                )
            if folder is not None and folder.versions:
                self._instructions.all_of(draft.id, folder.versions)
                draft.instructions_version = folder.in_force
            else:
                draft.instructions_version = self._instructions.first(draft.id, text, origin).number
            draft.created_at = draft.updated_at = utc_now()
            self._archive.environments.put(draft.id, draft)
        self._archive.store.audit("create", "environment", draft.id)

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

    async def _take_cases(
        self, folder: CaseFolder, read: Imported, id: str, dry_run: bool
    ) -> EnvironmentReport:
        settings = dict(folder.settings)
        if folder.instructions_file is not None:
            settings["instructions_file"] = str(folder.instructions_file)
        if folder.knowledge:
            settings["knowledge_base"] = self._drafts.keep_passages(folder.knowledge, "knowledge")
        source = (
            self._worlds.of_document(folder.world_data, "world")
            if folder.world_data is not None
            else self._worlds.find(folder.world, "world")
        )
        nothing: Mapping[str, Any] = {}
        compiled = await anyio.to_thread.run_sync(self._drafts.world, source, nothing, id)
        lost: list[dict[str, Any]] = []
        parts = id, compiled, folder.agent, folder.models, settings
        draft = (
            self._drafts.draft(*parts, "environment.")
            if read.whole
            else self._drafts.draft_of_others(*parts, lost)
        )
        draft.source, draft.source_content = str(folder.path), folder.content()
        text = check_instructions(folder.instructions or source.instructions, "instructions")
        for k, version in enumerate(folder.versions):
            check_instructions(version.text, f"instructions[{k}].text")
        personas = [item.value for item in folder.personas] or source.personas
        scenarios = [item.value for item in folder.scenarios] or source.scenarios
        existing = self._archive.environments.find(id)
        moved = self._drafts.same_folder_or_conflict(id, folder)
        refused = self._personas.lint(personas, draft)
        lost += _refused(refused, read)
        personas = _without(personas, refused)
        check = read.whole and not folder.versions
        examined = await self._scenarios.examine(scenarios, draft, personas, check=check)
        lost += _refused(examined.refused, read)
        scenarios = _without(scenarios, examined.refused)
        gone = {
            "scenario": self._gone(self._archive.scenarios, id, scenarios),
            "persona": self._gone(self._archive.personas, id, personas),
        }
        known = self._known(id, scenarios, gone["scenario"]), self._partners(id, personas, scenarios, gone)
        _refuse_first(self._simulations.lint(id, folder.simulations, *known), folder.place)
        if any(gone.values()):
            self._deleting.refuse_in_use(id)
        report = self._report(
            existing or draft,
            compiled,
            created=existing is None and not dry_run,
            warnings=[moved] if moved else [],
            probed=await self._drafts.probe(draft),
        )
        report.instructions_chars = len(text)
        new = dry_run or existing is None or existing.source_content != draft.source_content
        if new and read.whole:
            report.warnings += await anyio.to_thread.run_sync(
                unread_policy, self._worlds, compiled, text, draft.agent
            )
            report.warnings += await anyio.to_thread.run_sync(_copies_warning, folder.scenarios and scenarios)
        report.taken = {"format": read.format, **read.taken}
        report.lost = [*map(dict, read.lost), *lost]
        if dry_run:
            return _dry_run_report(report, personas, examined)
        await anyio.to_thread.run_sync(self._worlds.keep, compiled)
        if folder.versions:  # before its scenarios can be read here, even if we are killed in between
            report.warnings += await anyio.to_thread.run_sync(self._spend, id, scenarios)
        if existing is None:
            self._store(draft, text, "file", folder)
        else:
            self._bring_up_to_date(existing, draft, text)
        record = report.environment = self._archive.environments.get(id)
        changed = await self._folder_records(record, personas, scenarios, examined, report)
        report.warnings += await anyio.to_thread.run_sync(self._delete_gone, gone)
        if existing is not None and (changed or existing.world != record.world):
            report.warnings += await self._scenarios.prove_again(record, solved=examined.solutions)
            self._archive.forget_unused([existing.world])
        report.warnings += await self._simulations.of_folder(record, folder)
        report.counts = self._counts(id)
        report.proven = self._proven(id)
        return report

    def _bring_up_to_date(self, existing: EnvironmentRecord, draft: EnvironmentRecord, text: str) -> None:
        changed = any(getattr(existing, name) != getattr(draft, name) for name in _PARTS)
        names = (*_PARTS, "world_name", "name", *_ORIGIN) if changed else _ORIGIN
        fields = {name: getattr(draft, name) for name in names}
        if any(getattr(existing, name) != value for name, value in fields.items()):

            def change(record: EnvironmentRecord) -> EnvironmentRecord:
                mark = {"version": record.version + 1, "updated_at": utc_now()} if changed else {}
                return record.model_copy(update={**fields, **mark})

            self._archive.environments.change(existing.id, change)
        if changed:
            self._archive.store.audit("update", "environment", existing.id)
        if self._instructions.current(self._archive.environments.get(existing.id)).text != text:
            self._instructions.append(existing.id, text, "file")

    async def _folder_records(
        self,
        environment: EnvironmentRecord,
        personas: list[Any],
        scenarios: list[Any],
        examined: Examined,
        report: EnvironmentReport,
    ) -> bool:
        """Store the folder's records; return whether a persona changed, with which scenarios may be played."""
        made: list[Creation] = []
        if personas:
            made.append(
                await self._personas.create(environment.id, personas, source="imported", replace=True)
            )
        changed = any(creation.made for creation in made)
        if scenarios:
            made.append(
                await self._scenarios.create(
                    environment.id, scenarios, source="imported", replace=True, solved=examined.solutions
                )
            )
        _refuse_first([refused for creation in made for refused in creation.refused])
        report.warnings += [warning for creation in made for warning in creation.warnings]
        return changed

    def _spend(self, id: str, scenarios: list[Any]) -> list[str]:
        """The file of an exported environment shows its held-out scenarios to whoever has it."""
        hidden = [f"{id}/{item['id']}" for item in scenarios if item.get("split") == "held_out"]
        for scenario in hidden:
            spend(self._archive, scenario)
        return [shown_by_file(len(hidden))] if hidden else []

    def _gone(self, shelf: Shelf[Any], id: str, held: list[Any]) -> list[str]:
        """Imported records of an environment that are no longer in its folder."""
        kept = {f"{id}/{item['id']}" for item in held}
        rows = shelf.table.walk({"environment": id}, oldest_first=True)
        return [str(row["id"]) for row in rows if row["source"] == "imported" and row["id"] not in kept]

    def _known(self, id: str, scenarios: list[Any], gone: list[str]) -> set[str]:
        """Slugs of the scenarios that will exist."""
        rows = self._archive.scenarios.table.walk({"environment": id})
        return {item["id"] for item in scenarios} | {_slug(row) for row in rows if row["id"] not in gone}

    def _partners(
        self, id: str, personas: list[Any], scenarios: list[Any], gone: Mapping[str, list[str]]
    ) -> set[str]:
        """Slugs of the personas that will exist, including those inside scenarios."""
        rows = self._archive.personas.table.walk({"environment": id})
        stored = [row["scenario"] for row in self._archive.scenarios.table.walk({"environment": id})]
        inside = [
            one["persona"]["id"] for one in (*scenarios, *stored) if isinstance(one.get("persona"), dict)
        ]
        kept = {_slug(row) for row in rows if row["id"] not in gone["persona"]}
        return {item["id"] for item in personas} | kept | set(inside)

    def _delete_gone(self, gone: Mapping[str, list[str]]) -> list[str]:
        """Delete them with their simulations; return what was deleted, and what could not be."""
        warnings: list[str] = []
        simulations = 0
        deleted: list[str] = []
        for kind, ids in gone.items():
            for id in ids:
                try:
                    done = self._deleting.delete(kind, [id], confirm=True)
                except Conflict as error:
                    warnings.append(f"{kind} {id} is no longer in the folder, but kept: {error.what}")
                    continue
                simulations += done.goes_with.get("simulation", 0)
                deleted.append(f"{kind} {id}")
        if deleted:
            more = f" and {len(deleted) - 5} more" if len(deleted) > 5 else ""
            with_them = f", with {plural(simulations, 'simulation')}" if simulations else ""
            text = f"{', '.join(deleted[:5])}{more}{with_them}"
            warnings.insert(
                0, f"Deleted, for the folder no longer holds it: {text}. Runs made before are kept."
            )
        return warnings

    def _proven(self, id: str) -> int:
        """Scenarios whose own solution passes, counted without loading the records."""
        rows = self._archive.scenarios.table.walk({"environment": id})
        return sum(row["solution"]["status"] == "proven" for row in rows)

    def _counts(self, id: str) -> dict[str, int]:
        return {
            "personas": self._archive.personas.count(environment=id),
            "scenarios": self._archive.scenarios.count(environment=id),
            "simulations": self._archive.simulations.count(environment=id),
            "runs": self._archive.runs.count(environment=id, purpose="run"),
        }

    def _report(
        self,
        environment: EnvironmentRecord,
        compiled: CompiledWorld,
        *,
        created: bool,
        warnings: list[str],
        probed: str = "ok",
    ) -> EnvironmentReport:
        shown, told = self._models.shown(environment)
        version = self._archive.instructions.find(f"{environment.id}@{environment.instructions_version}")
        world = compiled.world
        collections = {**world.db, **world.user_db}
        return EnvironmentReport(
            environment=environment,
            created=created,
            agent={"kind": environment.agent.kind, "probed": probed},
            world={
                "name": world.name,
                "tools": len(world.tools),
                "collections": {n: len(rows) for n, rows in collections.items() if hasattr(rows, "__len__")},
                "policy_chars": len(world.policy),
            },
            counts=self._counts(environment.id),
            models=shown,
            proven=self._proven(environment.id),
            instructions_chars=len(version.text) if version else 0,
            warnings=[
                *warnings,
                *told,
                *([] if probed == "ok" else [f"The agent is not there yet: {probed}"]),
            ],
        )


async def _first_or_again(make: Callable[[], Awaitable[EnvironmentReport]]) -> EnvironmentReport:
    """What `make` makes; if somebody else made it meanwhile, it is begun again and finds that."""
    for _ in range(_TRIES - 1):
        with suppress(MadeMeanwhile):
            return await make()
    return await make()


def _copies_warning(scenarios: Sequence[Any]) -> list[str]:
    return near_copies_warning([load(Scenario, item, "scenarios") for item in scenarios], "scenario")


def _slug(row: Mapping[str, Any]) -> str:
    return str(row["id"]).partition("/")[2]


def _dry_run_report(report: EnvironmentReport, personas: list[Any], examined: Examined) -> EnvironmentReport:
    """The report of a dry-run import: counts are those of the folder."""
    report.stored = False
    report.counts = {**report.counts, "personas": len(personas), "scenarios": len(examined.solutions)}
    report.proven = examined.proven
    for slug, solution in examined.solutions.items():
        report.warnings += solution_warnings(f"{report.environment.id}/{slug}", solution)
    return report


def _refused(refused: list[dict[str, str]], read: Imported) -> list[dict[str, Any]]:
    """Rows of `lost` for records that cannot be imported; in files that must be complete, the first is an error."""
    if read.whole or read.cases is None:
        _refuse_first(refused, read.cases.place if read.cases else str)
        return []
    return [
        {
            "what": row["at"].partition("[")[0].rstrip("s"),
            "at": read.cases.place(row["at"]),
            "why": row["what"],
        }
        for row in refused
    ]


def _without(items: list[Any], refused: list[dict[str, str]]) -> list[Any]:
    """The records without the refused ones."""
    gone = {int(found[1]) for row in refused if (found := re.match(r"\w+\[(\d+)\]", row["at"]))}
    return [item for k, item in enumerate(items) if k not in gone] if gone else items


def _refuse_first(refused: list[dict[str, str]], place: Callable[[str], str] = str) -> None:
    """A folder is all or nothing: its first mistake is the error, with the next ones and the number of the others."""
    if refused:
        first, others = refused[0], refused[1 : _MORE_MISTAKES + 1]
        more = "".join(f" Also {place(row['at'])}: {row['what']}" for row in others)
        left = len(refused) - 1 - len(others)
        more += f" {plural(left, 'more mistake')}." if left else ""
        raise InvalidArgument(first["what"] + more, where=first["at"], allowed=first.get("allowed", ""))
