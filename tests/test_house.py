"""The plan of the house holds: floors, faces, sizes, and nothing of one machine in the files."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("engine", "resources", "tools", "mcp_server")
FLOORS = {
    "engine.errors": 0,
    "engine.canonical": 0,
    "engine.seeds": 0,
    "engine.depth": 0,
    "engine.plural": 0,
    "engine.shapes": 0,
    "engine.ids": 0,
    "engine.records": 0,
    "engine.net": 1,
    "engine.processes": 1,
    "engine.store": 1,
    "engine.world": 1,
    "engine.llm": 2,
    "engine.agents": 3,
    "engine.evaluate": 3,
    "engine.code": 4,
    "engine.simulate": 4,
    "engine.generate": 5,
    "engine.harden": 5,
    "engine.exchange": 5,
    "engine.report": 5,
    "engine.workbench": 6,
    "resources": 7,
    "tools": 7,
    "": 8,
    "mcp_server": 9,
    "__main__": 10,
}
"""A room imports only rooms of lower floors. "" is the package's own face, `__init__.py` at the root."""
PROGRAMS = ("engine.agents.python_service", "engine.processes.keeper", "engine.processes.worker")
"""They run under another interpreter, which has nothing but the standard library."""
LINES = {"tests": 800, "": 500}
"""The ceiling of a file, by its top folder; "" is every other."""


class Import(NamedTuple):
    """`by` imports `what`, both dotted below the package (ours) or absolute (others)."""

    by: str
    what: str
    ours: bool
    in_function: bool
    line: int


def test_every_module_belongs_to_a_floor() -> None:
    homeless = [
        m for m in modules() if room(m) not in FLOORS and modules()[m].read_text(encoding="utf-8").strip()
    ]
    assert homeless == []


def test_each_floor_imports_only_floors_below_and_never_its_neighbour() -> None:
    wrong = [
        f"{i.by}:{i.line} imports {i.what or 'the package face'}"
        for i in imports()
        if i.ours and room(i.by) != room(i.what) and FLOORS[room(i.by)] <= FLOORS[room(i.what)]
    ]
    assert wrong == []


def test_no_import_cycle_exists() -> None:
    graph: dict[str, set[str]] = {m: set() for m in modules()}
    for i in imports():
        if i.ours and i.what != i.by and not i.by.startswith(f"{i.what}."):
            graph[i.by].add(i.what)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_our_own_modules_are_never_imported_inside_a_function() -> None:
    assert [f"{i.by}:{i.line}" for i in imports() if i.ours and i.in_function] == []


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("tinydb", ("engine.store",)),
        ("litellm", ("engine.llm",)),
        ("mcp.server", ("mcp_server", "tools", "resources")),
        ("mcp.client", ("mcp_server", "engine.agents", "engine.world")),
        ("re2", ("engine",)),
        ("yaml", ("engine.exchange",)),
        ("dotenv", ("mcp_server",)),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(library: str, allowed: tuple[str, ...]) -> None:
    strays = [
        f"{i.by}:{i.line}"
        for i in imports()
        if not i.ours and below(i.what, library) and not any(below(i.by, a) for a in allowed)
    ]
    assert strays == []


def test_asyncio_is_left_to_anyio() -> None:
    strays = [f"{i.by}:{i.line}" for i in imports() if below(i.what, "asyncio") and i.by not in PROGRAMS]
    assert strays == []


def test_programs_that_run_alone_import_only_the_standard_library() -> None:
    strays = [
        f"{i.by}:{i.line}"
        for i in imports()
        if i.by in PROGRAMS and (i.ours or i.what.partition(".")[0] not in sys.stdlib_module_names)
    ]
    assert strays == []


def test_every_face_lists_its_public_names() -> None:
    """Their order is ruff's (RUF022)."""
    wrong: dict[str, list[str]] = {}
    for name, file in modules().items():
        if file.name != "__init__.py":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        public = sorted(set(public_names(tree)))
        listed = listed_names(tree)
        if sorted(listed) != public:
            wrong[name or "the package"] = sorted(set(listed) ^ set(public)) or ["a name twice"]
    assert wrong == {}


def test_no_file_is_longer_than_the_ceiling() -> None:
    long: dict[str, int] = {}
    for file in tracked("*.py"):
        name, lines = file.relative_to(ROOT), len(text(file).splitlines())
        if lines > LINES.get(name.parts[0], LINES[""]):
            long[str(name)] = lines
    assert long == {}


def test_only_the_face_and_the_main_stand_at_the_root() -> None:
    assert sorted(f.name for f in ROOT.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_the_packages_in_pyproject_are_those_on_disk() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    on_disk = sorted(".".join(["caseharden", *m.split(".")]).rstrip(".") for m in packages())
    assert sorted(told) == on_disk


def test_no_tracked_file_names_a_machine_a_registry_or_a_note() -> None:
    """What readers need is said in the files themselves."""
    notes = r"FORMAT\.md|TOOLS\.md|DESIGN\.md|EXPERIENCE\.md|ACCEPTANCE\.md|\.\./shared"
    machines = "/(?:work|root)/|/home/[a-z]|/Users/[a-z]|index-url"
    registries = "https?://[^ \n\"'`)]*(?:pypi|simple/|artifactory|nexus)"
    marks = re.compile(f"{notes}|{machines}|{registries}")
    found = [
        f"{file.relative_to(ROOT)}:{n}: {line.strip()[:80]}"
        for file in tracked()
        if file != Path(__file__).resolve()
        for n, line in enumerate(text(file).splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_every_script_is_executable() -> None:
    scripts = [f for f in [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"] if f.is_file()]
    assert [f.name for f in scripts if text(f).startswith("#!") and not os.access(f, os.X_OK)] == []
    assert [f.name for f in scripts if not f.suffix and not text(f).startswith("#!")] == []


def room(module: str) -> str:
    """`engine.llm.offline.agent` lives in `engine.llm`; `tools.runs` in `tools`; floor 0 is one room."""
    parts = module.split(".")
    if parts[0] == "engine" and FLOORS.get(".".join(parts[:2])) == 0:
        return "engine.records"
    return ".".join(parts[:2]) if parts[0] == "engine" else parts[0]


def below(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


@cache
def packages() -> list[str]:
    """The package's folders that hold an `__init__.py`, dotted below the root; "" is the root."""
    inner = [f.parent.relative_to(ROOT) for r in ROOMS for f in (ROOT / r).rglob("__init__.py")]
    return ["", *sorted(".".join(p.parts) for p in inner)]


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, dotted below the root, and its file."""
    files = [ROOT / "__init__.py", ROOT / "__main__.py"]
    files += [f for r in ROOMS for f in sorted((ROOT / r).rglob("*.py"))]
    found: dict[str, Path] = {}
    for file in files:
        if file.exists():
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    found.pop("engine", None)
    return found


@cache
def imports() -> list[Import]:
    return [i for name, file in modules().items() for i in imports_of(name, file)]


def imports_of(name: str, file: Path) -> Iterator[Import]:
    package = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                ours = below(alias.name, "caseharden")
                yield Import(
                    name, alias.name.removeprefix("caseharden."), ours, id(node) in inside, node.lineno
                )
        elif isinstance(node, ast.ImportFrom):
            base = (
                [p for p in package if p][: len([p for p in package if p]) - node.level + 1]
                if node.level
                else []
            )
            whole = ".".join([*base, *([node.module] if node.module else [])])
            ours = node.level > 0 or below(whole, "caseharden")
            whole = whole.removeprefix("caseharden").lstrip(".") if ours else whole
            for alias in node.names:
                deep = f"{whole}.{alias.name}".lstrip(".")
                what = deep if (deep in modules() or not ours) else whole
                yield Import(name, what, ours, id(node) in inside, node.lineno)


def public_names(tree: ast.Module) -> Iterator[str]:
    """The names without a leading underscore that a face binds: its own, and those of its rooms."""
    for node in tree.body:
        block = (
            node.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" else [node]
        )
        for item in block:
            names: list[str] = []
            if isinstance(item, ast.ImportFrom) and (
                item.level or (item.module or "").startswith("caseharden")
            ):
                names = [a.asname or a.name for a in item.names]
            elif isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names = [item.name]
            elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                names = [item.target.id]
            elif isinstance(item, ast.Assign):
                names = [t.id for t in item.targets if isinstance(t, ast.Name)]
            yield from (n for n in names if not n.startswith("_") or n == "__version__")


def listed_names(tree: ast.Module) -> list[str]:
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if (
            isinstance(target, ast.Name)
            and target.id == "__all__"
            and isinstance(node, ast.Assign | ast.AnnAssign)
        ):
            value: object = ast.literal_eval(node.value) if node.value else []
            assert isinstance(value, list | tuple)
            return [str(v) for v in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return []


@cache
def tracked(pattern: str = "*") -> list[Path]:
    """The files that git has or would take, text only; without a repository, all that is not hidden."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    names = [n for n in listing.stdout.decode().split("\0") if n] if listing.returncode == 0 else []
    files = [ROOT / n for n in names] or [
        f for f in ROOT.rglob("*") if not any(p.startswith(".") for p in f.parts)
    ]
    return [f for f in files if f.is_file() and f.match(pattern)]


@cache
def text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")
