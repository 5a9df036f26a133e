"""Statistics: cluster-aware intervals, exact paired tests, and how much evidence would be enough.

Implemented with `math` only; every function is pure. Probabilities are in 0..1. Sources: Wilson 1927; Newcombe 1998
(method 10); Holm 1979; Miller 2024, "Adding Error Bars to Evals" (clustered standard errors); Chen et al. 2021
(pass@k); Yao et al. 2024 (pass^k); Ramdas et al. 2023 (e-values).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from ..seeds import draw

__all__ = [
    "Z95",
    "RateInterval",
    "clustered_rate",
    "clustered_se",
    "holm",
    "kappa",
    "look_alpha",
    "mixture_e_value",
    "more_scenarios",
    "newcombe",
    "pass_at_k",
    "pass_hat_k",
    "scenarios_for_power",
    "scenarios_needed",
    "sign_flip_test",
    "sign_test",
    "sign_test_power",
    "sign_test_two_sided",
    "wilson",
]

Z95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""
FLIPS = 10_000
MAX_SUMS = 50_000
SMALL_CLUSTERS = 30


@dataclass(frozen=True, slots=True)
class RateInterval:
    """A pass rate with its 95% interval. `effective` is the number of independent trials it is worth."""

    passed: int
    trials: int
    simulations: int
    scenarios: int
    rate: float | None
    low: float
    high: float
    effective: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), or None if nothing was counted."""
        return None if self.rate is None else (self.low, self.high)


def wilson(passed: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of `passed` of `n`; both may be fractions of a trial. n = 0 gives (0, 1).

    centre (p + z²/2n) / (1 + z²/n), half z/(1 + z²/n) · sqrt(p(1-p)/n + z²/4n²). Wilson 1927.
    """
    if n <= 0:
        return 0.0, 1.0
    p = min(1.0, max(0.0, passed / n))
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if p == 0 else max(0.0, centre - half)
    high = 1.0 if p == 1 else min(1.0, centre + half)
    return low, high


def newcombe(passed_a: int, n_a: int, passed_b: int, n_b: int, z: float = Z95) -> tuple[float, float]:
    """The interval of the difference of two independent rates, a minus b; both n at least 1.

    d - sqrt((pa - la)² + (ub - pb)²) to d + sqrt((ua - pa)² + (pb - lb)²), l and u by Wilson. Newcombe 1998, method
    10.
    """
    a, b = passed_a / n_a, passed_b / n_b
    return square_and_add((a, *wilson(passed_a, n_a, z)), (b, *wilson(passed_b, n_b, z)))


def square_and_add(
    a: tuple[float, float, float], b: tuple[float, float, float], correlation: float = 0.0
) -> tuple[float, float]:
    """The interval of a - b from two estimates with their intervals, each (value, low, high). Newcombe 1998."""
    (value_a, low_a, high_a), (value_b, low_b, high_b) = a, b

    def reach(x: float, y: float) -> float:
        return math.sqrt(x * x - 2 * correlation * x * y + y * y)

    difference = value_a - value_b
    low = difference - reach(value_a - low_a, high_b - value_b)
    return low, difference + reach(high_a - value_a, value_b - low_b)


def clustered_se(values: Sequence[float], clusters: Sequence[Hashable], *, small: bool = True) -> float:
    """The standard error of the mean of `values`, the i-th in `clusters[i]`; for pairs pass differences.

    sqrt(Σ_g (Σ_{i in g} (s_i - m))²) / n; with `small` and G < 30 clusters times sqrt(G/(G-1)). Miller 2024. A single
    cluster says nothing about its spread: infinity, or 0 if all values are the same.
    """
    n = len(values)
    if n == 0:
        return math.inf
    mean = math.fsum(values) / n
    sums: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums.setdefault(cluster, []).append(value - mean)
    groups = len(sums)
    if groups == 1:
        return 0.0 if all(v == values[0] for v in values) else math.inf
    spread = math.sqrt(math.fsum(math.fsum(parts) ** 2 for parts in sums.values())) / n
    return spread * math.sqrt(groups / (groups - 1)) if small and groups < SMALL_CLUSTERS else spread


def clustered_rate(trials: Iterable[tuple[str, str, bool]], z: float = Z95) -> RateInterval:
    """Rate counted trials, each (scenario, simulation, passed), with a 95% interval clustered by scenario.

    Wilson with the effective sample size p(1-p)/SE², SE by `clustered_se`. At rate 0 or 1, where the SE is 0, it is
    the number of scenarios; never more than the number of simulations, nor below 1. No trials: rate None, (0, 1).
    """
    rows = list(trials)
    n = len(rows)
    passed = sum(1 for row in rows if row[2])
    scenarios = len({row[0] for row in rows})
    simulations = len({(row[0], row[1]) for row in rows})
    if n == 0:
        return RateInterval(0, 0, 0, 0, None, 0.0, 1.0, 0.0)
    rate = passed / n
    effective = _effective_size(rows, rate, scenarios, simulations)
    low, high = wilson(rate * effective, effective, z)
    return RateInterval(passed, n, simulations, scenarios, rate, low, high, effective)


def sign_test(better: int, worse: int) -> float:
    """One-sided exact sign test, for one trial per case McNemar's: P(at least `better` of n heads).

    Σ_{j=better}^{n} C(n, j) / 2^n, n = better + worse; 1 if n is 0.
    """
    n = better + worse
    return _tail(n, better) / 2**n if n else 1.0


def sign_test_two_sided(better: int, worse: int) -> float:
    """Two-sided exact sign test (McNemar): min(1, 2 · the smaller tail)."""
    return min(1.0, 2 * sign_test(max(better, worse), min(better, worse)))


def sign_flip_test(differences: Sequence[float | Fraction], seed: int = 0) -> float:
    """Test pairs, exact and one-sided: how often random signs give a sum at least as large as the observed one.

    `differences` are candidate minus base, one per scenario. Exact by counting the sums of all 2^n sign choices as a
    distribution over whole numbers (differences brought to a common denominator; floats are read as the nearest
    fraction with a denominator of at most 1,000,000). With more than 50,000 different sums: 10,000 seeded choices, (r
    + 1) / (N + 1). All differences zero: 1. Fisher 1935; Phipson & Smyth 2010 for the +1.
    """
    steps = _whole_numbers(differences)
    if not steps:
        return 1.0
    seen = sum(steps)
    sizes = [abs(step) for step in steps]
    counts = _sum_counts(sizes)
    if counts is None:
        return (_sampled_flips(sizes, seen, seed) + 1) / (FLIPS + 1)
    return sum(count for total, count in counts.items() if total >= seen) / 2 ** len(sizes)


def look_alpha(look: int, alpha: float = 0.05) -> float:
    """The largest p allowed at the k-th look at one held-out set: alpha · 6 / (π² k²).

    Over all looks it sums to alpha (Bonferroni with Σ 1/k² = π²/6). `look` below 1: ValueError.
    """
    if look < 1:
        raise ValueError("looks count from 1")
    return alpha * 6 / (math.pi**2 * look**2)


def shown_p(p: float, alpha: float) -> tuple[str, str]:
    """A p and its limit as texts: three digits, four if three would not tell them apart."""
    same = p != alpha and f"{p:.3f}" == f"{alpha:.3f}"
    digits = 4 if same or alpha < 0.001 else 3
    least = 10**-digits
    return (f"< {least:.{digits}f}" if p < least else f"{p:.{digits}f}"), f"{alpha:.{digits}f}"


def scenarios_needed(alpha: float) -> int:
    """The fewest changed scenarios, all better, that a sign-flip test accepts.

    Least m, 2^-m <= alpha.
    """
    return max(1, math.ceil(-math.log2(alpha) - 1e-12))


def sign_test_power(n: int, better: float, worse: float, alpha: float = 0.05) -> float:
    """The power of the one-sided sign test over n pairs, each better or worse with these probabilities.

    Σ over b, c of the multinomial probability of (b, c, n - b - c) where the test accepts; exact.
    """
    total = 0.0
    for changed in range(n + 1):
        least = _least_better(changed, alpha)
        for b in range(least, changed + 1):
            total += _multinomial(n, b, changed - b, better, worse)
    return min(1.0, total)


@lru_cache(maxsize=1024)
def scenarios_for_power(
    better: float, worse: float, alpha: float = 0.05, power: float = 0.8, most: int = 200
) -> int | None:
    """The fewest pairs with which the one-sided sign test has that power; None above `most`.

    `better` and `worse` are the probabilities for each pair. Power rises in a sawtooth, so the bisection result may be
    off by one or two. Takes up to a second the first time: for a worker thread.
    """
    if sign_test_power(most, better, worse, alpha) < power:
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        enough = sign_test_power(middle, better, worse, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def more_scenarios(n: int, better: int, worse: int, alpha: float, most: int = 200) -> int | None:
    """Estimate how many more scenarios are enough 4 times in 5, if each turns out as these n did.

    With them the one-sided sign test at alpha has a power of 80%; 0 if it has it with n. None if not more are better
    than worse, or if more than `most` in all would be needed. As slow as `scenarios_for_power`.
    """
    if better <= worse or n <= 0:
        return None
    needed = scenarios_for_power(better / n, worse / n, alpha, most=most)
    return None if needed is None else max(0, needed - n)


def mixture_e_value(better: int, worse: int) -> float:
    """A one-sided e-value over changed pairs: a uniform mixture over probabilities of better in 1/2..1.

    2^n · B(b+1, c+1) · 2 · (1 - I_½(b+1, c+1)), where for whole numbers 1 - I_½(b+1, c+1) is
    Σ_{j=0}^{b} C(n+1, j) / 2^{n+1}.
    At 1/alpha or above the candidate is better at level alpha, whenever one looks (Ville's inequality). At most 1e300.
    """
    n = better + worse
    beta = math.lgamma(better + 1) + math.lgamma(worse + 1) - math.lgamma(n + 2)
    ways = sum(math.comb(n + 1, j) for j in range(better + 1))
    return math.exp(min(beta + math.log(ways), math.log(1e300)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests, in the given order.

    Running maximum of (m - rank) · p, at most 1. Holm 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, i in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = reached
    return adjusted


def pass_at_k(n: int, passed: int, k: int) -> float | None:
    """Estimate the chance that one of k trials passes, from n trials.

    1 - C(n - c, k) / C(n, k). n < k: None.
    """
    return None if n < k or k < 1 else 1 - math.comb(n - passed, k) / math.comb(n, k)


def pass_hat_k(n: int, passed: int, k: int) -> float | None:
    """Estimate the chance that all of k trials pass (pass^k), from n trials.

    C(c, k) / C(n, k). n < k: None.
    """
    return None if n < k or k < 1 else math.comb(passed, k) / math.comb(n, k)


def kappa(table: Sequence[Sequence[float]]) -> float | None:
    """Cohen's kappa of a square table of counts (rows one rater, columns the other): (po - pe) / (1 - pe).

    None for an empty table, and if both raters always gave the same single answer (pe = 1).
    """
    total = math.fsum(math.fsum(row) for row in table)
    if total == 0:
        return None
    columns = [math.fsum(column) for column in zip(*table, strict=True)]
    agreed = math.fsum(row[i] for i, row in enumerate(table)) / total
    by_chance = math.fsum(math.fsum(row) * columns[i] for i, row in enumerate(table)) / total**2
    return None if by_chance >= 1 else (agreed - by_chance) / (1 - by_chance)


def weighted_kappa(table: Sequence[Sequence[float]], values: Sequence[float]) -> float | None:
    """Cohen's kappa with quadratic weights, of a square table of counts; row and column i stand for `values[i]`.

    1 - sum(w o) / sum(w e), w = (vi - vj)^2, o observed and e expected by chance. Cohen 1968. None for an empty table,
    and if chance would never disagree.
    """
    total = math.fsum(math.fsum(row) for row in table)
    if total == 0:
        return None
    rows = [math.fsum(row) for row in table]
    columns = [math.fsum(column) for column in zip(*table, strict=True)]
    size = range(len(table))
    weights = [[(values[i] - values[j]) ** 2 for j in size] for i in size]
    seen = math.fsum(weights[i][j] * table[i][j] for i in size for j in size)
    by_chance = math.fsum(weights[i][j] * rows[i] * columns[j] for i in size for j in size) / total
    return None if by_chance == 0 else 1 - seen / by_chance


def _effective_size(
    rows: list[tuple[str, str, bool]], rate: float, scenarios: int, simulations: int
) -> float:
    if rate in (0, 1):
        return float(scenarios)
    se = clustered_se([float(row[2]) for row in rows], [row[0] for row in rows])
    size = rate * (1 - rate) / se**2 if se > 0 else math.inf
    return max(1.0, min(size, float(simulations)))


def _tail(n: int, least: int) -> int:
    return sum(math.comb(n, j) for j in range(least, n + 1))


@lru_cache(maxsize=4096)
def _least_better(changed: int, alpha: float) -> int:
    tail = 0
    for b in range(changed, -1, -1):
        tail += math.comb(changed, b)
        if tail / 2**changed > alpha:
            return b + 1
    return 0


def _multinomial(n: int, b: int, c: int, better: float, worse: float) -> float:
    same = max(0.0, 1 - better - worse)
    ways = math.comb(n, b) * math.comb(n - b, c)
    return ways * better**b * worse**c * same ** (n - b - c)


def _whole_numbers(differences: Sequence[float | Fraction]) -> list[int]:
    exact = [
        Fraction(d).limit_denominator(1_000_000) if isinstance(d, float) else Fraction(d) for d in differences
    ]
    common = math.lcm(*(d.denominator for d in exact)) if exact else 1
    return [int(d * common) for d in exact if d]


def _sum_counts(sizes: Sequence[int]) -> Mapping[int, int] | None:
    counts = {0: 1}
    for size in sizes:
        longer: dict[int, int] = {}
        for total, count in counts.items():
            longer[total + size] = longer.get(total + size, 0) + count
            longer[total - size] = longer.get(total - size, 0) + count
        if len(longer) > MAX_SUMS:
            return None
        counts = longer
    return counts


def _sampled_flips(sizes: Sequence[int], seen: int, seed: int) -> int:
    hits = 0
    for flip in range(FLIPS):
        total = 0
        for block in range(0, len(sizes), 53):
            bits = int(draw(seed, "sign-flip", flip, block) * 2**53)
            for size in sizes[block : block + 53]:
                total += size if bits & 1 else -size
                bits >>= 1
        hits += total >= seen
    return hits
