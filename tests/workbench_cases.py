"""A small world of tickets for tests of the workbench, and a workbench over a fresh folder."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from caseharden.engine.workbench import Workbench

WORLDS = Path(__file__).resolve().parent.parent / "resources" / "worlds"
INSTRUCTIONS = "You close tickets. Do what the customer asks."


def tickets(count: int = 12) -> dict[str, Any]:
    """A world in which a ticket is to be looked up before it is closed."""
    parameters = {
        "type": "object",
        "required": ["ticket_id"],
        "properties": {"ticket_id": {"type": "string", "description": "T and digits"}},
    }
    found = [{"let": {"t": "db.tickets.get(ticket_id)"}}, {"require": "t", "error": "no ticket {ticket_id}"}]
    return {
        "format": "world/1",
        "name": "desk",
        "policy": "Look a ticket up before you close it.",
        "db": {"tickets": {f"T{n}": {"status": "open", "owner": "ann"} for n in range(1, count + 1)}},
        "schema": {
            "db.tickets": {"required": ["status"], "fields": {"status": {"enum": ["open", "closed"]}}}
        },
        "tools": [
            {
                "name": "look_up_ticket",
                "description": "Look up a ticket.",
                "parameters": parameters,
                "steps": [*found, {"return": "{'ticket_id': ticket_id, 'status': t.status}"}],
            },
            {
                "name": "close_ticket",
                "description": "Close a ticket.",
                "parameters": parameters,
                "steps": [
                    *found,
                    {"set": {"t.status": "'closed'"}},
                    {"return": "{'ticket_id': ticket_id, 'status': t.status}"},
                ],
            },
        ],
        "rules": [
            {
                "id": "looked-up",
                "before": "close_ticket",
                "need": {"tool": "look_up_ticket"},
                "severity": "critical",
            }
        ],
    }


def closing(n: int, **fields: Any) -> dict[str, Any]:
    """A scenario in which ticket n is to be closed."""
    ticket = f"T{n}"
    return {
        "id": f"close-{n}",
        "goal": f"Get ticket {ticket} closed.",
        "knowledge": [{"fact": "ticket id", "value": ticket}],
        "expected": [
            {"tool": "look_up_ticket", "args": {"ticket_id": ticket}},
            {"tool": "close_ticket", "args": {"ticket_id": ticket}},
        ],
        "success": [{"id": "world", "world": "expected"}],
        **fields,
    }


@asynccontextmanager
async def bench_at(home: Path, roots: Sequence[Path] = ()) -> AsyncGenerator[Workbench]:
    async with Workbench(home, worlds=WORLDS, roots=list(roots)) as bench:
        yield bench


async def desk(
    bench: Workbench,
    count: int = 12,
    *,
    id: str = "desk",
    settings: Mapping[str, Any] | None = None,
    agent: Mapping[str, Any] | None = None,
) -> None:
    """The environment `desk` with `count` scenarios and two personas."""
    await bench.environments.create(
        id, instructions=INSTRUCTIONS, world_data=tickets(count), settings=settings, agent=agent
    )
    await bench.personas.create(id, [{"id": "dana", "style": "terse"}, {"id": "omar", "profile": "Polite."}])
    await bench.scenarios.create(id, [closing(n) for n in range(1, count + 1)])


def audited(home: Path) -> list[tuple[str, str, str]]:
    """(action, kind, id) of every line of the audit."""
    lines = (home / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [(row["action"], row["kind"], row["id"]) for row in rows]
