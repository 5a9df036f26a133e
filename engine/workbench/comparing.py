"""Compares a run with another or with a baseline, and one simulation side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread

from ..errors import Conflict, InvalidArgument, NextCall, NotFound, nearest
from ..evaluate import comparison
from ..evaluate.comparison import GroupChange, Pairing, RunComparison
from ..harden import unified_diff
from ..ids import Place, parse_place
from ..plural import plural
from ..records.run import RunRecord, ThresholdResult, TrialRecord
from .archive import Archive
from .case_hashes import case_digest
from .compared import ComparedRun, PlayedTrial, compared_run, differences, mixed_warning
from .conversation_views import change_row, conversation_turns
from .parts import Body
from .plain import check_range
from .run_drafts import trials_wanted
from .sight import refuse_while_proving, spend
from .trials import TrialRunner

SIDES = ("base", "run")
SHOWN_STATE = 20
GROUPS: Mapping[str, Callable[[PlayedTrial], Sequence[str]]] = {
    "persona": lambda trial: [trial.persona] if trial.persona else [],
    "tag": lambda trial: trial.tags,
    "scenario": lambda trial: [trial.scenario],
}
_SAID = ("user", "agent", "calls", "changes")


@dataclass(slots=True)
class ComparisonReport:
    """Two runs compared; for a simulation also where they first diverged."""

    base: ComparedRun
    run: ComparedRun
    found: RunComparison
    pairing: Pairing[PlayedTrial]
    differs: dict[str, str]
    """How the runs were made differently, in words."""
    groups: dict[str, list[GroupChange]]
    """By `persona`, `scenario` and `tag`."""
    diff: str = ""
    """Unified diff of the instructions, if both texts are available."""
    held_out: set[str] = field(default_factory=set[str])
    """Held-out simulations of either run."""
    side_by_side: Body = field(default_factory=dict[str, Any])
    """simulation, trial, turn (0: no difference), conversations, verdicts, turns, state."""
    baseline: list[ThresholdResult] = field(default_factory=list[ThresholdResult])
    """Against a baseline: the conditions that must hold."""
    warnings: list[str] = field(default_factory=list[str])


class Comparing:
    """Compares runs."""

    def __init__(self, archive: Archive, trials: TrialRunner) -> None:
        self._archive = archive
        self._trials = trials

    async def compare(
        self, base: str, run: str, *, simulation: str = "", limit: int = 20
    ) -> ComparisonReport:
        """Compare two stored runs; with `simulation` also that one side by side.

        `simulation` may name one of its conversations; shown from the first turn that differs, `limit` turns. Conflict
        while one of the runs goes on, or if they share no simulation or no seed. Side by side, a held-out simulation
        counts as read, and is refused while a proof runs.
        """
        check_range(limit, "limit", 1, 100)
        if base == run:
            raise InvalidArgument(
                "A run is the same as itself.", where="run", allowed="another run than `base`"
            )
        old, new = self._over(base, "base"), self._over(run, "run")
        sides = [await anyio.to_thread.run_sync(self.stored, id) for id in (base, run)]
        report = await anyio.to_thread.run_sync(self._report, sides[0], sides[1])
        names = [f"{record.instructions} ({record.id})" for record in (old, new)]
        report.diff = unified_diff(old.instructions_text, new.instructions_text, names[0], names[1])
        report.warnings = [*map(_partial, filter(_is_partial, (old, new))), *report.warnings]
        if simulation:
            slug, trial = _named(simulation)
            await anyio.to_thread.run_sync(self._side_by_side, report, slug, trial, limit)
        return report

    async def against(
        self, baseline: ComparedRun, run: str, *, max_drop: float = comparison.MAX_DROP
    ) -> ComparisonReport:
        """Compare a stored run with a baseline and check whether it holds; see `comparison.against_baseline`."""
        stored = await anyio.to_thread.run_sync(self.stored, run)
        report = await anyio.to_thread.run_sync(self._compared, baseline, stored)
        report.baseline = comparison.against_baseline(report.found, report.pairing, max_drop)
        return report

    def stored(self, run: str) -> ComparedRun:
        """A stored run as comparisons see it. Run in a worker thread."""
        record = self._archive.runs.get(run)
        cases = self._trials.cases(record)
        hashes = {slug: case_digest(cases.parts(slug)) for slug in record.simulations}
        return compared_run(record, hashes, [_played(row) for row in self._archive.trials(run).table.walk()])

    def _over(self, id: str, where: str) -> RunRecord:
        record = self._archive.runs.get(id, where)
        if record.state == "running":
            done = self._archive.trials(id).count()
            calls = [NextCall("wait_job", {"job": record.job})] if record.job else []
            raise Conflict(
                f"{id} is still running ({done:,} of {trials_wanted(record):,}).", where=where, next=calls
            )
        return record

    def _report(self, base: ComparedRun, run: ComparedRun) -> ComparisonReport:
        report = self._compared(base, run)
        if report.pairing.pairs:
            return report
        shared = base.cases.keys() & run.cases.keys()
        series = self._archive.runs.get(base.run).series
        more = [NextCall("list_items", {"kind": "run", "where": {"series": series}})]
        if not shared:
            raise Conflict(f"{base.run} and {run.run} share no simulation.", where="run", next=more)
        if report.pairing.other_seed:
            again = {"environment": run.environment, "options": {"seed": base.seed}}
            raise Conflict(
                f"{base.run} and {run.run} were played from other seeds: no trial met the same world.",
                where="run",
                allowed=f"a run with seed {base.seed}",
                next=[NextCall("run_simulations", again)],
            )
        raise Conflict(
            f"{base.run} and {run.run} share no trial that both counted ({' '.join(report.warnings)})",
            where="run",
            next=more,
        )

    def _compared(self, base: ComparedRun, run: ComparedRun) -> ComparisonReport:
        pairing = comparison.pair_trials(base.played, run.played)
        found = comparison.compare(pairing.pairs, run.seed)
        differs = differences(base, run)
        held_out = {p.simulation for p in (*base.played, *run.played) if p.held_out}
        warnings = [*_left_out(base.run, run.run, pairing), *mixed_warning(differs)]
        groups = {name: comparison.grouped(pairing.pairs, of) for name, of in GROUPS.items()}
        return ComparisonReport(
            base, run, found, pairing, differs, groups, held_out=held_out, warnings=warnings
        )

    def _side_by_side(self, report: ComparisonReport, slug: str, trial: int, limit: int) -> None:
        trials = [self._trials_of(side.run, slug) for side in (report.base, report.run)]
        shared = sorted(trials[0].keys() & trials[1].keys())
        if not shared:
            known = sorted({old.simulation for old, _ in report.pairing.pairs})
            near = nearest(slug, known)
            hint = f"; nearest `{near}`" if near else f"; they share {len(known):,}"
            arms = {"base": report.base.run, "run": report.run.run}
            raise NotFound(
                f"No simulation `{slug[:80]}` in both runs{hint}.",
                where="simulation",
                next=[NextCall("compare_runs", {**arms, "simulation": near} if near else arms)],
            )
        pairs = {k: (trials[0][k], trials[1][k]) for k in shared}
        chosen = pairs.get(trial) or _most_telling(list(pairs.values()))
        for record, side in zip(chosen, (report.base, report.run), strict=True):
            if record.split == "held_out":
                refuse_while_proving(self._archive, side.environment, "simulation")
        for record, side in zip(chosen, (report.base, report.run), strict=True):
            if record.split == "held_out":
                told = spend(self._archive, f"{side.environment}/{record.scenario}")
                report.warnings += [one for one in told if one not in report.warnings]
        report.side_by_side = self._turns(report, chosen, limit)

    def _trials_of(self, run: str, simulation: str) -> dict[int, TrialRecord]:
        return {trial.trial: trial for trial in self._archive.trials(run).where(simulation=simulation)}

    def _turns(self, report: ComparisonReport, chosen: tuple[TrialRecord, TrialRecord], limit: int) -> Body:
        slug, number = chosen[0].simulation, chosen[0].trial
        rows: list[dict[int, Body]] = []
        states: list[dict[str, Body]] = []
        for trial, side in zip(chosen, (report.base, report.run), strict=True):
            conversation = self._archive.conversation(Place(side.run, slug, number))[1]
            turns = conversation_turns(conversation, trial.graded.checks)
            rows.append({turn.pop("turn"): turn for turn in turns})
            changes = (change_row(p.model_dump(mode="json", exclude_unset=True)) for p in conversation.delta)
            states.append({change.pop("path"): change for change in changes})
        numbers = sorted({*rows[0], *rows[1]})
        first = next((n for n in numbers if _went(rows[0], n) != _went(rows[1], n)), 0)
        parts = [n for n in numbers if any(any((_went(side, n) or {}).values()) for side in rows)]
        shown = [n for n in parts if first and n >= first]
        body: Body = {"simulation": slug, "trial": number, "turn": first}
        for name, trial, side in zip(SIDES, chosen, (report.base, report.run), strict=True):
            place = str(Place(side.run, slug, number, first))
            body[name] = {"conversation": place, "verdict": trial.verdict, "end": trial.end}
        body["turns"] = [
            {"turn": n, "base": rows[0].get(n, {}), "run": rows[1].get(n, {})} for n in shown[:limit]
        ]
        if len(shown) > limit:
            body["turns_total"] = len(shown)
        return {**body, **_states(*states)}


def _named(simulation: str) -> tuple[str, int]:
    """Simulation and trial (0: any) of `refund-dana`, `support/refund-dana` or `run-7/refund-dana/2`."""
    if simulation.count("/") == 2:
        place = parse_place(simulation, "simulation")
        return place.simulation, place.trial
    return simulation.rpartition("/")[2], 0


def _played(row: Any) -> PlayedTrial:
    fields = {
        name: row[name] for name in ("simulation", "scenario", "trial", "seed", "verdict", "persona", "tags")
    }
    return PlayedTrial(**fields, held_out=row["split"] == "held_out")


def _most_telling(pairs: Sequence[tuple[TrialRecord, TrialRecord]]) -> tuple[TrialRecord, TrialRecord]:
    """The first pair whose verdicts differ, else the first that diverged, else the first."""
    verdict = next((pair for pair in pairs if pair[0].verdict != pair[1].verdict), None)
    way = next((pair for pair in pairs if pair[0].transcript_hash != pair[1].transcript_hash), None)
    return verdict or way or pairs[0]


def _went(turns: dict[int, Body], number: int) -> Body | None:
    """What was said and done in a turn; None if there is no such turn."""
    turn = turns.get(number)
    return None if turn is None else {name: turn.get(name) for name in _SAID}


def _states(base: Mapping[str, Body], run: Mapping[str, Body]) -> Body:
    """The places of the world that ended differently, with what each side wrote there; empty: it did not write it."""
    paths = [path for path in sorted({*base, *run}) if base.get(path) != run.get(path)]
    rows: list[Body] = [
        {
            "path": path,
            **{name: side[path] for name, side in zip(SIDES, (base, run), strict=True) if path in side},
        }
        for path in paths[:SHOWN_STATE]
    ]
    row: Body = {"state": rows} if rows else {}
    return {**row, "state_total": len(paths)} if len(paths) > SHOWN_STATE else row


def _is_partial(run: RunRecord) -> bool:
    return run.state != "done"


def _partial(run: RunRecord) -> str:
    return f"{run.id} is {run.state}: it has {run.totals.trials:,} of {plural(trials_wanted(run), 'trial')}."


def _left_out(base: str, run: str, pairing: Pairing[PlayedTrial]) -> list[str]:
    """What is in no pair, and why."""
    rows = (
        (f" of {run} from other seeds", pairing.other_seed),
        (f" of {base}, ended in error or invalid", pairing.base_uncounted),
        (f" of {run}, ended in error or invalid where {base} counted (no gain)", pairing.run_uncounted),
        (f" of {base} that {run} does not have", pairing.only_base),
        (f" of {run} that {base} does not have", pairing.only_run),
    )
    parts = [plural(count, "trial") + what for what, count in rows if count]
    return [f"{plural(len(pairing.pairs), 'pair')} compared; left out: {'; '.join(parts)}."] if parts else []
