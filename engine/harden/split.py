"""Train and held-out: which scenarios a writer may learn from, and which only confirm.

The split is by scenario, drawn from the seed, and fixed once stored. One scenario in three is held out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

from ..canonical import canonical
from ..records.scenario import Split
from ..seeds import draw, shuffled

HELD_OUT_SHARE = Fraction(1, 3)


def split_scenarios(
    scenarios: Mapping[str, Sequence[str]], seed: int, share: Fraction = HELD_OUT_SHARE
) -> dict[str, Split]:
    """Split new scenarios (id -> tags) at once; 24 of them give 16 train and 8 held-out.

    The number of held-out ones is share · n, rounded; each stratum (scenarios with the same first tag) gets its part of
    it by largest remainder, ties by the seed. The order of `scenarios` does not matter.
    """
    strata: dict[str, list[str]] = {}
    for scenario in sorted(scenarios):
        strata.setdefault(_stratum(scenarios[scenario]), []).append(scenario)
    wanted = floor(share * len(scenarios) + Fraction(1, 2))
    parts = {name: floor(share * len(members)) for name, members in strata.items()}
    by_rest = sorted(
        strata,
        key=lambda name: (parts[name] - share * len(strata[name]), draw(seed, "split", name), name),
    )
    for name in by_rest[: wanted - sum(parts.values())]:
        parts[name] += 1
    held_out = {
        scenario
        for name, members in strata.items()
        for scenario in shuffled(members, seed, "split", name)[: parts[name]]
    }
    return {scenario: "held_out" if scenario in held_out else "train" for scenario in scenarios}


def assign_split(
    scenario: str,
    tags: Sequence[str],
    stored: Iterable[tuple[Split, Sequence[str]]],
    seed: int,
    share: Fraction = HELD_OUT_SHARE,
) -> Split:
    """Split one more scenario, given split and tags of those stored: the proportions hold, overall and by stratum.

    After n scenarios the number of held-out ones is share · n rounded down or up; within that range the stratum
    decides, and if that is a tie, the seed.
    """
    others = list(stored)
    same = [split for split, theirs in others if _stratum(theirs) == _stratum(tags)]
    held = sum(1 for split, _ in others if split == "held_out")
    wanted = share * (len(others) + 1)
    if held < floor(wanted):
        return "held_out"
    if held >= ceil(wanted):
        return "train"
    in_stratum = share * (len(same) + 1) - same.count("held_out")
    if in_stratum <= 0:
        return "train"
    return "held_out" if in_stratum >= 1 or draw(seed, "split", scenario) < in_stratum else "train"


def held_out_set(scenarios: Iterable[str]) -> str:
    """The name of a held-out set: 16 hex digits of the SHA-256 of its sorted scenario ids."""
    return hashlib.sha256(canonical(sorted(set(scenarios))).encode()).hexdigest()[:16]


def count_looks(held_out: Collection[str], earlier: Iterable[Collection[str]]) -> int:
    """How many earlier proofs read this set, or share a scenario with it, so that adding one resets nothing."""
    now = set(held_out)
    return sum(1 for scenarios in earlier if now.intersection(scenarios))


def _stratum(tags: Sequence[str]) -> str:
    return tags[0] if tags else ""
