"""Comparators: `eq ne one_of contains matches min max exists`, with `tolerance` and `unordered`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from ..canonical import equal
from ..world.diff import diff
from ..world.patterns import Pattern
from ..world.values import MISSING, as_text, is_number, shown
from .reading import Written

COMPARATORS: Final = ("eq", "ne", "one_of", "contains", "matches", "min", "max", "exists")
COMPARATOR_TERMS: Final = ("tolerance", "unordered")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparators that must all hold for one value. A missing value satisfies only `exists: false`."""

    wanted: Mapping[str, Any]
    pattern: Pattern | None = None
    """`matches`, compiled."""
    tolerance: float = 0.0
    unordered: bool = False

    def fits(self, value: Any) -> bool:
        """Whether the value satisfies every comparator; False if they cannot be applied."""
        if value is MISSING:
            return self.wanted.get("exists") is False and len(self.wanted) == 1
        return all(_TESTS[name](self, value, wanted) for name, wanted in self.wanted.items())

    def describe(self) -> str:
        """What is wanted, for a message: `'open'`, `at most 3 and at least 1`."""
        return " and ".join(_TOLD[name].format(shown(wanted)) for name, wanted in self.wanted.items())

    def same(self, value: Any, wanted: Any) -> bool:
        """Equality by the comparison's tolerance and order."""
        if self.unordered and isinstance(value, list) and isinstance(wanted, list):
            return not diff(wanted, value, unordered=[()], tolerance=self.tolerance)
        return equal(value, wanted, self.tolerance)


def read_comparison(written: Written) -> Comparison:
    """Read the comparators of an object and their options."""
    wanted = {key: written.data[key] for key in COMPARATORS if key in written}
    if "one_of" in wanted:
        written.items("one_of")
    if "exists" in wanted:
        written.flag("exists", True)
        if wanted["exists"] is False and len(wanted) > 1:
            written.wrong("exists", "What is missing has no value to compare.", "exists: false alone")
    for key in ("min", "max"):
        if key in wanted and not is_number(wanted[key]) and not isinstance(wanted[key], str):
            written.wrong(
                key, f"`{key}` is a number or a text, not {shown(wanted[key])}.", "a number, a text"
            )
    pattern = written.pattern("matches") if "matches" in wanted else None
    return Comparison(wanted, pattern, written.number("tolerance", 0), written.flag("unordered", False))


def _contains(terms: Comparison, value: Any, wanted: Any) -> bool:
    if isinstance(value, str):
        return isinstance(wanted, str) and wanted in value
    if isinstance(value, dict):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, list) and any(terms.same(item, wanted) for item in cast("list[Any]", value))


def _ordered(value: Any, wanted: Any) -> bool:
    return (is_number(value) and is_number(wanted)) or (isinstance(value, str) and isinstance(wanted, str))


def _at_least(terms: Comparison, value: Any, wanted: Any) -> bool:
    return _ordered(value, wanted) and (
        value >= wanted or (terms.tolerance > 0 and terms.same(value, wanted))
    )


def _at_most(terms: Comparison, value: Any, wanted: Any) -> bool:
    return _ordered(value, wanted) and (
        value <= wanted or (terms.tolerance > 0 and terms.same(value, wanted))
    )


def _matches(terms: Comparison, value: Any, wanted: Any) -> bool:
    return terms.pattern is not None and terms.pattern.found(as_text(value))


_TESTS: Final[Mapping[str, Callable[[Comparison, Any, Any], bool]]] = {
    "eq": Comparison.same,
    "ne": lambda terms, value, wanted: not terms.same(value, wanted),
    "one_of": lambda terms, value, wanted: any(terms.same(value, one) for one in wanted),
    "contains": _contains,
    "matches": _matches,
    "min": _at_least,
    "max": _at_most,
    "exists": lambda terms, value, wanted: wanted is True,
}
_TOLD: Final = {
    "eq": "{}",
    "ne": "not {}",
    "one_of": "one of {}",
    "contains": "containing {}",
    "matches": "matching {}",
    "min": "at least {}",
    "max": "at most {}",
    "exists": "there: {}",
}
