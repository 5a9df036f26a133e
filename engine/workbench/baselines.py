"""Baseline files: what CI compares a run with. Small and without conversation text, so they can be committed.

A file that holds a whole exported run works as well.
"""

from __future__ import annotations

import json
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..exchange import parse_json
from ..exchange.run_file import FORMAT, RunFile, parse_run_file
from ..records.authored import load
from ..records.simulation import SimulationRecord
from .case_hashes import case_digest
from .compared import BASELINE, ComparedRun, PlayedTrial, compared_run
from .run_cases import CaseParts

MOST_BYTES: Final = 400_000_000


def read_baseline(text: str, where: str) -> ComparedRun:
    """The run in a baseline file or in an export; InvalidArgument for anything else."""
    try:
        value = parse_json(text, where)
    except InvalidArgument as error:
        raise InvalidArgument(
            f"This is no baseline: {error.what}", where=error.where, allowed=error.allowed
        ) from None
    row = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if row.get("format") == FORMAT:
        return _of_export(parse_run_file(text, where))
    if row.get("format") != BASELINE:
        raise InvalidArgument(
            "This is no baseline.",
            where=where,
            allowed=f"a file of format {BASELINE} (run --save-baseline) or {FORMAT} (export_run)",
        )
    found = load(ComparedRun, row, where)
    trials = [(p.simulation, p.trial) for p in found.played]
    if len(set(trials)) < len(trials):
        raise InvalidArgument("A trial stands twice.", where=f"{where}, played", allowed="each trial once")
    return found


def write_baseline(run: ComparedRun) -> str:
    """The text of a baseline file: one line per trial, in a stable order."""
    fields = run.model_dump(mode="json", exclude={"played"})
    rows = [
        json.dumps(p.model_dump(mode="json", exclude_defaults=True), ensure_ascii=True) for p in run.played
    ]
    head = json.dumps(fields, ensure_ascii=True, indent=1)
    body = ",\n".join(f"  {row}" for row in rows)
    return f'{head[:-2]},\n "played": [\n{body}\n ]\n}}\n' if rows else f'{head[:-2]},\n "played": []\n}}\n'


def _of_export(whole: RunFile) -> ComparedRun:
    scenarios = {r.scenario.id: r for r in whole.scenarios}
    hashes = {row.slug: case_digest(_parts(whole, row)) for row in whole.simulations}
    played = [
        PlayedTrial(
            simulation=t.record.simulation,
            scenario=t.record.scenario,
            trial=t.record.trial,
            seed=t.record.seed,
            verdict=t.record.verdict,
            held_out=scenarios[t.record.scenario].split == "held_out",
            persona=t.record.persona,
            tags=t.record.tags,
        )
        for t in whole.trials
    ]
    return compared_run(whole.run, hashes, played)


def _parts(whole: RunFile, row: SimulationRecord) -> CaseParts:
    """What a case is made of, as in `RunCases`."""
    record = next(r for r in whole.scenarios if r.scenario.id == row.scenario)
    partner = record.scenario.persona
    name = row.persona or (partner if isinstance(partner, str) else "")
    persona = next((r.persona for r in whole.personas if r.persona.id == name), None)
    return CaseParts(row, record.scenario, persona, record.split)
