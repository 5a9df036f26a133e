"""Changes stored things by JSON merge patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread

from ..errors import CasehardenError, Conflict, InvalidArgument, NextCall, did_you_mean
from ..ids import split_nested
from ..records.authored import load
from ..records.environment import EnvironmentRecord, ModelChoice
from ..records.simulation import SimulationRecord
from .archive import Archive, Shelf, utc_now
from .environment_drafts import EnvironmentDrafts
from .instructions import EMPTY, Instructions, check_instructions
from .personas import Personas
from .policies import unread_policy
from .results import Changes
from .role_models import RoleModels
from .scenarios import Scenarios
from .sight import refuse_sealed
from .worlds import Worlds, overlay, world_errors

ENVIRONMENT_FIELDS = ("instructions", "agent", "world", "models", "settings", "name")
SIMULATION_FIELDS = ("persona", "scenario", "user_input", "expected_output", "ground_truth")
UPDATED = ("environment", "persona", "scenario", "simulation", "run", "hardening")
MAX_NAME = 200


class Changing:
    """Updates stored things; a concurrent change is never overwritten unseen."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        drafts: EnvironmentDrafts,
        models: RoleModels,
        instructions: Instructions,
        personas: Personas,
        scenarios: Scenarios,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._drafts = drafts
        self._models = models
        self._instructions = instructions
        self._personas = personas
        self._scenarios = scenarios

    async def update(self, kind: str, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        """Apply a merge patch (null removes a key); refused if the thing changed since `version`."""
        if kind not in UPDATED:
            raise InvalidArgument(f"`{kind[:40]}` cannot be updated.", where="kind", allowed=UPDATED)
        if not changes:
            raise InvalidArgument("`changes` is empty.", where="changes", allowed="a JSON merge patch")
        if kind == "environment":
            return await self._update_environment(id, changes, version)
        if kind == "persona":
            return await self._update_persona(id, changes, version)
        if kind == "scenario":
            return await self._update_scenario(id, changes, version)
        if kind == "simulation":
            return self._update_simulation(id, changes, version)
        return self._rename(
            self._archive.runs if kind == "run" else self._archive.hardenings, id, changes, version
        )

    async def _update_environment(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.environments.get(id)
        _only(changes, ENVIRONMENT_FIELDS)
        _same_version(record.id, "environment", record.version, version)
        text = self._new_text(changes)
        fields, told = self._plain_fields(record, changes)
        if "world" in changes:
            self._nothing_hardened(id)
            fields.update(await anyio.to_thread.run_sync(self._new_world, record, changes["world"]))
            told["world"] = f"now {fields['world'][:12]}"
        draft = record.model_copy(update=fields)
        self._models.of(draft)
        warnings: list[str] = []
        if fields:
            self._replace(self._archive.environments, id, record.version, fields)
        if "world" in fields and fields["world"] != record.world:
            warnings = await self._scenarios.prove_again(self._archive.environments.get(id))
            self._archive.forget_unused([record.world])
        before = self._instructions.current(draft)
        if text is not None and text != before.text:
            made = self._instructions.append(id, text, "edited")
            lines = len(text.splitlines()) - len(before.text.splitlines())
            told["instructions"] = (
                f"{lines:+d} {'line' if abs(lines) == 1 else 'lines'}, {len(before.text)} to {len(text)} characters; "
                f"now version {made.number}"
            )
            if not text:
                warnings.append(EMPTY)
            if file := draft.settings.instructions_file:
                warnings.append(
                    f"{file} was left as it is: the next import of its folder takes its text again."
                )
        told_policy = isinstance(changes.get("world"), Mapping) and "policy" in changes["world"]
        if text not in (None, before.text) or told_policy:
            warnings += await anyio.to_thread.run_sync(self._unread_policy, draft, text or before.text)
        now = self._archive.environments.get(id)
        shown = now.instructions_version if set(changes) == {"instructions"} else now.version
        return Changes("environment", [id], shown, told, warnings=warnings)

    def _unread_policy(self, draft: EnvironmentRecord, text: str) -> list[str]:
        return unread_policy(self._worlds, self._worlds.get(draft.world), text, draft.agent)

    def _new_text(self, changes: Mapping[str, Any]) -> str | None:
        if "instructions" not in changes:
            return None
        where = "changes.instructions"
        return check_instructions(_text(changes["instructions"], where), where)

    def _plain_fields(
        self, record: EnvironmentRecord, changes: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """(new values, messages) for agent, models, settings and name."""
        fields: dict[str, Any] = {}
        row: dict[str, str] = {}
        if "agent" in changes:
            self._nothing_hardened(record.id)
            merged = merge_patch(_plain(record.agent), changes["agent"])
            agent = fields["agent"] = self._drafts.agent(merged, "changes.agent")
            row["agent"] = agent.kind
        if "models" in changes:
            merged = merge_patch(_plain(record.models), changes["models"])
            fields["models"] = load(ModelChoice, merged, "changes.models")
            named = ", ".join(f"{k} {v}" for k, v in _plain(fields["models"]).items())
            row["models"] = named or "the server's"
        if "settings" in changes:
            merged = merge_patch(_plain(record.settings), changes["settings"])
            fields["settings"] = self._drafts.settings(merged, "changes.settings")
            row["settings"] = "changed"
        if "name" in changes:
            fields["name"] = row["name"] = _name(changes["name"])
        return fields, row

    def _nothing_hardened(self, environment: str) -> None:
        """Conflict while a hardening of the environment is running: both arms must meet the same world and agent."""
        running = self._archive.hardenings.where(environment=environment, state="running")
        if running:
            raise Conflict(
                f"{running[0].id} is running on {environment}.",
                where="changes",
                allowed="instructions, models, settings, name; world and agent when it is over",
                next=[NextCall("list_items", {"kind": "job", "where": {"state": "running"}})],
            )

    def _new_world(self, record: EnvironmentRecord, patch: Any) -> dict[str, Any]:
        if not isinstance(patch, Mapping):
            raise InvalidArgument("`world` is no object.", where="changes.world", allowed="fields of world/1")
        document = overlay(self._archive.worlds.read(record.world), patch)  # pyright: ignore[reportUnknownArgumentType]
        kept = {k: v for k, v in document.items() if v is not None}
        for side in ("db", "user_db"):
            if patch.get(side) is not None:  # pyright: ignore[reportUnknownMemberType]
                kept[side] = _without(kept.get(side), patch[side])
        try:
            compiled = self._worlds.compile_reachable(kept, "world")
        except CasehardenError as error:
            raise world_errors(error, "changes.world") from None
        return {"world": self._worlds.keep(compiled), "world_name": compiled.world.name}

    async def _update_persona(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.personas.get(id)
        _same_version(id, "persona", record.version, version)
        owner = self._archive.environments.get(record.environment)
        persona = self._personas.checked(merge_patch(_plain(record.persona), changes), "changes", owner)
        _same_id(record.persona.id, persona.id)
        made = self._replace(self._archive.personas, id, record.version, {"persona": persona})
        warnings = await self._scenarios.prove_again(owner, persona.id)
        return Changes("persona", [id], made, _audited(changes), warnings=warnings)

    async def _update_scenario(self, id: str, changes: Mapping[str, Any], version: int) -> Changes:
        record = self._archive.scenarios.get(id)
        refuse_sealed(self._archive, [id])
        _same_version(id, "scenario", record.version, version)
        if "split" in changes and changes["split"] != record.split:
            raise Conflict(
                f"{id} is {record.split}: its split is fixed since it was stored.",
                where="changes.split",
                allowed=record.split,
            )
        owner = self._archive.environments.get(record.environment)
        scenario = self._scenarios.checked(merge_patch(_plain(record.scenario), changes), "changes", owner)
        _same_id(record.scenario.id, scenario.id)
        report = await self._scenarios.solution(owner, scenario)
        self._scenarios.refuse_unsolvable(scenario, report, "changes", True)
        fields = {"scenario": scenario, "solution": report}
        made = self._replace(self._archive.scenarios, id, record.version, fields)
        warnings = [f"{id} {t}" for t in report.lets_through]
        return Changes("scenario", [id], made, _audited(changes), warnings=warnings)

    def _replace(self, shelf: Shelf[Any], id: str, version: int, fields: Mapping[str, Any]) -> int:
        """Set fields of a record that is still at `version`; its new version."""

        def put(stored: Any) -> Any:
            if stored.version != version:
                raise _changed(id, shelf.kind, stored.version, version)
            times = {"updated_at": utc_now()} if hasattr(stored, "updated_at") else {}
            return stored.model_copy(update={**fields, "version": version + 1, **times})

        shelf.change(id, put)
        shelf.audit("update", id)
        return version + 1

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
        if not merged.get("scenario"):
            raise InvalidArgument(
                "A simulation needs its scenario.",
                where="changes.scenario",
                allowed="a scenario of its environment",
            )
        loaded = load(SimulationRecord, merged, "changes")
        fields = {name: getattr(loaded, name) for name in changes}
        made = self._replace(self._archive.simulations, id, record.version, fields)
        return Changes("simulation", [id], made, _audited(changes))

    def _rename(self, shelf: Shelf[Any], id: str, changes: Mapping[str, Any], version: int) -> Changes:
        """Rename a run or a hardening: everything else in it is history."""
        record = shelf.get(id)
        _only(changes, ("name",))
        _same_version(id, shelf.kind, record.version, version)
        if shelf.kind == "hardening" and record.state == "running":
            rows = self._archive.store.jobs.table.walk(
                {"kind": "hardening", "environment": record.environment}
            )
            calls = [
                NextCall("wait_job", {"job": str(row.doc_id)}) for row in rows if row.get("hardening") == id
            ]
            raise Conflict(
                f"{id} is running.", where="id", allowed="the same when it is over", next=calls[:1]
            )
        name = "" if changes["name"] is None else _name(changes["name"])
        made = self._replace(shelf, id, record.version, {"name": name})
        return Changes(shelf.kind, [id], made, {"name": name or "removed"})


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


def _without(state: Any, patch: Any) -> Any:
    """A side of the state without the collections and records that the patch sets to null."""
    if not isinstance(state, Mapping) or not isinstance(patch, Mapping):
        return state  # pyright: ignore[reportUnknownVariableType]
    left: dict[str, Any] = dict(state)  # pyright: ignore[reportUnknownArgumentType]
    for name, rows in patch.items():  # pyright: ignore[reportUnknownVariableType]
        if rows is None:
            left.pop(str(name), None)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(rows, Mapping) and isinstance(left.get(str(name)), Mapping):  # pyright: ignore[reportUnknownArgumentType]
            gone = {key for key, row in rows.items() if row is None}  # pyright: ignore[reportUnknownVariableType]
            left[str(name)] = {k: row for k, row in left[str(name)].items() if k not in gone}  # pyright: ignore[reportUnknownArgumentType]
    return left


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


def _name(value: Any) -> str:
    name = _text(value, "changes.name")
    if len(name) > MAX_NAME:
        raise InvalidArgument(
            f"The name has {len(name):,} characters.", where="changes.name", allowed=f"up to {MAX_NAME}"
        )
    return name


def _audited(changes: Mapping[str, Any]) -> dict[str, str]:
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
