"""Gathers the input of an exporter: the runs and trials of a source, and its test cases, without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from ..errors import Conflict, InvalidArgument, NextCall, NotFound, Unavailable
from ..exchange.export_formats import EXPORTERS
from ..exchange.exporter import Exporter, Material, RunParts, SourceKind, Suite, SuiteCase
from ..exchange.run_file import RunFile
from ..ids import split_nested
from ..plural import plural
from ..records.conversation import Conversation
from ..records.persona import Persona, PersonaRecord
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import ScenarioRecord
from ..records.simulation import SimulationRecord
from .archive import Archive
from .discretion import record_without_secrets
from .environment_files import whole_environment
from .listing import among, check_where, cluster_names, matcher, members_of, trial_fields
from .rows import conversation_row
from .run_cases import RunCases

R = TypeVar("R", bound=BaseModel)
WholeRun = Callable[[RunRecord, Sequence[TrialRecord]], RunFile]
_ASKED: Final = '`where` {"split": "held_out"}'
OVER: Final = ("done", "failed", "cancelled", "paused")
"""States in which a run can be exported."""


@dataclass(slots=True)
class Gathered:
    """Material, the environment it belongs to, and the held-out scenarios readable in it."""

    material: Material
    environment: str
    held_out: list[str]
    warnings: list[str] = field(default_factory=list[str])
    left_out: list[str] = field(default_factory=list[str])


class Gathering:
    """Finds the material of exports. Run everything here in a worker thread."""

    def __init__(self, archive: Archive, cases: Callable[[RunRecord], RunCases], whole: WholeRun) -> None:
        self._archive = archive
        self._cases = cases
        self._whole = whole

    def gather(self, source: str, exporter: Exporter, where: Mapping[str, Any]) -> Gathered:
        """The material of a source; errors say what cannot be exported in this way, and what can."""
        kind, environment, runs = self._found(source)
        if kind not in exporter.sources:
            able = [name for name, one in EXPORTERS.items() if kind in one.sources]
            raise Unavailable(
                f"Exporting a whole {kind} as {exporter.name} is not in this version.",
                where="source",
                allowed=[*exporter.sources, f"as {', '.join(able)} a whole {kind}"],
                next=[NextCall("list_items", {"kind": "run"})],
            )
        asked = self._asked(exporter, where)
        over = [run for run in runs if run.state in OVER]
        if kind in ("run", "session") and not over:
            calls = [NextCall("wait_job", {"job": runs[0].job})] if runs[0].job else []
            if kind == "session":
                calls = [NextCall("step_session", {"session": source, "action": "end"})]
            raise Conflict(f"{source} is still running.", where="source", next=calls)
        chosen = [run for run in over if asked.get("run") in (None, run.id)]
        cases_only = kind in exporter.writes_cases
        every = [self._parts(run, asked, cases_only) for run in chosen]
        spares = exporter.trains and kind != "session" and "split" not in asked
        parts = _train_only(source, exporter.name, every, asked) if spares else every
        records = self._scenarios(kind, environment, runs)
        material = Material(
            source,
            kind,
            parts,
            lambda: self._suite(kind, environment, runs, records),
            lambda: whole_environment(self._archive, environment),
            self._archive.redactor.hide_all,
            asked,
        )
        shown = (
            [record.scenario.id for record in records if record.split == "held_out"]
            if cases_only
            else [trial.scenario for _, trial in material.each() if trial.split == "held_out"]
        )
        made = Gathered(material, environment, sorted(set(shown)))
        if spared := _count(every) - _count(parts):
            made.left_out.append(f"{plural(spared, 'conversation')}: held out; {_ASKED} exports them")
        if len(over) < len(runs):
            made.warnings.append(f"Not in it: {plural(len(runs) - len(over), 'run')} that still go on.")
        return made

    def _found(self, source: str) -> tuple[SourceKind, str, list[RunRecord]]:
        """What a source is, its environment, and its runs, oldest first."""
        run = self._archive.runs.find(source)
        if run is not None:
            kind = "session" if run.purpose == "session" else "run"
            return kind, run.environment, [run]
        hardening = self._archive.hardenings.find(source)
        if hardening is not None:
            return "hardening", hardening.environment, self._archive.runs.where(hardening=source)
        if self._archive.environments.find(source) is not None:
            runs = self._archive.runs.where(environment=source)
            return "environment", source, [run for run in runs if run.purpose != "hardening"]
        raise missing_source(self._archive, source)

    def _asked(self, exporter: Exporter, where: Mapping[str, Any]) -> dict[str, str]:
        asked = check_where("conversation", where)
        if asked and not exporter.chooses:
            raise InvalidArgument(
                f"Nothing is chosen for {exporter.name}: it is exported whole.", where="where", allowed="{}"
            )
        return asked

    def _parts(self, run: RunRecord, asked: Mapping[str, str], cases_only: bool) -> RunParts:
        cases = cache(lambda: self._cases(run))
        named = run.model_copy(update={"instructions": self._text_of(run)})
        clean = record_without_secrets(named, self._archive.redactor)
        trials = [] if cases_only else self._trials(run, asked)
        return RunParts(
            clean, trials, self._talk, lambda slug: cases().case(slug), lambda: self._whole(run, trials)
        )

    def _text_of(self, run: RunRecord) -> str:
        """The text that a run was of: a round of a hardening began before its candidate had an id."""
        found = self._archive.hardenings.find(run.hardening) if run.instructions == run.hardening else None
        candidates = found.candidates if found is not None else ()
        return next((one.id for one in candidates if one.text == run.instructions_text), run.instructions)

    def _trials(self, run: RunRecord, asked: Mapping[str, str]) -> list[TrialRecord]:
        shelf = self._archive.trials(run.id)
        names = cluster_names(run)
        match = matcher(
            asked.get("text"), None, lambda row: conversation_row(row, run.id, names), shelf.whole
        )
        match = among(members_of(run, asked), match)
        rows = shelf.table.walk(trial_fields(run, asked), oldest_first=True)
        found = [shelf.read(row) for row in rows if match is None or match(row)]
        cleaned = [record_without_secrets(trial, self._archive.redactor) for trial in found]
        return sorted(cleaned, key=lambda trial: (trial.simulation, trial.trial))

    def _talk(self, trial: TrialRecord) -> Conversation:
        stored = self._archive.store.segments.read(str(trial.pointer["at"]))
        return Conversation.model_validate(self._archive.redactor.hide_all(stored))

    def _scenarios(
        self, kind: SourceKind, environment: str, runs: Sequence[RunRecord]
    ) -> list[ScenarioRecord]:
        if kind == "environment":
            return self._archive.scenarios.where(environment=environment)
        return list(self._rows(runs[:1], "scenarios", ScenarioRecord))

    def _suite(
        self,
        kind: SourceKind,
        environment: str,
        runs: Sequence[RunRecord],
        records: Sequence[ScenarioRecord],
    ) -> Suite:
        """The cases: of an environment as they are now, of a run as they were when it began."""
        redactor = self._archive.redactor
        if kind == "environment":
            people = self._archive.personas.where(environment=environment)
            rows = self._archive.simulations.where(environment=environment)
            world = self._archive.environments.get(environment).world
        else:
            people = list(self._rows(runs[:1], "personas", PersonaRecord))
            rows = list(self._rows(runs[:1], "simulations", SimulationRecord))
            world = runs[0].world if runs else ""
        if not records:
            raise NotFound(
                f"{environment} has no scenarios to export.",
                where="source",
                next=[NextCall("list_items", {"kind": "scenario", "environment": environment})],
            )
        parts = [record_without_secrets(record, redactor) for record in records]
        known = {p.persona.id: record_without_secrets(p, redactor).persona for p in people}
        name = str(self._archive.worlds.read(world).get("name", "")) if world else ""
        return Suite(environment, name, list(_cases(parts, known, rows)))

    def _rows(self, runs: Iterable[RunRecord], table: str, model: type[R]) -> Iterator[R]:
        for run in runs:
            for row in self._archive.store.run_table(run.id, table).all():
                yield model.model_validate(row)


def _count(parts: Iterable[RunParts]) -> int:
    return sum(len(one.trials) for one in parts)


def _train_only(
    source: str, format: str, every: Sequence[RunParts], asked: Mapping[str, str]
) -> list[RunParts]:
    """The runs without their held-out trials: an agent trained on these would prove nothing with them.

    InvalidArgument, with the call that exports them all the same, if no trial is left.
    """
    parts = [replace(one, trials=[t for t in one.trials if t.split == "train"]) for one in every]
    if _count(parts) or not _count(every):
        return parts
    again = {"source": source, "format": format, "where": {**asked, "split": "held_out"}}
    raise InvalidArgument(
        f"All conversations of {source} that were chosen are held out: training data leaves these out.",
        where="where",
        allowed=_ASKED,
        next=[NextCall("export_run", again, "only if nothing is to be proven with them any more")],
    )


def _cases(
    scenarios: Iterable[ScenarioRecord],
    personas: Mapping[str, Persona],
    simulations: Iterable[SimulationRecord],
) -> Iterator[SuiteCase]:
    """Every scenario with each of its partners, its own first; a scenario without simulations with its own only."""
    pairs: dict[str, list[SimulationRecord]] = {}
    for row in simulations:
        pairs.setdefault(row.scenario, []).append(row)
    for record in sorted(scenarios, key=lambda record: record.number):
        scenario, own = record.scenario, record.scenario.persona
        mine = personas.get(split_nested(own)[1]) if isinstance(own, str) else own
        rows = pairs.get(scenario.id, [])
        if not rows:
            yield SuiteCase(scenario.id, scenario, mine)
        for row in sorted(rows, key=lambda row: not _default(row, mine)):
            partner = personas.get(row.persona) if row.persona else mine
            default = len(rows) == 1 or _default(row, mine)
            yield SuiteCase(row.slug, scenario, partner, row.user_input, default)


def _default(row: SimulationRecord, own: Persona | None) -> bool:
    """Whether a simulation uses the scenario's own partner."""
    return row.persona in ("", own.id if own is not None else "")


def missing_source(archive: Archive, source: str) -> NotFound:
    """The error for a missing source: a hardening if the id looks like one, else a run."""
    table = archive.hardenings if source.startswith("hard-") else archive.runs
    return table.missing(source, "source")
