"""The frame of one call, in which compiled expressions and steps run, and the closures that need more than a line."""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from . import operations as op
from .functions import Function, Nature, cost
from .state import State
from .values import FUEL_UNIT, MAX_FUEL, MISSING, CallFailed, Fault, as_text, kind_of, weight

Binding = Literal["place", "value"]
Scope = dict[str, Binding]
"""The bound names, and what each is bound to."""
WORLD_SCOPE: Final[Mapping[str, Binding]] = {"db": "place", "user_db": "place"}


class Frame:
    """What one call computes with: state, nature (now, rand), bound names, who writes, and the remaining fuel."""

    __slots__ = ("by", "fuel", "nature", "result", "state", "vars")

    def __init__(
        self, state: State, nature: Nature, variables: dict[str, Any] | None = None, by: str = ""
    ) -> None:
        self.state = state
        self.nature = nature
        self.vars: dict[str, Any] = {} if variables is None else variables
        self.by = by
        self.fuel = MAX_FUEL
        self.result: Any = None

    def burn(self, amount: int) -> None:
        """Use fuel; Fault if none is left."""
        self.fuel -= amount
        if self.fuel < 0:
            raise Fault(
                f"out of fuel: a call takes at most {MAX_FUEL:,} statements, iterations and function calls"
            )


Closure = Callable[[Frame], Any]


class Loop:
    __slots__ = ("names", "source", "tests")

    def __init__(self, source: Closure, names: list[str], tests: list[Closure]) -> None:
        self.source, self.names, self.tests = source, names, tests


class Comprehension:
    """`[e for x in xs if c for y in ys if d]`: its names shadow outer ones, and end with it."""

    __slots__ = ("item", "loops", "names")

    def __init__(self, loops: list[Loop], item: Closure, names: list[str]) -> None:
        self.loops, self.item, self.names = loops, item, names

    def run(self, frame: Frame) -> list[Any]:
        hidden = {name: frame.vars[name] for name in self.names if name in frame.vars}
        made: list[Any] = []
        try:
            self._loop(frame, 0, made)
        finally:
            for name in self.names:
                frame.vars.pop(name, None)
            frame.vars.update(hidden)
        return made

    def _loop(self, frame: Frame, at: int, made: list[Any]) -> None:
        loop, last = self.loops[at], at + 1 == len(self.loops)
        source = loop.source(frame)
        if not isinstance(source, list):
            more = (
                "; for an object write keys(..), values(..) or items(..)" if isinstance(source, dict) else ""
            )
            raise Fault(f"`for` goes over a list, not {kind_of(source)}{more}")
        tests, names, item = loop.tests, loop.names, self.item
        single = names[0] if len(names) == 1 else None
        for element in source:
            frame.fuel -= 1
            if frame.fuel < 0:
                frame.burn(0)
            if single is not None:
                frame.vars[single] = element
            else:
                _unpack(frame, names, element)
            for test in tests:
                if not test(frame):
                    break
            else:
                if last:
                    made.append(item(frame))
                else:
                    self._loop(frame, at + 1, made)


def _unpack(frame: Frame, names: list[str], element: Any) -> None:
    if not isinstance(element, list) or len(element) != len(names):
        got = f"a list of {len(element)}" if isinstance(element, list) else kind_of(element)
        raise Fault(f"`for {', '.join(names)}` needs lists of {len(names)}, not {got}")
    frame.vars.update(zip(names, element, strict=True))


def compared_once(
    spot: str, left: Closure, holds: Callable[[Frame, Any, Any], bool], right: Closure
) -> Closure:
    """A comparison of two values, the most frequent operation in worlds: one closure for each row."""

    def compared(frame: Frame) -> bool:
        try:
            return holds(frame, left(frame), right(frame))
        except Fault as fault:
            raise CallFailed(f"{spot}: {fault}") from None

    return compared


def looked_up(spot: str, box_of: Closure, key_of: Closure) -> Closure:
    """`x[key]`: one closure for each row, as most are a record of a collection."""

    def found(frame: Frame) -> Any:
        try:
            box, key = box_of(frame), key_of(frame)
            if type(key) is str and isinstance(box, dict):
                value = box.get(key, MISSING)
                if value is not MISSING:
                    return value
            return op.key_of(box, key)
        except Fault as fault:
            raise CallFailed(f"{spot}: {fault}") from None

    return found


def field_of(name: str, key: str, spot: str) -> Closure:
    """A field of a bound name, which comprehensions read in every row: one closure instead of two."""

    def field(frame: Frame) -> Any:
        box = frame.vars[name]
        if isinstance(box, dict):
            found = box.get(key, MISSING)
            if found is not MISSING:
                return found
        raise CallFailed(f"{spot}: {op.no_key(box, key)}")

    return field


def called_with(function: Function, given: list[Closure], named: dict[str, Closure]) -> Closure:
    run = function.call
    if function.live:

        def live(frame: Frame) -> Any:
            frame.burn(1)
            return run(frame.nature, *[part(frame) for part in given])

        return live

    def plain(frame: Frame) -> Any:
        values = [part(frame) for part in given]
        words = {name: part(frame) for name, part in named.items()}
        frame.burn(cost(function, values))
        try:
            made = run(*values, **words)
        except RecursionError:
            raise Fault("the value is nested too deep") from None
        if isinstance(made, str | list):
            frame.burn(len(made) // FUEL_UNIT)
        return made

    return plain


def text_of(value: Any) -> str:
    """A text unchanged, anything else as JSON; Fault if it is too large."""
    if isinstance(value, dict | list):
        weight(value)
    return as_text(value)


def formatted(value: Any, spec: str) -> str:
    """`format(value, spec)` for numbers and texts, with our own words for misfits."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Fault(f"the format {spec!r} takes a number or a text, not {kind_of(value)}")
    if spec.endswith("d") and isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        return format(value, spec)
    except (ValueError, OverflowError):
        raise Fault(f"the format {spec!r} does not fit {kind_of(value)}") from None


def spec_text(node: ast.expr) -> str | None:
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return "".join(texts) if len(texts) == len(parts) else None


def object_key(key: Any) -> str:
    if not isinstance(key, str):
        raise Fault(f"the keys of an object are texts, not {kind_of(key)}")
    return key


def _ordered(test: Callable[[int], bool]) -> Callable[[Frame, Any, Any], bool]:
    return lambda frame, a, b: test(op.order(a, b))


def _equal(frame: Frame, a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is str and type(b) is str:
        if used := (len(a) + len(b) + 2) // FUEL_UNIT:
            frame.burn(used)
        return a == b
    if used := op.cost_of_same(a, b):
        frame.burn(used)
    return op.same(a, b)


def _within(frame: Frame, a: Any, b: Any) -> bool:
    frame.burn(op.cost_of_inside(a, b))
    return op.inside(a, b)


COMPARISONS: Final[dict[type, Callable[[Frame, Any, Any], bool]]] = {
    ast.Eq: _equal,
    ast.NotEq: lambda frame, a, b: not _equal(frame, a, b),
    ast.Is: _equal,
    ast.IsNot: lambda frame, a, b: not _equal(frame, a, b),
    ast.In: _within,
    ast.NotIn: lambda frame, a, b: not _within(frame, a, b),
    ast.Lt: _ordered(lambda sign: sign < 0),
    ast.LtE: _ordered(lambda sign: sign <= 0),
    ast.Gt: _ordered(lambda sign: sign > 0),
    ast.GtE: _ordered(lambda sign: sign >= 0),
}
