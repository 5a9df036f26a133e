"""The tools of a tau2-bench domain: methods of its tool kits, with signatures from annotations and docstrings.

Decorated methods are tools; others can be called by a task's initialization and assertions, and become hidden tools if
a task names them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .foreign_files import ForeignFiles, files_below
from .importer import Losses
from .python_signatures import signature_of
from .python_source import assigned, classes, methods
from .signatures import DESCRIPTION, parameters_of

KINDS: Final = {"READ": "read", "WRITE": "write", "THINK": "think", "GENERIC": "read"}
SIDES: Final = {"assistant": "agent", "user": "user"}
DISCOVERED: Final = "call_discoverable"
"""Begins the name of the tool through which a kit's hidden ones are called; it checks itself whether they may be."""
_USERS: Final = re.compile(r"User(?:Tool|Kit)")
"""In the name of a class with tools: they are the user's, even beside the agent's."""


@dataclass(slots=True)
class Kit:
    """One tool kit: the class, its file, and its methods."""

    file: Path
    name: str
    found: dict[str, ast.FunctionDef]
    remembers: bool = False
    """Whether it keeps state beside its database."""

    @property
    def target(self) -> str:
        return f"{self.file}:{self.name}"


@dataclass(slots=True)
class DomainTools:
    """The tools of a domain by side (`assistant`, `user`) and original name, and the name of each here."""

    kits: dict[str, Kit] = field(default_factory=dict[str, Kit])
    tools: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    names: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    @property
    def remembers(self) -> bool:
        """Whether a tool kit keeps state beside its database."""
        return any(kit.remembers for kit in self.kits.values())

    def named(self, side: str, name: str) -> str | None:
        """The name here of an original tool."""
        return self.names.get((side, name))


def read_tools(
    folder: Path, functions: set[tuple[str, str]], files: ForeignFiles, losses: Losses
) -> DomainTools:
    """The tools in a domain's code; `functions`: (side, name) of undecorated methods that its tasks call."""
    domain = DomainTools()
    aliases: dict[str, ast.expr] = {}
    for file in files_below(folder, "*data_model.py"):
        tree = files.python(file, "types of arguments")
        aliases |= dict(assigned(tree, r"\w+")) if tree else {}
    for side, name in (("assistant", "tools.py"), ("user", "user_tools.py")):
        if side == "user" and "user" in domain.kits:
            break
        tree = files.python(folder / name, f"{side} tools")
        for kit in _kits(folder / name, tree) if tree else []:
            domain.kits.setdefault("user" if _USERS.search(kit.name) else side, kit)
    for side, kit in domain.kits.items():
        other = domain.kits.get("user" if side == "assistant" else "assistant")
        for name, function in kit.found.items():
            decorated = _decoration(function)
            if decorated is None and (side, name) not in functions:
                continue
            _add(domain, side, kit, other, function, decorated, aliases, losses, files.shown(kit.file))
    return domain


def _add(
    domain: DomainTools,
    side: str,
    kit: Kit,
    other: Kit | None,
    function: ast.FunctionDef,
    decorated: tuple[str, bool] | None,
    aliases: Mapping[str, ast.expr],
    losses: Losses,
    at: str,
) -> None:
    kind, discoverable = decorated or ("WRITE", True)
    taken = set(domain.names.values())
    name = function.name if function.name not in taken else f"{function.name}_{side}"
    description, parameters = signature_of(function, aliases)
    impl = {"python": f"{kit.target}.{function.name}", "style": "tau2"}
    if other is not None:
        impl["user"] = other.target
    if decorated is not None and discoverable and not any(n.startswith(DISCOVERED) for n in kit.found):
        losses.add(
            "way to unlock a tool",
            "what unlocks it is kept in the tool kit, not in the data",
            f"{at}, {name}",
        )
    domain.names[(side, function.name)] = name
    domain.tools.append(
        {
            "name": name,
            "for": SIDES[side],
            "kind": KINDS.get(kind, "write"),
            "description": description[:DESCRIPTION],
            "parameters": parameters_of(parameters, losses, f"{at}, {name}"),
            "strict": False,
            "atomic": False,
            "hidden": decorated is None or discoverable,
            "impl": impl,
        }
    )


def _kits(file: Path, tree: ast.Module) -> list[Kit]:
    """The classes of a file that have tools, with methods inherited from bases in the same file.

    Those with the most tools come first.
    """
    known = {made.name: made for made in classes(tree)}
    kits: list[tuple[int, Kit]] = []
    for made in known.values():
        found: dict[str, ast.FunctionDef] = {}
        for base in made.bases:
            if isinstance(base, ast.Name) and base.id in known:
                found |= methods(known[base.id])
        found |= methods(made)
        remembers = "__init__" in found and _sets_more_than_db(found["__init__"])
        found = {name: function for name, function in found.items() if not name.startswith("_")}
        count = sum(_decoration(function) is not None for function in found.values())
        if count:
            kits.append((count, Kit(file, made.name, found, remembers)))
    return [kit for _, kit in sorted(kits, key=lambda one: -one[0])]


def _sets_more_than_db(init: ast.FunctionDef) -> bool:
    """Whether a constructor sets anything other than the database on its object."""
    targets = (
        target
        for node in ast.walk(init)
        for target in (node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)])
    )
    return any(isinstance(one, ast.Attribute) and one.attr != "db" for one in targets)


def _decoration(function: ast.FunctionDef) -> tuple[str, bool] | None:
    """(READ | WRITE | THINK | GENERIC, whether it must be discovered) of a tool; None for any other method."""
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = getattr(called, "id", "")
        if name not in ("is_tool", "is_discoverable_tool"):
            continue
        kind = "READ"
        if isinstance(decorator, ast.Call):
            for part in [*decorator.args, *(word.value for word in decorator.keywords)]:
                if isinstance(part, ast.Attribute) and part.attr in KINDS:
                    kind = part.attr
                elif isinstance(part, ast.Constant) and part.value is True:
                    kind = "WRITE"
        return kind, name == "is_discoverable_tool"
    return None
