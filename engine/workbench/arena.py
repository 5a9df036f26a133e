"""Where a hardening's trials run: each text it tries has its own run, whose trials are kept and reused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from ..harden import Purpose, TrialOutcome
from ..records.environment import AgentSpec, ModelName
from ..records.hardening import Hardening
from ..records.run import RunRecord, TrialRecord
from .archive import Archive, utc_now
from .attempts import Attempts
from .judging import Judging, is_marked, unjudged
from .pacing import Pacing
from .pauses import paused
from .run_cases import RunCases
from .snapshots import Snapshots
from .trials import TrialRunner

Counted = Callable[[int], Awaitable[None]]
"""Called with the number of requested trials that have newly become available."""


class Arena:
    """Implements the seam through which a hardening runs its trials. Every run uses the hardening's snapshot.

    The trials of the run that it started from serve for the base text, if the snapshot says so.
    """

    def __init__(
        self,
        archive: Archive,
        trials: TrialRunner,
        snapshots: Snapshots,
        hardening: Hardening,
        tell: Counted,
        check: Callable[[], None],
        pacing: Pacing,
        judging: Judging,
    ) -> None:
        self._archive = archive
        self._trials = trials
        self._snapshots = snapshots
        self._hardening = hardening
        self._pattern = snapshots.pattern(hardening)
        spec = AgentSpec.model_validate(self._pattern.agent)
        self._cast = trials.cast(spec, self._pattern.models, self._pattern.options.get("cassette"))
        self._deterministic = _always_the_same(self._pattern.models, spec)
        self._rule_judged = self._pattern.models.get("judge", "offline") == "offline"
        self._base = self._serving()
        self._tell = tell
        self._check = check
        self._pacing = pacing
        self._judging = judging
        self._marking = judging.marking(self._pattern)
        self._attempts = Attempts(archive)
        self._broken: dict[tuple[str, str], list[TrialRecord]] = {}
        """Trials that ended in error here, by run and table."""
        self._runs: dict[str, RunCases] = {}

    async def run(
        self, instructions: str, simulations: Sequence[str], trials: range, purpose: Purpose
    ) -> Sequence[TrialOutcome]:
        """One outcome for each (simulation, trial); see `engine.harden.Trials`. Raises Paused."""
        outcomes: list[TrialOutcome] = []
        wanted = [(simulation, trial) for simulation in simulations for trial in trials]
        table: Literal["trials", "again"] = "again" if purpose == "again" else "trials"

        async def one(simulation: str, trial: int) -> None:
            run = self._base
            record = self._of_base(instructions, simulation, trial) if table == "trials" else None
            if record is None:
                cases = self._cases(instructions)
                run = cases.run.id
                record = self._archive.trials(run, table).find(f"{simulation}/{trial}")
                if record is None or unjudged(record):
                    record = await self._executed(cases, simulation, trial, table)
            same = self._deterministic and (self._rule_judged or not record.graded.opinions)
            outcomes.append(TrialOutcome.of(record, run, deterministic=same))
            await self._tell(1)

        left = await self._pacing.run(wanted, one)
        why = self._pacing.reason(left)
        if why is not None:
            self._take_back()
            raise paused(self._hardening, why)
        return outcomes

    async def _executed(self, cases: RunCases, simulation: str, trial: int, table: str) -> TrialRecord:
        meter = self._pacing.meter
        record = await self._trials.execute(cases, self._cast, simulation, trial, table, meter)
        if not is_marked(record):
            record = await self._judging.judged(cases, self._marking, record, meter, table)
        self._pacing.ended(record)
        if record.verdict == "error":
            self._broken.setdefault((cases.run.id, table), []).append(record)
        return record

    def _take_back(self) -> None:
        """What caused the pause must be run again: no arm of a comparison may lose by it."""
        for (run, table), records in self._broken.items():
            blamed = {r.id for r in records if r in self._pacing.streak or r.end == "budget"}
            self._attempts.set_aside(run, blamed, table)

    def records(self, outcomes: Sequence[TrialOutcome]) -> list[TrialRecord]:
        """The stored trials behind outcomes."""
        found: list[TrialRecord] = []
        for outcome in outcomes:
            run = outcome.conversation.partition("/")[0]
            id = f"{outcome.simulation}/{outcome.trial}"
            again = self._archive.trials(run, "again").find(id)
            record = again or self._archive.trials(run).find(id)
            if record is not None:
                found.append(record)
        return found

    def _cases(self, text: str) -> RunCases:
        """The run of a text under this hardening, made on first use."""
        found = self._runs.get(text)
        if found is None:
            runs = self._archive.runs.where(hardening=self._hardening.id)
            stored = next((run for run in runs if run.instructions_text == text), None)
            found = self._runs[text] = self._trials.cases(self._made(text, stored), self._check)
        return found

    def _made(self, text: str, begun: RunRecord | None) -> RunRecord:
        """The run of a text with its cases; one left unfinished is completed."""
        if begun is not None and is_whole(begun):
            return begun
        run = begun or self._new_run(text)
        self._snapshots.copy(self._hardening, run.id)
        run.options["copied"] = True
        self._archive.runs.put(run.id, run)
        return run

    def _new_run(self, text: str) -> RunRecord:
        run = self._pattern.model_copy(deep=True)
        run.id = self._archive.store.next_id("run")
        run.series, run.created_at = run.id, utc_now()
        run.instructions, run.instructions_text = self._name_of(text), text
        self._archive.runs.put(run.id, run)
        return run

    def _name_of(self, text: str) -> str:
        if text == self._hardening.base_text:
            return self._hardening.base
        stored = self._archive.hardenings.get(self._hardening.id)
        candidates = [*self._hardening.candidates, *stored.candidates]
        return next((c.id for c in candidates if c.text == text), self._hardening.id)

    def _serving(self) -> str:
        """The run whose trials serve for the base text, or ""."""
        taken, run = self._hardening.snapshot, self._hardening.base_run
        serves = taken is not None and taken.base_serves and self._archive.runs.find(run) is not None
        return run if serves else ""

    def _of_base(self, text: str, simulation: str, trial: int) -> TrialRecord | None:
        if not self._base or text != self._hardening.base_text:
            return None
        return self._archive.trials(self._base).find(f"{simulation}/{trial}")


def is_whole(run: RunRecord) -> bool:
    """Whether a run of a hardening has its cases; until then nothing can have run in it."""
    return bool(run.options.get("copied"))


def _always_the_same(models: Mapping[str, ModelName], spec: AgentSpec) -> bool:
    """Whether repeating a trial gives the same result: every role that speaks is offline without slips."""
    if spec.kind not in ("prompt", "recorded"):
        return False
    speaking = [models["user"], *([spec.model or models["agent"]] if spec.kind == "prompt" else [])]
    return all(name == "offline" for name in speaking)
