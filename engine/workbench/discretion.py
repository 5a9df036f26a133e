"""Hides secrets in what is written, imported or exported before it is kept or handed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from ..exchange import CaseFolder, Imported, Sourced
from ..exchange.run_file import RunFile
from ..net import HIDDEN, Redactor

R = TypeVar("R", bound=BaseModel)
TOLD: Final = 5
"""How many places a warning names."""


def taken(value: Any, redactor: Redactor) -> tuple[Any, list[str]]:
    """What a caller wrote, without its secrets, and a warning about them; [] if there were none."""
    places: list[str] = []
    return redactor.hide_all(value, places), _warning(places)


def import_without_secrets(read: Imported, redactor: Redactor) -> tuple[Imported, list[str]]:
    """The same for an importer's result."""
    places: list[str] = []
    if read.cases is not None:
        read = replace(read, cases=_cases(read.cases, redactor, places))
    if read.exported is not None:
        read = replace(read, exported=_run(read.exported, redactor, places))
    for run in read.runs:
        for talk in run.talks:
            at = f"{run.name}, {talk.scenario}/{talk.trial}"
            for entry in talk.entries:
                entry.say = redactor.hide_all(entry.say, places, at)
                entry.args = dict(redactor.hide_all(entry.args, places, at))
                entry.result = redactor.hide_all(entry.result, places, at)
            talk.x_source = redactor.hide_all(talk.x_source, places, at)
    return read, _warning(list(dict.fromkeys(places)))


def record_without_secrets(record: R, redactor: Redactor) -> R:
    """A stored record as it may be passed on."""
    row = record.model_dump(mode="json", by_alias=True)
    hidden = redactor.hide_all(row)
    return record if hidden is row else type(record).model_validate(hidden)


def _cases(cases: CaseFolder, redactor: Redactor, places: list[str]) -> CaseFolder:
    def records(rows: Sequence[Sourced]) -> tuple[Sourced, ...]:
        return tuple(replace(row, value=redactor.hide_all(row.value, places, row.at)) for row in rows)

    def plain(name: str) -> Any:
        return redactor.hide_all(getattr(cases, name), places, f"{cases.config}, {name}")

    versions = tuple(
        replace(v, text=redactor.hide_all(v.text, places, f"{cases.config}, instructions[{k}].text"))
        for k, v in enumerate(cases.versions)
    )
    return replace(
        cases,
        versions=versions,
        knowledge=tuple(plain("knowledge")),
        agent=plain("agent"),
        models=plain("models"),
        settings=plain("settings"),
        instructions=plain("instructions"),
        world_data=plain("world_data"),
        personas=records(cases.personas),
        scenarios=records(cases.scenarios),
        simulations=tuple(plain("simulations")),
    )


def _run(whole: RunFile, redactor: Redactor, places: list[str]) -> RunFile:
    """The world stays as it is: its hash says which world the run used."""
    told = whole.dumped()
    world = told.pop("world")
    hidden = redactor.hide_all(told, places)
    return whole if hidden is told else RunFile.model_validate({**hidden, "world": world})


def _warning(places: Sequence[str]) -> list[str]:
    if not places:
        return []
    more = f" and {len(places) - TOLD} more" if len(places) > TOLD else ""
    return [
        f"What looks like a secret was stored as {HIDDEN}: {', '.join(places[:TOLD])}{more}. "
        "Keys go by reference (env:NAME) into headers and models, and into no text."
    ]
