"""An environment as one complete file, without secrets and without anything specific to this machine."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ..exchange.environment_file import EnvironmentFile, VersionPart, environment_part
from ..exchange.run_file import LOCAL_AGENT
from ..ids import split_nested
from ..records.environment import EnvironmentRecord, knowledge_hash
from ..records.scenario import ScenarioRecord
from ..records.simulation import SimulationRecord
from .archive import Archive
from .discretion import record_without_secrets


def whole_environment(archive: Archive, id: str) -> tuple[EnvironmentFile, list[str]]:
    """The file of an environment, and what it leaves out. Run in a worker thread."""
    hide = archive.redactor.hide_all
    record = record_without_secrets(archive.environments.get(id, "source"), archive.redactor)
    agent = record.agent.model_dump(exclude_unset=True)
    left = [f"agent.{name}: it is a place on this machine" for name in LOCAL_AGENT if agent.pop(name, None)]
    if record.settings.instructions_file:
        left.append("settings.instructions_file: it is a place on this machine")
    if agent.pop("recordings", ""):
        agent["conversations"] = hide(archive.recordings.read(record.agent.recordings))
    knowledge = knowledge_hash(record.settings.knowledge_base)
    whole = EnvironmentFile(
        environment=environment_part(id, record.name, agent, record.models, record.settings),
        in_force=record.instructions_version,
        instructions=_versions(archive, record),
        world=hide(archive.worlds.read(record.world)),
        knowledge=hide(archive.knowledge.read(knowledge)) if knowledge else [],
        personas=[hide(_as_written(row.persona)) for row in archive.personas.where(environment=id)],
        scenarios=[
            hide(_scenario(row))
            for row in sorted(archive.scenarios.where(environment=id), key=lambda row: row.number)
        ],
        simulations=[hide(_simulation(row)) for row in archive.simulations.where(environment=id)],
    )
    return whole, left


def _versions(archive: Archive, record: EnvironmentRecord) -> list[VersionPart]:
    stored = archive.instructions.where(environment=record.id)
    return [
        VersionPart(
            number=version.number,
            text=archive.redactor.hide(version.text),
            origin=version.origin,
            base=int(version.base.rpartition("@")[2] or 0),
        )
        for version in sorted(stored, key=lambda version: version.number)
    ]


def _as_written(record: BaseModel) -> dict[str, Any]:
    return record.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _scenario(record: ScenarioRecord) -> dict[str, Any]:
    """With its split, which is fixed, and its partner by slug, as the environment may be named differently there."""
    row = {**_as_written(record.scenario), "split": record.split}
    partner = record.scenario.persona
    return {**row, "persona": split_nested(partner)[1] or partner} if isinstance(partner, str) else row


def _simulation(record: SimulationRecord) -> dict[str, Any]:
    fields = ("scenario", "persona", "user_input", "expected_output", "ground_truth")
    row = {"id": record.slug, **{name: getattr(record, name) for name in fields}}
    return {name: value for name, value in row.items() if value not in ("", None)}
