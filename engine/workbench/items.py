"""Everything stored, by kind and id: lists, views, changes, deletions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread

from ..errors import InvalidArgument
from .changing import Changing
from .deleting import Deleting
from .listing import Listing
from .plain import check_plain
from .results import Changes, Item, Page
from .views import Views


class Items:
    """Finds, shows, changes and deletes."""

    def __init__(self, listing: Listing, views: Views, changing: Changing, deleting: Deleting) -> None:
        self._listing = listing
        self._views = views
        self._changing = changing
        self._deleting = deleting

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
        """One page of rows of a kind, newest first; kind `overview` has one row."""
        if detail not in ("concise", "full"):
            raise InvalidArgument(f"`{detail[:40]}` is no detail.", where="detail", allowed="concise, full")
        return await anyio.to_thread.run_sync(
            self._listing.page, kind, environment, where or {}, limit, cursor, detail == "full"
        )

    async def get(
        self, kind: str, id: str, *, view: str = "summary", limit: int = 20, cursor: str = ""
    ) -> Item:
        """One thing in one view; NotFound names the nearest id."""
        return await self._views.get(kind, id, view, limit, cursor)

    async def update(self, kind: str, id: str, changes: Mapping[str, Any], *, version: int = 0) -> Changes:
        """Apply a JSON merge patch; refused if it changed since `version` (0: do not check)."""
        check_plain(changes, "changes", 10_000_000)
        return await self._changing.update(kind, id, changes, version)

    async def delete(self, kind: str, ids: Sequence[str], *, confirm: bool = False) -> Changes:
        """What goes with the items; with `confirm` they are deleted and purged."""
        return await anyio.to_thread.run_sync(self._deleting.delete, kind, ids, confirm)
