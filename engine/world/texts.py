"""Texts: strings for people or models, in which `{expression}` is replaced; `{{` and `}}` are braces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..errors import InvalidArgument
from .expressions import Expression, compile_expression
from .frames import Binding, Frame, formatted, text_of
from .grammar import FORMAT_SPEC
from .values import FUEL_UNIT, MAX_SIZE, CallFailed, Fault

MAX_TEXT_CHARS: Final = 20_000
_OPENING: Final = {"(": ")", "[": "]", "{": "}"}


class Text:
    """A compiled text; `value(frame)` raises CallFailed if an expression in it cannot be computed."""

    __slots__ = ("_parts", "fixed", "where")

    def __init__(self, parts: list[str | Callable[[Frame], str]], where: str) -> None:
        self._parts = parts
        self.where = where
        self.fixed: str | None = (
            "".join(p for p in parts if isinstance(p, str)) if _all_fixed(parts) else None
        )
        """The whole text if it contains no expression, else None."""

    def value(self, frame: Frame) -> str:
        """The text with its expressions replaced."""
        if self.fixed is not None:
            return self.fixed
        made: list[str] = []
        left = MAX_SIZE
        try:
            for part in self._parts:
                piece = part if isinstance(part, str) else part(frame)
                frame.burn(len(piece) // FUEL_UNIT)
                left -= len(piece)
                if left < 0:
                    raise Fault(f"the text is longer than {MAX_SIZE:,} characters")
                made.append(piece)
        except Fault as fault:
            raise CallFailed(f"{self.where}: {fault}") from None
        return "".join(made)


def compile_text(text: object, scope: Mapping[str, Binding], where: str) -> Text:
    """Compile a text; InvalidArgument if it is not one, a brace is unmatched or an expression is wrong.

    `{x:.2f}` is short for `{f'{x:.2f}'}`.
    """
    if not isinstance(text, str):
        raise InvalidArgument("This must be a text.", where=where)
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidArgument(
            f"The text has {len(text):,} characters.", where=where, allowed=f"at most {MAX_TEXT_CHARS:,}"
        )
    parts: list[str | Callable[[Frame], str]] = []
    at, literal = 0, ""
    while at < len(text):
        char = text[at]
        if text[at : at + 2] in ("{{", "}}"):
            literal, at = literal + char, at + 2
        elif char == "}":
            raise _lone(at, where)
        elif char == "{":
            end, colon = _partner(text, at, where)
            parts += [literal, _replaced(text[at + 1 : end], colon and colon - at - 1, scope, where)]
            literal, at = "", end + 1
        else:
            literal, at = literal + char, at + 1
    return Text([part for part in (*parts, literal) if part != ""], where)


def _all_fixed(parts: list[str | Callable[[Frame], str]]) -> bool:
    return all(isinstance(part, str) for part in parts)


def _replaced(
    inner: str, colon: int | None, scope: Mapping[str, Binding], where: str
) -> Callable[[Frame], str]:
    spec = inner[colon + 1 :] if colon is not None else ""
    if colon is not None and not FORMAT_SPEC.fullmatch(spec):
        raise InvalidArgument(
            f"The format `{spec[:40]}` is not known.", where=where, allowed=".2f, 04d, >20 and the like"
        )
    expression = compile_expression(inner[:colon], scope, where)
    return _with_format(expression, spec) if spec else lambda frame: text_of(expression.value(frame))


def _with_format(expression: Expression, spec: str) -> Callable[[Frame], str]:
    return lambda frame: formatted(expression.value(frame), spec)


def _partner(text: str, start: int, where: str) -> tuple[int, int | None]:
    """(index of the brace that closes the one at `start`, index of a colon for a format or None)."""
    open_: list[str] = []
    colon: int | None = None
    at = start + 1
    while at < len(text):
        char = text[at]
        if char in "'\"":
            at = _after_quoted(text, at, where)
            continue
        if char in _OPENING:
            open_.append(_OPENING[char])
        elif open_ and char == open_[-1]:
            open_.pop()
        elif char == "}":
            return at, colon
        elif char == ":" and not open_ and colon is None:
            colon = at
        at += 1
    raise _lone(start, where)


def _after_quoted(text: str, start: int, where: str) -> int:
    at = start + 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == text[start]:
            return at + 1
        at += 1
    raise InvalidArgument("A quote in braces is not closed.", where=f"{where} column {start + 1}")


def _lone(at: int, where: str) -> InvalidArgument:
    what = "A brace without its partner; for a brace itself write `{{` or `}}`."
    return InvalidArgument(what, where=f"{where} column {at + 1}")
