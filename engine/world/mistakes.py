"""Collects an author's mistakes, so that one refusal lists them all."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Final

from ..errors import InvalidArgument

SHOWN_MISTAKES: Final = 5


class Mistakes:
    """The mistakes found so far, in order."""

    def __init__(self) -> None:
        self.found: list[InvalidArgument] = []

    def add(self, what: str, where: str, allowed: str | Iterable[str] = "") -> None:
        """Note one mistake."""
        self.found.append(InvalidArgument(what, where=where, allowed=allowed))

    @contextmanager
    def caught(self) -> Generator[None, None, None]:
        """Note a refusal raised inside the block, and continue after it."""
        try:
            yield
        except InvalidArgument as error:
            self.found += error.parts or [error]

    def refuse(self) -> None:
        """Raise InvalidArgument for the first mistake, followed by the others; do nothing if there are none."""
        if not self.found:
            return
        first, *others = self.found
        what = first.what
        if others:
            text = "; ".join(f"{error.where}: {error.what}" for error in others[:SHOWN_MISTAKES])
            left = len(others) - SHOWN_MISTAKES
            what += f" {len(others)} more: {text}" + (f"; and {left} others." if left > 0 else "")
        error = InvalidArgument(what, where=first.where, allowed=first.allowed)
        error.parts = tuple(self.found)
        raise error
