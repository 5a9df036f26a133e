"""Results of generation, and the first filter: parse the model's reply, reject near-duplicates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast

from ..errors import InvalidArgument, did_you_mean
from ..evaluate import jaccard, words_of
from ..ids import slugify
from ..records.persona import Persona
from ..records.scenario import Scenario, SolutionReport

T = TypeVar("T", Persona, Scenario)

BATCHES: Final = 3
"""How often a writer is asked at most to reach the count."""
MOST_TOLD: Final = 10
"""Refusals that a writer is told about, so that it rewrites those items."""
MAX_COUNT: Final = 50
MAX_REPLY_CHARS: Final = 2_000_000
MAX_ITEM_CHARS: Final = 20_000
MAX_ITEMS: Final = 100
"""Items of one reply that are considered."""


@dataclass(slots=True)
class Generated(Generic[T]):
    """Distinct items, checked one by one; possibly fewer than requested, never none.

    `model`: the writer's name in reports. `near_duplicates_refused` are not in `refused`, which holds {at, what} for
    everything else that was wrong. `highest_overlap`: of any item with another or with an existing one, 0..1, below
    NEAR_DUPLICATE. `records_exist`: items that refer to at least one record of the world. `solutions`: for scenarios,
    by id, the results of their own solution and the baselines. `batches`: writer calls.
    """

    model: str
    items: list[T] = field(default_factory=list[T])
    near_duplicates_refused: int = 0
    highest_overlap: float = 0.0
    records_exist: int = 0
    refused: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    solutions: dict[str, SolutionReport] = field(default_factory=dict[str, SolutionReport])
    batches: int = 0

    def refuse(self, at: str, what: str) -> None:
        """Note an item that was wrong."""
        self.refused.append({"at": at, "what": what})


class Distinct:
    """What exists already: taken ids, and words to compare new items with."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._words: list[frozenset[str]] = []

    def add(self, id: str, text: str) -> None:
        """Add an item."""
        self._ids.add(id)
        self._words.append(words_of(text))

    def overlap(self, text: str) -> float:
        """The highest overlap with existing items, 0..1."""
        own = words_of(text)
        return max((jaccard(own, other) for other in self._words), default=0.0)

    def free_id(self, wanted: str) -> str:
        """An unused slug like the wanted one; "" if no part of it can be used in a slug."""
        slug = slugify(wanted)[:58].strip("-")
        if not slug or slug not in self._ids:
            return slug
        return next(name for n in range(2, 100_000) if (name := f"{slug}-{n}") not in self._ids)


def check_request(count: int, kinds: Sequence[str], known: Sequence[str]) -> None:
    """Raise InvalidArgument for a count outside 1..50, or an unknown kind."""
    if not 1 <= count <= MAX_COUNT:
        raise InvalidArgument(f"count is {count}.", where="count", allowed=f"1 to {MAX_COUNT} a call")
    for k, kind in enumerate(kinds):
        if kind in known:
            continue
        near = did_you_mean(str(kind), known)
        raise InvalidArgument(f"Unknown kind `{str(kind)[:60]}`.{near}", where=f"kinds[{k}]", allowed=known)


def placed(where: str, item: str) -> str:
    """The place of a mistake, as seen from the item: `scenarios[2].init[0]`."""
    return where if where.startswith(item) else f"{item}.{where}".rstrip(".")


def reply_items(text: str, name: str) -> list[Mapping[str, Any]]:
    """The objects under `name` in a model's reply; ValueError says what is wrong with the reply as a whole."""
    if len(text) > MAX_REPLY_CHARS:
        raise ValueError(f"the reply has {len(text)} characters, more than {MAX_REPLY_CHARS}")
    start, end = text.find("{"), text.rfind("}")
    try:
        value: Any = json.loads(text[start : end + 1], parse_constant=_not_json) if start >= 0 else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("the reply is not a JSON object")
    items = cast("dict[str, Any]", value).get(name)
    if not isinstance(items, list):
        raise ValueError(f"the reply has no list `{name}`")
    found = cast("list[Any]", items)[:MAX_ITEMS]
    return [cast("Mapping[str, Any]", i) if isinstance(i, dict) else {"": i} for i in found]


def check_item(item: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Raise ValueError if an item is not an object of these fields, too large, or cannot be stored."""
    if "" in item:
        raise ValueError("it is not an object")
    strange = [key for key in item if key not in fields]
    if strange:
        raise ValueError(f"unknown field `{strange[0][:60]}`.{did_you_mean(strange[0], fields)}")
    try:
        size = len(json.dumps(item, ensure_ascii=False).encode())
    except (UnicodeEncodeError, RecursionError):
        raise ValueError("it holds what is no text") from None
    if size > MAX_ITEM_CHARS:
        raise ValueError(f"it has {size} bytes, more than {MAX_ITEM_CHARS}")


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
