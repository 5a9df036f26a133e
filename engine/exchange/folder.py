"""A folder of cases: what is tested, as files in a repository (`caseharden run DIR`).

`caseharden.yaml` (or .yml, .json) names the rest; everything in it except `environment.id` is optional:

    environment: {id: support, settings: {trials: 2, thresholds: {pass_rate: 0.9}}}
    instructions: instructions.md       the text that is hardened, in its own file
    world: shop                         a shipped world, or world.json, world.yaml
    personas: personas.yaml             a list, a file, a glob, or a list of these and of personas
    scenarios: scenarios/*.yaml         likewise
    simulations: cover                  cover, all, or a list of {scenario, persona, ...}
    baseline: baseline.json             a run that a new one must match; or {file, max_drop: 0.05}

Files are JSON, JSONL or YAML: a list, one record, or an object with `personas` or `scenarios`. This module
reads them and notes where each record is; whether a record is valid is decided when it is stored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from ..canonical import digest
from ..errors import InvalidArgument, NotFound
from ..ids import check_slug
from ..records.authored import Authored, load
from ..records.environment import AgentSpec, ModelChoice, Settings
from .documents import READERS, parse
from .files import Roots

CONFIG_NAMES: Final = ("caseharden.yaml", "caseharden.yml", "caseharden.json")
FILES: Final = 1000
"""Most files that one glob may match."""
RECORDS: Final = 20_000

Kind = Literal["personas", "scenarios"]


class EnvironmentPart(Authored):
    """`environment` of the folder's file."""

    id: str
    name: str = ""
    agent: AgentSpec = Field(default_factory=AgentSpec)
    models: ModelChoice = Field(default_factory=ModelChoice)
    settings: Settings = Field(default_factory=Settings)


class BaselinePart(Authored):
    """`baseline` of the folder's file."""

    file: str = Field(min_length=1)
    max_drop: float | None = Field(default=None, ge=0, le=1)
    """How much the pass rate may drop against it."""


class FolderFile(Authored):
    """`caseharden.yaml` as people write it."""

    format: Literal["folder/1"] = "folder/1"
    environment: EnvironmentPart
    instructions: str = ""
    """A file; empty: instructions.md if it exists."""
    world: str = ""
    """A shipped world's name or a file; empty: no world."""
    personas: str | list[Any] | None = None
    """None: `personas.*` and `personas/*`, whatever exists."""
    scenarios: str | list[Any] | None = None
    simulations: Literal["cover", "all"] | list[dict[str, Any]] = "cover"
    baseline: str | BaselinePart = ""


@dataclass(frozen=True, slots=True)
class Sourced:
    """A record as written, and where it is: `cases/refunds.yaml, scenarios[2]`."""

    value: dict[str, Any]
    at: str


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the instructions; `base` 0: none came before it."""

    number: int
    text: str
    origin: Literal["created", "edited", "promoted", "rolled_back", "file"]
    base: int = 0


@dataclass(frozen=True, slots=True)
class CaseFolder:
    """The contents of a folder, as plain values."""

    path: Path
    config: str
    """The folder's file, as people write it; named as the place of what is in it."""
    id: str
    agent: dict[str, Any]
    models: dict[str, Any]
    settings: dict[str, Any]
    instructions: str
    instructions_file: Path | None
    world: str
    """A shipped world's name, or ""."""
    world_data: dict[str, Any] | None
    world_at: str
    personas: tuple[Sourced, ...] = ()
    scenarios: tuple[Sourced, ...] = ()
    pairing: Literal["cover", "all", "none"] = "cover"
    """none: there are only the simulations listed."""
    simulations: tuple[dict[str, Any], ...] = ()
    baseline: Path | None = None
    """The file that a run is compared with; it need not exist yet."""
    max_drop: float | None = None
    files: tuple[str, ...] = field(default=())
    """Every file that was read."""
    versions: tuple[Version, ...] = ()
    """All versions of the instructions, if known; otherwise `instructions` is the only one."""
    in_force: int = 1
    """The number of the version in `instructions`."""
    knowledge: tuple[str, ...] = ()
    """The passages of the knowledge base, if known."""

    def content(self) -> str:
        """Digest of its contents, the same wherever the folder is; "" for anything that is not JSON."""
        said = (
            *(self.id, self.models, self.instructions, self.world, self.world_data, self.pairing),
            *(
                {name: self._from_here(value) for name, value in part.items()}
                for part in (self.agent, self.settings)
            ),
            *([item.value for item in self.personas], [item.value for item in self.scenarios]),
            *(self.simulations, self.knowledge, self.in_force),
            [(version.number, version.text) for version in self.versions],
        )
        try:
            return digest(said)
        except ValueError:
            return ""

    def _from_here(self, value: Any) -> Any:
        """A file below the folder, relative to it."""
        below = isinstance(value, str) and value.startswith(f"{self.path}{os.sep}")
        return os.path.relpath(value, self.path) if below else value

    def place(self, at: str) -> str:
        """Where in the files `scenarios[2].success[0]` is: the place prefixed by its file."""
        match = re.match(r"(personas|scenarios)\[(\d+)\](.*)", at, re.DOTALL)
        if match:
            items = self.personas if match[1] == "personas" else self.scenarios
            if int(match[2]) < len(items):
                return items[int(match[2])].at + match[3]
        match = re.match(r"(world_data|world)\b\.?(.*)", at, re.DOTALL)
        if match and self.world_at:
            return f"{self.world_at}, {match[2]}" if match[2] else self.world_at
        return f"{self.config}, {at}" if at else self.config


def read_folder(path: Path | str, roots: Roots, where: str = "path") -> CaseFolder:
    """Read a folder and the files it names, all of them below the folder or another allowed root.

    Raises InvalidArgument, NotFound or NotAllowed with file and path of the mistake.
    """
    folder = roots.folder(path, where)
    config = next((folder / n for n in CONFIG_NAMES if (folder / n).is_file()), None)
    if config is None:
        raise NotFound(f"`{path}` holds no {CONFIG_NAMES[0]}.", where=where, allowed=CONFIG_NAMES)
    return _Reader(folder, config, roots).read()


def is_case_folder(path: Path) -> bool:
    """Whether the path is a folder of cases."""
    return any(os.path.isfile(path / name) for name in CONFIG_NAMES)


def write_instructions(
    file: Path | str, text: str, roots: Roots, where: str = "settings.instructions_file"
) -> Path:
    """Write a promoted text to its file in one step; line ends and mode are kept.

    The text ends with one line end in the file, and is read back without it.
    """
    found = roots.resolve(file, where)
    crlf = found.is_file() and b"\r\n" in roots.read_bytes(found, where)
    body = text.rstrip("\n") + "\n"
    return roots.write_text(found, body.replace("\n", "\r\n") if crlf else body, where, overwrite=True)


class _Reader:
    """Reads one folder; keeps the names of the files it read."""

    def __init__(self, folder: Path, config: Path, roots: Roots) -> None:
        self._folder = folder
        self._config = config
        self._roots = Roots([folder, *roots.paths])
        self._files: list[str] = []

    def read(self) -> CaseFolder:
        name = self._config.name
        try:
            part = load(FolderFile, self._document(self._config), "")
        except InvalidArgument as error:
            place = error.where if error.where.startswith(name) else f"{name}, {error.where}"
            raise InvalidArgument(error.what, where=place.rstrip(", "), allowed=error.allowed) from None
        environment = part.environment
        check_slug(environment.id, f"{name}, environment.id")
        text, file = self._instructions(part)
        world, data, at = self._world(part.world)
        settings = environment.settings.model_dump(exclude_unset=True)
        if environment.name:
            settings.setdefault("name", environment.name)
        if file:
            settings["instructions_file"] = str(file)
        baseline, max_drop = self._baseline(part.baseline)
        return CaseFolder(
            path=self._folder,
            config=name,
            id=environment.id,
            agent=self._agent(environment),
            models=environment.models.model_dump(exclude_unset=True),
            settings=settings,
            instructions=text,
            instructions_file=file,
            world=world,
            world_data=data,
            world_at=at,
            personas=self._records("personas", part.personas),
            scenarios=self._records("scenarios", part.scenarios),
            pairing=part.simulations if isinstance(part.simulations, str) else "cover",
            simulations=() if isinstance(part.simulations, str) else tuple(part.simulations),
            baseline=baseline,
            max_drop=max_drop,
            files=tuple(self._files),
        )

    def _baseline(self, told: str | BaselinePart) -> tuple[Path | None, float | None]:
        name, drop = (told, None) if isinstance(told, str) else (told.file, told.max_drop)
        if not name:
            return None, drop
        return self._roots.resolve(self._folder / name, f"{self._config.name}, baseline"), drop

    def _agent(self, environment: EnvironmentPart) -> dict[str, Any]:
        agent = environment.agent.model_dump(exclude_unset=True)
        if environment.agent.file:
            where = f"{self._config.name}, environment.agent.file"
            agent["file"] = str(self._roots.resolve(self._folder / environment.agent.file, where))
        return agent

    def _instructions(self, part: FolderFile) -> tuple[str, Path | None]:
        name = part.instructions or (
            "instructions.md" if (self._folder / "instructions.md").is_file() else ""
        )
        if not name:
            return "", None
        file = self._roots.resolve(self._folder / name, f"{self._config.name}, instructions")
        text = self._roots.read_text(file, self._show(file), 1_000_000)
        self._files.append(self._show(file))
        return text.rstrip("\n"), file

    def _world(self, name: str) -> tuple[str, dict[str, Any] | None, str]:
        if not name or (Path(name).suffix not in READERS and "/" not in name):
            return name, None, ""
        file = self._roots.resolve(self._folder / name, f"{self._config.name}, world")
        value = self._document(file)
        if not isinstance(value, dict):
            raise InvalidArgument(
                "A world is an object.", where=self._show(file), allowed="format, db, tools, ..."
            )
        return "", value, self._show(file)  # pyright: ignore[reportUnknownVariableType]

    def _records(self, kind: Kind, told: str | list[Any] | None) -> tuple[Sourced, ...]:
        found: list[Sourced] = []
        if told is None:
            for file in self._found(f"{kind}.*", must=False) + self._found(f"{kind}/*", must=False):
                found += self._records_of(kind, file)
        for index, entry in enumerate([told] if isinstance(told, str) else told or ()):
            at = f"{self._config.name}, {kind}" + ("" if isinstance(told, str) else f"[{index}]")
            found += self._entry(kind, entry, at)
        if len(found) > RECORDS:
            raise InvalidArgument(
                f"{len(found)} {kind}.", where=self._config.name, allowed=f"at most {RECORDS:,}"
            )
        return tuple(found)

    def _entry(self, kind: Kind, entry: Any, at: str) -> list[Sourced]:
        if isinstance(entry, dict):
            return [Sourced(entry, at)]  # pyright: ignore[reportUnknownArgumentType]
        if not isinstance(entry, str):
            raise InvalidArgument(
                f"{str(entry)[:60]} is not a record.", where=at, allowed="an object, a file or a glob"
            )
        if not any(c in entry for c in "*?["):
            return self._records_of(kind, self._roots.resolve(self._folder / entry, at))
        return [
            item for file in self._found(entry, must=True, at=at) for item in self._records_of(kind, file)
        ]

    def _found(self, pattern: str, *, must: bool, at: str = "") -> list[Path]:
        if pattern.startswith("/") or ".." in Path(pattern).parts or "\0" in pattern or "**" in pattern:
            raise InvalidArgument(
                f"`{pattern[:80]}` is not a pattern.", where=at, allowed="such as scenarios/*.yaml"
            )
        paths = sorted(p for p in self._folder.glob(pattern) if p.suffix in READERS and p.is_file())
        if must and not paths:
            raise NotFound(
                f"No file matches `{pattern}`.", where=at, allowed="files that end in " + ", ".join(READERS)
            )
        if len(paths) > FILES:
            raise InvalidArgument(
                f"`{pattern}` matches {len(paths)} files.", where=at, allowed=f"at most {FILES}"
            )
        return [self._roots.resolve(p, at or self._config.name) for p in paths]

    def _records_of(self, kind: Kind, file: Path) -> list[Sourced]:
        shown, value = self._show(file), self._document(file)
        if isinstance(value, dict):
            if "id" in value:
                return [Sourced(value, f"{shown},")]  # pyright: ignore[reportUnknownArgumentType]
            value = self._bundled(kind, value, shown)  # pyright: ignore[reportUnknownArgumentType]
        if not isinstance(value, list):
            raise InvalidArgument(
                f"No {kind} stand here.", where=shown, allowed=f"a list, or an object with `{kind}`"
            )
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                at = f"{shown}, {kind}[{index}]"
                raise InvalidArgument("This is not an object.", where=at, allowed="id: ..., and so on")
        return [Sourced(item, f"{shown}, {kind}[{index}]") for index, item in enumerate(items)]

    @staticmethod
    def _bundled(kind: Kind, value: Mapping[str, Any], shown: str) -> Any:
        unknown = sorted(set(value) - {"format", "world", "personas", "scenarios"})
        if unknown:
            raise InvalidArgument(
                f"Unknown field `{unknown[0][:80]}`.",
                where=shown,
                allowed="personas, scenarios, world; or `id` of one record",
            )
        return value.get(kind, [])

    def _document(self, file: Path) -> Any:
        shown = self._show(file)
        text = self._roots.read_text(file, shown)
        self._files.append(shown)
        return parse(text, file.suffix, shown)

    def _show(self, file: Path) -> str:
        try:
            return str(file.relative_to(self._folder))
        except ValueError:
            return self._roots.show(file)
