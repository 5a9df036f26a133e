"""Reports: gathers the material of a run's or a hardening's report, and fills the page with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from ..errors import Unavailable
from ..harden import TRIALS_A_LOOK
from ..records.environment import played_by
from ..records.hardening import Hardening, Round
from ..records.persona import Persona
from ..records.report import Report
from ..records.run import RunRecord, TrialRecord
from ..records.scenario import Scenario, Split
from ..report import Arm, Material, PageParts, page, report_of
from .archive import Archive
from .sight import proving
from .snapshots import Snapshots
from .worlds import Worlds

_HIDDEN = "Held-out conversations are not in this file before the outcome."
_DECIDED = {
    "base": "base",
    "kept": "kept",
    "rejected": "rejected",
    "refused": "refused",
    "none": "nothing proposed",
}

Kept = tuple[str, TrialRecord]
"""A trial and the run that holds it."""


class Reporting:
    """Makes reports. Run everything here in a worker thread."""

    def __init__(
        self,
        archive: Archive,
        worlds: Worlds,
        snapshots: Snapshots,
        parts: Callable[[], PageParts] | None = None,
    ) -> None:
        self._archive = archive
        self._worlds = worlds
        self._snapshots = snapshots
        self._parts = parts

    def of_run(self, run: RunRecord) -> Report:
        """The report of a run."""
        trials = [(run.id, trial) for trial in self._archive.trials(run.id).where()]
        hidden = bool(proving(self._archive, run.environment))
        version = _version(run.instructions)
        arm = Arm(run.id, run.name or run.id, version, _seen(trials, hidden))
        made = self._material(run, None, [arm], {run.instructions: version})
        made.hidden = _HIDDEN if hidden else ""
        return report_of(made)

    def of_hardening(self, record: Hardening) -> Report:
        """The report of a hardening; without anything held out until its outcome."""
        names = {record.base: _version(record.base)}
        for candidate in record.candidates:
            names[candidate.id] = _version(candidate.became or candidate.id)
        hidden = record.outcome is None or bool(proving(self._archive, record.environment))
        rounds = self._rounds(record, names, hidden)
        if not hidden:
            rounds = [_counted_as(record, arm) for arm in rounds]
        deleted = bool(record.base_run) and self._archive.runs.find(record.base_run) is None
        if deleted and not rounds[0].side("train"):
            gone = f"{record.base_run}, with which this hardening began, was deleted, with the base's train trials."
            record = record.model_copy(update={"warnings": [gone, *record.warnings]})
        made = self._material(self._snapshots.pattern(record), record, rounds, names)
        made.hidden = _HIDDEN if hidden else ""
        return report_of(made)

    def html(self, report: Report) -> str:
        """The page. Unavailable if the workbench was given no template."""
        if self._parts is None:
            raise Unavailable("This workbench has no report page.", where="format", allowed="json")
        return page(report, self._parts())

    def _rounds(self, record: Hardening, names: dict[str, str], hidden: bool) -> list[Arm]:
        """The base, a round for each candidate, and the confirmation on held-out."""
        tried = range(1, (record.trials or TRIALS_A_LOOK) + 1)
        proof = record.evidence.held_out if record.evidence and not hidden else None
        proven = range(proof.first_trial, proof.first_trial + record.trials) if proof else tried
        base = self._compared(record, record.base_text, tried, proven)
        version = names[record.base]
        arms = [Arm("base", "Base", version, _seen(base, hidden), "base")]
        texts = {candidate.id: candidate.text for candidate in record.candidates}
        for round in record.rounds:
            if round.number == 0:
                continue
            text = texts.get(round.candidate, "")
            trials = self._compared(record, text, tried, proven) if text else []
            train = [
                kept for kept in trials if (kept[1].split if hidden else _split(record, kept[1])) == "train"
            ]
            told = names.get(round.candidate, "")
            arms.append(
                Arm(
                    f"round-{round.number}",
                    f"Round {round.number}",
                    told,
                    train,
                    _DECIDED[round.decision],
                    _why(round),
                )
            )
        if proof is not None:
            trials = self._compared(record, texts.get(record.candidate, ""), tried, proven)
            confirmed = [kept for kept in trials if _split(record, kept[1]) == "held_out"]
            why = f"{proof.better} better, {proof.worse} worse"
            outcome = str(record.outcome).replace("_", " ")
            arms.append(Arm("proof", "Confirmation", names[record.candidate], confirmed, outcome, why))
        return arms

    def _compared(self, record: Hardening, text: str, train: range, held_out: range) -> list[Kept]:
        """The trials of an arm that are compared: without the further ones that confirmed regressions."""
        wanted = {"train": train, "held_out": held_out}
        kept = [one for one in self._arm(record, text) if one[1].trial in wanted[_split(record, one[1])]]
        return sorted(kept, key=lambda one: (one[1].simulation, one[1].trial))

    def _arm(self, record: Hardening, text: str) -> list[Kept]:
        """The trials of a text under a hardening: those of the run that it started from, its own, second tries."""
        serves = record.snapshot is not None and record.snapshot.base_serves
        runs = [r for r in self._archive.runs.where(hardening=record.id) if r.instructions_text == text]
        base = self._archive.runs.find(record.base_run) if serves and text == record.base_text else None
        found: dict[str, Kept] = {}
        for run in [*([base] if base else []), *runs]:
            for table in ("trials", "again"):
                for trial in self._archive.trials(run.id, table).where():
                    found[trial.id] = (run.id, trial)
        wanted = set(record.simulations)
        return [kept for kept in found.values() if kept[1].simulation in wanted]

    def _material(
        self, run: RunRecord, hardening: Hardening | None, rounds: Sequence[Arm], names: dict[str, str]
    ) -> Material:
        world = self._worlds.get(run.world)
        owner = self._archive.environments.find(run.environment)
        tables = self._archive.store.run_table
        scenarios = [Scenario.model_validate(row["scenario"]) for row in tables(run.id, "scenarios").walk()]
        personas = [Persona.model_validate(row["persona"]) for row in tables(run.id, "personas").walk()]
        players = played_by(run.models, run.agent)
        used = {role: use.name for role, use in run.models_used.items()}
        for arm in rounds:
            for _, trial in arm.trials:
                used.update({role: use.name for role, use in trial.models.items()})
        return Material(
            run=run,
            hardening=hardening,
            environment_name=owner.name if owner else "",
            world=world,
            scenarios={s.id: s for s in scenarios},
            personas={p.id: p for p in personas},
            rounds=rounds,
            players={role: used.get(role, name) for role, name in players.items()},
            names=names,
            read=self._archive.talk,
            manifest=self._manifest(run, hardening, rounds),
        )

    def _manifest(
        self, run: RunRecord, hardening: Hardening | None, rounds: Sequence[Arm]
    ) -> list[tuple[str, str]]:
        """What is needed to run it again."""
        world = self._worlds.get(run.world)
        state = world.world.db.items()
        sizes = {name: len(cast("dict[str, Any]", of)) for name, of in state if isinstance(of, dict)}
        text = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
        name = world.world.name or "no name"
        splits = {trial.scenario: trial.split for arm in rounds for _, trial in arm.trials}
        train = sum(split == "train" for split in splits.values())
        spent = len(hardening.spent) if hardening else 0
        read = f"; {spent} held out, but read before" if spent else ""
        ran = sorted({place for arm in rounds for place, _ in arm.trials})
        rows = [
            ("environment", run.environment),
            ("world", f"{name}{f', {text}' if text else ''}, sha256 {run.world[:16]}"),
            ("agent", str(run.agent.get("kind", "prompt"))),
            ("runs", ", ".join(ran)),
            ("seed", str(run.seed)),
            (
                "split",
                f"{train} train, {len(splits) - train} held-out scenarios, fixed when they were stored{read}",
            ),
        ]
        if hardening is None:
            return [
                *rows,
                ("instructions", run.instructions),
                ("started", run.created_at),
                ("state", run.state),
            ]
        held_out = hardening.evidence.held_out if hardening.evidence else None
        if held_out is not None:
            rows.append(
                (
                    "proof",
                    "exact one-sided sign-flip test over held-out scenarios; "
                    f"look {held_out.look} needs p at most {held_out.alpha:.4f}; no confirmed regression",
                )
            )
        stopped = hardening.stop_reason.replace("_", " ")
        rows += [("strategy", hardening.strategy), ("base", hardening.base), ("stopped", stopped)]
        return [*rows, ("started", hardening.created_at), ("finished", hardening.ended_at)]


def _split(record: Hardening, trial: TrialRecord) -> Split:
    """Train also for a held-out scenario that the client who wrote the text had read."""
    best = record.find(record.candidate)
    client = best.client if best else record.strategy == "submit"
    return "train" if client and trial.scenario in record.spent else trial.split


def _counted_as(record: Hardening, arm: Arm) -> Arm:
    """A round with its trials on the side on which the proof counted them."""
    trials = [(run, trial.model_copy(update={"split": _split(record, trial)})) for run, trial in arm.trials]
    return replace(arm, trials=trials)


def _seen(trials: Iterable[Kept], hidden: bool) -> list[Kept]:
    """The trials without those of hidden held-out scenarios; in numerical order."""
    kept = [one for one in trials if not hidden or one[1].split == "train"]
    return sorted(kept, key=lambda one: (one[1].simulation, one[1].trial))


def _version(id: str) -> str:
    """`support@2` as `version 2`, `hard-1/c3` as `candidate 3`."""
    if "@" in id:
        return f"version {id.rpartition('@')[2]}"
    number = id.rpartition("/c")[2]
    return f"candidate {number}" if number.isdigit() else id


def _why(round: Round) -> str:
    if round.train is not None:
        return f"{round.train.better} better, {round.train.worse} worse"
    return round.told or round.reason.replace("_", " ")
