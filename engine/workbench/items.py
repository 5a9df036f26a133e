"""Everything stored, by kind and id: lists, views, changes, deletions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread

from ..errors import InvalidArgument
from .archive import Archive
from .changing import Changing
from .environments import Environments
from .jobs import Jobs
from .listing import Listing
from .personas import Personas
from .results import Changes, Item, Page
from .scenarios import Scenarios
from .views import Views
from .worlds import Worlds


class Items:
    """Finds, shows, changes and deletes."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        jobs: Jobs,
        environments: Environments,
        personas: Personas,
        scenarios: Scenarios,
        guides: Callable[[str], str | None],
        guide_names: Sequence[str],
    ) -> None:
        self._listing = Listing(archive, worlds, environments, guide_names)
        self._views = Views(archive, worlds, jobs, environments, scenarios, guides, guide_names)
        self._changing = Changing(archive, worlds, jobs, environments, personas, scenarios)

    async def page(
        self,
        kind: str,
        *,
        environment: str = "",
        where: Mapping[str, Any] | None = None,
        limit: int = 20,
        cursor: str = "",
        detail: str = "concise",
    ) -> Page:
        """One page of rows of a kind, newest first; `limit` 1..100, `detail` concise or full."""
        if detail not in ("concise", "full"):
            raise InvalidArgument(f"`detail` is `{detail[:40]}`.", where="detail", allowed="concise, full")
        return self._listing.page(kind, environment, where or {}, limit, cursor, detail == "full")

    async def get(
        self, kind: str, id: str, *, view: str = "summary", limit: int = 20, cursor: str = ""
    ) -> Item:
        """One thing in one view; NotFound names the nearest id."""
        return await self._views.get(kind, id, view, limit, cursor)

    async def update(self, kind: str, id: str, changes: Mapping[str, Any], *, version: int = 0) -> Changes:
        """Apply a JSON merge patch; refused where it changed since `version` (0: whatever it is)."""
        return await self._changing.update(kind, id, changes, version)

    async def delete(self, kind: str, ids: Sequence[str], *, confirm: bool = False) -> Changes:
        """What goes with the items; with `confirm` they are deleted and purged."""
        return await anyio.to_thread.run_sync(self._changing.delete, kind, ids, confirm)
