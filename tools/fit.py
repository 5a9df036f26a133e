"""A reply made safe and short enough to send: control characters go, the hard cap holds, cuts are counted."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from ..engine.shapes import is_list, is_object
from .cuts import Cuts, dropped, size

CAP: Final = 24_000
"""Characters of compact JSON that one reply may take."""
HEAVY: Final = 10 * CAP
"""Characters, roughly, above which making a reply fit takes more than some milliseconds."""
UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control, bidirectional-override, invisible and tag characters: nobody who reads the text would see them."""


def clean(value: Any) -> Any:
    """The value without characters that hide or steer; line ends and tabs stay."""
    if isinstance(value, str):
        return UNSEEN.sub("", value)
    if is_object(value):
        return {clean(str(key)): clean(one) for key, one in value.items()}
    if is_list(value):
        return [clean(one) for one in value]
    if isinstance(value, tuple):
        return clean(list(cast("tuple[Any, ...]", value)))
    return value


def heavy(value: Any) -> bool:
    """Whether cleaning and cutting the value belongs into a worker thread; looks at no more of it than tells so."""
    room, level = HEAVY, [value]
    while level and room > 0:
        one = level.pop()
        room -= 8
        if isinstance(one, str):
            room -= len(one)
        elif is_object(one):
            room -= sum(len(str(key)) for key in one)
            level.extend(one.values())
        elif is_list(one) or isinstance(one, tuple):
            level.extend(cast("list[Any]", one))
    return room <= 0


def fit(payload: dict[str, Any], cap: int = CAP) -> dict[str, Any]:
    """The payload within the cap: the longest lists lose their ends first, then the longest texts.

    Last, for objects with thousands of small keys: the largest ones become their counts. Every cut is told in
    `warnings` or in its place. The payload is changed in place and returned. About 3 us a value.
    """
    room = cap - 600
    if size(payload) <= room:
        return payload
    _cut_warnings(payload, cap // 3)
    cuts = Cuts(payload)
    while cuts.size > room and cuts.cut_a_list():
        pass
    while cuts.size > room and cuts.cut_a_text():
        pass
    kept = cuts.settle()
    if cuts.size > room:
        gone = tuple(f"{path}." for path in dropped(payload, room))
        kept = [one for one in kept if not one[0].startswith(gone)]
    if kept:
        parts = [f"{path} shows {shown} of {total}" for path, shown, total in kept[:5]]
        payload.setdefault("warnings", []).append(
            f"Cut to fit: {'; '.join(parts)}. Use limit, cursor or another view."
        )
    return payload


def _cut_warnings(payload: dict[str, Any], room: int) -> None:
    warnings: list[str] = payload.get("warnings", [])
    if size(warnings) <= room:
        return
    few: list[str] = []
    for one in warnings:
        room -= size(one) + 1
        if room < 0:
            break
        few.append(one)
    payload["warnings"] = [*few, f"{len(warnings) - len(few):,} more warnings are left out."]
