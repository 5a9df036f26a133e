"""A number with its noun, in the form all our texts use."""

from __future__ import annotations


def plural(number: int, one: str, more: str = "") -> str:
    """`1 scenario`, `1,200 trials`; `more`: the plural, if it is not `one` with an s.

    A noun that ends in s has no singular: `1 instructions`.
    """
    if number != 1:
        one = more or (one if one.endswith("s") else f"{one}s")
    return f"{number:,} {one}"


def be(number: int) -> str:
    """`is` or `are`, to agree with `number`: `1 of 4 trials is missing`."""
    return "is" if number == 1 else "are"
