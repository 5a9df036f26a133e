"""Changing and deleting what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, UserError, did_you_mean
from ..ids import split_nested
from ..records.authored import load
from ..records.environment import AgentSpec, EnvironmentRecord, ModelChoice
from ..records.persona import Persona, PersonaRecord
from ..records.scenario import Scenario, ScenarioRecord
from ..records.simulation import SimulationRecord
from .archive import Archive, utc_now
from .environments import Environments
from .jobs import Jobs
from .personas import Personas
from .results import Changes
from .scenarios import Scenarios
from .trials import check_agent
from .worlds import Worlds, overlay, world_errors

ENVIRONMENT_FIELDS = ("instructions", "agent", "world", "models", "settings", "name")
SIMULATION_FIELDS = ("persona", "scenario", "user_input", "expected_output", "ground_truth")
UPDATED = ("environment", "persona", "scenario", "simulation", "run")
DELETED = ("environment", "persona", "scenario", "simulation", "run", "hardening")


class Changing:
    """Updates by JSON merge patch, and deletions that say first what goes with them."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        jobs: Jobs,
        environments: Environments,
        personas: Personas,
        scenarios: Scenarios,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._jobs = jobs
        self._environments = environments
        self._personas = personas
        self._scenarios = scenarios

    async def update(self, kind: str, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        """Apply a merge patch (null removes a key); refused where the thing changed since `version`."""
        if kind not in UPDATED:
            raise InvalidArgument(f"`{kind[:40]}` cannot be updated.", where="kind", allowed=UPDATED)
        if not changes:
            raise InvalidArgument("`changes` is empty.", where="changes", allowed="a JSON merge patch")
        if kind == "environment":
            return await self._update_environment(id, changes, version)
        if kind == "persona":
            return self._update_persona(id, changes, version)
        if kind == "scenario":
            return await self._update_scenario(id, changes, version)
        if kind == "simulation":
            return self._update_simulation(id, changes, version)
        return self._update_run(id, changes, version)

    def delete(self, kind: str, ids: Sequence[str], confirm: bool) -> Changes:
        """What goes with the items; deleted only with `confirm`. An unknown id stops all of it."""
        if kind not in DELETED:
            raise InvalidArgument(
                f"`{kind[:40]}` cannot be deleted by itself in this version.", where="kind", allowed=DELETED
            )
        if not ids:
            raise InvalidArgument("`ids` is empty.", where="ids", allowed="at least one id")
        for k, id in enumerate(ids):
            self._exists(kind, id, f"ids[{k}]")
        goes: dict[str, int] = {}
        for id in dict.fromkeys(ids):
            for name, count in self._goes_with(kind, id).items():
                goes[name] = goes.get(name, 0) + count
        changes = Changes(
            kind, list(dict.fromkeys(ids)), goes_with={k: v for k, v in goes.items() if v}, done=confirm
        )
        if confirm:
            for id in changes.ids:
                self._remove(kind, id)
        return changes

    async def _update_environment(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.environments.get(id)
        _only(changes, ENVIRONMENT_FIELDS)
        _same_version(record.id, "environment", record.version, version)
        told: dict[str, str] = {}
        fields: dict[str, Any] = {}
        warnings: list[str] = []
        if "agent" in changes:
            fields["agent"] = load(
                AgentSpec, merge_patch(_plain(record.agent), changes["agent"]), "changes.agent"
            )
            check_agent(fields["agent"], "changes.agent")
            told["agent"] = fields["agent"].kind
        if "models" in changes:
            fields["models"] = load(
                ModelChoice, merge_patch(_plain(record.models), changes["models"]), "changes.models"
            )
            told["models"] = (
                ", ".join(f"{k} {v}" for k, v in _plain(fields["models"]).items()) or "the server's"
            )
        if "settings" in changes:
            merged = merge_patch(_plain(record.settings), changes["settings"])
            fields["settings"] = self._environments.check_settings(merged, "changes.settings")
            told["settings"] = "changed"
        if "name" in changes:
            fields["name"] = told["name"] = _text(changes["name"], "changes.name")
        if "world" in changes:
            fields.update(self._new_world(record, changes["world"]))
            told["world"] = f"now {fields['world'][:12]}"
        text = _text(changes["instructions"], "changes.instructions") if "instructions" in changes else None
        draft = record.model_copy(update=fields)
        self._environments.models(draft, ModelChoice())
        if fields:
            draft = self._put(draft)
        if "world" in fields:
            warnings += await self._recheck(draft)
        if text is not None:
            before = self._environments.current(draft)
            if text != before.text:
                made = self._environments.new_version(id, text, origin="edited")
                lines = len(text.splitlines()) - len(before.text.splitlines())
                told["instructions"] = (
                    f"{lines:+d} lines, {len(before.text)} to {len(text)} characters; now version {made.number}"
                )
        now = self._archive.environments.get(id)
        shown = now.instructions_version if set(changes) == {"instructions"} else now.version
        return Changes("environment", [id], shown, told, warnings=warnings)

    def _new_world(self, record: EnvironmentRecord, patch: Any) -> dict[str, Any]:
        if not isinstance(patch, Mapping):
            raise InvalidArgument("`world` is no object.", where="changes.world", allowed="fields of world/1")
        document = overlay(self._archive.world(record.world), patch)  # pyright: ignore[reportUnknownArgumentType]
        kept = {k: v for k, v in document.items() if v is not None}
        try:
            compiled = self._worlds.compile(kept, "world")
        except CasehardenError as error:
            raise world_errors(error, "changes.world") from None
        return {"world": self._worlds.keep(compiled), "world_name": compiled.world.name}

    def _put(self, draft: EnvironmentRecord) -> EnvironmentRecord:
        def put(stored: EnvironmentRecord) -> EnvironmentRecord:
            if stored.version != draft.version:
                raise _changed(stored.id, "environment", stored.version, draft.version)
            return draft.model_copy(update={"version": stored.version + 1, "updated_at": utc_now()})

        self._archive.environments.audit("update", draft.id)
        return self._archive.environments.change(draft.id, put)

    async def _recheck(self, environment: EnvironmentRecord) -> list[str]:
        """Play all solutions anew; what no longer holds becomes unproven and is told."""
        warnings: list[str] = []
        for record in self._archive.scenarios.where(environment=environment.id):
            try:
                report = await self._scenarios.solution(environment, record.scenario)
            except UserError as error:
                report = record.solution.model_copy(update={"status": "failed", "why": str(error)})
            if report.status == "failed":
                report.status = "unproven"
                warnings.append(f"{record.id} is no longer proven: {report.why}")
            self._archive.scenarios.put(record.id, record.model_copy(update={"solution": report}))
        return warnings

    def _update_persona(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.personas.get(id)
        _same_version(id, "persona", record.version, version)
        persona = load(Persona, merge_patch(_plain(record.persona), changes), "changes")
        _same_id(record.persona.id, persona.id)
        self._personas.check_data(persona, self._archive.environments.get(record.environment), "changes")
        fields = {"persona": persona, "version": record.version + 1, "updated_at": utc_now()}
        self._archive.personas.put(id, PersonaRecord.model_validate(record.model_copy(update=fields)))
        self._archive.personas.audit("update", id)
        return Changes("persona", [id], record.version + 1, _told(changes))

    async def _update_scenario(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.scenarios.get(id)
        _same_version(id, "scenario", record.version, version)
        if "split" in changes and changes["split"] != record.split:
            raise Conflict(
                f"{id} is {record.split}: its split is fixed since it was stored.", where="changes.split"
            )
        scenario = load(Scenario, merge_patch(_plain(record.scenario), changes), "changes")
        _same_id(record.scenario.id, scenario.id)
        owner = self._archive.environments.get(record.environment)
        try:
            report = await self._scenarios.solution(owner, scenario)
        except InvalidArgument as error:
            raise error.at("changes") from None
        self._scenarios.refuse_unsolvable(scenario, report, "changes", True)
        fields = {
            "scenario": scenario,
            "solution": report,
            "version": record.version + 1,
            "updated_at": utc_now(),
        }
        self._archive.scenarios.put(id, ScenarioRecord.model_validate(record.model_copy(update=fields)))
        self._archive.scenarios.audit("update", id)
        return Changes(
            "scenario",
            [id],
            record.version + 1,
            _told(changes),
            warnings=[f"{id} {t}" for t in report.lets_through],
        )

    def _update_simulation(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.simulations.get(id)
        _only(changes, SIMULATION_FIELDS)
        _same_version(id, "simulation", record.version, version)
        merged = merge_patch(record.model_dump(mode="json"), changes)
        for kind, shelf in (("scenario", self._archive.scenarios), ("persona", self._archive.personas)):
            if changes.get(kind):
                slug = split_nested(_text(changes[kind], f"changes.{kind}"), record.environment)[1]
                shelf.get(f"{record.environment}/{slug}", f"changes.{kind}")
                merged[kind] = slug
        merged = {
            k: v if v is not None else "" for k, v in merged.items() if v is not None or k != "ground_truth"
        }
        merged.update(version=record.version + 1, updated_at=utc_now())
        self._archive.simulations.put(id, load(SimulationRecord, merged, "changes"))
        self._archive.simulations.audit("update", id)
        return Changes("simulation", [id], record.version + 1, _told(changes))

    def _update_run(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.runs.get(id)
        _only(changes, ("name",))
        _same_version(id, "run", record.version, version)
        name = _text(changes["name"], "changes.name")
        fields = {"name": name, "version": record.version + 1, "updated_at": utc_now()}
        self._archive.runs.change(id, lambda stored: stored.model_copy(update=fields))
        self._archive.runs.audit("update", id)
        return Changes("run", [id], record.version + 1, {"name": name})

    def _exists(self, kind: str, id: str, where: str) -> None:
        shelves = {
            "environment": self._archive.environments,
            "persona": self._archive.personas,
            "scenario": self._archive.scenarios,
            "simulation": self._archive.simulations,
            "run": self._archive.runs,
            "hardening": self._archive.hardenings,
        }
        try:
            shelves[kind].get(id, where)
        except UserError as error:
            raise type(error)(
                f"{error.what} Nothing was deleted.", where=where, allowed=error.allowed, next=error.next
            ) from None

    def _goes_with(self, kind: str, id: str) -> dict[str, int]:
        archive = self._archive
        if kind == "run":
            self._not_running(id)
            return {"conversation": archive.trials(id).count()}
        if kind == "hardening":
            return self._sum_runs([r.id for r in archive.runs.where(hardening=id)], id)
        if kind == "environment":
            runs = [r.id for r in archive.runs.where(environment=id)]
            return {
                "persona": archive.personas.count(environment=id),
                "scenario": archive.scenarios.count(environment=id),
                "simulation": archive.simulations.count(environment=id),
                "hardening": archive.hardenings.count(environment=id),
                "instructions": archive.instructions.count(environment=id),
                **self._sum_runs(runs, ""),
            }
        environment, slug = split_nested(id)
        return (
            {"simulation": archive.simulations.count(environment=environment, **{kind: slug})}
            if kind != "simulation"
            else {}
        )

    def _sum_runs(self, runs: Sequence[str], hardening: str) -> dict[str, int]:
        for run in runs:
            self._not_running(run)
        if hardening:
            record = self._archive.hardenings.get(hardening)
            if record.state == "running":
                raise Conflict(
                    f"{hardening} is running.", where="ids", next=[NextCall("list_items", {"kind": "job"})]
                )
        return {"run": len(runs), "conversation": sum(self._archive.trials(run).count() for run in runs)}

    def _not_running(self, run: str) -> None:
        record = self._archive.runs.get(run, "ids")
        job = self._jobs.get(record.job) if record.job else None
        if job is not None and job.active:
            raise Conflict(
                f"{run} is running ({job.id}).", where="ids", next=[NextCall("cancel_job", {"job": job.id})]
            )

    def _remove(self, kind: str, id: str) -> None:
        archive = self._archive
        if kind == "run":
            archive.forget_run(id)
            archive.runs.delete([id])
        elif kind == "hardening":
            for run in archive.runs.where(hardening=id):
                self._remove("run", run.id)
            archive.hardenings.delete([id])
        elif kind == "environment":
            self._remove_environment(id)
        else:
            environment, slug = split_nested(id)
            if kind != "simulation":
                gone = archive.simulations.where(environment=environment, **{kind: slug})
                archive.simulations.delete([s.id for s in gone])
            {"persona": archive.personas, "scenario": archive.scenarios, "simulation": archive.simulations}[
                kind
            ].delete([id])
        archive.store.audit("delete", kind, id)

    def _remove_environment(self, id: str) -> None:
        archive = self._archive
        world = archive.environments.get(id).world
        for run in archive.runs.where(environment=id):
            archive.forget_run(run.id)
        for shelf in (
            archive.runs,
            archive.hardenings,
            archive.simulations,
            archive.scenarios,
            archive.personas,
            archive.instructions,
        ):
            shelf.delete([r.id for r in shelf.where(environment=id)])
        archive.environments.delete([id])
        archive.forget_world(world)


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): objects merge, null removes a key, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    result: dict[str, Any] = dict(target) if isinstance(target, Mapping) else {}  # pyright: ignore[reportUnknownArgumentType]
    for key, value in patch.items():  # pyright: ignore[reportUnknownVariableType]
        if value is None:
            result.pop(str(key), None)  # pyright: ignore[reportUnknownArgumentType]
        else:
            result[str(key)] = merge_patch(result.get(str(key)), value)  # pyright: ignore[reportUnknownArgumentType]
    return result


def _plain(record: Any) -> dict[str, Any]:
    return record.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _only(changes: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name in changes:
        if name not in allowed:
            raise InvalidArgument(
                f"`changes.{name[:60]}` is unknown.{did_you_mean(name, allowed)}",
                where="changes",
                allowed=allowed,
            )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"`{where}` is no text.", where=where, allowed="a text")
    return value


def _told(changes: Mapping[str, Any]) -> dict[str, str]:
    return {name: "removed" if value is None else "set" for name, value in changes.items()}


def _same_id(old: str, new: str) -> None:
    if old != new:
        raise InvalidArgument(
            f"The id `{old}` cannot change.", where="changes.id", allowed="a new record with the new id"
        )


def _same_version(id: str, kind: str, stored: int, sent: int) -> None:
    if sent and sent != stored:
        raise _changed(id, kind, stored, sent)


def _changed(id: str, kind: str, stored: int, sent: int) -> Conflict:
    call = NextCall("get_item", {"kind": kind, "id": id})
    return Conflict(
        f"{id} is at version {stored}, you sent {sent}: somebody changed it.", where="version", next=[call]
    )
