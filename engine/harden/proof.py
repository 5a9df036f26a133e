"""The proof: base against candidate on the same trials, scenario by scenario.

The unit of evidence is the scenario: all its simulations and trials count as one. Pure functions of outcomes; `loop`
runs the trials.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ..evaluate.statistics import (
    clustered_rate,
    clustered_se,
    look_alpha,
    more_scenarios,
    scenarios_needed,
    sign_flip_test,
)
from ..records.hardening import CheckRegression, Comparison, Evidence, HeldOutEvidence, Outcome
from ..records.scenario import Split
from .trials import Case, TrialOutcome

MOST_MISSING = Fraction(1, 10)
MOST_INCONCLUSIVE = Fraction(1, 10)
CONFIRM_TRIALS = 3
TRIALS_A_LOOK = 100
"""Trial numbers reserved for each look: twice what a hardening may request, and more than any run has."""
FURTHER_TRIALS = 6
CLEARLY_MORE = 4
"""Passes by which the base must lead, of CONFIRM_TRIALS + FURTHER_TRIALS."""
CONFIRMATION_MISSING = "confirmation_missing"
"""The cap of an outcome if a flagged check could not be decided, as its confirming trials ended in error."""
LEFT_OUT_MISSING = "left_out_missing"
"""The cap of an outcome if too many of the simulations left out ended in error."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Arms:
    """The same trials under both texts, by (simulation, trial); each case is expected for each of `trials`."""

    cases: Sequence[Case]
    trials: range
    base: Mapping[Key, TrialOutcome]
    candidate: Mapping[Key, TrialOutcome]

    @property
    def keys(self) -> Iterator[tuple[Case, Key]]:
        """Every expected pair."""
        return ((case, (case.simulation, k)) for case in self.cases for k in self.trials)

    def counted(self, key: Key) -> tuple[TrialOutcome | None, TrialOutcome | None]:
        """Both outcomes of a pair; None for one that is missing, error or invalid."""
        base, candidate = self.base.get(key), self.candidate.get(key)
        return base if base and base.counted else None, candidate if candidate and candidate.counted else None

    @property
    def deterministic(self) -> bool:
        """Whether every counted trial of both arms would come out the same again."""
        both = [self.counted(key) for _, key in self.keys]
        return all(outcome.deterministic for pair in both for outcome in pair if outcome)


def proof_trials(trials: int, look: int, *, deterministic: bool) -> range:
    """The trials that a look at held-out plays in both arms: its own, which nobody can have seen.

    A base arm seen before may have been chosen for its bad luck, and a candidate that does nothing would be called
    better for being average. If every trial comes out the same again there is no luck: then 1..`trials`.
    """
    first = 1 if deterministic else look * TRIALS_A_LOOK + 1
    return range(first, first + trials)


def compare_arms(arms: Arms, seed: int = 0) -> Comparison:
    """Compare the arms.

    A pair missing in one arm counts as a loss for the candidate (base 1, candidate 0), whichever arm it is; one missing
    in both says nothing and is left out. p by `sign_flip_test` on the scenarios' mean differences; intervals over the
    trials that each arm actually counted.
    """
    gains = _gains(arms)
    means = {scenario: sum(values, Fraction(0)) / len(values) for scenario, values in gains.items()}
    better = [scenario for scenario, mean in means.items() if mean > 0]
    worse = [scenario for scenario, mean in means.items() if mean < 0]
    rows = [(float(value), scenario) for scenario, values in gains.items() for value in values]
    base, candidate = _arm(arms, arms.base), _arm(arms, arms.candidate)
    fixed, broken = changed_checks(arms)
    pairs = len(arms.cases) * len(arms.trials)
    return Comparison(
        n=len(means),
        better=len(better),
        worse=len(worse),
        unchanged=len(means) - len(better) - len(worse),
        p=sign_flip_test(list(means.values()), seed),
        p_worse=sign_flip_test([-mean for mean in means.values()], seed),
        simulations=len(arms.cases),
        pairs=pairs,
        base=base.passed,
        candidate=candidate.passed,
        base_trials=base.trials,
        candidate_trials=candidate.trials,
        base_rate=base.rate,
        candidate_rate=candidate.rate,
        base_interval=base.interval,
        candidate_interval=candidate.interval,
        base_missing=pairs - base.trials,
        candidate_missing=pairs - candidate.trials,
        candidate_inconclusive=sum(
            1 for _, key in arms.keys if (new := arms.counted(key)[1]) and new.verdict == "inconclusive"
        ),
        difference=sum(value for value, _ in rows) / len(rows) if rows else 0.0,
        difference_se=_finite(clustered_se([v for v, _ in rows], [s for _, s in rows])),
        fixed=len(fixed),
        broken=len(broken),
        better_scenarios=better,
        worse_scenarios=worse,
    )


def changed_checks(arms: Arms) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """List the (simulation, check) pairs that pass in more, and in fewer, of the trials counted in both arms."""
    fixed: list[tuple[str, str]] = []
    broken: list[tuple[str, str]] = []
    for case, check, old, new, _ in _check_counts(arms):
        if new != old:
            (fixed if new > old else broken).append((case.simulation, check))
    return fixed, broken


def find_regressions(arms: Arms, split: Split) -> list[CheckRegression]:
    """Flag (simulation, check) pairs that the base passed, in all trials or all but one, and the candidate fails in
    half.

    If every trial of the simulation is deterministic the flag is confirmed at once; else more trials decide
    (`confirm_regressions`).
    """
    flags: list[CheckRegression] = []
    for case, check, old, new, trials in _check_counts(arms):
        if new < old and old >= max(1, trials - 1) and 2 * new <= trials:
            sure = all(o.deterministic for o in _of_simulation(arms, case.simulation))
            flags.append(
                CheckRegression(
                    simulation=case.simulation,
                    scenario=case.scenario,
                    check=check,
                    split=split,
                    base_passed=old,
                    candidate_passed=new,
                    trials=trials,
                    confirmed=sure,
                    conversation=_failing(arms, case, check) if split == "train" else "",
                )
            )
    return flags


def confirm_regressions(
    flags: Iterable[CheckRegression],
    base: Mapping[Key, TrialOutcome],
    candidate: Mapping[Key, TrialOutcome],
    more: range,
) -> tuple[list[CheckRegression], list[CheckRegression]]:
    """Decide flags by the trials in `more`, which the flagging never saw: (decided, those that need further trials).

    A flag is the worst of many checks, so its own trials overstate it. After CONFIRM_TRIALS it is confirmed if the base
    passed every trial and the candidate at most one, and dropped if the base passed no more of the new ones. Anything
    in between is decided after FURTHER_TRIALS more: confirmed if the base leads by CLEARLY_MORE passes in all new ones.
    Only trials that counted in both arms say anything; with fewer than CONFIRM_TRIALS of them in the end the flag is
    undecided.
    """
    decided: list[CheckRegression] = []
    open_flags: list[CheckRegression] = []
    for flag in flags:
        keys = [(flag.simulation, k) for k in more]
        both = [(base[k], candidate[k]) for k in keys if _counts(base.get(k)) and _counts(candidate.get(k))]
        old = sum(one.checks.get(flag.check) == "pass" for one, _ in both)
        new = sum(one.checks.get(flag.check) == "pass" for _, one in both)
        trials, passed = flag.trials + len(both), flag.base_passed + old
        last, enough = len(more) > CONFIRM_TRIALS, len(both) >= CONFIRM_TRIALS
        sure = enough and passed == trials and flag.candidate_passed + new <= 1
        if not flag.confirmed and not last and not sure and (old > new or not enough):
            open_flags.append(flag)
            continue
        update = {
            "base_passed": passed,
            "candidate_passed": flag.candidate_passed + new,
            "trials": trials,
            "confirmed": enough and old - new >= CLEARLY_MORE if last else sure,
            "undecided": not enough,
        }
        decided.append(flag if flag.confirmed else flag.model_copy(update=update))
    return decided, open_flags


def weigh(
    held_out: Arms, train: Comparison, regressions: Sequence[CheckRegression], look: int, *, seed: int = 0
) -> Evidence:
    """Combine the evidence.

    The held-out comparison at its look, what caps it, how much more would be enough. Up to seconds of work: run in a
    worker thread.
    """
    compared = compare_arms(held_out, seed)
    alpha = look_alpha(look)
    proof = HeldOutEvidence(
        **compared.model_dump(),
        look=look,
        first_trial=held_out.trials.start,
        alpha=alpha,
        can_change=len(can_change(held_out.cases, held_out.base.values())),
    )
    confirmed = [regression for regression in regressions if regression.confirmed]
    fixed = changed_checks(held_out)[0]
    evidence = Evidence(
        held_out=proof,
        train=train,
        regressed_checks=len(confirmed),
        regressions=list(regressions),
        judge_only=bool(fixed) and all(_judged(held_out, *pair) for pair in fixed),
        deterministic=held_out.deterministic,
        caps=_caps(proof, regressions),
    )
    if decide_outcome(evidence) == "unconfirmed":
        more = more_scenarios(proof.n, proof.better, proof.worse, look_alpha(look + 1))
        if more:
            evidence.more_scenarios = more
            evidence.more_simulations = round(more * proof.simulations / proof.n)
    return evidence


def weigh_left_out(evidence: Evidence, arms: Arms, regressions: Sequence[CheckRegression]) -> Evidence:
    """The evidence with the train simulations left out: they can only show that nothing broke there.

    They enter no rate and no p. A check that broke counts like any other; if over a tenth of them is missing, nobody
    can say that nothing did.
    """
    compared = compare_arms(arms)
    found = [regression.model_copy(update={"left_out": True}) for regression in regressions]
    missing = max(compared.base_missing, compared.candidate_missing) > MOST_MISSING * compared.pairs
    update = {
        "left_out": len(arms.cases),
        "regressions": [*evidence.regressions, *found],
        "regressed_checks": evidence.regressed_checks + sum(one.confirmed for one in found),
        "caps": [*evidence.caps, *([LEFT_OUT_MISSING] if missing or _undecided(found) else [])],
    }
    return evidence.model_copy(update=update)


def decide_outcome(evidence: Evidence) -> Outcome:
    """Derive the outcome from the evidence; a pure function of it.

    not_evaluated: an arm counted nothing. regressed: a confirmed regression of a check, or held-out scenarios worse at
    alpha. improved: p at most alpha and nothing caps it. unconfirmed: it looks better, without that. Else no_change.
    """
    proof = evidence.held_out
    if evidence.regressed_checks:
        return "regressed"
    if proof is None or not (proof.n and proof.base_trials and proof.candidate_trials):
        return "not_evaluated"
    if proof.p_worse <= proof.alpha and "attrition" not in evidence.caps:
        return "regressed"
    if proof.p <= proof.alpha and not evidence.caps:
        return "improved"
    return "unconfirmed" if proof.better > proof.worse or proof.difference > 0 else "no_change"


def can_change(cases: Iterable[Case], base: Iterable[TrialOutcome]) -> list[str]:
    """Scenarios of the cases in which the base did not pass everything: only these can improve."""
    wanted = {case.simulation: case.scenario for case in cases}
    failed = (o for o in base if o.counted and o.verdict != "pass")
    return sorted({wanted[o.simulation] for o in failed if o.simulation in wanted})


def _gains(arms: Arms) -> dict[str, list[Fraction]]:
    gains: dict[str, list[Fraction]] = {}
    for case, key in arms.keys:
        old, new = arms.counted(key)
        if old is None and new is None:
            continue
        gain = (new.verdict == "pass") - (old.verdict == "pass") if old and new else -1
        gains.setdefault(case.scenario, []).append(Fraction(gain))
    return gains


def _arm(arms: Arms, outcomes: Mapping[Key, TrialOutcome]):
    got = ((case, outcomes.get(key)) for case, key in arms.keys)
    return clustered_rate((c.scenario, c.simulation, o.verdict == "pass") for c, o in got if o and o.counted)


def _check_counts(arms: Arms) -> Iterator[tuple[Case, str, int, int, int]]:
    """(case, check, passed in base, passed in candidate, trials) over the trials counted in both arms."""
    for case in arms.cases:
        both = [arms.counted((case.simulation, k)) for k in arms.trials]
        pairs = [(old, new) for old, new in both if old and new]
        for check in dict.fromkeys(name for old, _ in pairs for name in old.checks):
            old_passed = sum(old.checks.get(check) == "pass" for old, _ in pairs)
            new_passed = sum(new.checks.get(check) == "pass" for _, new in pairs)
            yield case, check, old_passed, new_passed, len(pairs)


def _of_simulation(arms: Arms, simulation: str) -> list[TrialOutcome]:
    keys = [(simulation, k) for k in arms.trials]
    return [outcome for key in keys for outcome in arms.counted(key) if outcome]


def _failing(arms: Arms, case: Case, check: str) -> str:
    """The first trial of the candidate that fails the check."""
    played = (arms.candidate.get((case.simulation, k)) for k in arms.trials)
    return next((o.conversation for o in played if o and o.checks.get(check) == "fail"), "")


def _judged(arms: Arms, simulation: str, check: str) -> bool:
    return any(check in outcome.judged for outcome in _of_simulation(arms, simulation))


def _counts(outcome: TrialOutcome | None) -> bool:
    return outcome is not None and outcome.counted


def _undecided(regressions: Iterable[CheckRegression]) -> bool:
    return any(one.undecided for one in regressions)


def _caps(proof: HeldOutEvidence, regressions: Iterable[CheckRegression]) -> list[str]:
    caps: list[str] = []
    if max(proof.base_missing, proof.candidate_missing) > MOST_MISSING * proof.pairs:
        caps.append("attrition")
    if proof.candidate_inconclusive > MOST_INCONCLUSIVE * proof.candidate_trials:
        caps.append("inconclusive")
    if proof.can_change < scenarios_needed(proof.alpha):
        caps.append("few_can_change")
    if _undecided(regressions):
        caps.append(CONFIRMATION_MISSING)
    return caps


def _finite(value: float) -> float:
    return value if value != float("inf") else 0.0
