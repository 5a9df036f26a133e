"""Python files read as text, never run: literals, signatures, and whether a function seems to write.

Everything goes through `ast`. Anything that is not a literal is reported with its line, so that readers can find it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, Final

DEPTH: Final = 60
"""Levels of nesting allowed in a literal."""
_CHANGES: Final = frozenset(
    (
        "append",
        "extend",
        "insert",
        "pop",
        "popitem",
        "remove",
        "clear",
        "update",
        "setdefault",
        "sort",
        "reverse",
        "add",
        "discard",
    )
)
"""Methods that change the object they belong to."""
_FRESH_CALLS: Final = frozenset(
    (
        "deepcopy",
        "copy",
        "list",
        "dict",
        "set",
        "sorted",
        "str",
        "int",
        "float",
        "len",
        "sum",
        "min",
        "max",
        "round",
        "loads",
        "dumps",
    )
)
"""Functions whose result is new."""


class NotReadable(Exception):
    """The file is not Python, or something in it is not a literal."""


def parse_python(text: str) -> ast.Module:
    """The syntax tree of a file; NotReadable if it has none."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise NotReadable(f"line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise NotReadable("it is no Python that can be read") from None


def assigned(tree: ast.Module, pattern: str) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of the module's assignments whose name matches, in order."""
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            if isinstance(target, ast.Name) and value is not None and re.fullmatch(pattern, target.id):
                yield target.id, value


def literal(node: ast.expr, records: frozenset[str] = frozenset(), depth: int = 0) -> Any:
    """The JSON value of a literal; `records`: calls by these names with only keyword arguments become objects.

    Anything else raises NotReadable with its line.
    """
    if depth > DEPTH:
        raise NotReadable(f"line {node.lineno}: nested too deep")
    if isinstance(node, ast.Constant) and (
        node.value is None or isinstance(node.value, str | int | float | bool)
    ):
        return node.value
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [literal(item, records, depth + 1) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [literal(key, records, depth + 1) if key is not None else None for key in node.keys]
        if not all(isinstance(key, str) for key in keys):
            raise NotReadable(f"line {node.lineno}: a key is no text")
        return dict(zip(keys, (literal(v, records, depth + 1) for v in node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = literal(node.operand, records, depth + 1)
        if isinstance(number, int | float):
            return -number
    if isinstance(node, ast.Call) and _is_record(node, records):
        return {str(word.arg): literal(word.value, records, depth + 1) for word in node.keywords}
    raise NotReadable(f"line {node.lineno}: this is no literal")


def _is_record(call: ast.Call, records: frozenset[str]) -> bool:
    named = isinstance(call.func, ast.Name) and call.func.id in records
    return named and not call.args and all(word.arg for word in call.keywords)


def classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    """The classes of a module, in order."""
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def methods(made: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    """The methods of a class by name."""
    return {node.name: node for node in made.body if isinstance(node, ast.FunctionDef)}


def returned(function: ast.FunctionDef) -> ast.expr | None:
    """What a function returns, if it has a single `return` with a value."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    return found[0].value if len(found) == 1 else None


def seems_to_write(function: ast.FunctionDef) -> bool:
    """Whether a function changes anything that it did not create itself; True if in doubt."""
    fresh = _fresh_names(function)
    for node in ast.walk(function):
        changed: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            changed = [t for t in node.targets if isinstance(t, ast.Subscript | ast.Attribute)]
        elif isinstance(node, ast.AugAssign):
            changed = [node.target] if isinstance(node.target, ast.Subscript | ast.Attribute) else []
        elif isinstance(node, ast.Delete):
            changed = list(node.targets)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES
        ):
            changed = [node.func.value]
        if any(_root(place) not in fresh for place in changed):
            return True
    return False


def _fresh_names(function: ast.FunctionDef) -> set[str]:
    """Names that the function binds only to objects it creates itself."""
    given: dict[str, list[bool]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, []).append(_makes(node.value))
        elif isinstance(node, ast.For | ast.comprehension):
            for name in ast.walk(node.target):
                if isinstance(name, ast.Name):
                    given.setdefault(name.id, []).append(False)
    return {name for name, values in given.items() if all(values)}


def _makes(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return name in _FRESH_CALLS
    made = (
        ast.List
        | ast.Dict
        | ast.Set
        | ast.ListComp
        | ast.DictComp
        | ast.SetComp
        | ast.Constant
        | ast.JoinedStr
    )
    return isinstance(value, made)


def _root(place: ast.expr) -> str:
    while isinstance(place, ast.Subscript | ast.Attribute):
        place = place.value
    return place.id if isinstance(place, ast.Name) else ""
