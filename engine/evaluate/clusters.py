"""Failure clusters of a run: which check failed how often, how bad it is, why in one line, and where to look.

Deterministic, and blind to held-out scenarios except for their number: places, members and causes come from train.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..canonical import canonical, digest
from ..records.run import Cluster, TrialRecord
from ..records.scenario import Scenario
from ..records.verdict import CheckResult, Severity
from ..world import CompiledWorld, show_path
from .facts import StateUnchanged, WorldAsExpected, paths_in
from .plan import EXPECTED_OUTPUT, Check, CheckPlan, compile_checks
from .rules import RuleCheck

SEVERITY_WEIGHT: Final[Mapping[Severity, int]] = {"minor": 1, "major": 2, "critical": 4}
SHOWN_PATHS: Final = 3
SHOWN_EVIDENCE: Final = 5
MAX_CAUSE_CHARS: Final = 200
_FAULT: Final = "failure_cause"
_UNNAMED = re.compile(r"c\d+")


@dataclass(frozen=True, slots=True)
class _Failure:
    trial: TrialRecord
    result: CheckResult


@dataclass(slots=True)
class _Group:
    check: str
    played: Mapping[str, int]
    """How many trials each simulation has in the run."""
    failures: list[_Failure] = field(default_factory=list[_Failure])

    @property
    def train(self) -> list[_Failure]:
        return [failure for failure in self.failures if failure.trial.split == "train"]

    @property
    def severity(self) -> Severity:
        return max((f.result.severity for f in self.failures), key=SEVERITY_WEIGHT.__getitem__)

    def shortest(self) -> list[_Failure]:
        """One failure of each train simulation: those that fail in all trials first, then by turns."""
        of: dict[str, list[_Failure]] = {}
        for failure in self.train:
            of.setdefault(failure.trial.simulation, []).append(failure)

        def rank(failure: _Failure) -> tuple[bool, int, int, str]:
            trial = failure.trial
            flaky = len(of[trial.simulation]) < self.played[trial.simulation]
            return flaky, trial.turns, failure.result.turn, trial.id

        return sorted((min(failures, key=rank) for failures in of.values()), key=rank)

    def weight(self) -> tuple[bool, int, str]:
        """Rules first, then severity times simulations, then the name."""
        size = len({f.trial.simulation for f in self.train or self.failures})
        return (not self.check.startswith("rule."), -SEVERITY_WEIGHT[self.severity] * size, self.check)


def clusters(
    trials: Sequence[TrialRecord], world: CompiledWorld, scenarios: Mapping[str, Scenario], run_id: str
) -> list[Cluster]:
    """The counted checks that failed in failed trials, rules first, by severity x simulations.

    `scenarios` by slug. `simulations`, `scenarios`, `trials`, `see` and `members` are of train; `held_out` counts the
    simulations of held-out scenarios. A check without a name of its own (c1, c2 …) is one cluster for each wording.
    """
    plans = _Plans(world, scenarios)
    groups: dict[str, _Group] = {}
    played = Counter(trial.simulation for trial in trials)
    for trial in sorted(trials, key=lambda t: (t.scenario, t.simulation, t.trial)):
        for result in _failed(trial):
            key = plans.key(trial.scenario, result.id)
            groups.setdefault(key, _Group(result.id, played)).failures.append(_Failure(trial, result))
    ranked = sorted(groups.items(), key=lambda item: (item[1].weight(), item[0]))
    return [_cluster(f"k{i}", key, group, plans, run_id) for i, (key, group) in enumerate(ranked, 1)]


def failure_keys(
    trials: Iterable[TrialRecord], world: CompiledWorld, scenarios: Mapping[str, Scenario]
) -> dict[str, set[str]]:
    """For each failed trial, by `simulation/trial`, the keys of the clusters it belongs to."""
    plans = _Plans(world, scenarios)
    return {
        trial.id: {_short(plans.key(trial.scenario, result.id)) for result in _failed(trial)}
        for trial in trials
        if trial.verdict == "fail"
    }


def _failed(trial: TrialRecord) -> list[CheckResult]:
    if trial.verdict != "fail":
        return []
    return [result for result in trial.graded.checks if result.counts and result.verdict == "fail"]


def _short(key: str) -> str:
    """The key as stored: the id of a check, or the hash of a wording."""
    return f"wording:{digest(key)[:16]}" if key.startswith("{") else key


class _Plans:
    """The compiled checks behind the ids of results."""

    def __init__(self, world: CompiledWorld, scenarios: Mapping[str, Scenario]) -> None:
        self._world = world
        self._scenarios = scenarios
        self._plans: dict[str, CheckPlan | None] = {}

    def check(self, scenario: str, check: str) -> Check | RuleCheck | None:
        plan = self._plan(scenario)
        if plan is None:
            return None
        return next((c for c in (*plan.rules, *plan.checks) if c.id == check), None)

    def key(self, scenario: str, check: str) -> str:
        found = self.check(scenario, check) if _UNNAMED.fullmatch(check) else None
        if not isinstance(found, Check):
            return check
        return canonical({k: v for k, v in found.written.items() if k != "id"})

    def _plan(self, scenario: str) -> CheckPlan | None:
        if scenario not in self._plans:
            known = self._scenarios.get(scenario)
            self._plans[scenario] = compile_checks(self._world, known, scenario) if known else None
        return self._plans[scenario]


def _cluster(name: str, key: str, group: _Group, plans: _Plans, run_id: str) -> Cluster:
    train, shortest = group.train, group.shortest()
    told = train or group.failures
    check = plans.check(told[0].trial.scenario, group.check)
    return Cluster(
        id=name,
        check=group.check,
        key=_short(key),
        severity=group.severity,
        simulations=len({f.trial.simulation for f in train}),
        scenarios=len({f.trial.scenario for f in train}),
        trials=len(train),
        cause=_cause(check, group.check, train)[:MAX_CAUSE_CHARS],
        tool=_tool(check),
        rule=_written(check),
        see=_see(train, run_id),
        evidence=[_place(failure, run_id) for failure in shortest[:SHOWN_EVIDENCE]],
        smallest=shortest[0].trial.simulation if shortest else "",
        faults=_faults(train),
        fix=_first([failure.result.fix for failure in train if failure.result.fix])[:MAX_CAUSE_CHARS],
        members=list(dict.fromkeys(f.trial.simulation for f in train)),
        held_out=len({f.trial.simulation for f in group.failures if f.trial.split == "held_out"}),
        not_understood=sum(bool(failure.trial.not_understood) for failure in train),
    )


def _cause(check: Check | RuleCheck | None, name: str, failures: Sequence[_Failure]) -> str:
    if isinstance(check, RuleCheck):
        return check.cause()
    whys = [failure.result.why for failure in failures]
    if check is None or name == EXPECTED_OUTPUT:
        known = {
            "end.loop": "the agent says the same again and again",
            "end.max_tool_calls": "too many tool calls",
        }
        return known.get(name) or _first(whys) or name
    if isinstance(check.predicate, WorldAsExpected):
        return _world_cause(whys)
    if isinstance(check.predicate, StateUnchanged):
        return f"{show_path(check.predicate.path)} did not stay as it was"
    if check.kind == "minefield":
        return f"what must not happen did: {check.predicate.describe()}"
    if not failures:
        return f"not so: {check.predicate.describe()}"
    return _first(whys)


def _world_cause(whys: Iterable[str]) -> str:
    """The places that differ most often; if there are several, records are generalised to `[*]`."""
    seen = Counter(path for why in whys for path in dict.fromkeys(paths_in(why)))
    if len(seen) > SHOWN_PATHS:
        merged: Counter[str] = Counter()
        for path, count in seen.items():
            merged[_any_record(path)] += count
        seen = merged
    ranked = sorted(seen, key=lambda path: (-seen[path], path))
    more = ", …" if len(ranked) > SHOWN_PATHS else ""
    return (
        f"world is not as expected: {', '.join(ranked[:SHOWN_PATHS])}{more}"
        if ranked
        else "world is not as expected"
    )


def _any_record(path: str) -> str:
    """`db.orders['#W1'].status` as `db.orders[*].status`."""
    return re.sub(r"^((?:db|user_db)\.\w+)(?:\.\w+|\['[^']*'\])", r"\1[*]", path)


def _first(whys: Sequence[str]) -> str:
    """The reason given most often; of equals, the first."""
    counted = Counter(whys)
    return max(counted, key=lambda why: counted[why]) if counted else ""


def _tool(check: Check | RuleCheck | None) -> str:
    if isinstance(check, RuleCheck):
        return check.rule.glob
    return check.predicate.tools[0] if check and check.predicate.tools else ""


def _written(check: Check | RuleCheck | None) -> dict[str, Any]:
    if isinstance(check, RuleCheck):
        return check.rule.model_dump(mode="json", exclude_defaults=True)
    return dict(check.written) if check else {}


def _see(train: Sequence[_Failure], run_id: str) -> str:
    """The shortest way in: the failure that was decided earliest, the first of equals."""
    if not train:
        return ""
    best = min(train, key=lambda f: (f.result.turn, f.trial.simulation, f.trial.trial))
    return _place(best, run_id)


def _place(failure: _Failure, run_id: str) -> str:
    return f"{run_id}/{failure.trial.id}@{max(failure.result.turn, 1)}"


def _faults(train: Sequence[_Failure]) -> dict[str, int]:
    """What the judge says went wrong first, most often first."""
    said = [
        value.label
        for failure in train
        for value in failure.trial.graded.metrics
        if value.metric == _FAULT and value.label
    ]
    return dict(Counter(said).most_common())
