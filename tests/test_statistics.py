"""The statistics against reference values, against scipy, and by their properties."""

from __future__ import annotations

import importlib
import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings, strategies as some

from caseharden.engine.evaluate import statistics as st

CLOSE = 1e-9
counts = some.integers(0, 60)


@pytest.fixture(scope="module")
def stats() -> Any:
    """`scipy.stats`, which takes a second to load and is needed by whoever runs these tests alone."""
    return importlib.import_module("scipy.stats")


@pytest.fixture(scope="module")
def special() -> Any:
    return importlib.import_module("scipy.special")


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0, 0.2775327999),
        (1, 10, 0.0178762131, 0.4041500268),
        (5, 10, 0.2365930905, 0.7634069095),
        (8, 10, 0.4901624715, 0.9433178485),
        (10, 10, 0.7224672001, 1),
        (18, 20, 0.6989663548, 0.9721335188),
        (45, 60, 0.6276792992, 0.8422347747),
        (0, 1, 0, 0.7934506856),
        (3, 3, 0.4385029682, 1),
        (290, 300, 0.9397381742, 0.9817950527),
    ],
)
def test_wilson_gives_the_reference_values(k: int, n: int, low: float, high: float) -> None:
    # The references are printed with ten digits.
    assert st.wilson(k, n) == pytest.approx((low, high), abs=6e-11)


def test_wilson_at_90_percent(stats: Any) -> None:
    z = float(stats.norm.ppf(0.95))
    assert st.wilson(8, 10, z) == pytest.approx((0.5407928057, 0.9314420123), abs=6e-11)


@given(counts, some.integers(1, 60))
def test_wilson_agrees_with_scipy(stats: Any, k: int, n: int) -> None:
    k = min(k, n)
    oracle = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert st.wilson(k, n) == pytest.approx((oracle.low, oracle.high), abs=CLOSE)


@given(some.integers(0, 500), some.integers(1, 500))
def test_wilson_is_bounded_symmetric_and_holds_the_rate(k: int, n: int) -> None:
    k = min(k, n)
    low, high = st.wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert st.wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=CLOSE)


def test_wilson_of_nothing_says_nothing() -> None:
    assert st.wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(
    ("b", "c", "two", "one"),
    [
        (5, 0, 0.0625, 0.03125),
        (6, 0, 0.03125, 0.015625),
        (4, 0, 0.125, 0.0625),
        (7, 1, 0.0703125, 0.03515625),
        (8, 1, 0.0390625, 0.01953125),
        (9, 2, 0.0654296875, 0.03271484375),
        (10, 3, 0.09228515625, 0.046142578125),
        (3, 3, 1, 0.65625),
        (12, 4, 0.076812744140625, 0.0384063720703125),
        (15, 5, 0.04138946533203125, 0.020694732666015625),
        (0, 0, 1, 1),
    ],
)
def test_sign_test_gives_the_reference_values(b: int, c: int, two: float, one: float) -> None:
    assert st.sign_test(b, c) == pytest.approx(one, abs=CLOSE)
    assert st.sign_test_two_sided(b, c) == pytest.approx(two, abs=CLOSE)


@given(some.integers(0, 40), some.integers(0, 40))
def test_sign_test_agrees_with_scipy_and_is_monotone(stats: Any, b: int, c: int) -> None:
    if b + c:
        oracle = stats.binomtest(b, b + c, alternative="greater").pvalue
        assert st.sign_test(b, c) == pytest.approx(oracle, abs=CLOSE)
        assert st.sign_test_two_sided(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue, abs=CLOSE)
    assert st.sign_test(b + 1, c) < st.sign_test(b, c)
    assert st.sign_test(b, c + 1) >= st.sign_test(b, c)
    assert st.sign_test_two_sided(b, c) == st.sign_test_two_sided(c, b)


def test_sign_flip_gives_the_reference_value() -> None:
    base = [0.25, 0.5, 0, 1, 0.75, 0.25, 0.5, 0, 0.25, 1]
    new = [0.75, 0.5, 0.5, 1, 1, 0.5, 0.5, 0.25, 0.75, 1]
    differences = [b - a for a, b in zip(base, new, strict=True)]
    assert st.sign_flip_test(differences) == 0.015625


def mean_of(sample: Any, axis: int) -> Any:
    return sample.mean(axis)


def test_sign_flip_agrees_with_scipys_permutation_test(stats: Any) -> None:
    differences = [0.5, -0.25, 1.0, 0.25, 0.75, -0.5, 0.25, 1.0]
    oracle = stats.permutation_test(
        (differences,),
        mean_of,
        permutation_type="samples",
        alternative="greater",
        n_resamples=math.inf,
    )
    assert st.sign_flip_test(differences) == pytest.approx(oracle.pvalue, abs=CLOSE)


@settings(max_examples=60, deadline=None)
@given(some.lists(some.fractions(-1, 1, max_denominator=6), max_size=9))
def test_sign_flip_equals_the_enumeration_of_all_signs(differences: list[Fraction]) -> None:
    seen = sum(differences)
    all_signs = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [sum(s * abs(d) for s, d in zip(signs, differences, strict=True)) for signs in all_signs]
    assert st.sign_flip_test(differences) == pytest.approx(
        sum(s >= seen for s in sums) / len(sums), abs=CLOSE
    )


@given(some.lists(some.sampled_from([-1.0, 0.0, 1.0]), max_size=40))
def test_sign_flip_of_equal_sizes_is_the_sign_test(differences: list[float]) -> None:
    p = st.sign_flip_test(differences)
    assert p == pytest.approx(st.sign_test(differences.count(1), differences.count(-1)), abs=CLOSE)


@given(some.lists(some.fractions(-1, 1, max_denominator=12), min_size=1, max_size=10), some.integers(0, 9))
def test_sign_flip_is_bounded_and_falls_when_a_scenario_gains(differences: list[Fraction], at: int) -> None:
    p = st.sign_flip_test(differences)
    assert 0 < p <= 1
    better = [*differences, max(map(abs, differences)) + 1]
    assert st.sign_flip_test(better) <= p + CLOSE


def test_sign_flip_of_thirds_has_exact_ties() -> None:
    thirds = [1 / 3, 2 / 3, -1 / 3, 1 / 3]
    assert st.sign_flip_test(thirds) == st.sign_flip_test(
        [Fraction(d) for d in ("1/3", "2/3", "-1/3", "1/3")]
    )


def test_sign_flip_with_too_many_sums_is_sampled_with_a_seed(stats: Any) -> None:
    differences = [Fraction(1 if i % 4 else -1, 101 + 2 * i) for i in range(24)]
    p = st.sign_flip_test(differences, seed=3)
    assert p == st.sign_flip_test(differences, seed=3)
    spread = math.sqrt(sum(d * d for d in differences))
    assert p == pytest.approx(float(stats.norm.sf(float(sum(differences)) / spread)), abs=0.03)
    assert st.sign_flip_test([abs(d) for d in differences]) == 1 / 10_001


def test_clustered_se_gives_the_reference_values() -> None:
    values = [float(c) for c in "1101000111110100"]
    clusters = [i // 4 for i in range(16)]
    assert st.clustered_se(values, clusters, small=False) == pytest.approx(0.1623797632, abs=6e-11)
    assert st.clustered_se(values, clusters) == pytest.approx(0.1875, abs=CLOSE)
    assert st.clustered_se(values, range(16), small=False) == pytest.approx(
        0.1280868846 * math.sqrt(15 / 16), abs=1e-3
    )
    unequal = st.clustered_se([1, 0, 1, 1, 1, 0], [0, 0, 1, 2, 2, 2], small=False)
    assert unequal == pytest.approx(0.0785674201, abs=6e-11)


def test_paired_se_gives_the_reference_value() -> None:
    differences = [0.5, 0, 0.5, 0, 0.25, 0.25, 0, 0.25, 0.5, 0]
    assert st.clustered_se(differences, range(10)) == pytest.approx(0.0692218655, abs=6e-11)


def test_clustered_rate_at_one_is_worth_its_scenarios_not_its_trials() -> None:
    rows = [(f"s{i % 8}", f"s{i % 8}-p{i // 8 % 6}", True) for i in range(144)]
    got = st.clustered_rate(rows)
    assert (got.rate, got.effective, got.simulations) == (1.0, 8.0, 48)
    assert got.interval == pytest.approx(st.wilson(8, 8))


def test_clustered_rate_of_scenarios_that_always_agree_is_worth_the_scenarios() -> None:
    rows = [(f"s{i}", f"s{i}-p{p}", i < 4) for i in range(8) for p in range(6)]
    got = st.clustered_rate(rows)
    assert got.effective == pytest.approx(7)
    assert got.interval == pytest.approx(st.wilson(3.5, 7))


def test_clustered_rate_of_nothing_has_no_rate() -> None:
    got = st.clustered_rate([])
    assert got.rate is None and got.interval is None


@given(
    some.lists(
        some.tuples(some.sampled_from("abcdef"), some.sampled_from("uvw"), some.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_clustered_rate_is_bounded_and_never_worth_more_than_its_simulations(
    rows: list[tuple[str, str, bool]],
) -> None:
    got = st.clustered_rate(rows)
    assert got.rate is not None
    assert 0 <= got.low <= got.rate <= got.high <= 1
    assert 1 <= got.effective <= got.simulations


@pytest.mark.parametrize(
    ("n", "c", "k", "at", "hat"),
    [
        (8, 5, 1, 0.625, 0.625),
        (8, 5, 2, 0.8928571429, 0.3571428571),
        (8, 5, 4, 1, 0.0714285714),
        (4, 3, 2, 1, 0.5),
        (10, 3, 5, 0.9166666667, 0),
        (200, 13, 10, 0.4975511147, 0),
        (5, 1, 5, 1, 0),
        (8, 0, 2, 0, 0),
        (8, 8, 4, 1, 1),
    ],
)
def test_pass_at_k_and_pass_hat_k_give_the_reference_values(
    n: int, c: int, k: int, at: float, hat: float
) -> None:
    assert st.pass_at_k(n, c, k) == pytest.approx(at, abs=6e-11)
    # (200, 13, 10) is printed as 0 and is 1.3e-14.
    assert st.pass_hat_k(n, c, k) == pytest.approx(hat, abs=6e-11)


def test_pass_k_with_too_few_trials_is_none_never_zero() -> None:
    assert st.pass_at_k(2, 2, 3) is None
    assert st.pass_hat_k(2, 0, 3) is None


@given(some.integers(1, 30), some.integers(0, 30), some.integers(1, 30))
def test_pass_hat_k_is_never_above_pass_at_k(n: int, c: int, k: int) -> None:
    c, k = min(c, n), min(k, n)
    at, hat = st.pass_at_k(n, c, k), st.pass_hat_k(n, c, k)
    assert at is not None and hat is not None
    assert 0 <= hat <= at + CLOSE and at <= 1


def test_holm_gives_the_reference_values() -> None:
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=CLOSE)
    assert st.holm([]) == []


@given(some.lists(some.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers_p(ps: list[float]) -> None:
    adjusted = st.holm(ps)
    assert all(p <= a <= 1 for p, a in zip(ps, adjusted, strict=True))
    assert all(adjusted[i] <= adjusted[j] for i in range(len(ps)) for j in range(len(ps)) if ps[i] < ps[j])


def test_kappa_gives_the_reference_values() -> None:
    assert st.kappa([[20, 5], [10, 15]]) == pytest.approx(0.4, abs=CLOSE)
    assert st.kappa([[45, 3], [2, 10]]) == pytest.approx(0.7474747475, abs=6e-11)
    assert st.kappa([[0, 0], [0, 0]]) is None
    assert st.kappa([[7, 0], [0, 0]]) is None


@pytest.mark.parametrize(
    ("b", "c", "e"),
    [
        (5, 0, 10.5),
        (6, 0, 18.1428571429),
        (7, 0, 31.875),
        (8, 1, 11.2555555556),
        (10, 1, 30.9318181818),
        (10, 3, 3.9745254745),
        (3, 3, 0.4571428571),
    ],
)
def test_mixture_e_value_gives_the_reference_values(b: int, c: int, e: float) -> None:
    assert st.mixture_e_value(b, c) == pytest.approx(e, abs=6e-11)


@given(some.integers(0, 60), some.integers(0, 60))
def test_mixture_e_value_agrees_with_scipy(special: Any, b: int, c: int) -> None:
    oracle = 2.0 ** (b + c) * special.beta(b + 1, c + 1) * 2 * special.betaincc(b + 1, c + 1, 0.5)
    assert st.mixture_e_value(b, c) == pytest.approx(float(oracle), rel=CLOSE)


@given(some.integers(1, 14))
def test_mixture_e_value_has_mean_one_under_no_effect(n: int) -> None:
    mean = sum(math.comb(n, b) / 2**n * st.mixture_e_value(b, n - b) for b in range(n + 1))
    assert mean == pytest.approx(1, abs=CLOSE)


def test_newcombe_gives_the_reference_value() -> None:
    # The upper end was also computed with 40 decimal digits: 0.40346079857533.
    assert st.newcombe(45, 60, 30, 60) == pytest.approx((0.0767795714, 0.4034607986), abs=6e-11)
    low, high = st.newcombe(45, 60, 30, 60)
    assert st.newcombe(30, 60, 45, 60) == pytest.approx((-high, -low), abs=CLOSE)


def test_looks_spend_alpha_and_no_more() -> None:
    assert st.look_alpha(1) == pytest.approx(0.0303963551, abs=6e-11)
    assert sum(st.look_alpha(k) for k in range(1, 20_000)) < 0.05
    assert [st.scenarios_needed(st.look_alpha(k)) for k in (1, 2, 3)] == [6, 8, 9]
    with pytest.raises(ValueError, match="from 1"):
        st.look_alpha(0)


def test_scenarios_needed_is_the_least_that_the_sign_flip_test_accepts() -> None:
    for look in range(1, 12):
        alpha = st.look_alpha(look)
        need = st.scenarios_needed(alpha)
        assert st.sign_flip_test([1.0] * need) <= alpha < st.sign_flip_test([1.0] * (need - 1))


@pytest.mark.parametrize(
    ("n", "better", "worse", "power"),
    [
        (20, 0.2, 0.05, 0.18),
        (40, 0.2, 0.05, 0.49),
        (60, 0.2, 0.05, 0.71),
        (20, 0.3, 0.05, 0.45),
        (40, 0.3, 0.05, 0.84),
    ],
)
def test_power_is_near_the_reference(n: int, better: float, worse: float, power: float) -> None:
    assert st.sign_test_power(n, better, worse) == pytest.approx(power, abs=0.01)


def test_as_many_more_scenarios_as_are_told_pass_four_times_in_five() -> None:
    alpha = st.look_alpha(2)
    for n, better, worse, more in ((8, 5, 1, 24), (10, 6, 2, 45), (8, 5, 0, 7), (3, 3, 0, 5), (8, 8, 0, 0)):
        found = st.more_scenarios(n, better, worse, alpha)
        assert found is not None and abs(found - more) <= 2
        assert st.sign_test_power(n + found, better / n, worse / n, alpha) >= 0.8
    for n, better, worse in ((8, 2, 2), (8, 2, 3), (0, 0, 0), (100, 51, 49)):
        assert st.more_scenarios(n, better, worse, alpha) is None
