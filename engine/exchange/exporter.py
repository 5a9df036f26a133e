"""The seam to other programs' files: an exporter writes what is stored in one format and says what it left out.

An exporter changes nothing and reaches no file: it is given the stored records and gives a text. What the format
cannot say becomes a line of `left_out`; only what leaves nothing to write is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from ..records.conversation import Conversation
from ..records.persona import Persona
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import Scenario
from ..simulate import Case
from .environment_file import EnvironmentFile
from .run_file import RunFile

SourceKind = Literal["run", "session", "hardening", "environment"]


@dataclass(frozen=True, slots=True)
class RunParts:
    """A run and the trials of it that were asked for; conversations and cases are read when they are needed."""

    run: RunRecord
    trials: Sequence[TrialRecord]
    """By simulation and trial."""
    talk: Callable[[TrialRecord], Conversation]
    case: Callable[[str], Case]
    """The case of a simulation; InvalidArgument where it does not fit its world."""
    whole: Callable[[], RunFile]


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """A simulation as it is written down: a scenario and who is its partner."""

    slug: str
    scenario: Scenario
    persona: Persona | None
    first_message: str = ""
    default: bool = True
    """The partner is the scenario's own, or the only one: the case may be called like its scenario."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The test cases of an environment, or those that a run was made of."""

    environment: str
    world: str
    """Its name."""
    cases: Sequence[SuiteCase]
    """In the order in which the scenarios were stored."""


@dataclass(frozen=True, slots=True)
class Material:
    """What is to be exported."""

    source: str
    kind: SourceKind
    runs: Sequence[RunParts]
    """Of a run or session itself, of a hardening its rounds, of an environment its runs; oldest first."""
    suite: Callable[[], Suite]
    environment: Callable[[], tuple[EnvironmentFile, Sequence[str]]]
    """The environment of the source, whole, and what of it belongs to this machine."""
    hide: Callable[[Any], Any]
    """A JSON value without the secrets in it. Records come without them; what is made of a case may hold some."""
    where: Mapping[str, str] = field(default_factory=dict[str, str])
    """The filters by which the trials were chosen."""

    def each(self) -> Iterator[tuple[RunParts, TrialRecord]]:
        """All trials with their runs."""
        for parts in self.runs:
            for trial in parts.trials:
                yield parts, trial


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it."""

    text: str
    records: int
    left_out: Sequence[str] = ()
    """What the format cannot say, or what was not taken, with the reason."""
    warnings: Sequence[str] = ()
    record: str = ""
    """What one record is called, where it is not the exporter's word."""


class Exporter(Protocol):
    """One format."""

    name: str
    """The value of `format`."""
    suffix: str
    """`.json`: how its files end."""
    says: str
    """What is in the file, in a few words."""
    record: str
    """What one of its records is called: `trial`."""
    sources: Sequence[SourceKind]
    """What it can be made of."""
    chooses: bool
    """Whether trials may be chosen by `where`; else it is of a whole run."""
    writes_cases: Sequence[SourceKind]
    """Of these it writes the test cases and nothing of the trials."""

    def write(self, material: Material) -> Written:
        """The text. It runs in a worker thread and may take seconds.

        InvalidArgument, saying what is missing and which formats would do, where there is nothing to write.
        """
        ...


_HEAD: Final = re.compile(r"^(.+?)(?= of | with |$)")
EVERYTHING: Sequence[SourceKind] = ("run", "session", "hardening", "environment")
ONE_RUN: Sequence[SourceKind] = ("run", "session")
NOTHING: Sequence[SourceKind] = ()


class Omissions:
    """What was left out, gathered by the reason."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, what: str, why: str) -> None:
        """One `what` more: a noun that takes an s, perhaps with `of` or `with` something behind it."""
        self._counts[what, why] += 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def lines(self) -> list[str]:
        """`3 conversations: why`, in the order in which they first came."""
        return [f"{count:,} {_counted(what, count)}: {why}" for (what, why), count in self._counts.items()]


def one_of(material: Material) -> RunParts:
    """The run, for formats that are of one."""
    (parts,) = material.runs
    return parts


def by_name(exporters: Iterable[Exporter]) -> Mapping[str, Exporter]:
    """Exporters by the value of `format`."""
    return {exporter.name: exporter for exporter in exporters}


def _counted(noun: str, count: int) -> str:
    return noun if count == 1 else _HEAD.sub(r"\1s", noun, count=1)
