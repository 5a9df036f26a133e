"""The signature of a Python method as a tool's parameters: from its annotations and docstring, by `ast`."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, Final

from .python_source import NotReadable, literal

_PLAIN: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "List": "array",
    "tuple": "array",
    "dict": "object",
    "Dict": "object",
    "None": "null",
}
_SECTION: Final = re.compile(r"\s*(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?):\s*\Z")
_ARGUMENT: Final = re.compile(r"\s*\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
DEPTH: Final = 8


def signature_of(function: ast.FunctionDef, aliases: Mapping[str, ast.expr]) -> tuple[str, dict[str, Any]]:
    """(description, parameters) of a method; `self` is left out. `aliases`: names of types defined nearby."""
    description, told = docstring_parts(ast.get_docstring(function) or "")
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    given = [arg for arg in given if arg.arg not in ("self", "cls")]
    defaults: list[ast.expr | None] = list(function.args.defaults)
    positional = len(given) - len(function.args.kwonlyargs)
    optional = {arg.arg: d for arg, d in zip(given[:positional][::-1], defaults[::-1], strict=False)}
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    optional |= {arg.arg: default for arg, default in pairs if default is not None}
    properties: dict[str, Any] = {}
    for arg in given:
        schema = schema_of(arg.annotation, aliases) if arg.annotation is not None else {}
        if arg.arg in told:
            schema = {**schema, "description": told[arg.arg]}
        default = optional.get(arg.arg)
        if default is not None:
            schema = {**schema, **_default(default)}
        properties[arg.arg] = schema
    required = [arg.arg for arg in given if arg.arg not in optional]
    return description, {"type": "object", "properties": properties, "required": required}


def schema_of(annotation: ast.expr, aliases: Mapping[str, ast.expr], depth: int = 0) -> dict[str, Any]:
    """The JSON Schema of an annotation; `{}` (anything) if there is none for it."""
    if depth > DEPTH:
        return {}
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return {"type": "null"}
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return _of_text(annotation.value, aliases, depth)
    name = _name(annotation)
    if name in _PLAIN:
        return {"type": _PLAIN[name]}
    if name in aliases:
        return schema_of(aliases[name], aliases, depth + 1)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _one_of([annotation.left, annotation.right], aliases, depth)
    if isinstance(annotation, ast.Subscript):
        return _of_generic(annotation, aliases, depth)
    return {}


def docstring_parts(text: str) -> tuple[str, dict[str, str]]:
    """(the text before the first section, the descriptions of the arguments)."""
    before: list[str] = []
    arguments: dict[str, str] = {}
    section, name = "", ""
    for line in text.splitlines():
        heading = _SECTION.match(line)
        if heading:
            section, name = heading[1], ""
        elif not section:
            before.append(line)
        elif section in ("Args", "Arguments", "Parameters"):
            found = _ARGUMENT.match(line)
            if found:
                name = found[1]
                arguments[name] = found[2].strip()
            elif name and line.strip():
                arguments[name] = f"{arguments[name]} {line.strip()}"
    return "\n".join(before).strip(), arguments


def _of_text(text: str, aliases: Mapping[str, ast.expr], depth: int) -> dict[str, Any]:
    try:
        return schema_of(ast.parse(text, mode="eval").body, aliases, depth + 1)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _of_generic(annotation: ast.Subscript, aliases: Mapping[str, ast.expr], depth: int) -> dict[str, Any]:
    name, inner = _name(annotation.value), annotation.slice
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        try:
            return {"enum": [literal(part) for part in parts]}
        except NotReadable:
            return {}
    if name == "Optional":
        return _one_of([*parts, ast.Constant(None)], aliases, depth)
    if name == "Union":
        return _one_of(parts, aliases, depth)
    if name == "Annotated":
        return schema_of(parts[0], aliases, depth + 1)
    if _PLAIN.get(name) == "array":
        items = schema_of(parts[0], aliases, depth + 1)
        return {"type": "array", "items": items} if items else {"type": "array"}
    return {"type": "object"} if _PLAIN.get(name) == "object" else {}


def _one_of(parts: list[ast.expr], aliases: Mapping[str, ast.expr], depth: int) -> dict[str, Any]:
    """A union as one schema, if it consists of plain types or of one type and None."""
    found = [schema_of(part, aliases, depth + 1) for part in parts]
    real = [schema for schema in found if schema != {"type": "null"}]
    nullable = len(real) < len(found)
    if len(real) == 1:
        schema = dict(real[0])
        if nullable and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
        if nullable and "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        return schema
    kinds = [schema.get("type") for schema in found]
    if all(isinstance(kind, str) and len(schema) == 1 for kind, schema in zip(kinds, found, strict=True)):
        return {"type": list(dict.fromkeys(kinds))}
    return {}


def _default(node: ast.expr) -> dict[str, Any]:
    try:
        value = literal(node)
    except NotReadable:
        return {}
    return {} if value is None else {"default": value}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
