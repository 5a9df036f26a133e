"""A reply made safe and short enough to send: control characters go, the hard cap holds, cuts are counted."""

from __future__ import annotations

import json
import re
from typing import Any, Final, cast

from .shapes import is_list, is_object

CAP: Final = 24_000
"""Characters of compact JSON that one reply may take."""
LONG_TEXT: Final = 1_000
"""Texts up to here are cut last."""
UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2028\u2029\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Control, bidirectional-override, invisible and tag characters: nobody who reads the text would see them."""

Spot = tuple[Any, str | int, str]
"""What holds a value, its key in there, and its path."""


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


def fit(payload: dict[str, Any], cap: int = CAP) -> dict[str, Any]:
    """The payload within the cap: the longest lists lose their ends first, then the longest texts.

    Every cut is told in `warnings`. The payload is changed in place and returned.
    """
    kept: dict[str, tuple[int, int]] = {}
    room = cap - 600
    while size(payload) > room and _cut_a_list(payload, kept):
        pass
    while size(payload) > room and _cut_a_text(payload):
        pass
    if kept:
        told = [f"{path} shows {shown} of {total}" for path, (shown, total) in list(kept.items())[:5]]
        payload.setdefault("warnings", []).append(
            f"Cut to fit: {'; '.join(told)}. Use limit, cursor or another view."
        )
    return payload


def size(value: Any) -> int:
    """Characters of the compact JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str))


def _cut_a_list(payload: dict[str, Any], kept: dict[str, tuple[int, int]]) -> bool:
    lists = [spot for spot in _walk(payload, "") if _is_list(spot) and len(_value(spot)) > 1]
    if not lists:
        return False
    owner, key, path = max(lists, key=lambda spot: size(_value(spot)))
    items: list[Any] = owner[key]
    total = kept.get(path, (0, len(items)))[1]
    owner[key] = items[: max(1, len(items) // 2)]
    kept[path] = (len(owner[key]), total)
    return True


def _cut_a_text(payload: dict[str, Any]) -> bool:
    texts = [spot for spot in _walk(payload, "") if isinstance(_value(spot), str)]
    if not texts:
        return False
    owner, key, _ = max(texts, key=lambda spot: len(_value(spot)))
    text: str = owner[key]
    if len(text) <= LONG_TEXT:
        return _drop_the_largest(payload)
    whole, mark = text, re.search(r" … \((\d+) characters left out\)\Z", text)
    left = int(mark[1]) if mark else 0
    body = whole[: mark.start()] if mark else whole
    half = len(body) // 2
    owner[key] = f"{body[:half]} … ({left + len(body) - half} characters left out)"
    return True


def _drop_the_largest(payload: dict[str, Any]) -> bool:
    """Last resort, for objects with thousands of small keys: the largest field becomes its count."""
    fields = {
        name: size(value)
        for name, value in payload.items()
        if isinstance(value, dict) and name not in ("next", "job") and value
    }
    if not fields:
        return False
    name = max(fields, key=lambda one: fields[one])
    payload[name] = {"left_out": f"{len(payload[name])} fields, {fields[name]} characters"}
    return fields[name] > 200


def _walk(value: Any, path: str) -> list[Spot]:
    spots: list[Spot] = []
    pairs: list[tuple[Any, Any]] = []
    if is_object(value):
        pairs = list(value.items())
    elif is_list(value):
        pairs = list(enumerate(value))
    for key, one in pairs:
        if not path and key in ("next", "links", "warnings", "summary"):
            continue
        here = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}" if path else str(key)
        spots.append((value, key, here))
        spots += _walk(one, here)
    return spots


def _is_list(spot: Spot) -> bool:
    return isinstance(_value(spot), list)


def _value(spot: Spot) -> Any:
    return spot[0][spot[1]]
