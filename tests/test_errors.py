"""Errors that teach: the nearest known word."""

from __future__ import annotations

import pytest

from caseharden.engine.errors import nearest

IDS = [f"run-1/refund-{k}-dana/1" for k in range(50_000)]


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("limt", ["limit", "cursor"], "limit"),
        ("LIMT", ["Limit"], "Limit"),
        ("zzz", ["limit"], None),
        ("", ["limit"], None),
        ("run-1/refnud-77-dana/1", IDS, "run-1/refund-77-dana/1"),
        ("run-1/refund-77-dnaa/1", IDS, "run-1/refund-77-dana/1"),
        ("x" * 1_000_000, IDS, None),
        ("", IDS, None),
    ],
)
def test_the_nearest_of_few_and_of_very_many_names_is_found(
    word: str, known: list[str], found: str | None
) -> None:
    assert nearest(word, known) == found
