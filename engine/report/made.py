"""Makes the report of a run or a hardening from what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from ..errors import InvalidArgument
from ..evaluate import CheckPlan, clusters, compile_checks
from ..records.conversation import Conversation
from ..records.hardening import Hardening
from ..records.persona import Persona
from ..records.report import (
    ArmRate,
    Flip,
    Quote,
    Report,
    ReportCase,
    ReportCluster,
    ReportPersona,
    ReportRound,
    ReportTalk,
)
from ..records.run import Cluster, RunRecord, TrialRecord
from ..records.scenario import Scenario
from ..records.verdict import GRADING
from ..world import CompiledWorld
from .figures import (
    by_number,
    flip_of,
    large,
    lasting,
    letters_of,
    money,
    plural,
    rate_of,
    summed_cost,
    titled,
    uses_of,
)
from .heads import hardening_head, paired, proof_figures, run_head
from .talks import first_difference, plain_uses, talk_of
from .texts import texts_of

MOST_BYTES: Final = 8_000_000
"""Limit for the conversations as JSON; failed ones and their counterparts come first."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A text that was run: a round of the report. Each trial with the run that holds it."""

    id: str
    label: str
    version: str
    trials: Sequence[tuple[str, TrialRecord]] = ()
    decision: str = ""
    why: str = ""

    def side(self, split: str) -> list[TrialRecord]:
        return [trial for _, trial in self.trials if trial.split == split]

    @property
    def records(self) -> list[TrialRecord]:
        return [trial for _, trial in self.trials]


@dataclass(slots=True)
class Material:
    """What a report is made of.

    `rounds`: the base, or the run itself, first. `hidden`: why held-out trials are not included, else "". `names`:
    instructions and candidates as the report calls them (`support@2`: `version 2`). `read`: reads a trial's
    conversation.
    """

    run: RunRecord
    hardening: Hardening | None
    environment_name: str
    world: CompiledWorld
    scenarios: Mapping[str, Scenario]
    personas: Mapping[str, Persona]
    rounds: Sequence[Arm]
    players: Mapping[str, str]
    names: Mapping[str, str]
    read: Callable[[TrialRecord], Conversation]
    hidden: str = ""
    manifest: Sequence[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


def report_of(made: Material) -> Report:
    """The report. Run in a worker thread: it reads conversations up to `MOST_BYTES`."""
    base, newest = made.rounds[0], _newest(made.rounds)
    every = [trial for arm in made.rounds for trial in arm.records]
    report = _empty(made, every)
    report.rounds = [_round(arm) for arm in made.rounds]
    report.results = {arm.id: letters_of(arm.records) for arm in made.rounds}
    _name_cases(report, made, every)
    _put_head(report, made, base)
    plans = _plans(made)
    report.clusters = _clusters(made, base, newest)
    report.flips = [_flip(name, report) for name in report.simulations] if len(made.rounds) > 1 else []
    report.versions, report.diffs = texts_of(made.hardening, made.names)
    report.conversations, report.left_out = _talks(made, plans)
    _quote(report)
    graded = sorted({trial.graded.grading for trial in every}) or [GRADING]
    report.manifest = [*made.manifest, ("report", report.format), ("grading", ", ".join(map(str, graded)))]
    return report


def _empty(made: Material, every: Sequence[TrialRecord]) -> Report:
    run, hardening = made.run, made.hardening
    candidate = hardening.find(hardening.candidate) if hardening else None
    return Report(
        source=hardening.id if hardening else run.id,
        kind="hardening" if hardening else "run",
        as_of=(hardening.ended_at or hardening.created_at)
        if hardening
        else (run.updated_at or run.created_at),
        environment=run.environment,
        environment_name=made.environment_name,
        offline=any(name.startswith("offline") for name in made.players.values()),
        trials=max((n for arm in made.rounds for n in _each(arm).values()), default=1),
        head=run_head(run, [], None, ""),
        thresholds=[] if hardening else run.thresholds,
        facts=_facts(made, every),
        models=plain_uses(made.players),
        warnings=_warnings(made),
        guards=candidate.guards if candidate else [],
        hidden=made.hidden,
    )


def _each(arm: Arm) -> Counter[str]:
    """How many trials each simulation has."""
    return Counter(trial.simulation for trial in arm.records)


def _put_head(report: Report, made: Material, base: Arm) -> None:
    """The decision and the rates on its axis: of held-out scenarios if they were compared, else of all."""
    hardening = made.hardening
    if hardening is None:
        rate = rate_of(base.records)
        report.head = run_head(made.run, base.records, rate, base.version)
        report.arms = [ArmRate(label=base.version, tone=report.head.tone, rate=rate)] if rate else []
        report.arms_of = "Pass rate of all simulations, 95% interval"
        return
    proof = made.rounds[-1] if made.rounds[-1].id == "proof" else None
    whole = rate_of(base.records)
    report.head = hardening_head(hardening, base.records, whole, made.names)
    if proof is None:
        report.arms = [ArmRate(label=base.version, rate=whole)] if whole else []
        report.arms_of = "Pass rate of the base, 95% interval"
        return
    pairs = paired(base.side("held_out"), proof.records)
    report.proof = proof_figures(hardening, pairs)
    old, new = rate_of(base.side("held_out")), rate_of(proof.records)
    report.arms = [ArmRate(label=base.version, rate=old)] if old else []
    report.arms += [ArmRate(label=proof.version, tone=report.head.tone, rate=new)] if new else []
    report.arms_of = "Pass rate on held-out cases, 95% interval"


def _round(arm: Arm) -> ReportRound:
    left_out = sum(trial.verdict in ("error", "invalid") for trial in arm.records)
    return ReportRound(
        id=arm.id,
        label=arm.label,
        version=arm.version,
        train=rate_of(arm.side("train")),
        held_out=rate_of(arm.side("held_out")),
        left_out=left_out,
        cost_usd=summed_cost(uses_of(arm.records)) if arm.trials else None,
        decision=arm.decision,
        why=arm.why,
    )


def _name_cases(report: Report, made: Material, every: Sequence[TrialRecord]) -> None:
    cases: dict[str, ReportCase] = {}
    people: dict[str, ReportPersona] = {}
    for trial in sorted(
        every, key=lambda t: (t.split != "train", by_number(t.scenario), by_number(t.persona))
    ):
        report.simulations.setdefault(trial.simulation, (trial.scenario, trial.persona))
        if trial.scenario not in cases:
            known = made.scenarios.get(trial.scenario)
            goal = known.goal if known else ""
            cases[trial.scenario] = ReportCase(
                id=trial.scenario,
                title=titled(trial.scenario),
                goal=goal[:600],
                split=trial.split,
                tags=trial.tags,
            )
        if trial.persona not in people:
            persona = made.personas.get(trial.persona)
            about = (persona.style or persona.profile) if persona else ""
            name = titled(trial.persona) if trial.persona else "No persona"
            people[trial.persona] = ReportPersona(id=trial.persona, name=name, about=about[:200])
    report.scenarios, report.personas = list(cases.values()), list(people.values())


def _facts(made: Material, every: Sequence[TrialRecord]) -> list[tuple[str, str, str]]:
    uses = uses_of(every)
    calls = sum(use.calls for use in uses)
    tokens_in, tokens_out = sum(u.input_tokens for u in uses), sum(u.output_tokens for u in uses)
    simulations = {t.simulation for t in every}
    scenarios, personas = {t.scenario for t in every}, {t.persona for t in every if t.persona}
    noted = f"in {large(tokens_in)}, out {large(tokens_out)}" if tokens_in or tokens_out else "none counted"
    cases = plural(len(scenarios), "scenario") + (f", {plural(len(personas), 'persona')}" if personas else "")
    wall = sum(t.wall_s for t in every)
    return [
        ("Simulations", f"{len(simulations):,}", cases),
        ("Trials shown" if made.hardening else "Trials", f"{len(every):,}", _counted_in(made)),
        ("Model calls", f"{calls:,}", ", ".join(sorted({u.name for u in uses}))[:60]),
        ("Tokens", large(tokens_in + tokens_out), noted),
        ("Cost", money(summed_cost(uses)), "as the models' prices say"),
        ("Time in trials", lasting(wall), "summed over trials"),
    ]


def _counted_in(made: Material) -> str:
    """Which trials the report counts; a hardening's job counts every one asked for."""
    rounds = f"in {plural(len(made.rounds), 'round')}"
    return f"{rounds}, without screens, pruning and confirming" if made.hardening else rounds


def _warnings(made: Material) -> list[tuple[str, str]]:
    told = made.hardening.warnings if made.hardening else made.run.warnings
    tones = (("are invalid", "v"), ("ended in error", "e"))
    return [(next((tone for words, tone in tones if words in text), "i"), text) for text in told]


def _plans(made: Material) -> Mapping[str, CheckPlan | None]:
    found: dict[str, CheckPlan | None] = {}
    for slug, scenario in made.scenarios.items():
        try:
            found[slug] = compile_checks(made.world, scenario, slug)
        except InvalidArgument:
            found[slug] = None
    return found


def _newest(rounds: Sequence[Arm]) -> dict[str, list[tuple[str, TrialRecord]]]:
    """For each simulation its trials in the last round that has it."""
    newest: dict[str, list[tuple[str, TrialRecord]]] = {}
    for arm in rounds:
        of_round: dict[str, list[tuple[str, TrialRecord]]] = {}
        for run, trial in arm.trials:
            of_round.setdefault(trial.simulation, []).append((run, trial))
        newest.update(of_round)
    return newest


def _clusters(
    made: Material, base: Arm, newest: Mapping[str, Sequence[tuple[str, TrialRecord]]]
) -> list[ReportCluster]:
    """The causes under the base, by the simulations that they fail, with what remains of each."""
    found = _found(made, base.records)
    now = {one.key: one for one in _found(made, [t for of in newest.values() for _, t in of])}
    rows = [_cluster_row(one, now.get(one.key), len(made.rounds) > 1) for one in found]
    run_of = {trial.id: run for run, trial in base.trials}
    for row, one in zip(rows, found, strict=True):
        if one.see:
            id, _, turn = one.see.partition("/")[2].partition("@")
            row.quote = Quote(conversation=f"{run_of[id]}/{id}", turn=int(turn or 1))
    return [row for row in rows if row.simulations]  # what fails on held-out alone confirms, and is no cause


def _found(made: Material, trials: Sequence[TrialRecord]) -> list[Cluster]:
    names = {one.key: one.name for one in made.run.clusters}
    found = clusters(trials, made.world, made.scenarios, "x")
    return [one.model_copy(update={"name": names.get(one.key, "")}) for one in found]


def _cluster_row(cluster: Cluster, now: Cluster | None, several: bool) -> ReportCluster:
    left = now.simulations if now else 0
    return ReportCluster(
        id=cluster.id,
        check=cluster.check,
        name=cluster.name,
        severity=cluster.severity,
        cause=cluster.cause,
        simulations=cluster.simulations,
        trials=cluster.trials,
        scenarios=cluster.scenarios,
        held_out=cluster.held_out,
        members=cluster.members,
        newest=left if several else None,
    )


def _flip(name: str, report: Report) -> Flip:
    base = report.results[report.rounds[0].id].get(name, "")
    later = [report.results[r.id][name] for r in report.rounds[1:] if name in report.results[r.id]]
    return flip_of(name, base, later[-1] if later else "")


def _talks(made: Material, plans: Mapping[str, CheckPlan | None]) -> tuple[list[ReportTalk], int]:
    """Failed ones with their counterparts, then the others, as long as there is room; how many are left out."""
    groups = _counterparts(made.rounds)
    talks: list[ReportTalk] = []
    size = left_out = 0
    for group in groups:
        if size >= MOST_BYTES:
            left_out += len(group)
            continue
        parts = [_talk(made, arm, run, trial, plans) for arm, run, trial in group]
        for earlier, later in pairwise(parts):
            later.differs_at = first_difference(earlier, later)
        if len(parts) > 1:
            parts[0].differs_at = first_difference(parts[0], parts[-1])
        talks += parts
        size += sum(len(talk.model_dump_json()) for talk in parts)
    return talks, left_out


def _counterparts(rounds: Sequence[Arm]) -> list[list[tuple[Arm, str, TrialRecord]]]:
    """Trials of the same case and number under different texts, those not passing now or ever first."""
    groups: dict[tuple[str, int], dict[str, tuple[Arm, str, TrialRecord]]] = {}
    for arm in rounds:
        for run, trial in arm.trials:
            groups.setdefault((trial.simulation, trial.trial), {})[f"{run}/{trial.id}"] = (arm, run, trial)

    def rank(group: Sequence[tuple[Arm, str, TrialRecord]]) -> int:
        verdicts = [trial.verdict for _, _, trial in group]
        worse = len(group) > 1 and verdicts[0] == "pass" and verdicts[-1] != "pass"
        return 0 if worse else 1 if verdicts[-1] != "pass" else 2 if set(verdicts) != {"pass"} else 3

    return sorted((list(group.values()) for group in groups.values()), key=rank)


def _talk(
    made: Material, arm: Arm, run: str, trial: TrialRecord, plans: Mapping[str, CheckPlan | None]
) -> ReportTalk:
    place = f"{run}/{trial.id}"
    return talk_of(place, arm.id, arm.version, trial, made.read(trial), plans.get(trial.scenario))


def _quote(report: Report) -> None:
    """Fill in what was said and called at the place that each cluster points to."""
    talks = {talk.id: talk for talk in report.conversations}
    for cluster in report.clusters:
        quote = cluster.quote
        talk = talks.get(quote.conversation) if quote else None
        if quote is None or talk is None:
            cluster.quote = None
            continue
        parts = [part for part in talk.parts if part.turn == quote.turn and part.by == "agent"]
        quote.text = next((part.text for part in parts if part.text), "")[:400]
        quote.calls = [call.tool for part in parts for call in part.calls][:6]
