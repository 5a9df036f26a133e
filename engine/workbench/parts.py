"""Views with parts, shown a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .results import Item

Body = dict[str, Any]


def paged(item: Item, name: str, rows: Sequence[Body], limit: int, skip: int) -> Item:
    """The item with `limit` rows from `skip` on under `name`; if more are left, their number and the cursor."""
    item.item[name] = list(rows[skip : skip + limit])
    left = len(rows) - skip - limit
    if left > 0:
        item.next_cursor = str(skip + limit)
        item.item[f"{name}_total"] = len(rows)
    return item


def filled(body: Body) -> Body:
    """The body without empty fields."""
    return {k: v for k, v in body.items() if v not in ("", None, [], {})}
