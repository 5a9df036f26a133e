"""tau2-bench: a domain of `data/tau2/domains` with its code in `src/tau2/domains`, and result files of its runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..records.impl import KIT_STATE
from .files import Roots
from .folder import CaseFolder, Sourced
from .foreign_files import ForeignFiles, files_below, first_folders, plain_name
from .importer import Imported, Losses, as_kept, as_object, one_of_several
from .tau2_results import looks_like_results, read_results
from .tau2_scenarios import TaskReader, functions_of
from .tau2_tools import DomainTools, read_tools

POLICIES: Final = ("policy.md", "main_policy.md")
MORE_POLICY: Final = ("tech_support_manual.md",)
TASKS: Final = ("tasks.json", "tasks_small.json")
_NOW: Final = re.compile(r"current time is (\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)", re.I)


class Tau2Bench:
    """Imports one domain of a tau2-bench checkout, or one of its result files."""

    name = "tau2-bench"
    looks_for = (
        "data/tau2/domains/*/tasks.json, tau2-bench results (a JSON object with tasks and simulations)"
    )

    def recognise(self, path: Path, roots: Roots) -> str:
        if path.is_dir():
            found = _domains(path)
            return f"{len(found)} tau2-bench domains" if found else ""
        if path.suffix != ".json":
            return ""
        if path.name.startswith("tasks") and _is_domain(path.parent):
            return "tasks of a tau2-bench domain"
        return "tau2-bench results" if looks_like_results(roots.peek(path, 3000)) else ""

    def read(self, path: Path, roots: Roots) -> Imported:
        if path.is_file() and not _is_domain(path.parent):
            return read_results(path, roots)
        if path.is_file():
            return _Reader(path.parent, path, roots).read()
        found = _domains(path)
        if len(found) != 1:
            parts = [str(place.relative_to(path)) for place in found]
            raise one_of_several(str(path), "tau2-bench domains", parts)
        return _Reader(found[0], None, roots).read()


class _Reader:
    """Reads one domain."""

    def __init__(self, folder: Path, tasks: Path | None, roots: Roots) -> None:
        self._folder = folder
        self._losses = Losses()
        self._files = ForeignFiles(_checkout(folder), roots, self._losses)
        self._tasks = tasks or self._default_tasks()

    def read(self) -> Imported:
        folder = self._folder
        name = plain_name(folder.name, 58) or "tau2"
        shown = self._files.shown(self._tasks)
        tasks = self._files.json(self._tasks, "tasks", must=True)
        if not isinstance(tasks, list):
            why = self._losses.rows[-1]["why"] if self._losses.rows else "it is no list"
            raise InvalidArgument(
                f"`{shown}` holds no tasks: {why}", where="path", allowed="a JSON list of tasks"
            )
        listed = cast("list[Any]", tasks)
        state = {"db": self._data("db"), "user_db": self._data("user_db")}
        tools = self._tools(functions_of(listed))
        if tools.remembers:
            state["db"].setdefault(KIT_STATE, {})
        reader = TaskReader(tools, state, self._splits(), self._losses)
        scenarios: list[Sourced] = []
        for k, task in enumerate(listed):
            made = reader.scenario(as_object(task) or {}, f"{shown}, task {k}")
            if made is not None:
                scenarios.append(Sourced(made, f"{shown}, task {k}:"))
        policy = self._policy()
        self._documents()
        world = {
            "format": "world/1",
            "name": name,
            "policy": policy,
            **state,
            "tools": tools.tools,
            "clock": _clock(policy),
            "x_source": {"format": "tau2-bench", "splits": self._splits()},
        }
        cases = CaseFolder(
            path=folder,
            config=shown,
            id=f"{name}-tau2",
            agent={},
            models={},
            settings={"name": f"tau2-bench {folder.name}"},
            instructions=policy,
            instructions_file=None,
            world="",
            world_data=world,
            world_at="world",
            scenarios=tuple(scenarios),
            files=tuple(self._files.read),
        )
        row = {"scenarios": len(scenarios), "tools": len(tools.tools), "profile": "tau2"}
        row["files"] = len(self._files.read)
        return Imported("tau2-bench", cases.id, cases=cases, taken=row, lost=self._losses.rows)

    def _default_tasks(self) -> Path:
        found = next(
            (self._folder / n for n in TASKS if (self._folder / n).is_file()), self._folder / TASKS[0]
        )
        if found.name != TASKS[0] and found.is_file():
            self._losses.add(
                "tasks", f"{TASKS[0]} is missing, {found.name} was taken", self._files.shown(found)
            )
        return found

    def _data(self, side: str) -> dict[str, Any]:
        """One side of the state; anything that is not a collection gets a field of its own."""
        value = self._files.json(self._folder / f"{side}.json", f"data of {side}")
        if value is None:
            value = self._files.toml(self._folder / f"{side}.toml", f"data of {side}")
        if value is None and side == "db":
            self._losses.add(
                "data of db", "neither db.json nor db.toml is there", self._files.shown(self._folder)
            )
        value = as_kept(value, self._losses, f"data of {side}", self._files.shown(self._folder))
        return as_object(value) or {}

    def _tools(self, functions: set[tuple[str, str]]) -> DomainTools:
        code = _checkout(self._folder) / "src" / "tau2" / "domains" / self._folder.name
        if not code.is_dir():
            self._losses.add("tools", "the code of the domain is missing", str(code))
            return DomainTools()
        return read_tools(code, functions, self._files, self._losses)

    def _splits(self) -> dict[str, list[str]]:
        found = as_object(self._files.json(self._folder / f"split_{self._tasks.name}", "splits")) or {}
        return {
            name: [str(id) for id in cast("list[Any]", ids)]
            for name, ids in found.items()
            if isinstance(ids, list)
        }

    def _policy(self) -> str:
        texts: list[str] = []
        for names in (POLICIES, MORE_POLICY):
            found = next((self._folder / n for n in names if (self._folder / n).is_file()), None)
            text = self._files.text(found, "policy") if found is not None else None
            if text:
                texts.append(text.strip())
        if not texts:
            self._losses.add("policy", "there is no policy.md", self._files.shown(self._folder))
        return "\n\n".join(texts)

    def _documents(self) -> None:
        for file in files_below(self._folder / "documents", "*.json"):
            self._losses.add("document", "knowledge bases are not in this version", self._files.shown(file))


def _domains(path: Path) -> list[Path]:
    """The domains at a path: itself, the one whose code it is, or those of the checkout."""
    if _is_domain(path):
        return [path]
    if path.parent.name == "domains" and path.parents[1].name == "tau2":
        there = _checkout(path) / "data" / "tau2" / "domains" / path.name
        if _is_domain(there):
            return [there]
    return first_folders(path, ("data/tau2/domains/*", "tau2/domains/*", "domains/*", "*"), _is_domain)


def _is_domain(path: Path) -> bool:
    placed = path.parent.name == "domains" and len(path.parents) > 3 and path.parents[1].name == "tau2"
    return (
        placed
        and path.is_dir()
        and any((path / name).is_file() for name in (*TASKS, "db.json", "db.toml", *POLICIES))
    )


def _checkout(domain: Path) -> Path:
    """The folder that contains `data` and `src`."""
    return domain.parents[3] if len(domain.parents) > 3 else domain


def _clock(policy: str) -> Mapping[str, Any]:
    found = _NOW.search(policy)
    return {"now": f"{found[1]}T{found[2]}", "turn_s": 0, "call_s": 0} if found else {}
