"""Exports stored things as files in the data folder's `exports`, never silently over another file.

Anyone who gets the file can read it: exporting counts as having read the held-out conversations.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread
from pydantic import BaseModel

from ..canonical import digest
from ..errors import Conflict, InvalidArgument, NextCall, NotAllowed, Unavailable
from ..exchange import Roots
from ..exchange.export_formats import EXPORTERS
from ..exchange.run_file import LOCAL_AGENT, FileEnvironment, FileTrial, RunFile
from ..plural import plural
from ..records.conversation import Conversation
from ..records.environment import AgentSpec, EnvironmentRecord, Settings
from ..records.persona import PersonaRecord
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import ScenarioRecord
from ..records.simulation import SimulationRecord
from .archive import Archive
from .discretion import record_without_secrets
from .export_material import Gathering, missing_source
from .export_names import check_file_name
from .plain import check_plain
from .reporting import Reporting
from .run_cases import RunCases
from .run_drafts import trials_wanted
from .sight import refuse_sealed, refuse_while_proving, spend

R = TypeVar("R", bound=BaseModel)
INLINE: Final = 16_000
"""Characters of the text that a reply may include."""
READ_BYTES: Final = 4 << 20
"""Largest export, in bytes, that may be read as a resource."""
PAGE: Final = "html"
"""The format of the report, which reporting produces."""
IMPORTED: Final = "imported"
"""The option of a run that names the file it came from; never exported."""


@dataclass(slots=True)
class ExportReport:
    """A written file. `text`: its beginning, if requested; `left_out`: what it does not contain.

    `says`: what the file is; `record`: the name of one of its `records`.
    """

    source: str
    format: str
    file: str
    path: Path
    bytes: int
    sha256: str
    records: int
    says: str = ""
    record: str = "trial"
    kind: str = "run"
    """Kind of the source: run (also a session), hardening or environment."""
    unchanged: bool = False
    """The same file was already there."""
    text: str = ""
    left_out: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Made:
    """An export before it is a file. `held_out`: scenarios readable in it."""

    kind: str
    environment: str
    text: str
    records: int
    says: str
    record: str
    held_out: list[str]
    warnings: list[str]
    left_out: list[str]


class Exporting:
    """Writes exports and reads them back."""

    def __init__(
        self, archive: Archive, cases: Callable[[RunRecord], RunCases], reporting: Reporting
    ) -> None:
        self._archive = archive
        self._reporting = reporting
        self._folder = archive.store.home / "exports"
        self._gathering = Gathering(archive, cases, self.run_file)

    async def export(
        self,
        source: str,
        format: str = "json",
        *,
        file: str = "",
        where: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        inline: bool = False,
        beside: bool = False,
    ) -> ExportReport:
        """Write a source to `exports/FILE`; identical content changes nothing.

        Without `file` it is `run-7.json`, or `run-7-sft.jsonl` where several formats end alike.

        `source`: a run, session, hardening or environment; `where` filters its conversations. Conflict if another file
        is there and neither `overwrite` nor `beside` is given, or the run goes on; HeldOut while a proof runs.
        `beside`: next to another file, add the hash to the name, `run-7-3f9a0c1b22d4.json`. Held-out scenarios readable
        in the file are spent. `html` is the report of a run or a hardening; while anything is held out, the report
        omits it.
        """
        if format not in (*EXPORTERS, PAGE):
            raise Unavailable(
                f"Exporting as {format[:20]} is not in this version.",
                where="format",
                allowed=[PAGE, *EXPORTERS],
                next=[NextCall("export_run", {"source": source, "format": "json"})],
            )
        if not source:
            raise InvalidArgument(
                "`source` is empty: what is to be exported?",
                where="source",
                allowed="the id of a run, session, hardening or environment",
                next=[NextCall("list_items", {"kind": "run"})],
            )
        chosen = dict(where or {})
        check_plain(chosen, "where")
        if chosen and format == PAGE:
            raise InvalidArgument("A report is of all of a run.", where="where", allowed="{}")
        return await anyio.to_thread.run_sync(
            self._export, source, format, file, chosen, overwrite, inline, beside
        )

    def read(self, file: str) -> str:
        """The text of an export of at most 4 MiB. Run in a worker thread."""
        name = check_file_name(file)
        return Roots([self._folder]).read_text(name, "file", READ_BYTES)

    def run_file(self, run: RunRecord, trials: Sequence[TrialRecord]) -> RunFile:
        """A run with everything that belongs to it, and no secrets. Run in a worker thread."""
        store, clean, hide_all = self._archive.store, self._clean, self._archive.redactor.hide_all
        stored = self._archive.worlds.read(run.world)
        world = hide_all(stored)
        made_in = run.world if world is stored else digest(world)
        options = {name: value for name, value in run.options.items() if name != IMPORTED}
        return RunFile(
            run=clean(run).model_copy(
                update={
                    "world": made_in,
                    "job": "",
                    "version": 1,
                    "agent": hide_all({k: v for k, v in run.agent.items() if k not in LOCAL_AGENT}),
                    "options": hide_all(options),
                }
            ),
            environment=clean(self._environment(run)),
            world=world,
            recordings=hide_all(self._recordings(run)),
            knowledge=hide_all(self._knowledge(run)),
            scenarios=self._rows(run, "scenarios", ScenarioRecord),
            personas=self._rows(run, "personas", PersonaRecord),
            simulations=self._rows(run, "simulations", SimulationRecord),
            trials=[
                FileTrial(
                    record=clean(trial),
                    conversation=Conversation.model_validate(
                        hide_all(store.segments.read(str(trial.pointer["at"])))
                    ),
                )
                for trial in trials
            ],
        )

    def identity(self, run: RunRecord) -> str:
        """See `run_identity`. Run in a worker thread."""
        return run_identity(self.run_file(run, self._trials(run)))

    def _export(
        self,
        source: str,
        format: str,
        file: str,
        where: Mapping[str, Any],
        overwrite: bool,
        inline: bool,
        beside: bool,
    ) -> ExportReport:
        suffix = ".html" if format == PAGE else EXPORTERS[format].suffix
        name = check_file_name(file or f"{source}{_default_suffix(format, suffix)}", suffix)
        made = self._report(source) if format == PAGE else self._made(source, format, where)
        refuse_sealed(self._archive, (f"{made.environment}/{slug}" for slug in made.held_out))
        data = made.text.encode()
        if beside and not overwrite and self._is_another(name, data):
            stem = name.removesuffix(suffix)
            name = f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}{suffix}"
        again: dict[str, Any] = {"source": source, "format": format, "file": name, "overwrite": True}
        unchanged = self._is_there(name, data, overwrite, again | ({"where": dict(where)} if where else {}))
        for scenario in made.held_out:  # before the file can be read, even if we are killed in between
            spend(self._archive, f"{made.environment}/{scenario}")
        if not unchanged:
            self._write(name, made.text, overwrite)
        self._archive.store.audit("export", made.kind, source, file=name)
        report = ExportReport(
            source,
            format,
            f"exports/{name}",
            self._folder / name,
            len(data),
            hashlib.sha256(data).hexdigest(),
            made.records,
            made.says,
            made.record,
            made.kind,
            unchanged,
            left_out=made.left_out,
            warnings=made.warnings,
        )
        if made.held_out:
            number = len(made.held_out)
            scenarios = "held-out scenario" if number == 1 else "held-out scenarios"
            report.warnings.insert(
                0,
                f"Exporting counts as reading: {number} {scenarios} of {made.environment} now "
                f"{'counts' if number == 1 else 'count'} as train for any text that you submit.",
            )
        if inline:
            report.text = made.text if len(made.text) <= INLINE else made.text[:INLINE]
            if len(made.text) > INLINE:
                report.left_out.append(f"text: {len(made.text) - INLINE:,} characters; the file has all")
        return report

    def _made(self, source: str, format: str, where: Mapping[str, Any]) -> Made:
        """The text of a source in a format, limited to what may be seen now."""
        exporter = EXPORTERS[format]
        found = self._gathering.gather(source, exporter, where)
        if found.held_out:
            refuse_while_proving(self._archive, found.environment, "source")
        written = exporter.write(found.material)
        kind = found.material.kind
        made = Made(
            "run" if kind == "session" else kind,
            found.environment,
            written.text,
            written.records,
            exporter.says,
            written.record or exporter.record,
            found.held_out if written.spends else [],
            [*found.warnings, *written.warnings],
            [*found.left_out, *written.left_out],
        )
        for parts in found.material.runs if kind == "run" and kind not in exporter.writes_cases else ():
            self._tell_missing(parts.run, made)
        return made

    def _report(self, source: str) -> Made:
        """The report of a run or a hardening."""
        hardening = self._archive.hardenings.find(source)
        run = self._archive.runs.find(source)
        if hardening is not None:
            report = self._reporting.of_hardening(hardening)
        elif run is None:
            if self._archive.environments.find(source) is not None:
                call = NextCall("list_items", {"kind": "run", "environment": source})
                raise InvalidArgument(
                    "A report is of a run or a hardening.", where="source", allowed="its id", next=[call]
                )
            raise missing_source(self._archive, source)
        elif run.state == "running":
            calls = [NextCall("wait_job", {"job": run.job})] if run.job else []
            raise Conflict(f"{source} is still running.", where="source", next=calls)
        else:
            report = self._reporting.of_run(run)
        report = self._clean(report)
        told = {talk.simulation for talk in report.conversations}
        shown = {report.simulations[simulation][0] for simulation in told}
        held_out = sorted(c.id for c in report.scenarios if c.split == "held_out" and c.id in shown)
        text = self._reporting.html(report)
        left_out = [report.hidden] if report.hidden else []
        if report.left_out:
            left_out.append(
                f"{plural(report.left_out, 'conversation')}, to keep the file small: see get_item"
            )
        says = "the report, one file that opens offline"
        made = Made(
            report.kind, report.environment, text, len(told), says, "simulation", held_out, [], left_out
        )
        if run is not None and hardening is None:
            self._tell_missing(run, made)
        return made

    def _tell_missing(self, run: RunRecord, made: Made) -> None:
        """Note what no export of a run contains, and that a run is incomplete."""
        there, wanted = self._archive.trials(run.id).count(), trials_wanted(run)
        if run.state != "done":
            made.warnings.append(f"{run.id} is {run.state}: {there:,} of {plural(wanted, 'trial')} in it.")
        again = self._archive.trials(run.id, "again").count()
        if again:
            made.left_out.append(f"{plural(again, 'second try', 'second tries')} of {run.hardening}")

    def _trials(self, run: RunRecord) -> list[TrialRecord]:
        found = self._archive.trials(run.id).where()
        return sorted(found, key=lambda trial: (trial.simulation, trial.trial))

    def _environment(self, run: RunRecord) -> FileEnvironment:
        """The environment as it is now or, if deleted, as much of it as the run knows."""
        found = self._archive.environments.find(run.environment)
        record = found or EnvironmentRecord(id=run.environment, agent=AgentSpec.model_validate(run.agent))
        settings = record.settings.model_dump(
            exclude_unset=True, exclude={"instructions_file", "knowledge_base"}
        )
        agent = record.agent.model_dump(exclude_unset=True, exclude=set(LOCAL_AGENT))
        return FileEnvironment(
            id=record.id,
            name=record.name,
            agent=AgentSpec.model_validate(agent),
            models=record.models,
            settings=Settings.model_validate(settings),
        )

    def _clean(self, record: R) -> R:
        return record_without_secrets(record, self._archive.redactor)

    def _rows(self, run: RunRecord, table: str, model: type[R]) -> list[R]:
        """The records of a table of a run."""
        rows = self._archive.store.run_table(run.id, table).all()
        return [model.model_validate(self._archive.redactor.hide_all(row)) for row in rows]

    def _knowledge(self, run: RunRecord) -> list[str]:
        hash = str(run.options.get("knowledge") or "")
        return self._archive.knowledge.read(hash) if hash else []

    def _recordings(self, run: RunRecord) -> list[Any]:
        hash = str(run.agent.get("recordings", ""))
        return self._archive.recordings.read(hash) if hash else []

    def _is_another(self, name: str, data: bytes) -> bool:
        """Whether a different file is there."""
        path = self._folder / name
        return path.exists() and not (path.is_file() and path.read_bytes() == data)

    def _is_there(self, name: str, data: bytes, overwrite: bool, again: Mapping[str, Any]) -> bool:
        """Whether the same file is already there; Conflict for a different one, unless it may be overwritten."""
        path = self._folder / name
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._folder.is_symlink() or path.is_symlink():
            raise NotAllowed(
                f"exports/{name} is a link.", where="file", allowed="another name; a link is never followed"
            )
        if not path.exists():
            return False
        another = self._is_another(name, data)
        if another and not overwrite:
            raise Conflict(
                f"exports/{name} exists.",
                where="file",
                allowed="another name, or overwrite",
                next=[NextCall("export_run", again)],
            )
        return not another

    def _write(self, name: str, text: str, overwrite: bool) -> None:
        written = Roots([self._folder]).write_text(name, text, "file", overwrite=overwrite)
        os.chmod(written, stat.S_IRUSR | stat.S_IWUSR)


def _default_suffix(format: str, suffix: str) -> str:
    """The end of a default name: formats whose files end alike, but for `json` itself, have their name in it."""
    alike = [name for name, one in EXPORTERS.items() if one.suffix == suffix]
    return suffix if len(alike) < 2 or format == suffix[1:] else f"-{format}{suffix}"


def run_identity(whole: RunFile) -> str:
    """SHA-256 of the run itself: not of its environment, which may change, nor of its place in a series."""
    told = whole.dumped()
    run = {
        k: v for k, v in told["run"].items() if k not in ("series", "round", "previous", "name", "updated_at")
    }
    return digest({**told, "run": run, "environment": {}})
