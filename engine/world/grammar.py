"""The grammar of expressions: which nodes of Python's syntax are in the language, and the closure of each."""

# JSON is inspected with isinstance on every call: narrowing Any leaves its parts unknown to the checker.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false, reportUnknownMemberType=false
from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from ..errors import InvalidArgument, did_you_mean
from ..records.checked_json import MAX_INTEGER
from . import operations as op
from .frames import (
    COMPARISONS,
    Binding,
    Closure,
    Comprehension,
    Frame,
    Loop,
    called_with,
    compared_once,
    field_of,
    formatted,
    looked_up,
    object_key,
    spec_text,
    text_of,
)
from .functions import FUNCTIONS, METHODS, Function
from .paths import ROOTS, Path
from .patterns import BadPattern, compile_pattern
from .values import FUEL_UNIT, MAX_SIZE, MISSING, CallFailed, Fault, kind_of, shown

MAX_EXPRESSION_CHARS: Final = 2_000
MAX_EXPRESSION_DEPTH: Final = 40
FORMAT_SPEC: Final = re.compile(r"[<>^]?0?\d{0,2},?(?:\.\d{1,2})?[fd%]?", re.ASCII)

_CONSTANTS: Final = {"true": True, "false": False, "null": None}


class Grammar:
    """The compilation of one expression."""

    def __init__(self, text: str, scope: Mapping[str, Binding], where: str) -> None:
        self.text = text
        self.scope = scope
        self.where = where
        self.source = text.strip()
        self.indent = len(text) - len(text.lstrip())

    def compiled(self) -> tuple[Closure, Callable[[Frame], Path] | None]:
        """(closure of the value, closure of the path if it is a place); InvalidArgument if it is not an expression."""
        body = self._parsed()
        return self._node(body, 0, ()), self._place(body)

    def _parsed(self) -> ast.expr:
        if len(self.text) > MAX_EXPRESSION_CHARS:
            what = f"The expression has {len(self.text):,} characters."
            raise InvalidArgument(what, where=self.where, allowed=f"at most {MAX_EXPRESSION_CHARS:,}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.source, mode="eval").body
        except SyntaxError as error:
            column = self.indent + max(error.offset or 1, 1)
        except (ValueError, RecursionError, MemoryError, OverflowError):
            column = 1
        raise InvalidArgument(
            f"{shown(self.text, 80)} is not an expression; a text needs its own quotes: \"'…'\".",
            where=f"{self.where} column {column}",
        )

    def _column(self, node: ast.AST) -> int:
        """The column of a node in the text as written, 1-based, in characters."""
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        lines = self.source.split("\n")
        if not 1 <= line <= len(lines):
            return 1
        before = sum(len(text) + 1 for text in lines[: line - 1])
        inside = len(lines[line - 1].encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "replace"))
        return min(self.indent + before + inside, max(len(self.text) - 1, 0)) + 1

    def _spot(self, node: ast.AST) -> str:
        return f"{self.where} column {self._column(node)}"

    def _refuse(self, node: ast.AST, what: str, allowed: Iterable[str] | str = "") -> InvalidArgument:
        return InvalidArgument(what, where=self._spot(node), allowed=allowed)

    # Values

    def _node(self, node: ast.expr, depth: int, local: tuple[str, ...]) -> Closure:
        if depth > MAX_EXPRESSION_DEPTH:
            raise self._refuse(node, f"The expression is nested deeper than {MAX_EXPRESSION_DEPTH} levels.")
        make = _NODES.get(type(node))
        if make is None:
            raise self._refuse(node, f"{_called(node)} is not part of the expression language.", _LANGUAGE)
        return make(self, node, depth + 1, local)

    def _located(self, node: ast.AST, run: Closure) -> Closure:
        spot = self._spot(node)

        def located(frame: Frame) -> Any:
            try:
                return run(frame)
            except Fault as fault:
                raise CallFailed(f"{spot}: {fault}") from None

        return located

    def _constant(self, node: ast.Constant, depth: int, local: tuple[str, ...]) -> Closure:
        value = node.value
        if value is not None and not isinstance(value, str | int | float):
            raise self._refuse(node, f"A {type(value).__name__} is not a JSON value.")
        if (isinstance(value, float) and value in (float("inf"), float("-inf"))) or (
            isinstance(value, int) and value > MAX_INTEGER
        ):
            raise self._refuse(node, "The number is too large.", "integers to 2^63, finite numbers")
        return lambda frame: value

    def _name(self, node: ast.Name, depth: int, local: tuple[str, ...]) -> Closure:
        name = node.id
        if name in local:
            return lambda frame: frame.vars[name]
        if name in _CONSTANTS:
            value = _CONSTANTS[name]
            return lambda frame: value
        binding = self.scope.get(name)
        if binding is None:
            raise self._unknown_name(node, local)
        if name in ROOTS:
            return lambda frame: frame.state.root[name]
        return self._bound(node, name, binding)

    def _bound(self, node: ast.Name, name: str, binding: Binding) -> Closure:
        unbound = f"{self._spot(node)}: {name!r} was not bound on the way here"

        def of_value(frame: Frame) -> Any:
            value = frame.vars.get(name, MISSING)
            if value is MISSING:
                raise CallFailed(unbound)
            return value

        def of_place(frame: Frame) -> Any:
            path = frame.vars.get(name)
            if path is None:
                raise CallFailed(unbound)
            return frame.state.get(path)

        return of_place if binding == "place" else of_value

    def _unknown_name(self, node: ast.Name, local: tuple[str, ...]) -> InvalidArgument:
        name = node.id
        if name in ROOTS:
            return self._refuse(node, f"`{name}` cannot be used here: it is the other side; use `sync`.")
        if name in FUNCTIONS:
            return self._refuse(node, f"`{name}` is a function: write {FUNCTIONS[name].usage}.")
        known = [*local, *self.scope]
        what = f"Unknown name '{name[:60]}'; for the text write \"'{name[:60]}'\".{did_you_mean(name, known)}"
        return self._refuse(node, what, known)

    def _attribute(self, node: ast.Attribute, depth: int, local: tuple[str, ...]) -> Closure:
        key = node.attr
        if key.startswith("_"):
            raise self._refuse(node, f"A key that starts with _ is written ['{key[:60]}'].")
        if isinstance(node.value, ast.Name) and node.value.id in local:
            return field_of(node.value.id, key, self._spot(node))
        box_of, spot = self._node(node.value, depth, local), self._spot(node)

        def attribute(frame: Frame) -> Any:
            box = box_of(frame)
            if isinstance(box, dict):
                found = box.get(key, MISSING)
                if found is not MISSING:
                    return found
            raise CallFailed(f"{spot}: {op.no_key(box, key)}")

        return attribute

    def _subscript(self, node: ast.Subscript, depth: int, local: tuple[str, ...]) -> Closure:
        box_of = self._node(node.value, depth, local)
        if isinstance(node.slice, ast.Slice):
            return self._slice(node, node.slice, box_of, depth, local)
        return looked_up(self._spot(node), box_of, self._node(node.slice, depth, local))

    def _slice(
        self, node: ast.expr, cut: ast.Slice, box_of: Closure, depth: int, local: tuple[str, ...]
    ) -> Closure:
        if cut.step is not None:
            raise self._refuse(node, "A slice has a start and an end, no step.")
        low = self._node(cut.lower, depth, local) if cut.lower else None
        high = self._node(cut.upper, depth, local) if cut.upper else None

        def sliced(frame: Frame) -> Any:
            made = op.part(box_of(frame), low(frame) if low else None, high(frame) if high else None)
            frame.burn(len(made) // FUEL_UNIT)
            return made

        return self._located(node, sliced)

    def _list(self, node: ast.List | ast.Tuple, depth: int, local: tuple[str, ...]) -> Closure:
        items = [self._node(item, depth, local) for item in node.elts]
        return lambda frame: [item(frame) for item in items]

    def _dict(self, node: ast.Dict, depth: int, local: tuple[str, ...]) -> Closure:
        pairs: list[tuple[Closure, Closure]] = []
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                raise self._refuse(node, "`**` is not part of the expression language; write merge(a, b).")
            pairs.append((self._node(key, depth, local), self._node(value, depth, local)))

        def made(frame: Frame) -> Any:
            return {object_key(key(frame)): value(frame) for key, value in pairs}

        return self._located(node, made)

    def _bool_op(self, node: ast.BoolOp, depth: int, local: tuple[str, ...]) -> Closure:
        parts = [self._node(value, depth, local) for value in node.values]
        stop = isinstance(node.op, ast.Or)

        def joined(frame: Frame) -> Any:
            value: Any = None
            for part in parts:
                value = part(frame)
                if bool(value) is stop:
                    break
            return value

        return joined

    def _unary(self, node: ast.UnaryOp, depth: int, local: tuple[str, ...]) -> Closure:
        operand = self._node(node.operand, depth, local)
        if isinstance(node.op, ast.Not):
            return lambda frame: not operand(frame)
        if isinstance(node.op, ast.USub):
            return self._located(node, lambda frame: op.negate(operand(frame)))
        raise self._refuse(node, f"{_called(node.op)} is not part of the expression language.", _LANGUAGE)

    def _conditional(self, node: ast.IfExp, depth: int, local: tuple[str, ...]) -> Closure:
        test, yes, no = (self._node(part, depth, local) for part in (node.test, node.body, node.orelse))
        return lambda frame: yes(frame) if test(frame) else no(frame)

    def _compare(self, node: ast.Compare, depth: int, local: tuple[str, ...]) -> Closure:
        first = self._node(node.left, depth, local)
        rest = [
            (COMPARISONS[type(sign)], self._node(part, depth, local))
            for sign, part in zip(node.ops, node.comparators, strict=True)
        ]
        if len(rest) == 1:
            return compared_once(self._spot(node), first, *rest[0])

        def compared(frame: Frame) -> bool:
            left = first(frame)
            for holds, part in rest:
                right = part(frame)
                if not holds(frame, left, right):
                    return False
                left = right
            return True

        return self._located(node, compared)

    def _binary(self, node: ast.BinOp, depth: int, local: tuple[str, ...]) -> Closure:
        operate = _ARITHMETIC.get(type(node.op))
        if operate is None:
            raise self._refuse(node, f"{_called(node.op)} is not part of the expression language.", _LANGUAGE)
        left, right = self._node(node.left, depth, local), self._node(node.right, depth, local)

        def computed(frame: Frame) -> Any:
            made = operate(left(frame), right(frame))
            if isinstance(made, str | list):
                frame.burn(len(made) // FUEL_UNIT)
            return made

        return self._located(node, computed)

    def _f_string(self, node: ast.JoinedStr, depth: int, local: tuple[str, ...]) -> Closure:
        parts = [self._f_part(part, depth, local) for part in node.values]

        def text(frame: Frame) -> str:
            made: list[str] = []
            left = MAX_SIZE
            for part in parts:
                piece = part(frame)
                frame.burn(len(piece) // FUEL_UNIT)
                left -= len(piece)
                if left < 0:
                    raise Fault(f"the text is longer than {MAX_SIZE:,} characters")
                made.append(piece)
            return "".join(made)

        return self._located(node, text)

    def _f_part(self, node: ast.expr, depth: int, local: tuple[str, ...]) -> Closure:
        if isinstance(node, ast.Constant):
            return self._node(node, depth, local)
        if not isinstance(node, ast.FormattedValue) or node.conversion != -1:
            raise self._refuse(node, "`!r`, `!s` and `!a` are not part of the expression language.")
        value = self._node(node.value, depth, local)
        if node.format_spec is None:
            return lambda frame: text_of(value(frame))
        spec = spec_text(node.format_spec)
        if spec is None or not FORMAT_SPEC.fullmatch(spec):
            raise self._refuse(node, "That format is not known.", ".2f, 04d, >20 and the like")
        return lambda frame: formatted(value(frame), spec)

    def _comprehension(
        self, node: ast.ListComp | ast.GeneratorExp, depth: int, local: tuple[str, ...]
    ) -> Closure:
        if len(node.generators) > 2:
            raise self._refuse(node, "A comprehension has at most two `for`.")
        loops: list[Loop] = []
        names: list[str] = []
        for generator in node.generators:
            inner = (*local, *names)
            source = self._node(generator.iter, depth, inner)
            targets = self._targets(generator.target)
            names += targets
            inner = (*local, *names)
            tests = [self._node(test, depth, inner) for test in generator.ifs]
            loops.append(Loop(source, targets, tests))
        item = self._node(node.elt, depth, (*local, *names))
        return self._located(node, Comprehension(loops, item, names).run)

    def _targets(self, node: ast.expr) -> list[str]:
        parts = node.elts if isinstance(node, ast.Tuple) else [node]
        names: list[str] = []
        for part in parts:
            if not isinstance(part, ast.Name):
                raise self._refuse(part, "`for` binds a name, or names with commas.")
            if part.id in ROOTS or part.id in _CONSTANTS:
                raise self._refuse(part, f"`{part.id}` cannot be a name here.")
            names.append(part.id)
        return names

    def _call(self, node: ast.Call, depth: int, local: tuple[str, ...]) -> Closure:
        if isinstance(node.func, ast.Name):
            known, name, first = FUNCTIONS, node.func.id, []
        elif isinstance(node.func, ast.Attribute):
            known, name, first = METHODS, node.func.attr, [node.func.value]
        else:
            raise self._refuse(node, "Only functions and methods can be called.", sorted(FUNCTIONS))
        function = known.get(name)
        if function is None:
            sort = "function" if known is FUNCTIONS else "method"
            raise self._refuse(
                node, f"Unknown {sort} '{name[:60]}'.{did_you_mean(name, known)}", sorted(known)
            )
        self._check_call(node, function, len(node.args) + len(first))
        given = [self._argument(part, depth, local) for part in (*first, *node.args)]
        named = {str(part.arg): self._argument(part.value, depth, local) for part in node.keywords}
        return self._located(node, called_with(function, given, named))

    def _argument(self, node: ast.expr, depth: int, local: tuple[str, ...]) -> Closure:
        if isinstance(node, ast.GeneratorExp):
            return self._comprehension(node, depth, local)
        return self._node(node, depth, local)

    def _check_call(self, node: ast.Call, function: Function, count: int) -> None:
        words = [part.arg for part in node.keywords]
        starred = any(isinstance(part, ast.Starred) for part in node.args) or None in words
        if starred or not function.takes(count, [word for word in words if word]):
            raise self._refuse(node, f"`{function.name}` is not called so.", function.usage)
        if function.name == "matches" and isinstance(node.args[1], ast.Constant):
            try:
                compile_pattern(str(node.args[1].value))
            except BadPattern as error:
                raise self._refuse(node.args[1], f"{error}.") from None

    # Places

    def _place(self, node: ast.expr) -> Callable[[Frame], Path] | None:
        if isinstance(node, ast.Name):
            return self._place_name(node)
        if isinstance(node, ast.Attribute):
            up, name = self._place(node.value), node.attr
            return up and (lambda frame: (*up(frame), name))
        if isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice):
            return self._place_below(node, node.value, node.slice)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and len(node.args) == 1
            and not node.keywords
        ):
            return self._place_below(node, node.func.value, node.args[0])
        return None

    def _place_name(self, node: ast.Name) -> Callable[[Frame], Path] | None:
        name = node.id
        if name in ROOTS:
            return lambda frame: (name,)
        if self.scope.get(name) != "place":
            return None
        unbound = f"{self._spot(node)}: {name!r} was not bound on the way here"

        def bound(frame: Frame) -> Path:
            path = frame.vars.get(name)
            if path is None:
                raise CallFailed(unbound)
            return path

        return bound

    def _place_below(self, node: ast.expr, box: ast.expr, key: ast.expr) -> Callable[[Frame], Path] | None:
        up = self._place(box)
        if up is None:
            return None
        key_of = self._node(key, 1, ())

        def below(frame: Frame) -> Path:
            path, last = up(frame), key_of(frame)
            if isinstance(last, dict | list):
                raise Fault(f"a key is a text or a whole number, not {kind_of(last)}")
            if isinstance(last, float):
                last = op.whole(last, "an index")
            if type(last) is int and last < 0:
                within = frame.state.get(path)
                last += len(within) if isinstance(within, list) else 0
            return (*path, last)

        return self._located(node, below)


_ARITHMETIC: Final[dict[type, Callable[[Any, Any], Any]]] = {
    ast.Add: op.add,
    ast.Sub: op.subtract,
    ast.Mult: op.multiply,
    ast.Div: op.divide,
    ast.FloorDiv: op.floor_divide,
    ast.Mod: op.modulo,
}

# Each method takes the node class of its key, which the table's single type cannot express.
# pyright: reportPrivateUsage=false
_NODES: Final[dict[type, Callable[[Grammar, Any, int, tuple[str, ...]], Closure]]] = {
    ast.Constant: Grammar._constant,
    ast.Name: Grammar._name,
    ast.Attribute: Grammar._attribute,
    ast.Subscript: Grammar._subscript,
    ast.List: Grammar._list,
    ast.Tuple: Grammar._list,
    ast.Dict: Grammar._dict,
    ast.BoolOp: Grammar._bool_op,
    ast.UnaryOp: Grammar._unary,
    ast.IfExp: Grammar._conditional,
    ast.Compare: Grammar._compare,
    ast.BinOp: Grammar._binary,
    ast.JoinedStr: Grammar._f_string,
    ast.ListComp: Grammar._comprehension,
    ast.Call: Grammar._call,
}

_LANGUAGE: Final = (
    "and or not, == != < <= > >= in is, + - * / // %, a if c else b, f'…', [..], {..}, [e for x in xs if c], "
    "x.key, x['key'], x[0], x[a:b], functions and methods"
)
_CALLED: Final[Mapping[type[ast.AST], str]] = {
    ast.Pow: "`**`",
    ast.Lambda: "`lambda`",
    ast.NamedExpr: "`:=`",
    ast.Set: "A set",
    ast.SetComp: "A set",
    ast.DictComp: "An object comprehension",
    ast.GeneratorExp: "A generator outside a call",
    ast.Starred: "`*`",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.YieldFrom: "`yield`",
    ast.MatMult: "`@`",
    ast.UAdd: "Unary `+`",
    ast.Invert: "`~`",
}


def _called(node: ast.AST) -> str:
    return _CALLED.get(type(node), f"`{type(node).__name__}`")
