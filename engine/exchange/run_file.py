"""A whole run as one JSON file (`caseharden/1`): its record, cases, world, instructions, trials and conversations.

It is self-contained: nothing outside the file is needed to read, compare or grade it again. Anything specific to one
data folder (jobs, pointers, paths of files) is left out, so that an imported run is exported as the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

from pydantic import Field

from ..errors import InvalidArgument
from ..ids import SLUG
from ..records.authored import Stored, load
from ..records.conversation import Conversation
from ..records.environment import AgentSpec, ModelChoice, Settings, short_name
from ..records.persona import PersonaRecord
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import ScenarioRecord
from ..records.simulation import SimulationRecord
from .documents import parse_json
from .files import Roots

FORMAT: Final = "caseharden/1"
MOST_BYTES: Final = 400_000_000
LOCAL_AGENT: Final = ("file", "run")
"""Fields of an agent that refer to one data folder or one machine."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CHECK: Final = re.compile(r"[\w.:-]{1,80}\Z")
_TEXT_ID: Final = re.compile(r"[a-z0-9_-]{1,64}([@/][a-z0-9_-]{1,64})?( \(imported\))?\Z")
_TIME: Final = re.compile(r"[0-9TZ:.+-]{0,40}\Z")
_MODEL: Final = re.compile(r"[\x20-\x7e]{0,200}\Z")


class FileEnvironment(Stored):
    """The environment of the run: enough to recreate it."""

    id: str
    name: str = ""
    agent: AgentSpec = Field(default_factory=AgentSpec)
    models: ModelChoice = Field(default_factory=ModelChoice)
    settings: Settings = Field(default_factory=Settings)


class FileTrial(Stored):
    """A trial and its conversation."""

    record: TrialRecord
    conversation: Conversation


class RunFile(Stored):
    """The file. Ids in it are those of the data folder it came from."""

    format: Literal["caseharden/1"] = "caseharden/1"
    run: RunRecord
    environment: FileEnvironment
    world: dict[str, Any]
    recordings: list[Any] = Field(default_factory=list[Any])
    """What a recorded agent played back."""
    knowledge: list[str] = Field(default_factory=list[str])
    """The passages of the knowledge base that claims were checked against."""
    scenarios: list[ScenarioRecord]
    personas: list[PersonaRecord]
    simulations: list[SimulationRecord]
    trials: list[FileTrial]

    def dumped(self) -> dict[str, Any]:
        """The file as JSON."""
        whole = self.model_dump(mode="json", by_alias=True, exclude={"environment", "trials"})
        row = self.environment.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        rows = [
            {
                "record": trial.record.model_dump(mode="json", by_alias=True, exclude={"pointer"}),
                "conversation": trial.conversation.dumped(),
            }
            for trial in self.trials
        ]
        return {**whole, "environment": row, "trials": rows}


def write_run_file(whole: RunFile) -> str:
    """The text: one line per field, one line per record, so that two files can be compared line by line."""
    return json_text(whole.dumped(), ("scenarios", "personas", "simulations", "trials"))


def json_text(value: Mapping[str, Any], lists: Sequence[str]) -> str:
    """JSON with one line per field and, for these lists, which come last, one line per record."""
    return "".join(_lines(value, lists))


def read_run_file(path: str, roots: Roots, where: str = "path") -> RunFile:
    """Read and check a file below the allowed roots. InvalidArgument names the place of any mistake in it."""
    return parse_run_file(roots.read_text(path, where, MOST_BYTES), where)


def parse_run_file(text: str, where: str) -> RunFile:
    """The run in a text; its parts must be consistent."""
    value = parse_json(text, where)
    row = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if row.get("format") != FORMAT:
        said = f" (format {str(row['format'])[:40]!r})" if "format" in row else ""
        raise InvalidArgument(
            f"This is no exported run{said}.", where=where, allowed=f"a file of format {FORMAT}"
        )
    whole = load(RunFile, row, where)
    for problem, at in _problems(whole):
        raise InvalidArgument(problem, where=f"{where}, {at}", allowed="the file as it was exported")
    return whole


def _problems(whole: RunFile) -> Iterator[tuple[str, str]]:
    """Inconsistencies, and where they are."""
    yield from _name_problems(whole)
    run = whole.run
    scenarios = {s.scenario.id: s for s in whole.scenarios}
    simulations = {s.slug: s for s in whole.simulations}
    for slug in run.simulations:
        row = simulations.get(slug)
        if row is None or row.scenario not in scenarios:
            yield f"The case of `{slug[:80]}` is missing.", "simulations"
    seen: set[str] = set()
    for k, trial in enumerate(whole.trials):
        at = f"trials[{k}]"
        for problem in _trial_problems(trial, simulations, scenarios):
            yield problem, at
        if trial.record.id in seen:
            yield f"`{trial.record.id[:80]}` stands twice.", at
        seen.add(trial.record.id)
    yield from _count_problems(whole)


def _name_problems(whole: RunFile) -> Iterator[tuple[str, str]]:
    """Names not in our own format: they are printed, and must not be able to say anything else."""
    run, checks = whole.run, [c.id for t in whole.trials for c in t.record.graded.checks]
    named = [
        (SLUG, "run.id", [run.id, *([run.hardening] if run.hardening else [])]),
        (SLUG, "run.environment", [run.environment]),
        (_TIME, "run.created_at", [run.created_at]),
        (SLUG, "run.simulations", run.simulations),
        (_TEXT_ID, "run.instructions", [run.instructions] if run.instructions else []),
        (_MODEL, "run.models", [short_name(model) for model in run.models.values()]),
        (SLUG, "scenarios", [r.scenario.id for r in whole.scenarios]),
        (SLUG, "personas", [r.persona.id for r in whole.personas]),
        (SLUG, "simulations", [name for r in whole.simulations for name in (r.slug, r.persona) if name]),
        (SLUG, "trials[].record.persona", [t.record.persona for t in whole.trials if t.record.persona]),
        (_CHECK, "trials[].record.graded.checks[].id", checks),
    ]
    for pattern, where, names in named:
        for name in names:
            if not pattern.match(name):
                yield f"{name[:80]!r} cannot be a name here.", where
    told = cast("Mapping[str, Any]", run.options.get("trials_of") or {})
    if not isinstance(run.options.get("trials_of", {}), dict) or any(
        type(n) is not int for n in told.values()
    ):
        yield "`trials_of` says how often each simulation is run.", "run.options.trials_of"


def _trial_problems(
    trial: FileTrial, simulations: Mapping[str, SimulationRecord], scenarios: Mapping[str, ScenarioRecord]
) -> Iterator[str]:
    record, talk = trial.record, trial.conversation
    row = simulations.get(record.simulation)
    if row is None or row.scenario != record.scenario or record.scenario not in scenarios:
        yield f"`{record.id[:80]}` belongs to no simulation of the file."
        return
    said = (talk.simulation, talk.trial, talk.scenario, talk.seed)
    if record.id != f"{record.simulation}/{record.trial}" or said != (
        record.simulation,
        record.trial,
        record.scenario,
        record.seed,
    ):
        yield f"`{record.id[:80]}` and its conversation are not of the same trial."
    if {record.end, record.graded.end} != {talk.end.reason} or record.persona != talk.persona:
        yield f"`{record.id[:80]}` and its conversation tell other ends or personas."
    if record.verdict != record.graded.verdict or record.failed_checks != record.graded.failed():
        yield f"`{record.id[:80]}` says another verdict than its grading."
    if record.split != scenarios[record.scenario].split:
        yield f"`{record.id[:80]}` is of another split than its scenario."


def _count_problems(whole: RunFile) -> Iterator[tuple[str, str]]:
    """Totals that contradict the trials."""
    told = whole.run.totals
    verdicts = [trial.record.verdict for trial in whole.trials]
    counted = {
        "trials": (told.trials, len(verdicts)),
        "passed": (told.passed, verdicts.count("pass")),
        "failed": (told.failed, verdicts.count("fail")),
        "inconclusive": (told.inconclusive, verdicts.count("inconclusive")),
        "error": (told.error, verdicts.count("error")),
        "invalid": (told.invalid, verdicts.count("invalid")),
    }
    for name, (said, found) in counted.items():
        if said != found:
            yield f"The totals say {said:,} {name}, the trials {found:,}.", f"run.totals.{name}"


def _lines(value: Mapping[str, Any], lists: Sequence[str]) -> Iterator[str]:
    first = True
    for name in ("format", *(key for key in value if key not in ("format", *lists)), *lists):
        yield "{\n" if first else ",\n"
        first = False
        yield f"{_text(name)}: "
        rows = value[name]
        if name not in lists or not rows:
            yield _text(rows)
            continue
        yield "[\n" + ",\n".join(map(_text, rows)) + "\n]"
    yield "\n}\n"


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
