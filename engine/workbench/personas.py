"""Personas of an environment: written by hand, shipped, read from files, or generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.lowlevel
import anyio.to_thread

from ..errors import InvalidArgument, NextCall, did_you_mean
from ..exchange import Roots
from ..generate.generated import Generated
from ..generate.personas import ALL_PERSONA_KINDS, generate_personas
from ..ids import check_slug
from ..records.authored import load
from ..records.environment import EnvironmentRecord
from ..records.persona import Persona, PersonaRecord, Source
from ..simulate import METHODS
from ..world import Scene, WorldFault
from .archive import Archive, utc_now
from .authoring import Authoring, read_items
from .generating import Generating
from .jobs import Jobs
from .means import Means
from .plain import check_plain
from .results import Creation
from .role_models import RoleModels
from .worlds import Worlds


class Personas:
    """Stores personas, each checked against the world's schema."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        roots: Roots,
        models: RoleModels,
        jobs: Jobs,
        means: Means,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._roots = roots
        self._models = models
        self.generating = Generating[Persona](
            "persona", ALL_PERSONA_KINDS, archive.store, jobs, self._write, self._keep, means.of_writer
        )

    async def create(
        self,
        environment: str,
        personas: Sequence[Any] = (),
        file: str = "",
        *,
        source: Source = "written",
        replace: bool = False,
    ) -> Creation:
        """Store them; an invalid one is refused with its path, the others are stored.

        The same id and content again changes nothing; other content is refused unless `replace`.
        """
        owner = self._archive.environments.get(environment, "environment")
        items = await anyio.to_thread.run_sync(
            read_items, personas, file, "personas", self._roots, "persona-format"
        )
        going = Authoring("persona", environment, self._archive.personas, replace)
        records: list[PersonaRecord] = []
        for k, item in enumerate(items):
            await anyio.lowlevel.checkpoint()
            with going.refusing(f"personas[{k}]"):
                persona = self.checked(item, f"personas[{k}]", owner)
                record = PersonaRecord(
                    id=f"{environment}/{persona.id}",
                    environment=environment,
                    persona=persona,
                    source=source,
                    created_at=utc_now(),
                )
                before = self._archive.personas.find(record.id)
                if going.take(
                    record.id,
                    _content(persona),
                    _content(before.persona) if before else None,
                    f"personas[{k}]",
                ):
                    records.append(record)
        return await anyio.to_thread.run_sync(going.finish, self._archive.personas, records)

    async def generate(
        self,
        environment: str,
        *,
        brief: str = "",
        count: int = 5,
        kinds: Sequence[str] = (),
        wait_s: float = 20,
        idempotency_key: str = "",
    ) -> Creation:
        """Have the writer model write up to `count` (1..50) distinct personas, tied to existing records.

        `kinds` empty: of every kind. After `wait_s` seconds the creation so far, with its job.
        """
        self._models.of(self._archive.environments.get(environment, "environment"))
        return await self.generating.start(environment, brief, count, kinds, wait_s, idempotency_key)

    def lint(self, personas: Sequence[Any], environment: EnvironmentRecord) -> list[dict[str, str]]:
        """What would be refused, without storing anything."""
        going = Authoring("persona", environment.id, self._archive.personas, True)
        for k, item in enumerate(personas):
            where = f"personas[{k}]"
            with going.refusing(where):
                persona = self.checked(item, where, environment)
                going.take(f"{environment.id}/{persona.id}", _content(persona), None, where)
        return going.refused

    def checked(self, item: Any, where: str, environment: EnvironmentRecord) -> Persona:
        """The authored persona, if it can play in this environment; InvalidArgument with its path."""
        check_plain(item, where)
        persona = load(Persona, item, where)
        check_slug(persona.id, f"{where}.id")
        kinds = ("plain", *METHODS)
        if persona.kind.replace("-", "_") not in kinds:
            near = did_you_mean(persona.kind, kinds)
            what = f"There is no persona kind `{persona.kind}`.{near}"
            raise InvalidArgument(what, where=f"{where}.kind", allowed=kinds)
        self._check_data(persona, environment, where)
        return persona

    def _check_data(self, persona: Persona, environment: EnvironmentRecord, where: str) -> None:
        """The persona's data must fit the world's schema and references."""
        data = persona.data.sides()
        if not data:
            return
        try:
            Scene(self._worlds.get(environment.world)).prepare(data)
        except WorldFault as fault:
            text = fault.text if fault.text.endswith((".", "?")) else f"{fault.text}."
            raise InvalidArgument(
                f"The data does not fit the world: {text}",
                where=f"{where}.data",
                allowed="records as the world has them",
                next=[NextCall("get_item", {"kind": "environment", "id": environment.id, "view": "full"})],
            ) from None

    async def _write(self, spec: Mapping[str, Any]) -> Generated[Persona]:
        owner = self._archive.environments.get(spec["environment"], "environment")
        known = [record.persona for record in self._archive.personas.where(environment=owner.id)]
        return await generate_personas(
            self._models.writer(owner),
            self._worlds.get(owner.world),
            existing=known,
            brief=spec["brief"],
            count=spec["count"],
            kinds=spec["kinds"],
            seed=owner.settings.seed,
        )

    async def _keep(self, environment: str, items: list[dict[str, Any]], kinds: Sequence[str]) -> Creation:
        return await self.create(environment, items, source="generated")


def _content(persona: Persona) -> dict[str, Any]:
    return persona.model_dump(mode="json", by_alias=True)
