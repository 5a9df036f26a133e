"""Personas of an environment: written by hand, shipped, read from files, or generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..canonical import digest
from ..errors import InvalidArgument
from ..exchange import Roots
from ..ids import check_slug
from ..records.authored import load
from ..records.environment import EnvironmentRecord
from ..records.persona import Persona, PersonaRecord, Source
from ..world import Scene, WorldFault
from .archive import Archive, utc_now
from .authoring import Authoring, read_items
from .results import Creation
from .worlds import Worlds


class Personas:
    """Stores personas, each checked against the world's schema."""

    def __init__(self, archive: Archive, worlds: Worlds, roots: Roots) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots

    async def create(
        self,
        environment: str,
        personas: Sequence[Any] = (),
        file: str = "",
        *,
        source: Source = "written",
        replace: bool = False,
    ) -> Creation:
        """Store them; a wrong one is refused with its path, the others are kept.

        The same id and content again changes nothing; other content is refused unless `replace`.
        """
        owner = self._archive.environments.get(environment, "environment")
        items = read_items(personas, file, "personas", self._roots, "persona-format")
        going = Authoring("persona", environment, self._archive.personas, replace)
        records: list[PersonaRecord] = []
        for k, item in enumerate(items):
            with going.refusing(f"personas[{k}]"):
                persona = self._checked(item, f"personas[{k}]", owner)
                record = PersonaRecord(
                    id=f"{environment}/{persona.id}",
                    environment=environment,
                    persona=persona,
                    source=source,
                    created_at=utc_now(),
                )
                if going.take(
                    record.id, digest(_content(persona)), self._existing(record.id), f"personas[{k}]"
                ):
                    records.append(record)
        return going.finish(self._archive.personas, records)

    def lint(self, personas: Sequence[Any], environment: EnvironmentRecord) -> list[dict[str, str]]:
        """What would be refused, without storing anything."""
        going = Authoring("persona", environment.id, self._archive.personas, True)
        for k, item in enumerate(personas):
            with going.refusing(f"personas[{k}]"):
                self._checked(item, f"personas[{k}]", environment)
        return going.refused

    def check_data(self, persona: Persona, environment: EnvironmentRecord, where: str) -> None:
        """The persona's data must fit the world's schema and references."""
        data = persona.data.model_dump(exclude_unset=True)
        if not any(data.values()):
            return
        try:
            Scene(self._worlds.get(environment.world)).prepare(data)
        except WorldFault as fault:
            raise InvalidArgument(
                f"The data does not fit the world: {fault.text}.", where=f"{where}.data"
            ) from None

    def _checked(self, item: Any, where: str, environment: EnvironmentRecord) -> Persona:
        persona = load(Persona, item, where)
        check_slug(persona.id, f"{where}.id")
        if persona.kind != "plain":
            raise InvalidArgument(
                f"Persona kind `{persona.kind}` is not in this version.",
                where=f"{where}.kind",
                allowed="plain",
            )
        self.check_data(persona, environment, where)
        return persona

    def _existing(self, id: str) -> str | None:
        found = self._archive.personas.find(id)
        return digest(_content(found.persona)) if found else None


def _content(persona: Persona) -> dict[str, Any]:
    return persona.model_dump(mode="json", by_alias=True)
