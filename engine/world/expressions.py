"""The expression language: Python's syntax, checked against a whitelist, compiled once to closures; never `eval`.

`compile_expression` checks names, functions and shapes and returns an `Expression`; its `value` is computed in a
`Frame`, which carries the state, the bound names and the fuel of one call. An expression that is a *place* (it starts
at `db`, `user_db` or a name bound to a place, followed by keys, indexes and `.get(k)`) also has a path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .frames import WORLD_SCOPE, Binding, Closure, Frame
from .grammar import Grammar
from .paths import Path
from .state import State
from .values import CallFailed, Fault


class Expression:
    """A compiled expression. `value(frame)` raises CallFailed, and nothing else, if it cannot be computed."""

    __slots__ = ("path", "text", "value", "where")

    def __init__(self, text: Any, value: Closure, path: Callable[[Frame], Path] | None, where: str) -> None:
        self.text = text
        self.value = value
        self.path = path
        """For a place: its path in the state; else None."""
        self.where = where


def compile_expression(
    text: str, scope: Mapping[str, Binding] = WORLD_SCOPE, where: str = "expression"
) -> Expression:
    """Compile an expression over the names of `scope`.

    Raises InvalidArgument whose `where` ends in `column N` (1-based), with the nearest name.
    """
    value, path = Grammar(text, scope, where).compiled()
    return Expression(text, value, path, where)


def constant(value: Any, where: str) -> Expression:
    """A JSON value in place of an expression: itself."""
    return Expression(value, lambda frame: value, None, where)


class _NoNature:
    """Stands in if there is no live world."""

    def __init__(self, now: str | None) -> None:
        self._now = now

    def now(self) -> str:
        if self._now is None:
            raise Fault("now() has no meaning here")
        return self._now

    def rand(self) -> float:
        raise Fault("rand() cannot be used here")


def evaluate(expression: Expression, state: State, *, now: str | None = None) -> Any:
    """The value of an expression over a state, outside a live world (checks over a record). Raises CallFailed.

    `now`: the value of now(); rand() is refused.
    """
    try:
        return expression.value(Frame(state, _NoNature(now), {}, "check"))
    except RecursionError:
        raise CallFailed(f"{expression.where}: the value is nested too deep") from None
