"""tau-bench: `tau_bench/envs/ENV` with data, tasks, wiki and tools, and result files of its runs.

Data and tasks are read without running any of its code; tools keep a reference to their class, which runs only if the
operator allows it. A task becomes a scenario with the profile `tau1`, so that its original reward is shown beside
ours, and is kept verbatim in `x_source`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ..errors import InvalidArgument
from ..shapes import as_list
from .files import Roots
from .folder import CaseFolder, Sourced
from .foreign_files import ForeignFiles, files_below, plain_name
from .importer import LISTED, Imported, Losses, as_kept, as_object, one_of_several
from .python_source import NotReadable, assigned, classes, literal, methods, returned, seems_to_write
from .signatures import tool_of
from .tau_results import read_results
from .tau_tasks import known_steps, scenario_of

RECORDS: Final = frozenset({"Task", "Action"})
DEFAULT_SPLIT: Final = "test"
STEPS: Final = 30
"""Steps of an agent (calls and texts) after which the original gives up."""
_TASKS: Final = re.compile(r"tasks(?:_(\w{1,20}))?\.py\Z")
_NOW: Final = re.compile(r"current time is (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)", re.I)
_RESULTS: Final = re.compile(r'\s*\[\s*\{\s*"task_id"\s*:')


class TauBench:
    """Imports one environment of a tau-bench checkout, or one of its result files."""

    name = "tau-bench"
    looks_for = "tau_bench/envs/*/tasks_*.py, tau-bench results (a JSON list of task_id, reward, traj)"

    def recognise(self, path: Path, roots: Roots) -> str:
        if path.is_dir():
            found = _environments(path)
            return f"{len(found)} tau-bench environments" if found else ""
        if _TASKS.match(path.name) and _is_environment(path.parent):
            return "tasks of a tau-bench environment"
        return "tau-bench results" if _RESULTS.match(roots.peek(path, 400)) else ""

    def read(self, path: Path, roots: Roots) -> Imported:
        if path.suffix == ".json":
            return read_results(path, roots)
        if path.is_file():
            return _Reader(path.parent, path, roots).read()
        found = _environments(path)
        if len(found) != 1:
            parts = [str(place.relative_to(path)) for place in found]
            raise one_of_several(str(path), "tau-bench environments", parts)
        return _Reader(found[0], None, roots).read()


class _Reader:
    """Reads one environment."""

    def __init__(self, folder: Path, tasks: Path | None, roots: Roots) -> None:
        self._folder = folder
        self._losses = Losses()
        self._files = ForeignFiles(folder, roots, self._losses)
        self._tasks = tasks or _default_tasks(folder)

    def read(self) -> Imported:
        name = plain_name(self._folder.name, 58) or "tau"
        split = _split(self._tasks)
        scenarios = self._scenarios(split)
        tools = self._tools()
        known = {tool["name"] for tool in tools}
        scenarios = [known_steps(item, known, self._losses) for item in scenarios]
        policy = self._files.text(self._folder / "wiki.md", "policy", must=True) or ""
        world = {
            "format": "world/1",
            "name": name,
            "policy": policy,
            "db": self._data(),
            "tools": tools,
            "clock": _clock(policy),
            "x_source": {"format": "tau-bench", "rules": self._rules()},
        }
        others = [p.name for p in files_below(self._folder, "tasks*.py") if p != self._tasks]
        for other in others:
            use = f"import {other} by its own path, under another id"
            self._losses.add("tasks of another split", "an import takes one split", other, use)
        self._recorded_runs()
        cases = CaseFolder(
            path=self._folder,
            config=self._tasks.name,
            id=f"{name}-tau" if split == DEFAULT_SPLIT else f"{name}-tau-{split}",
            agent={},
            models={},
            settings={"name": f"tau-bench {name}"},
            instructions=policy,
            instructions_file=None,
            world="",
            world_data=world,
            world_at="world",
            scenarios=tuple(scenarios),
            files=tuple(self._files.read),
        )
        taken = {
            "scenarios": len(scenarios),
            "tools": len(tools),
            "split": split,
            "profile": "tau1",
            "files": len(self._files.read),
        }
        return Imported("tau-bench", cases.id, cases=cases, taken=taken, lost=self._losses.rows)

    def _recorded_runs(self) -> None:
        """Report results beside the environment: each is an import of its own."""
        package = self._folder.parents[1] if len(self._folder.parents) > 2 else self._folder
        for file in files_below(package.parent / "historical_trajectories", f"*{self._folder.name}*.json"):
            use = "import the file under the same id"
            self._losses.add("recorded runs", "each file is an import of its own", str(file), use)

    def _data(self) -> dict[str, Any]:
        """The collections: each JSON file of `data` is one."""
        found: dict[str, Any] = {}
        for file in files_below(self._folder / "data", "*.json"):
            value = self._files.json(file, "collection")
            value = as_kept(value, self._losses, "collection", self._files.shown(file))
            if value is not None:
                found[file.stem] = value
        return found

    def _scenarios(self, split: str) -> list[Sourced]:
        shown = self._files.shown(self._tasks)
        tree = self._files.python(self._tasks, "tasks", must=True)
        listed = [value for _, value in assigned(tree, r"(?i)tasks(_\w+)?")] if tree else []
        if not listed or not isinstance(listed[0], ast.List):
            why = self._losses.rows[-1]["why"] if self._losses.rows else "no list is assigned to TASKS"
            raise InvalidArgument(
                f"`{shown}` holds no tasks: {why}.", where="path", allowed="TASKS = [Task(...), ...]"
            )
        made: list[Sourced] = []
        for index, node in enumerate(listed[0].elts):
            at = f"{shown}, task {index}"
            try:
                task = as_object(literal(node, RECORDS))
            except NotReadable as error:
                self._losses.add("task", str(error).partition(": ")[2] or str(error), f"{at}, {error}")
                continue
            scenario = scenario_of(task or {}, split, index, self._losses, at)
            if scenario is not None:
                made.append(Sourced(scenario, f"{at}:"))
        return made

    def _tools(self) -> list[dict[str, Any]]:
        ending = self._terminal()
        made: dict[str, dict[str, Any]] = {}
        for file in files_below(self._folder / "tools", "*.py"):
            if file.name == "__init__.py":
                continue
            tree = self._files.python(file, "tools")
            for found in classes(tree) if tree else ():
                tool = self._tool(file, found, ending)
                if tool is not None:
                    made[found.name] = tool
        order = self._order()
        return [made[name] for name in sorted(made, key=lambda n: (order.get(n, len(order)), n))]

    def _tool(self, file: Path, found: ast.ClassDef, ending: list[str]) -> dict[str, Any] | None:
        return class_tool(file, found, ending, self._losses, self._files.shown(file))

    def _order(self) -> dict[str, int]:
        tree = self._files.python(self._folder / "tools" / "__init__.py", "order of the tools")
        listed = next((v for _, v in assigned(tree, "ALL_TOOLS")), None) if tree else None
        names = [n.id for n in listed.elts if isinstance(n, ast.Name)] if isinstance(listed, ast.List) else []
        return {name: k for k, name in enumerate(names)}

    def _terminal(self) -> list[str]:
        """The tools that end a conversation, as named in `env.py`."""
        tree = self._files.python(self._folder / "env.py", "names of the tools that end a conversation")
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") == "terminate_tools":
                try:
                    return [str(name) for name in as_list(literal(node.value))]
                except NotReadable:
                    break
        return ["transfer_to_human_agents"]

    def _rules(self) -> Any:
        tree = self._files.python(self._folder / "rules.py", "rules")
        try:
            found = [literal(value) for _, value in assigned(tree, "RULES")] if tree else []
        except NotReadable as error:
            self._losses.add("rules", "they are no literal", f"rules.py, {error}")
            return []
        return found[0] if found else []


def class_tool(
    file: Path, found: ast.ClassDef, ending: list[str], losses: Losses, shown: str
) -> dict[str, Any] | None:
    """The tool of a class with `get_info` and `invoke`; None if it is not one, or its signature is not a literal."""
    parts = methods(found)
    if not {"get_info", "invoke"} <= parts.keys():
        return None
    told = returned(parts["get_info"])
    try:
        info = literal(told) if told is not None else None
    except NotReadable as error:
        losses.add("tool", "its signature is no literal", f"{shown}, {found.name}, {error}")
        return None
    tool = tool_of(info, losses, shown)
    if tool is None:
        return None
    name = tool["name"]
    if name in ending:
        kind = "terminal"
    elif name == "think":
        kind = "think"
    else:
        kind = "write" if seems_to_write(parts["invoke"]) else "read"
    impl = {"python": f"{file}:{found.name}", "style": "tau1"}
    return {**tool, "kind": kind, "strict": False, "atomic": False, "impl": impl}


def _environments(path: Path) -> list[Path]:
    """The environments at a path: itself, or those of the checkout or package that it is."""
    if _is_environment(path):
        return [path]
    for pattern in ("tau_bench/envs/*", "envs/*", "*"):
        try:
            found = sorted(p for p in islice(path.glob(pattern), LISTED) if p.is_dir() and not p.is_symlink())
        except OSError:
            return []
        found = [p for p in found[:200] if _is_environment(p)]
        if found:
            return found if pattern != "*" or path.name == "envs" else []
    return []


def _is_environment(path: Path) -> bool:
    return bool(files_below(path, "tasks*.py", 1)) and (path / "tools").is_dir() and (path / "data").is_dir()


def _default_tasks(folder: Path) -> Path:
    """The tasks that the benchmark is about: those of the split `test`."""
    found = files_below(folder, "tasks_*.py") or files_below(folder, "tasks.py")
    return next((p for p in found if _split(p) == DEFAULT_SPLIT), found[0])


def _split(tasks: Path) -> str:
    match = _TASKS.match(tasks.name)
    return re.sub(r"[^a-z0-9]", "-", (match[1] or DEFAULT_SPLIT).lower()) if match else DEFAULT_SPLIT


def _clock(policy: str) -> Mapping[str, Any]:
    """The moment at which its conversations take place, if the policy states it."""
    found = _NOW.search(policy)
    return {"now": f"{found[1]}T{found[2]}", "turn_s": 0, "call_s": 0} if found else {}
