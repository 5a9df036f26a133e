"""Sigma: a world folder with db.json, tasks.json, policy.md, user_guidelines.md and tools.py.

Its tools are classes like those of tau-bench, its tasks have tau2-bench's form or the older one; the reward is that of
tau-bench.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, cast

from ..errors import InvalidArgument
from .files import Roots
from .folder import CaseFolder, Sourced
from .foreign_files import ForeignFiles, first_folders, plain_name
from .importer import Imported, Losses, as_kept, as_object, one_of_several
from .python_source import classes
from .tau2_scenarios import task_slug
from .tau_bench import class_tool
from .tau_tasks import ENDING, known_steps, scenario_of

_PARTS: Final = ("known_info", "reason_for_call", "unknown_info", "task_instructions")


class Sigma:
    """Imports one world folder."""

    name = "sigma"
    looks_for = (
        "a world folder: db.json and tasks.json with tools.py, policy.md or user_guidelines.md (data/envs/*)"
    )

    def recognise(self, path: Path, roots: Roots) -> str:
        found = _folders(path) if path.is_dir() else []
        return f"{len(found)} world folders" if found else ""

    def read(self, path: Path, roots: Roots) -> Imported:
        found = _folders(path)
        if len(found) != 1:
            raise one_of_several(str(path), "world folders", [str(p.relative_to(path)) for p in found])
        return _read(found[0], roots)


def _read(folder: Path, roots: Roots) -> Imported:
    losses = Losses()
    files = ForeignFiles(folder, roots, losses)
    name = plain_name(folder.name) or "world"
    tasks = files.json(folder / "tasks.json", "tasks", must=True)
    if not isinstance(tasks, list):
        why = losses.rows[-1]["why"] if losses.rows else "it is no list"
        raise InvalidArgument(
            f"`tasks.json` holds no tasks: {why}", where="path", allowed="a JSON list of tasks"
        )
    tree = files.python(folder / "tools.py", "tools", must=True)
    made = (
        [class_tool(folder / "tools.py", c, [ENDING], losses, "tools.py") for c in classes(tree)]
        if tree
        else []
    )
    tools = [tool for tool in made if tool is not None]
    known = {tool["name"] for tool in tools}
    scenarios: list[Sourced] = []
    for k, item in enumerate(cast("list[Any]", tasks)):
        scenario = _scenario(as_object(item) or {}, k, losses, f"tasks.json, task {k}")
        if scenario is not None:
            scenarios.append(known_steps(Sourced(scenario, f"tasks.json, task {k}:"), known, losses))
    db = as_kept(files.json(folder / "db.json", "data", must=True), losses, "data", "db.json")
    policy = files.text(folder / "policy.md", "policy") or files.text(folder / "policy.html", "policy") or ""
    guidelines = files.text(folder / "user_guidelines.md", "guidelines of the user") or ""
    source = {"format": "sigma", "agent_guidelines": files.text(folder / "agent_guidelines.md", "guidelines")}
    world = {
        "format": "world/1",
        "name": name,
        "policy": policy,
        "db": as_object(db) or {},
        "tools": tools,
        "x_source": source,
    }
    cases = CaseFolder(
        path=folder,
        config="tasks.json",
        id=name,
        agent={},
        models={},
        settings={"name": folder.name, **({"user_guidelines": guidelines} if guidelines else {})},
        instructions=policy,
        instructions_file=None,
        world="",
        world_data=world,
        world_at="world",
        scenarios=tuple(scenarios),
        files=tuple(files.read),
    )
    row = {"scenarios": len(scenarios), "tools": len(tools), "profile": "tau1", "files": len(files.read)}
    return Imported("sigma", cases.id, cases=cases, taken=row, lost=losses.rows)


def _scenario(task: dict[str, Any], index: int, losses: Losses, at: str) -> dict[str, Any] | None:
    """A task of either form, read like one of tau-bench and kept unchanged."""
    criteria = as_object(task.get("evaluation_criteria")) or {}
    user = as_object(task.get("user_scenario")) or {}
    asked = user.get("instructions")
    parts = as_object(asked) or {}
    goal = (
        asked if isinstance(asked, str) else " ".join(str(parts[p]).strip() for p in _PARTS if parts.get(p))
    )
    old: dict[str, Any] = {
        "instruction": goal or task.get("instruction"),
        "actions": criteria.get("actions", task.get("actions")),
        "outputs": criteria.get("communicate_info") or task.get("outputs") or [],
    }
    made = scenario_of(old, "test", index, losses, at)
    if made is None:
        return None
    row = {"format": "sigma", "index": index, "task": task}
    return {**made, "id": task_slug(task.get("id", f"test-{index}")), "x_source": row}


def _folders(path: Path) -> list[Path]:
    return [path] if _is_world(path) else first_folders(path, ("data/envs/*", "envs/*"), _is_world)


def _is_world(path: Path) -> bool:
    needed = all((path / name).is_file() for name in ("db.json", "tasks.json"))
    return needed and any((path / name).is_file() for name in ("tools.py", "policy.md", "user_guidelines.md"))
