"""Views: the requested part of one stored thing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio.to_thread

from ..errors import InvalidArgument, NotFound, did_you_mean
from ..plural import plural
from ..simulate import LiveTrials
from .archive import Archive
from .authored_views import AuthoredViews
from .conversation_views import ConversationViews
from .environments import Environments
from .hardening_views import HardeningViews
from .instructions import Instructions
from .jobs import Jobs
from .parts import Body
from .results import Item
from .rows import job_row
from .run_views import RunViews
from .scenarios import Scenarios
from .session_views import SessionViews
from .worlds import Worlds

VIEWS: Mapping[str, Sequence[str]] = {
    "environment": ("summary", "full", "text", "solution"),
    "instructions": ("summary", "full", "text", "diff"),
    "persona": ("summary", "full"),
    "scenario": ("summary", "full", "solution"),
    "simulation": ("summary", "full"),
    "run": ("summary", "full", "clusters", "rounds", "checks", "agreement"),
    "conversation": ("summary", "full", "turns", "state", "checks"),
    "hardening": ("summary", "full", "clusters", "rounds", "diff", "checks"),
    "candidate": ("summary", "full", "text", "diff", "checks"),
    "job": ("summary", "full"),
    "session": ("summary", "full", "text"),
    "world": ("summary", "full", "text"),
    "guide": ("summary", "full", "text"),
}
"""The views of each kind."""


class Views:
    """Shows one thing."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        jobs: Jobs,
        instructions: Instructions,
        environments: Environments,
        scenarios: Scenarios,
        guides: Callable[[str], str | None],
        guide_names: Sequence[str],
        live: LiveTrials,
    ) -> None:
        self._worlds = worlds
        self._jobs = jobs
        self._guides = guides
        self._guide_names = guide_names
        authored = AuthoredViews(archive, worlds, instructions, environments, scenarios)
        hardenings = HardeningViews(archive)
        self._readers: Mapping[str, Callable[[str, str, int, int], Awaitable[Item]]] = {
            "environment": authored.environment,
            "instructions": authored.instructions,
            "persona": authored.persona,
            "scenario": authored.scenario,
            "simulation": authored.simulation,
            "run": RunViews(archive).run,
            "conversation": ConversationViews(archive, live).conversation,
            "hardening": hardenings.hardening,
            "candidate": hardenings.candidate,
            "job": self._job,
            "session": SessionViews(archive, worlds).session,
            "world": self._world,
            "guide": self._guide,
        }

    async def get(self, kind: str, id: str, view: str, limit: int, cursor: str) -> Item:
        """The thing. `cursor` is the number of parts to skip."""
        if kind not in VIEWS:
            raise InvalidArgument(
                f"There is no kind `{kind[:40]}`.{did_you_mean(kind, VIEWS)}", where="kind", allowed=VIEWS
            )
        if view not in VIEWS[kind]:
            raise InvalidArgument(f"{kind} has no view `{view[:40]}`.", where="view", allowed=VIEWS[kind])
        if not 1 <= limit <= 100:
            raise InvalidArgument(f"`limit` is {limit}.", where="limit", allowed="1 to 100")
        if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 8):
            raise InvalidArgument(
                "The cursor is none of this view.", where="cursor", allowed="next_cursor of the page before"
            )
        return await self._readers[kind](id, view, limit, int(cursor or 0))

    async def _job(self, id: str, view: str, limit: int, skip: int) -> Item:
        job = self._jobs.get(id)
        body = job_row(job) if view == "summary" else job.model_dump(mode="json", exclude={"owner"})
        units = job.units
        return Item(
            "job",
            id,
            view,
            body,
            summary=f"{id} ({job.kind}) is {job.state}: {units.finished} of {units.total} done, {units.failed} failed.",
        )

    async def _world(self, id: str, view: str, limit: int, skip: int) -> Item:
        source = await anyio.to_thread.run_sync(self._worlds.find, id, "id")
        world = (await anyio.to_thread.run_sync(self._worlds.compile, source.document, "world")).world
        if view == "text":
            return Item("world", id, view, {"policy": world.policy}, summary=f"The policy of {id}.")
        body: Body = {
            "name": id,
            "tools": [t.name for t in world.tools],
            "collections": {
                name: len(rows)
                for name, rows in (*world.db.items(), *world.user_db.items())
                if hasattr(rows, "__len__")
            },
            "personas": len(source.personas),
            "scenarios": len(source.scenarios),
        }
        if view == "full":
            body["tools"] = [
                t.model_dump(mode="json", by_alias=True, exclude_unset=True) for t in world.tools
            ]
            body["schema"] = world.model_dump(
                mode="json", by_alias=True, include={"schema_"}, exclude_unset=True
            ).get("schema", {})
            body["rules"] = [r.model_dump(mode="json", exclude_unset=True) for r in world.rules]
            body["policy"] = world.policy
        return Item(
            "world",
            id,
            view,
            body,
            summary=f"World {id}: {plural(len(world.tools), 'tool')}, {plural(len(source.scenarios), 'scenario')}, "
            f"{plural(len(source.personas), 'persona')}.",
        )

    async def _guide(self, id: str, view: str, limit: int, skip: int) -> Item:
        text = self._guides(id)
        if text is None:
            raise NotFound(
                f"No guide `{id[:80]}`.{did_you_mean(id, self._guide_names)}",
                where="id",
                allowed=self._guide_names,
            )
        return Item("guide", id, view, {"text": text}, summary=f"Guide {id}.")
