"""The interface to other programs' files: an exporter writes stored records in one format and says what it left out.

An exporter changes nothing and accesses no files: it is given the stored records and returns a text. What the format
cannot express becomes a line of `left_out`; only having nothing to write is an error.
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
    """A run and the requested trials of it; conversations and cases are read on demand."""

    run: RunRecord
    trials: Sequence[TrialRecord]
    """By simulation and trial."""
    talk: Callable[[TrialRecord], Conversation]
    case: Callable[[str], Case]
    """The case of a simulation; InvalidArgument if it does not fit its world."""
    whole: Callable[[], RunFile]


@dataclass(frozen=True, slots=True)
class SuiteCase:
    """A simulation as it is written: a scenario and its partner."""

    slug: str
    scenario: Scenario
    persona: Persona | None
    first_message: str = ""
    default: bool = True
    """Whether the partner is the scenario's own, or the only one: the case may then be named like its scenario."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The test cases of an environment, or those a run was made of."""

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
    """The run or session itself, a hardening's rounds, or an environment's runs; oldest first."""
    suite: Callable[[], Suite]
    environment: Callable[[], tuple[EnvironmentFile, Sequence[str]]]
    """The whole environment of the source, and which parts of it belong to this machine."""
    hide: Callable[[Any], Any]
    """A JSON value without the secrets in it. Records come without them; output made from a case may contain some."""
    where: Mapping[str, str] = field(default_factory=dict[str, str])
    """The filters by which the trials were chosen."""

    def each(self) -> Iterator[tuple[RunParts, TrialRecord]]:
        """All trials with their runs."""
        for parts in self.runs:
            for trial in parts.trials:
                yield parts, trial


@dataclass(frozen=True, slots=True)
class Written:
    """The result of an export."""

    text: str
    records: int
    left_out: Sequence[str] = ()
    """What the format cannot express, or was not exported, with the reason."""
    warnings: Sequence[str] = ()
    record: str = ""
    """The name of one record, if it differs from the exporter's."""
    spends: bool = True
    """Whether held-out trials can be read in it; otherwise only their verdicts stand there."""


class Exporter(Protocol):
    """One format."""

    name: str
    """The value of `format`."""
    suffix: str
    """The ending of its files: `.json`."""
    says: str
    """The contents of the file, in a few words."""
    record: str
    """The name of one of its records: `trial`."""
    sources: Sequence[SourceKind]
    """What it can be made from."""
    chooses: bool
    """Whether trials may be chosen by `where`; otherwise it covers a whole run."""
    trains: bool
    """Whether it is for trainers: held-out trials are in it only if `where` asks for them."""
    writes_cases: Sequence[SourceKind]
    """The sources for which it writes the test cases and nothing of the trials."""

    def write(self, material: Material) -> Written:
        """The text. Runs in a worker thread and may take seconds.

        InvalidArgument, saying what is missing and which formats would work, if there is nothing to write.
        """
        ...


_HEAD: Final = re.compile(r"^(.+?)(?= of | with |$)")
EVERYTHING: Sequence[SourceKind] = ("run", "session", "hardening", "environment")
ONE_RUN: Sequence[SourceKind] = ("run", "session")
NOTHING: Sequence[SourceKind] = ()


class Omissions:
    """What was left out, grouped by reason."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, what: str, why: str) -> None:
        """Count one more `what`: a noun that takes a plural s, optionally followed by `of` or `with`."""
        self._counts[what, why] += 1

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def lines(self) -> list[str]:
        """`3 conversations: why`, in order of first occurrence."""
        return [f"{count:,} {_counted(what, count)}: {why}" for (what, why), count in self._counts.items()]


def one_of(material: Material) -> RunParts:
    """The run, for formats that cover one."""
    (parts,) = material.runs
    return parts


def by_name(exporters: Iterable[Exporter]) -> Mapping[str, Exporter]:
    """Exporters by the value of `format`."""
    return {exporter.name: exporter for exporter in exporters}


def _counted(noun: str, count: int) -> str:
    return noun if count == 1 else _HEAD.sub(r"\1s", noun, count=1)
