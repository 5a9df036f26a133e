"""The interface to files of other systems, and our own: an importer knows one layout and reads it into plain values.

An importer runs no code that it finds and changes nothing. Its input is foreign: anything missing, too large or
malformed becomes a line of `lost`, never a crash; only having nothing to import is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from ..errors import InvalidArgument, NextCall, NotFound
from ..records.checked_json import checked_json
from ..records.conversation import EndReason
from ..shapes import as_list
from .files import Roots
from .folder import CaseFolder
from .run_file import RunFile

AUTO: Final = "auto"
LISTED: Final = 20_000
"""Most names of one folder, or matches of one pattern, that are looked at to recognise a layout."""
LOST_PLACES: Final = 5
"""Most places that one line of `lost` names."""


@dataclass(slots=True)
class PastEntry:
    """One thing that was said or called in a recorded conversation.

    A text: `say`. A call: `tool`, `args` and `result`, the text that the caller was given.
    """

    by: Literal["user", "agent"]
    say: str | None = None
    tool: str | None = None
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    result: Any = None
    ok: bool = True
    first_of_reply: bool = True
    """For calls of the agent: whether it begins a new reply of its model."""
    own: bool = False
    """Whether it is a call on one of the agent's own tools, which is not repeated: its recorded result is used."""


@dataclass(slots=True)
class PastTalk:
    """A conversation recorded by another system, with that system's result."""

    scenario: str
    """Slug of its scenario."""
    trial: int
    """From 1, in file order."""
    entries: list[PastEntry]
    end: EndReason
    detail: str = ""
    """Why it ended, in the other system's words."""
    reward: float | None = None
    """The recorded reward, 0..1; None: there was none."""
    named: str = ""
    """The scenario's id in the other system, `id` of its `x_source`: it decides where two ids have one slug."""
    x_source: Any = None
    """Data without a place here, verbatim."""


@dataclass(slots=True)
class PastRun:
    """Conversations of one agent, recorded by another system."""

    name: str
    """The file that contains them, as people write it."""
    talks: list[PastTalk]
    models: dict[str, str] = field(default_factory=dict[str, str])
    """agent, user: names of the models that played them, if known."""
    seed: int = 0
    x_source: Any = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of one import: an environment with its cases, or past runs of one, or both.

    Records are plain values as people write them; whether each one is valid is decided when it is stored. `lost` rows
    are `{what, why}`, with `at` (places), `count` and `use` (what helps) if they have more to say.
    """

    format: str
    id: str
    """The id the environment would get."""
    cases: CaseFolder | None = None
    """World, personas, scenarios, agent and instructions; None: the file holds only past runs."""
    exported: RunFile | None = None
    """A run that we exported ourselves."""
    runs: tuple[PastRun, ...] = ()
    taken: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Reported to the importing client, besides the counts."""
    lost: tuple[Mapping[str, Any], ...] = ()
    whole: bool = False
    """A mistake in one record refuses all (files that people write for us); otherwise it is a line of `lost`."""


class Importer(Protocol):
    """One layout of files."""

    name: str
    """The value of `format`."""
    looks_for: str
    """The files by which it recognises its own, as errors name them."""

    def recognise(self, path: Path, roots: Roots) -> str:
        """What was found at a real path below a root, in a few words, or "" if nothing of this layout is there.

        Cheap (names, and the ends of files, by `roots.peek`); it raises nothing.
        """
        ...

    def read(self, path: Path, roots: Roots) -> Imported:
        """Read it, every file through `roots`. Runs in a worker thread and may take seconds.

        InvalidArgument, NotFound or NotAllowed, with file and path, if nothing can be imported.
        """
        ...


class Losses:
    """What could not be imported, grouped by what and why."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, what: str, why: str, at: str = "", use: str = "") -> None:
        """Add one more loss; equal ones become one row with a count and the first few places."""
        row = self._rows.setdefault((what, why), {"what": what, "why": why, "count": 0})
        row["count"] += 1
        if use:
            row["use"] = use
        if at:
            places: list[str] = row.setdefault("at", [])
            if len(places) < LOST_PLACES:
                places.append(at)

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._rows.values())


def find_importer(
    path: Path,
    format: str,
    importers: Mapping[str, Importer],
    roots: Roots,
    shown: str,
    where: str = "path",
) -> Importer:
    """The importer of that format, or with `auto` the first that recognises what is there.

    NotFound (for a file InvalidArgument) says what was looked for, and which folders just below contain something.
    """
    if format != AUTO and format not in importers:
        raise InvalidArgument(
            f"Importing {format[:40]} is not in this version.", where="format", allowed=[AUTO, *importers]
        )
    asked = list(importers.values()) if format == AUTO else [importers[format]]
    for importer in asked:
        if importer.recognise(path, roots):
            return importer
    what = f"Nothing known in `{shown}`." if format == AUTO else f"There is nothing of {format} in `{shown}`."
    kind = NotFound if path.is_dir() else InvalidArgument
    raise kind(
        f"{what} Looked for {'; '.join(i.looks_for for i in asked)}.",
        where=where,
        allowed=f"files of {', '.join(i.name for i in asked)}",
        next=_elsewhere(path, importers.values(), roots, shown),
    )


def one_of_several(shown: str, what: str, parts: Sequence[str], where: str = "path") -> InvalidArgument:
    """The error for a place with several environments: an import makes one."""
    calls = [NextCall("import_environment", {"path": f"{shown}/{part}"}) for part in parts[:3]]
    return InvalidArgument(
        f"`{shown}` holds {len(parts)} {what}, and an import makes one environment.",
        where=where,
        allowed=[f"{shown}/{part}" for part in parts],
        next=calls,
    )


def _elsewhere(path: Path, importers: Iterable[Importer], roots: Roots, shown: str) -> list[NextCall]:
    """Imports of the folders just below in which something is recognised."""
    known = list(importers)
    try:
        below = (
            sorted(p for p in islice(path.iterdir(), LISTED) if p.is_dir() and not p.is_symlink())[:200]
            if path.is_dir()
            else []
        )
    except OSError:
        below = []
    found = [p.name for p in below if any(i.recognise(p, roots) for i in known)]
    return [NextCall("import_environment", {"path": f"{shown}/{name}"}) for name in found[:3]]


def as_object(value: Any) -> dict[str, Any] | None:
    """The value if it is an object with texts as keys."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_rows(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; nothing for any other value."""
    return [row for row in map(as_object, as_list(value)) if row is not None]


def as_number(value: Any, least: float = -math.inf, most: float = math.inf) -> float | None:
    """The value as a float if it is a finite number within both bounds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and least <= number <= most else None


def as_reward(value: Any, losses: Losses, at: str, what: str = "reward", use: str = "") -> float | None:
    """A recorded reward; one that is no number within 0 and 1 is lost."""
    number = as_number(value, 0, 1)
    if number is None and value is not None:
        losses.add(what, f"{str(value)[:40]} is not within 0 and 1", at, use)
    return number


def as_kept(value: Any, losses: Losses, what: str, at: str) -> Any:
    """A copy of a value that can be stored as JSON; None, and a loss that says why, if it cannot."""
    try:
        return checked_json(value)
    except ValueError as error:
        losses.add(what, str(error)[:200], at)
        return None
