"""ArkSim: scenarios.json, config.yaml, and its records of past runs (simulation.json, evaluation.json)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, cast

from ..errors import InvalidArgument
from ..ids import slugify
from .arksim_config import ArkSimConfig, config_of
from .arksim_results import is_results, read_results
from .arksim_scenarios import FORMAT, ArkSimCase, case_of, distinct
from .documents import READERS, parse
from .files import Roots
from .folder import CaseFolder, Sourced
from .importer import Imported, Losses, as_object

HEAD: Final = 4000
SCENARIOS: Final = "scenarios.json"
CONFIGS: Final = ("config.yaml", "config.yml", "config_simulate.yaml", "config.json")
RESULTS: Final = ("simulation.json", "results/simulation/simulation.json")
_CASES: Final = re.compile(r'"(scenario_id|user_profile)"\s*:')
_CONFIG: Final = re.compile(
    r'(?m)(?:^|[{,])\s*"?(agent_config|scenario_file_path|agent_config_file_path)"?\s*:'
)


class ArkSim:
    """Imports a project of ArkSim, its scenarios alone, or a result file."""

    name = FORMAT
    looks_for = "scenarios.json or config.yaml of ArkSim, its simulation.json and evaluation.json"

    def recognise(self, path: Path, roots: Roots) -> str:
        if path.is_dir():
            config, scenarios = _config_in(path, roots), path / SCENARIOS
            return "a project of ArkSim" if config or _holds_cases(scenarios, roots) else ""
        if path.suffix == ".json" and is_results(roots.peek(path, HEAD)):
            return "results of ArkSim"
        if _is_config(path, roots):
            return "a config of ArkSim"
        return "scenarios of ArkSim" if _holds_cases(path, roots) else ""

    def read(self, path: Path, roots: Roots) -> Imported:
        if path.is_file() and path.suffix == ".json" and is_results(roots.peek(path, HEAD)):
            return read_results(path, roots)
        return _Reader(path, roots).read()


class _Reader:
    """Reads one project."""

    def __init__(self, path: Path, roots: Roots) -> None:
        self._roots = roots
        self._losses = Losses()
        self._files: list[str] = []
        self._folder = path if path.is_dir() else path.parent
        config = _config_in(path, roots) if path.is_dir() else path if _is_config(path, roots) else None
        self._config_file = config
        self._scenarios_file = path if path.is_file() and config is None else self._folder / SCENARIOS

    def read(self) -> Imported:
        config, told = self._config()
        value = self._document(self._scenarios_file)
        file, rows = _listed(value, self._shown(self._scenarios_file))
        cases = self._cases(rows)
        scenarios, personas = distinct(cases, self._losses)
        if not scenarios:
            raise InvalidArgument(
                f"`{self._shown(self._scenarios_file)}` holds no scenario that can be taken.",
                where="path",
                allowed="scenarios of ArkSim, each with an id and a goal",
            )
        if set(file) - {"schema_version"} or file.get("schema_version", "v1") != "v1":
            scenarios[0]["x_source"]["file"] = file
        self._tell_results()
        name = slugify(str(config.settings.get("name", "")) or self._folder.name) or FORMAT
        world: dict[str, Any] = {"format": "world/1", "name": name}
        if told:
            world["x_source"] = {"format": FORMAT, "config": told}
        at = self._shown(self._scenarios_file)
        made = CaseFolder(
            path=self._folder,
            config=self._shown(self._config_file) if self._config_file else at,
            id=name,
            agent=config.agent,
            models=config.models,
            settings=config.settings,
            instructions=config.instructions,
            instructions_file=None,
            world="",
            world_data=world,
            world_at=at,
            personas=tuple(Sourced(persona, f"{at}, user {persona['id']}:") for persona in personas),
            scenarios=tuple(Sourced(row, f"{at}, {row['id']}:") for row in scenarios),
            files=tuple(self._files),
        )
        counts = {"scenarios": len(scenarios), "personas": len(personas), "files": len(self._files)}
        asserted = sum(len(row.get("success", ())) for row in scenarios)
        taken = {**counts, "checks": asserted, "profile": FORMAT}
        return Imported(FORMAT, name, cases=made, taken=taken, lost=self._losses.rows)

    def _config(self) -> tuple[ArkSimConfig, dict[str, Any]]:
        """The config, parsed and verbatim."""
        if self._config_file is None:
            return ArkSimConfig(settings={"limits": {"max_turns": 5}}), {}
        shown = self._shown(self._config_file)
        row = as_object(self._document(self._config_file))
        if row is None:
            raise InvalidArgument("A config is an object.", where=shown)
        config = config_of(row, self._folder, self._losses, shown)
        if config.scenarios:
            self._scenarios_file = self._roots.resolve(self._folder / config.scenarios, shown)
        return config, row

    def _tell_results(self) -> None:
        """Report how recorded runs beside the project can be imported."""
        for place in RESULTS:
            if (self._folder / place).is_file():
                use = f"import_environment of {place} with the id of this environment"
                self._losses.add("recorded run", "it is imported by itself", place, use)

    def _cases(self, rows: list[Any]) -> list[ArkSimCase]:
        shown = self._shown(self._scenarios_file)
        found: list[ArkSimCase] = []
        for k, row in enumerate(rows):
            at, source = f"{shown}, scenarios[{k}]", as_object(row)
            if source is None:
                self._losses.add("scenario", "it is no object", at)
                continue
            case = case_of(source, self._losses, at)
            if case is not None:
                found.append(case)
        return found

    def _document(self, file: Path) -> Any:
        shown = self._shown(file)
        text = self._roots.read_text(file, "path")
        self._files.append(shown)
        return parse(text, file.suffix, shown)

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self._folder)) if file.is_relative_to(self._folder) else file.name


def _listed(value: Any, shown: str) -> tuple[dict[str, Any], list[Any]]:
    """(everything but the scenarios, the scenarios) of a file: an object with `scenarios`, or a list."""
    row = as_object(value)
    rows = row.get("scenarios") if row is not None else value
    if not isinstance(rows, list):
        raise InvalidArgument(
            "No scenarios stand here.", where=shown, allowed="a list, or an object with `scenarios`"
        )
    rest = {name: one for name, one in (row or {}).items() if name != "scenarios"}
    return rest, cast("list[Any]", rows)


def _config_in(path: Path, roots: Roots) -> Path | None:
    return next((path / name for name in CONFIGS if _is_config(path / name, roots)), None)


def _is_config(path: Path, roots: Roots) -> bool:
    return path.suffix in READERS and path.suffix != ".jsonl" and bool(_CONFIG.search(roots.peek(path, HEAD)))


def _holds_cases(path: Path, roots: Roots) -> bool:
    return path.suffix == ".json" and bool(_CASES.search(roots.peek(path, HEAD)))
