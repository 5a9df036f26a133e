"""A client that answers model calls by simple rules, as a person with a language model would."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from caseharden.tests.server_desk import Desk
from caseharden.tests.workbench_cases import INSTRUCTIONS, closing, tickets

View = dict[str, Any]
STOP = "###STOP###"
TICKET = re.compile(r"\bT\d+\b")


async def lent_desk(at: Desk, count: int = 16, **more: Any) -> None:
    """The environment `desk`, whose user is played by a client; `more` is of create_environment."""
    settings = {"world_data": tickets(count), "models": {"user": "relay"}, **more}
    await at.ok("create_environment", id="desk", instructions=INSTRUCTIONS, **settings)
    await at.ok("create_personas", environment="desk", personas=[{"id": "dana", "style": "terse"}])
    scenarios = [closing(n) for n in range(1, count + 1)]
    await at.ok("create_scenarios", environment="desk", scenarios=scenarios)


def heard(view: View) -> str:
    """All that was said in the conversation of a call, as far as it is told."""
    return " ".join(str(entry.get("text", "")) for entry in view["history"])


def told_ticket(view: View) -> str:
    """The ticket that a call is about; ## where it is not told."""
    found = TICKET.search(f"{view.get('sheet', '')} {heard(view)}")
    return found[0] if found else "##"


def as_user(view: View, turns: int = 1) -> View:
    """Asks for the ticket, asks so many times in all, leaves."""
    said = sum(entry["from"] == "you" for entry in view["history"])
    if said >= turns:
        return {"text": STOP}
    return {"text": f"Please close ticket {told_ticket(view)}." if not said else "Is it really closed?"}


def as_agent(view: View) -> View:
    """Looks the ticket up, closes it, says so: by the book."""
    done = sum(entry["from"] == "tool" for entry in view["history"])
    if done < 2:
        name = ("look_up_ticket", "close_ticket")[done]
        return {"tool_calls": [{"name": name, "arguments": {"ticket_id": told_ticket(view)}}]}
    return {"text": f"Ticket {told_ticket(view)} is closed."}


def judgement(view: View, verdict: str = "pass") -> View:
    """The same verdict on every criterion, and 1 for every metric."""
    said = {"why": "It was.", "evidence": [1], "fix": ""}
    scores = {name: {**said, "score": 1} for name in view["schema"] if not name.startswith("c")}
    criteria = {name: {**said, "verdict": verdict} for name in view["schema"] if name.startswith("c")}
    return {"data": {**criteria, **scores}}


def by_role(view: View) -> View:
    """What a client answers that plays every role by simple rules."""
    return as_agent(view) if view["role"] == "agent" else as_user(view)


def answers(reply: View, how: Callable[[View], View] = by_role) -> list[View]:
    """An answer for each call of a batch."""
    return [{"id": view["id"], **how(view)} for view in reply.get("calls", [])]


async def play(at: Desk, job: str, how: Callable[[View], View] = by_role, **take: Any) -> tuple[View, int]:
    """Answer all calls of a job; the last reply, and how many round trips it took."""
    trips = 1
    reply = await at.ok("take_model_calls", job=job, **take)
    while reply.get("calls"):
        again = {key: value for key, value in take.items() if key != "roles"}
        reply = await at.ok("answer_model_calls", answers=answers(reply, how), **again)
        trips += 1
    return reply, trips
