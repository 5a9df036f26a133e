"""Comparing runs, as pure functions of verdicts: pairing, evidence by scenario, and what a baseline asks for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings, strategies as some

from caseharden.engine.evaluate import statistics as st
from caseharden.engine.evaluate.comparison import (
    RunComparison,
    against_baseline,
    compare,
    grouped,
    pair_trials,
)
from caseharden.engine.records.verdict import TrialVerdict

VERDICTS: dict[str, TrialVerdict] = {
    "P": "pass",
    "F": "fail",
    "I": "inconclusive",
    "E": "error",
    "X": "invalid",
}


@dataclass(frozen=True)
class Trial:
    simulation: str
    scenario: str
    trial: int
    seed: int
    verdict: TrialVerdict


def trials(**arms: str) -> list[Trial]:
    """`a_dana="PF"`: two trials of the simulation a_dana, of scenario a."""
    return [
        Trial(simulation, simulation.split("_")[0], k, 7, VERDICTS[letter])
        for simulation, letters in arms.items()
        for k, letter in enumerate(letters, 1)
    ]


def compared(base: list[Trial], run: list[Trial]) -> RunComparison:
    return compare(pair_trials(base, run).pairs)


@pytest.mark.requirement("CH-21")
def test_a_simulation_is_fixed_broken_flaky_or_unchanged_by_all_of_its_trials() -> None:
    base = trials(a="FF", b="PP", c="PP", d="FF", e="PF", f="FF", g="FI")
    run = trials(a="PP", b="FF", c="PP", d="FF", e="PP", f="PF", g="PP")
    found = compared(base, run)
    assert (found.fixed, found.broken, found.flaky) == (["a", "g"], ["b"], ["e", "f"])
    assert found.unchanged == ["c", "d"]


@pytest.mark.requirement("CH-21")
def test_all_simulations_and_trials_of_a_scenario_count_as_one() -> None:
    base = trials(a_x="FFF", a_y="FFF", a_z="FFF", b="PPP")
    found = compared(base, trials(a_x="PPP", a_y="PPP", a_z="PPP", b="PPP"))
    assert (found.scenarios, found.better, found.worse) == (2, ["a"], [])
    assert found.p_better == 0.5, "nine fixed simulations of one scenario are one toss of a coin"
    assert found.finding == "not_enough_evidence"


@pytest.mark.requirement("CH-21")
def test_p_and_counts_are_those_of_the_exact_tests() -> None:
    base = trials(**{f"s{k}": "F" for k in range(8)}, t="P", u="P")
    found = compared(base, trials(**{f"s{k}": "P" for k in range(8)}, t="F", u="P"))
    assert (len(found.better), len(found.worse), found.unchanged_scenarios) == (8, 1, 1)
    assert found.p_better == pytest.approx(10 / 512) and found.p == pytest.approx(20 / 512)
    assert found.sign_p == pytest.approx(0.0390625)
    assert found.finding == "better" and found.more_scenarios is None
    assert found.difference == pytest.approx(0.7)


def test_only_pairs_of_one_seed_that_both_counted_are_compared() -> None:
    base = trials(a="P", b="P", c="E", d="P", e="X", f="P")
    run = [*trials(a="F", b="E", c="P", e="E", g="P"), Trial("d", "d", 1, 8, "fail")]
    pairing = pair_trials(base, run)
    assert [old.simulation for old, _ in pairing.pairs] == ["a"]
    assert (pairing.base_uncounted, pairing.run_uncounted, pairing.other_seed) == (2, 1, 1)
    assert (pairing.only_base, pairing.only_run) == (1, 1)
    assert pairing.base_counted == 4, "every counted trial of the base stands somewhere"


def test_where_nothing_changed_no_difference_is_claimed_of_few_scenarios() -> None:
    few = trials(**{f"s{k}": "PPP" for k in range(8)})
    found = compared(few, few)
    assert found.p == 1 and found.interval[0] < -0.05 and found.interval[1] > 0.05
    assert found.finding == "not_enough_evidence" and found.more_scenarios is not None
    enough = 8 + found.more_scenarios
    for count, finding in ((enough, "no_difference"), (enough - 1, "not_enough_evidence")):
        many = trials(**{f"s{k}": "P" for k in range(count)})
        assert compared(many, many).finding == finding


@pytest.mark.requirement("CH-21")
def test_groups_tell_what_changed_most_first_and_count_scenarios() -> None:
    base = trials(a_dana="FF", a_omar="FP", b_dana="P", c_omar="P")
    run = trials(a_dana="PP", a_omar="FP", b_dana="P", c_omar="F")
    found = grouped(pair_trials(base, run).pairs, lambda trial: [trial.simulation.partition("_")[2]])
    assert [(one.name, one.base, one.run, one.pairs) for one in found] == [
        ("dana", 1, 3, 3),
        ("omar", 2, 1, 3),
    ]
    assert [(one.better, one.worse) for one in found] == [(1, 0), (0, 1)]
    assert [one.p for one in found] == [1.0, 1.0], "one scenario of a group proves nothing"
    assert grouped(pair_trials(base, run).pairs, lambda trial: []) == []


def test_the_p_of_a_group_pays_for_how_many_groups_there_are() -> None:
    """Six scenarios better of six: two-sided p 2/64, times two groups."""
    base = trials(**{f"s{k}_{who}": "F" for k in range(6) for who in ("dana", "omar")})
    run = trials(
        **{f"s{k}_{who}": "P" if who == "dana" else "F" for k in range(6) for who in ("dana", "omar")}
    )
    found = grouped(pair_trials(base, run).pairs, lambda trial: [trial.simulation.partition("_")[2]])
    assert [(one.name, one.p) for one in found] == [("dana", 4 / 64), ("omar", 1.0)]


def test_the_e_value_weighs_both_directions_and_is_finite_for_any_number_of_scenarios() -> None:
    found = compared(trials(a="F", b="F", c="F", d="F", e="F"), trials(a="P", b="P", c="P", d="P", e="P"))
    assert found.e_value == pytest.approx((10.5 + 1 / 6) / 2)
    many = {f"s{k}": "F" for k in range(2000)}
    assert 1e290 < compared(trials(**many), trials(**dict.fromkeys(many, "P"))).e_value < 1e300


@pytest.mark.requirement("CH-21")
def test_more_evidence_is_told_in_scenarios_and_in_their_simulations() -> None:
    base = trials(a_x="F", a_y="F", b_x="F", b_y="F", c_x="P", c_y="P")
    found = compared(base, trials(a_x="P", a_y="P", b_x="P", b_y="P", c_x="P", c_y="P"))
    assert found.finding == "not_enough_evidence"
    assert found.more_scenarios is not None
    assert found.more_simulations == 2 * found.more_scenarios


outcomes = some.lists(
    some.tuples(some.integers(0, 5), some.integers(0, 2), some.booleans(), some.booleans()),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(outcomes)
def test_swapping_the_runs_mirrors_everything(rows: list[tuple[int, int, bool, bool]]) -> None:
    pairs = [
        tuple(Trial(f"{s}_{p}", str(s), k, 0, "pass" if passed else "fail") for passed in (before, after))
        for k, (s, p, before, after) in enumerate(rows, 1)
    ]
    there = compare([(old, new) for old, new in pairs])
    back = compare([(new, old) for old, new in pairs])
    assert (there.better, there.worse) == (back.worse, back.better)
    assert (there.fixed, there.broken) == (back.broken, back.fixed)
    assert (there.p, there.p_better) == pytest.approx((back.p, back.p_worse))
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    low, high = there.interval
    assert -1 <= low <= there.difference + 1e-12 and there.difference - 1e-12 <= high <= 1
    names = (there.fixed, there.broken, there.flaky, there.unchanged)
    assert sum(map(len, names)) == len({f"{s}_{p}" for s, p, _, _ in rows})


@settings(max_examples=15, deadline=None)
@given(some.floats(0.25, 0.9), some.floats(0, 0.1))
def test_the_number_that_would_do_has_the_power_it_claims(better: float, worse: float) -> None:
    needed = st.scenarios_for_power(better, worse, 0.025)
    assert needed is not None
    assert st.sign_test_power(needed, better, worse, 0.025) >= 0.8
    assert st.sign_test_power(max(1, needed - 8), better, worse, 0.025) < 0.8


def test_hopeless_evidence_names_no_number() -> None:
    assert st.scenarios_for_power(0.1, 0.1, 0.025) is None
    base, run = trials(a="F", b="P", c="P"), trials(a="P", b="F", c="P")
    assert compared(base, run).more_scenarios is None


def held(base: list[Trial], run: list[Trial], drop: float = 0.05) -> dict[str, str]:
    pairing = pair_trials(base, run)
    rows = against_baseline(compare(pairing.pairs), pairing, drop)
    return {row.threshold: row.result for row in rows}


@pytest.mark.requirement("CH-20")
def test_a_baseline_fails_for_worse_scenarios_a_fallen_rate_or_missing_trials() -> None:
    good = trials(**{f"s{k}": "P" for k in range(40)})
    assert set(held(good, good).values()) == {"pass"}
    one = [replace(t, verdict="fail") if t.simulation == "s0" else t for t in good]
    assert set(held(good, one).values()) == {"pass"}, "one of 40 is 2.5 points"
    assert held(good, one, 0.0)["baseline pass rate drop <= 0 points"] == "fail"
    five = [replace(t, verdict="fail") if t.simulation in ("s0", "s1", "s2", "s3", "s4") else t for t in good]
    rows = held(good, five, 0.2)
    assert rows["baseline scenarios not worse (p > 0.05)"] == "fail"
    assert rows["baseline pass rate drop <= 20 points"] == "pass"
    errors = [replace(t, verdict="error") if t.simulation < "s14" else t for t in good]
    assert held(good, errors)["baseline compared >= 90%"] == "fail", "failures must not hide as errors"
    assert held(good, good[:30])["baseline compared >= 90%"] == "fail"
    assert held(good, []) == {"baseline compared >= 90%": "fail"}
    assert held(trials(a="E"), good) == {"baseline compared >= 90%": "fail"}
