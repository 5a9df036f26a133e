"""Ids: readable slugs, and paths of slugs for things that live inside others.

`support` environment, `support/dana` persona, scenario or simulation in it, `support@2` version of its
instructions, `run-7`, `run-7/SIMULATION/TRIAL` conversation, the same with `@5` a place (turn 5), `hard-2`,
`hard-2/c1` candidate, `job-9`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from .errors import InvalidArgument

SLUG = re.compile(r"[a-z0-9_-]{1,64}\Z")
SLUG_RULE = "1 to 64 of a-z, 0-9, _ and -"


def check_slug(text: str, where: str) -> str:
    """Return the text if it is a slug; otherwise raise InvalidArgument with a similar slug."""
    if SLUG.match(text):
        return text
    near = slugify(text)
    hint = f" For example `{near}`." if near else ""
    raise InvalidArgument(f"`{text[:80]}` is not an id.{hint}", where=where, allowed=SLUG_RULE)


def slugify(text: str) -> str:
    """A slug made from a name, or "" if no part of it can be used."""
    return re.sub(r"[^a-z0-9_]+", "-", text.casefold()).strip("-")[:64].strip("-")


def simulation_slug(scenario: str, persona: str) -> str:
    """scenario-persona; cut to 64 characters with a hash if it is longer."""
    whole = f"{scenario}-{persona}" if persona else scenario
    if len(whole) <= 64:
        return whole
    mark = hashlib.sha256(f"{scenario}/{persona}".encode()).hexdigest()[:8]
    return f"{whole[:55]}-{mark}"


@dataclass(frozen=True, slots=True)
class Place:
    """A conversation and a turn in it (0: the whole conversation)."""

    run: str
    simulation: str
    trial: int
    turn: int = 0

    @property
    def conversation(self) -> str:
        return f"{self.run}/{self.simulation}/{self.trial}"

    def __str__(self) -> str:
        return f"{self.conversation}@{self.turn}" if self.turn else self.conversation


_PLACE = re.compile(r"([a-z0-9_-]{1,64})/([a-z0-9_-]{1,64})/([0-9]{1,6})(?:@([0-9]{1,6}))?\Z")


def parse_place(text: str, where: str) -> Place:
    """Parse `run-7/refund-dana/1` or `run-7/refund-dana/1@5`."""
    found = _PLACE.match(text)
    if found is None:
        what = f"`{text[:120]}` does not name a conversation."
        raise InvalidArgument(what, where=where, allowed="RUN/SIMULATION/TRIAL, with @TURN to start there")
    return Place(found[1], found[2], int(found[3]), int(found[4] or 0))


def split_nested(text: str, environment: str = "") -> tuple[str, str]:
    """(environment, slug) of `support/dana`, or of the bare `dana` if the environment is given."""
    owner, slash, slug = text.partition("/")
    return (owner, slug) if slash else (environment, owner)
