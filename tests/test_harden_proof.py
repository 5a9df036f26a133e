"""The proof on held-out scenarios: what is promoted, what outcome is said and what a look needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from caseharden.engine.evaluate.statistics import look_alpha
from caseharden.engine.harden import Case, Purpose, TrialOutcome, compare_arms, decide_outcome
from caseharden.engine.harden.proof import Arms, weigh
from caseharden.engine.harden.runner import Runner
from caseharden.engine.records.hardening import Candidate, Evidence, Hardening
from caseharden.engine.records.verdict import CheckVerdict, TrialVerdict
from caseharden.engine.seeds import draw
from caseharden.tests.test_harden_loop import (
    BASE,
    CONFIRM,
    VERIFY,
    Says,
    Shop,
    hardener,
    opened,
    shop_cases,
    submitted,
)

pytestmark = pytest.mark.anyio


async def test_no_effect_texts_are_promoted_in_at_most_5_percent() -> None:
    reps, improved = 60, 0
    for seed in range(reps):
        shop = Shop(seed, flake=0.2, helps="support agent")
        engine = hardener(shop, writer=Says("Be kind.", "Be brief.", "Be calm."))
        improved += (await engine.run(opened(seed=seed, trials=3))).outcome == "improved"
    assert improved <= 0.05 * reps


def arms(
    seed: int, base: float, candidate: float, scenarios: int = 8, personas: int = 3, trials: int = 3
) -> Arms:
    """Scenarios with a common difficulty, so that their simulations agree with one another."""
    cases = [Case(f"s{i}-{p}", f"s{i}", "held_out") for i in range(scenarios) for p in range(personas)]

    def side(name: str, rate: float) -> dict[tuple[str, int], TrialOutcome]:
        played: dict[tuple[str, int], TrialOutcome] = {}
        for case in cases:
            mood = draw(seed, name, case.scenario) < rate
            for k in range(1, trials + 1):
                ok = draw(seed, name, case.simulation, k) < (0.9 if mood else 0.1)
                checks: dict[str, CheckVerdict] = {"c1": "pass" if ok else "fail"}
                played[(case.simulation, k)] = TrialOutcome(
                    case.simulation, case.scenario, k, "pass" if ok else "fail", checks
                )
        return played

    return Arms(cases, range(1, trials + 1), side("base", base), side("candidate", candidate))


async def test_the_proof_by_itself_promotes_no_effect_in_at_most_its_alpha() -> None:
    reps = 300
    pairs = [arms(seed, 0.5, 0.5, personas=6, trials=1) for seed in range(reps)]
    hits = sum(decide_outcome(weigh(pair, compare_arms(pair), [], 1)) == "improved" for pair in pairs)
    assert hits / reps <= 0.05


async def test_failures_of_the_candidate_that_turn_into_errors_never_help_it() -> None:
    for seed in range(80):
        honest = arms(seed, 0.5, 0.7, trials=1)
        turned = {
            key: replace(o, verdict="error", checks={}) if o.verdict == "fail" else o
            for key, o in honest.candidate.items()
        }
        dodging = replace(honest, candidate=turned)
        with_failures, with_errors = compare_arms(honest), compare_arms(dodging)
        assert with_errors.difference <= with_failures.difference
        if decide_outcome(weigh(dodging, with_errors, [], 1)) == "improved":
            assert decide_outcome(weigh(honest, with_failures, [], 1)) == "improved"


@pytest.mark.parametrize("flake", [0.0, 0.1])
async def test_a_real_rule_is_promoted_mostly_though_the_agent_slips(flake: float) -> None:
    reps = 20
    outcomes = [
        (await submitted(Shop(seed, slip=0.2, flake=flake), f"{VERIFY}\n{CONFIRM}")).outcome
        for seed in range(reps)
    ]
    assert outcomes.count("improved") >= 0.75 * reps


Row = tuple[str, TrialVerdict, TrialVerdict]
"""A scenario, and the verdicts of one simulation of it under base and candidate."""


def pair(*rows: Row) -> Arms:
    cases = [Case(f"{row[0]}-{i}", row[0], "held_out") for i, row in enumerate(rows)]
    both = list(zip(cases, rows, strict=True))
    base = {(c.simulation, 1): TrialOutcome(c.simulation, c.scenario, 1, row[1]) for c, row in both}
    candidate = {(c.simulation, 1): TrialOutcome(c.simulation, c.scenario, 1, row[2]) for c, row in both}
    return Arms(cases, range(1, 2), base, candidate)


async def test_the_scenario_is_the_unit_however_many_simulations_it_has() -> None:
    rows: list[Row] = [("s1", "fail", "pass")] * 40
    got = compare_arms(pair(*rows))
    assert (got.n, got.better, got.p) == (1, 1, 0.5)


async def test_a_pair_missing_in_one_arm_is_a_loss_and_in_both_says_nothing() -> None:
    got = compare_arms(
        pair(
            ("a", "fail", "error"), ("b", "invalid", "pass"), ("c", "error", "invalid"), ("d", "fail", "pass")
        )
    )
    assert (got.n, got.better, got.worse) == (3, 1, 2)
    assert (got.base_missing, got.candidate_missing, got.base_trials, got.candidate_trials) == (2, 2, 2, 2)


async def test_inconclusive_counts_but_is_no_pass() -> None:
    got = compare_arms(pair(("a", "inconclusive", "pass"), ("b", "pass", "inconclusive")))
    assert (got.better, got.worse, got.base_rate) == (1, 1, 0.5)


async def test_over_a_tenth_missing_is_at_best_unconfirmed() -> None:
    rows: list[Row] = [(f"s{i}", "fail", "pass") for i in range(12)]
    good = weigh(pair(*rows), compare_arms(pair(*rows)), [], 1)
    assert decide_outcome(good) == "improved"
    worse = pair(*rows, ("x", "fail", "error"), ("y", "error", "pass"), ("z", "fail", "error"))
    capped = weigh(worse, compare_arms(worse), [], 1)
    assert capped.held_out is not None
    assert capped.caps == ["attrition"] and decide_outcome(capped) == "unconfirmed"


class Breaking:
    """The candidate fails a check of one simulation by chance; later trials are as `later` says, at the first try."""

    def __init__(self, *later: TrialVerdict) -> None:
        self.later = later

    async def run(
        self, instructions: str, simulations: Sequence[str], trials: range, purpose: Purpose
    ) -> Sequence[TrialOutcome]:
        return [self.play(instructions, s, k, purpose) for s in simulations for k in trials]

    def play(self, text: str, simulation: str, trial: int, purpose: Purpose) -> TrialOutcome:
        verdict: TrialVerdict = "pass"
        if text == "new" and simulation == "s0":
            verdict = "fail" if trial == 1 else self.later[min(trial - 2, len(self.later) - 1)]
            if verdict == "error" and purpose == "again" and len(self.later) > 1:
                verdict = "pass"
        checks: dict[str, CheckVerdict] = {"c1": verdict} if verdict in ("pass", "fail") else {}
        return TrialOutcome(simulation, simulation, trial, verdict, checks)


@pytest.mark.requirement("CH-6")
@pytest.mark.parametrize(
    ("later", "confirmed", "undecided", "counted"),
    [
        (("error",), False, True, 1),
        (("error", "pass"), False, False, 4),
        (("fail",), True, False, 4),
    ],
)
async def test_a_break_is_confirmed_by_trials_that_count_alone(
    later: tuple[TrialVerdict, ...], confirmed: bool, undecided: bool, counted: int
) -> None:
    cases = [Case(f"s{k}", f"s{k}", "held_out") for k in range(8)]
    runner = Runner(Breaking(*later))
    arms = await runner.arms("old", "new", cases, range(1, 2), "proof")
    [flag] = await runner.regressions("old", "new", arms, "held_out")
    assert (flag.confirmed, flag.undecided, flag.trials) == (confirmed, undecided, counted)
    evidence = weigh(arms, compare_arms(arms), [flag], 1)
    assert ("confirmation_missing" in evidence.caps) == undecided
    assert (decide_outcome(evidence) == "regressed") == confirmed


async def test_the_outcome_words() -> None:
    def outcome(*rows: Row) -> str:
        return decide_outcome(weigh(pair(*rows), compare_arms(pair(*rows)), [], 1))

    up: list[Row] = [(f"s{i}", "fail", "pass") for i in range(8)]
    down: list[Row] = [(s, new, old) for s, old, new in up]
    broken: list[Row] = [(s, old, "error") for s, old, _ in up]
    assert outcome(*up) == "improved"
    assert outcome(*up[:5]) == "unconfirmed"
    assert outcome(*down) == "regressed"
    assert outcome(("a", "fail", "fail"), ("b", "pass", "pass")) == "no_change"
    assert outcome(*broken) == "not_evaluated"
    assert decide_outcome(Evidence()) == "not_evaluated"


@pytest.mark.parametrize(("better", "stay", "look", "p"), [(5, 1, 1, 2**-5), (7, 1, 2, 2**-7)])
async def test_p_is_held_against_the_alpha_of_the_look_not_against_a_twentieth(
    better: int, stay: int, look: int, p: float
) -> None:
    up: list[Row] = [(f"s{i}", "fail", "pass") for i in range(better)]
    same: list[Row] = [(f"t{i}", "fail", "fail") for i in range(stay)]
    arms = pair(*up, *same)
    evidence = weigh(arms, compare_arms(arms), [], look)
    assert evidence.held_out is not None and evidence.held_out.p == p
    assert look_alpha(look) < p <= 0.05
    assert evidence.caps == [] and decide_outcome(evidence) == "unconfirmed"
    assert evidence.held_out.alpha == look_alpha(look)


async def test_the_look_is_asked_for_before_any_trial_of_the_candidate_on_held_out() -> None:
    shop = Shop()
    engine = hardener(shop)
    held_out = {c.simulation: c.scenario for c in shop_cases() if c.split == "held_out"}
    asked: list[tuple[str, list[str]]] = []

    async def look(h: Hardening, candidate: Candidate, scenarios: Sequence[str]) -> int:
        tried = {text for text, simulation, _, _ in shop.calls if simulation in held_out}
        assert tried == {BASE}
        asked.append((candidate.id, list(scenarios)))
        return 4

    engine.look = look
    h = await engine.run(opened())
    assert asked == [("hard-1/c2", list(dict.fromkeys(held_out.values())))]
    assert h.evidence is not None and h.evidence.held_out is not None
    assert (h.looks, h.evidence.held_out.look, h.outcome) == (4, 4, "unconfirmed")


async def test_a_regression_of_a_flaky_check_needs_confirmation() -> None:
    class Flaky(Shop):
        """With the polite text one check fails in its first two trials only, with the rude one for good."""

        def checks(self, text: str, number: int, simulation: str, trial: int) -> dict[str, CheckVerdict]:
            bad = ("Be rude." in text or ("Be polite." in text and trial <= 2)) and simulation == "s0-0"
            return {**super().checks(text, number, simulation, trial), "tone": "fail" if bad else "pass"}

    for word, outcome, confirmed in (("Be polite.", "improved", 0), ("Be rude.", "regressed", 1)):
        h = await submitted(Flaky(slip=0.01), f"{VERIFY}\n{CONFIRM}\n{word}", trials=3)
        flags = h.rounds[-1].regressions
        assert [(r.check, r.trials) for r in flags] == [("tone", 6)]
        assert sum(r.confirmed for r in flags) == confirmed
        assert h.candidates[0].outcome == outcome
