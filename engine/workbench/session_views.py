"""Views of sessions, and their rows in lists."""

from __future__ import annotations

from typing import Any

import anyio.to_thread

from ..records.session import SessionRecord
from .archive import Archive
from .parts import Body, filled
from .results import Item
from .rows import Row, filled_row
from .worlds import Worlds


class SessionViews:
    """Shows one session: its state, its texts, all that is stored of it."""

    def __init__(self, archive: Archive, worlds: Worlds) -> None:
        self._archive = archive
        self._worlds = worlds

    async def session(self, id: str, view: str, limit: int, skip: int) -> Item:
        record = await anyio.to_thread.run_sync(self._archive.sessions.get, id)
        state = f"ended {record.verdict}" if record.state == "ended" else "open"
        summary = f"{id}: {state}, turn {record.turn}; you are the {record.role} in {record.scenario}."
        if view == "text":
            return await anyio.to_thread.run_sync(self._text, record, summary)
        body: Body = session_row(record.model_dump(mode="json"))
        untrusted: list[str] = []
        if record.ends:
            body["ends"] = [f"{id}/{record.simulation}/{n}" for n in range(1, record.ends + 1)]
        if record.rejected:
            body["rejected"] = [filled(one.model_dump(mode="json")) for one in record.rejected]
            untrusted.append("item.rejected")
        if view == "full":
            body["tape"] = [filled(one.model_dump(mode="json", exclude_unset=True)) for one in record.tape]
            untrusted.append("item.tape")
        return Item("session", id, view, body, untrusted, summary=summary)

    def _text(self, record: SessionRecord, summary: str) -> Item:
        """What the agent is given: instructions and policy, as a player needs them."""
        run = self._archive.runs.get(record.id)
        policy = self._worlds.get(run.world).world.policy
        body = {"instructions": run.instructions_text.replace("{policy}", policy), "policy": policy}
        return Item("session", record.id, "text", body, ["item.instructions"], summary=summary)


def session_row(row: Any) -> Row:
    """A session as shown in lists."""
    told = ("id", "environment", "role", "scenario", "simulation", "place", "state", "turn", "verdict")
    return filled_row({**{name: row[name] for name in told}, "created_at": row["created_at"]})
