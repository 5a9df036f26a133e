"""Near-copies among scenarios: cases that ask for the same, but for a few words or the names of records.

A copy is weaker evidence than a case of its own, for what holds in the one holds in the other.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Final

from ..canonical import canonical
from ..plural import plural
from ..records.scenario import Scenario
from ..world import as_text

NEAR_DUPLICATE: Final = 0.75
"""Overlap from which one text is a near-copy of another: Jaccard index of the words, |A and B| / |A or B|."""
SHOWN: Final = 3
_COMPARED: Final = 40
"""Most scenarios that one is compared with: those that share its rarest words."""
_WORD: Final = re.compile(r"[^\W_]+", re.UNICODE)
_SMALL_WORDS: Final = (
    "a an and are as at be because but by for from had has have he her his i in is it its my not of on or our she so "
    "that the their then they this to was were who will with you your"
)
_SMALL: Final = frozenset(_SMALL_WORDS.split())
_REASON: Final = re.compile(r"\bbecause\b[^.!?]*", re.IGNORECASE)
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_NUMBERED: Final = re.compile(r"#?\w*\d[\w/-]*")


def words_of(text: str) -> frozenset[str]:
    """The distinguishing words of a text, case folded."""
    return frozenset(word for word in _WORD.findall(text.casefold()) if word not in _SMALL)


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """|a and b| / |a or b|; 0 for two empty sets."""
    return len(a & b) / len(a | b) if a or b else 0.0


def distinguishing_text(scenario: Scenario) -> str:
    """What distinguishes a scenario: what is wanted (without the reason given), what is known, what is done."""
    steps = [f"{s.tool} {as_text(list(s.args.values()))}" for s in scenario.expected if s.tool]
    facts = [f if isinstance(f, str) else as_text(f.value) for f in scenario.knowledge]
    return " ".join([_REASON.sub("", scenario.goal), *facts, *steps])


def near_copies(scenarios: Sequence[Scenario]) -> dict[str, str]:
    """By id, each scenario that is a near-copy of an earlier one, and that one's id.

    Both have solutions of the same steps. Their words overlap by NEAR_DUPLICATE, or they are the same but for
    ids, addresses and numbers. About linear: a scenario is compared with few that share its rarest words.
    """
    kept: dict[str, str] = {}
    forms: dict[str, str] = {}
    by_steps: dict[tuple[str, ...], list[Scenario]] = defaultdict(list)
    for one in scenarios:
        first = forms.setdefault(_form(one), one.id)
        if first != one.id:
            kept[one.id] = first
        else:
            by_steps[tuple(step.tool or "say" for step in one.expected)].append(one)
    for alike in by_steps.values():
        kept |= _alike(alike)
    return kept


def near_copies_warning(scenarios: Sequence[Scenario], what: str) -> list[str]:
    """The warning about near-copies among scenarios, called `what`: `held-out scenario`."""
    copies = near_copies(scenarios)
    if not copies:
        return []
    shown = ", ".join(f"{id} of {first}" for id, first in [*copies.items()][:SHOWN])
    more = ", ..." if len(copies) > SHOWN else ""
    be, they = ("is a near-copy", "it is") if len(copies) == 1 else ("are near-copies", "they are")
    return [
        f"{len(copies)} of {plural(len(scenarios), what)} {be} of another ({shown}{more}): {they} weaker evidence than "
        "the number says. Vary what is asked and what makes it hard, not only names."
    ]


def _alike(scenarios: Iterable[Scenario]) -> dict[str, str]:
    """The near-copies by words, among scenarios whose solutions have the same steps.

    Of two sets that overlap by NEAR_DUPLICATE, the rarest words of each have one in common, if as many are looked at
    as the other may lack, and one more.
    """
    words = {one.id: words_of(distinguishing_text(one)) for one in scenarios}
    common = Counter(word for own in words.values() for word in own)
    holding: dict[str, list[str]] = defaultdict(list)
    found: dict[str, str] = {}
    for id, own in words.items():
        rarest = sorted(own, key=lambda word: (common[word], word))[
            : len(own) - ceil(NEAR_DUPLICATE * len(own)) + 1
        ]
        near = list(dict.fromkeys(other for word in rarest for other in holding[word][:_COMPARED]))[
            :_COMPARED
        ]
        first = next((other for other in near if jaccard(own, words[other]) >= NEAR_DUPLICATE), None)
        if first is not None:
            found[id] = first
            continue
        for word in rarest:
            holding[word].append(id)
    return found


def _form(scenario: Scenario) -> str:
    """A scenario's content without its own names, with ids, addresses and numbers left open."""
    parts = scenario.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        exclude={"id", "split", "tags", "persona", "x_source"},
    )
    return _NUMBERED.sub("0", _EMAIL.sub("@", canonical(parts)))
