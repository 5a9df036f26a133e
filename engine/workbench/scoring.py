"""The scores of a run: a pure function of the stored trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..evaluate import (
    COUNTED,
    CheckCounts,
    EndedTrial,
    Reached,
    agreement,
    clusters,
    failure_keys,
    not_understood_warning,
    summaries,
    thresholds,
    totals,
)
from ..plural import be, plural
from ..records.conversation import ModelUse
from ..records.environment import short_name
from ..records.opinion import Agreement, MetricSummary
from ..records.run import Cluster, ClusterRerun, RunRecord, RunState, TrialRecord
from ..records.scenario import Scenario
from .archive import Archive, utc_now
from .attempts import Attempts
from .hints import hints_warnings
from .judging import metrics_of, unjudged
from .labels import Labels
from .reruns import counted as recounted, rerun_warnings
from .run_drafts import cassette_warnings, price_warnings, trials_wanted
from .what_ifs import counted as continued, what_if_warnings
from .worlds import Worlds

_SHOWN_CHECKS = 5
_ASK_AGENT = "`why` in it (get_item, or `caseharden show`) is what the agent raised or answered"


class Scoring:
    """Puts totals, clusters and thresholds into the record of a run."""

    def __init__(self, archive: Archive, worlds: Worlds) -> None:
        self._archive = archive
        self._worlds = worlds
        self._attempts = Attempts(archive)
        self._labels = Labels(archive)

    def score(self, id: str, state: RunState = "done", wall_s: float = 0.0) -> RunRecord:
        """Score what is there. Thresholds of an incomplete run fail. Run in a worker thread."""
        run = self._archive.runs.get(id)
        records, failed = self.trials(run), self._attempts.of_run(id)
        counted = totals(records)
        scenarios = self._scenarios(run.id)
        found, hidden = self._clusters(run, records, scenarios)
        measured = _measured(run, records)
        reached = thresholds(
            Reached(counted, measured, _checks(records)), run.options.get("thresholds") or {}
        )
        used = _summed([*(record.models for record in (*records, *failed)), naming_of(run)])
        unpriced = sorted({use.name for use in used.values() if use.cost_usd is None})
        missing = trials_wanted(run) - len(records)
        if missing > 0 and run.purpose == "run":
            why = f"{missing:,} of {plural(trials_wanted(run), 'trial')} {be(missing)} missing"
            reached = [r.model_copy(update={"result": "fail", "why": f"{r.why}; {why}"}) for r in reached]
        ifs = [continued(one, records) for one in run.what_ifs]
        update = {
            "state": state,
            "totals": counted,
            "clusters": found,
            "what_ifs": ifs,
            "reruns": self._reruns(run, records, scenarios),
            "thresholds": reached,
            "metrics": measured,
            "agreement": self._agreement(run, records),
            "grading": min((r.graded.grading for r in records), default=0),
            "models_used": used,
            "warnings": [
                *_undecided(run, records),
                *_unmeasured(run, records, measured),
                *_apart(run, records),
                *_tried_again(failed),
                *_broken_tools(run, records),
                *_invented(run, records),
                *not_understood_warning(not_understood_in(run.id, records)),
                *price_warnings(run, unpriced),
                *hints_warnings(run.options.get("hints")),
                *cassette_warnings(run.options.get("cassette")),
                *run.options.get("told", []),
                *rerun_warnings(run),
                *what_if_warnings(ifs),
                *hidden,
            ],
            "wall_s": round(run.wall_s + wall_s, 3),
            "updated_at": utc_now(),
        }
        return self._archive.runs.change(id, lambda stored: stored.model_copy(update=update))

    def _agreement(self, run: RunRecord, records: Sequence[TrialRecord]) -> Agreement | None:
        """How the judge agrees with people; None if nobody has labelled anything."""
        labels = self._labels.of_run(run.id)
        if not labels:
            return None
        judge = next((r.graded.judge for r in records if r.graded.judge), "")
        return agreement(labels, {r.id: r.graded for r in records}, judge, run.id)

    def trials(self, run: RunRecord) -> list[TrialRecord]:
        """All trials of a run, oldest first."""
        return self._archive.trials(run.id).where()

    def used(self, run: RunRecord) -> list[ModelUse]:
        """What each trial and each failed attempt of a run has used. Run in a worker thread."""
        again = self._archive.trials(run.id, "again").where()
        records = [*self.trials(run), *again, *self._attempts.of_run(run.id)]
        uses = [*(record.models for record in records), naming_of(run)]
        return [use for used in uses for use in used.values()]

    def ended(self, run: str) -> list[EndedTrial]:
        """The trials of a run as counted. Run in a worker thread."""
        return list(self._archive.trials(run).table.walk(show=_ended))

    def _scenarios(self, run: str) -> dict[str, Scenario]:
        """The scenarios of a run as they were when it began, by slug."""
        rows = self._archive.store.run_table(run, "scenarios").walk()
        return {str(row.doc_id): Scenario.model_validate(row["scenario"]) for row in rows}

    def _reruns(
        self, run: RunRecord, records: Sequence[TrialRecord], scenarios: Mapping[str, Scenario]
    ) -> list[ClusterRerun]:
        if not run.reruns:
            return []
        keys = failure_keys(records, self._worlds.get(run.world), scenarios)
        return [recounted(one, records, keys) for one in run.reruns]

    def _clusters(
        self, run: RunRecord, records: Sequence[TrialRecord], scenarios: Mapping[str, Scenario]
    ) -> tuple[list[Cluster], list[str]]:
        """The clusters visible in train, with their names kept; those of held-out scenarios alone are only counted."""
        found = clusters(records, self._worlds.get(run.world), scenarios, run.id)
        shown = [cluster for cluster in found if cluster.simulations]
        names = {cluster.key: cluster.name for cluster in run.clusters if cluster.name}
        for cluster in shown:
            cluster.name = names.get(cluster.key, "")
        hidden = len(found) - len(shown)
        if not hidden:
            return shown, []
        text = "1 more check fails on held-out scenarios only: it confirms, and is not shown as a cluster."
        if hidden > 1:
            text = f"{hidden} more checks fail on held-out scenarios only: they confirm, and are not shown as clusters."
        for n, cluster in enumerate(shown, 1):
            cluster.id = f"k{n}"
        return shown, [text]


def _measured(run: RunRecord, records: Sequence[TrialRecord]) -> dict[str, MetricSummary]:
    """The metrics over the conversations that count."""
    wanted = metrics_of(run)
    if not wanted:
        return {}
    return summaries(wanted, [(r.scenario, r.graded.metrics) for r in records if r.verdict in COUNTED])


def _checks(records: Sequence[TrialRecord]) -> CheckCounts:
    counted = CheckCounts()
    for record in records:
        if record.verdict in COUNTED:
            counted.add((check.id, check.verdict) for check in record.graded.checks)
    return counted


def _ended(row: Mapping[str, Any], id: str) -> EndedTrial:
    return EndedTrial(row["simulation"], row["scenario"], row["verdict"])


def not_understood_in(run: str, records: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    """For each failed trial with a question that the user did not understand: its place, if shown, and how many."""
    hit = [r for r in records if r.verdict == "fail" and r.not_understood]
    return [
        (f"{run}/{r.id}@{r.not_understood[0]}" if r.split == "train" else "", len(r.not_understood))
        for r in hit
    ]


def naming_of(run: RunRecord) -> dict[str, ModelUse]:
    """What naming the clusters of a run has used, by role."""
    return {"writer": run.naming} if run.naming else {}


def _summed(uses: Iterable[Mapping[str, ModelUse]]) -> dict[str, ModelUse]:
    summed: dict[str, ModelUse] = {}
    for used in uses:
        for role, use in used.items():
            total = summed.setdefault(role, ModelUse(name=use.name, cost_usd=0.0))
            total.calls += use.calls
            total.input_tokens += use.input_tokens
            total.output_tokens += use.output_tokens
            unknown = total.cost_usd is None or use.cost_usd is None
            total.cost_usd = None if unknown else (total.cost_usd or 0.0) + (use.cost_usd or 0.0)
    return summed


def _tried_again(failed: Sequence[TrialRecord]) -> list[str]:
    if not failed:
        return []
    trials = len({record.id for record in failed})
    return [
        f"{plural(trials, 'trial was', 'trials were')} run again after an error; failed attempts are kept, and in no "
        "count."
    ]


def _broken_tools(run: RunRecord, records: Sequence[TrialRecord]) -> list[str]:
    """In which trials a tool of the world failed through its author's mistake, whatever the verdict."""
    hit = [record for record in records if record.runtime_errors]
    if not hit:
        return []
    calls = sum(record.runtime_errors for record in hit)
    seen = next((record for record in hit if record.split == "train"), None)
    first = f"; the first: {run.id}/{seen.id}" if seen else ""
    return [
        f"{plural(calls, 'call')} in {len(hit)} of {plural(len(records), 'trial')} failed by a mistake in the world's "
        f"own tools (error `runtime`){first}"
    ]


def _invented(run: RunRecord, records: Sequence[TrialRecord]) -> list[str]:
    """In which trials the simulated user said something that it cannot know."""
    hit = [record for record in records if record.graded.invented]
    if not hit:
        return []
    seen = next((record for record in hit if record.split == "train"), None)
    first = f"; the first: {run.id}/{seen.id}@{seen.graded.invented[0].turn}" if seen else ""
    return [
        f"In {len(hit)} of {plural(len(records), 'trial')} the user gave an id, amount, date or address that is not on "
        f"its sheet{first} (view checks, `invented`)"
    ]


def _undecided(run: RunRecord, records: Sequence[TrialRecord]) -> list[str]:
    """For a run in which no trial passed or failed: why nothing could be judged, in our own words."""
    counted = [r for r in records if r.verdict in COUNTED]
    if not counted or any(r.verdict != "inconclusive" for r in counted) or not run.options.get("score", True):
        return []
    seen = next((r for r in counted if r.split == "train"), None)
    open_checks = [c.id for c in seen.graded.checks if c.verdict == "inconclusive"] if seen else []
    judge = next((f" ({r.graded.judge})" for r in counted if r.graded.judge), "")
    why = f"the judge{judge} could not decide {', '.join(open_checks[:_SHOWN_CHECKS])}" if open_checks else ""
    why = why or (seen.graded.why if seen else "") or "no check was decided"
    all_of_them = f"all {len(counted)} trials are" if len(counted) > 1 else "the one trial is"
    return [f"Nothing could be judged: {all_of_them} inconclusive: {why}"]


def _unmeasured(
    run: RunRecord, records: Sequence[TrialRecord], measured: Mapping[str, MetricSummary]
) -> list[str]:
    """Which metrics lack values, and why, as far as our own words can say it: reasons may quote the conversation."""
    found: dict[str, list[str]] = {}
    for name, summary in measured.items():
        if summary.unscored and run.options.get("score", True):
            of = summary.unscored + summary.scored + summary.does_not_apply
            found.setdefault(_why_unscored(run, records, name, summary), []).append(
                f"{name} in {summary.unscored} of {of}"
            )
    return [f"Unscored: {', '.join(names)} conversations: {why}" for why, names in found.items()]


def _why_unscored(run: RunRecord, records: Sequence[TrialRecord], name: str, summary: MetricSummary) -> str:
    judge = short_name(run.models.get("judge") or "offline")
    if summary.judged and judge.startswith("offline"):
        return "the offline judge measures nothing; name a model for the role judge"
    seen = next((r for r in records if r.split == "train" and _is_unscored(r, name)), None)
    return "the reason stands in view checks, `unscored`" + (
        f"; the first: {run.id}/{seen.id}" if seen else ""
    )


def _is_unscored(record: TrialRecord, name: str) -> bool:
    return any(value.metric == name and value.unscored for value in record.graded.metrics)


def _apart(run: RunRecord, records: Sequence[TrialRecord]) -> list[str]:
    """What no rate includes. The reasons may quote agents and tools: those stay with the trial only."""
    found: list[str] = []
    for verdict, words in (
        ("error", "ended in error (infrastructure)"),
        ("invalid", "invalid (a bad test case)"),
    ):
        hit = [r for r in records if r.verdict == verdict]
        if hit:
            seen = next((r for r in hit if r.split == "train"), None)
            end = "the judge" if seen and unjudged(seen) else seen.end if seen else ""
            how = f"{end}{f', {seen.error}' if seen.error else ''}" if seen else ""
            first = f"; the first: {run.id}/{seen.id} ({how})" if seen else ""
            first += f"; {_ASK_AGENT}" if seen and seen.end == "agent_error" else ""
            first += "; scored again, the judge is asked again" if seen and unjudged(seen) else ""
            found.append(f"{len(hit)} of {plural(len(records), 'trial')} {words}: in no rate{first}")
    return found
