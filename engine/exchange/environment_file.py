"""A whole environment as one JSON file (`caseharden-environment/1`): agent, settings, world, cases, all instructions.

It is self-contained, and holds records as people write them: with its parts in separate files it would be a folder of
cases. Anything specific to one data folder or machine is left out, so that an imported environment is exported as the
same text. Runs have their own files (`run_file`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic import Field

from ..errors import InvalidArgument
from ..ids import check_slug
from ..records.authored import Authored, load
from ..records.environment import AgentSpec, ModelChoice, Settings
from .documents import parse_json
from .files import Roots
from .folder import CaseFolder, EnvironmentPart, Sourced, Version
from .run_file import MOST_BYTES, json_text

FORMAT: Final = "caseharden-environment/1"
RECORDS: Final = 20_000
_LISTS: Final = ("instructions", "personas", "scenarios", "simulations")


class VersionPart(Authored):
    """One version of the instructions."""

    number: int = Field(ge=1, le=10**6)
    text: str
    origin: Literal["created", "edited", "promoted", "rolled_back", "file"] = "file"
    base: int = Field(default=0, ge=0)
    """The number of the version before it."""


class EnvironmentFile(Authored):
    """The file."""

    format: Literal["caseharden-environment/1"] = "caseharden-environment/1"
    environment: EnvironmentPart
    in_force: int = 1
    """The number of the version that agents get."""
    instructions: list[VersionPart] = Field(min_length=1, max_length=10_000)
    world: dict[str, Any]
    knowledge: list[str] = Field(default_factory=list[str])
    """The passages of the knowledge base."""
    personas: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], max_length=RECORDS)
    scenarios: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], max_length=RECORDS)
    simulations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], max_length=RECORDS)

    def dumped(self) -> dict[str, Any]:
        """The file as JSON, with only the set fields of agent, models and settings."""
        whole = self.model_dump(mode="json", exclude={"environment"})
        row = self.environment.model_dump(mode="json", exclude_unset=True)
        return {"format": self.format, "environment": row, **whole}


def environment_part(
    id: str, name: str, agent: Mapping[str, Any], models: ModelChoice, settings: Settings
) -> EnvironmentPart:
    """The `environment` of a file. `agent`: its set fields."""
    row = settings.model_dump(exclude_unset=True, exclude={"instructions_file", "knowledge_base", "name"})
    return EnvironmentPart(
        id=id,
        **({"name": name} if name else {}),
        agent=AgentSpec.model_validate(agent),
        models=ModelChoice.model_validate(models.model_dump(exclude_unset=True)),
        settings=Settings.model_validate(row),
    )


def write_environment_file(whole: EnvironmentFile) -> str:
    """The text: one line per field, one line per record, so that two files can be compared line by line."""
    return json_text(whole.dumped(), _LISTS)


def read_environment_file(path: Path, roots: Roots) -> CaseFolder:
    """The cases of a file below the allowed roots. InvalidArgument names the place of any mistake in it."""
    shown = path.name
    value = parse_json(roots.read_text(str(path), "path", MOST_BYTES), shown)
    row = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    try:
        whole = load(EnvironmentFile, row, "")
        check_slug(whole.environment.id, "environment.id")
        if whole.environment.agent.kind == "python" and not whole.environment.agent.file:
            raise InvalidArgument(
                "An export leaves out where the agent's file is, which differs from machine to machine.",
                where="environment.agent.file",
                allowed='add `"file": "FILE.py"` to `environment.agent` in the JSON; FILE.py is below --allow-code DIR',
            )
        for problem, at in _problems(whole):
            raise InvalidArgument(problem, where=at)
    except InvalidArgument as error:
        raise InvalidArgument(error.what, where=f"{shown}, {error.where}", allowed=error.allowed) from None
    return _as_folder(whole, path)


def _problems(whole: EnvironmentFile) -> Iterator[tuple[str, str]]:
    """Inconsistencies, and where they are."""
    numbers = [version.number for version in whole.instructions]
    if len(set(numbers)) < len(numbers):
        yield "A version stands twice.", "instructions"
    if whole.in_force not in numbers:
        yield f"There is no version {whole.in_force}.", "in_force"
    for k, version in enumerate(whole.instructions):
        if version.base and version.base not in numbers:
            yield f"There is no version {version.base}.", f"instructions[{k}].base"
    for kind in ("personas", "scenarios"):
        for k, record in enumerate(getattr(whole, kind)):
            if not isinstance(record.get("id"), str):
                yield "It has no `id`.", f"{kind}[{k}]"


def _as_folder(whole: EnvironmentFile, path: Path) -> CaseFolder:
    part, shown = whole.environment, path.name
    settings = part.settings.model_dump(exclude_unset=True)
    if part.name:
        settings["name"] = part.name
    versions = tuple(Version(v.number, v.text, v.origin, v.base) for v in whole.instructions)
    return CaseFolder(
        path=path,
        config=shown,
        id=part.id,
        agent=part.agent.model_dump(exclude_unset=True),
        models=part.models.model_dump(exclude_unset=True),
        settings=settings,
        instructions=next(v.text for v in versions if v.number == whole.in_force),
        instructions_file=None,
        world="",
        world_data=whole.world,
        world_at=f"{shown}, world",
        personas=_sourced(whole.personas, f"{shown}, personas"),
        scenarios=_sourced(whole.scenarios, f"{shown}, scenarios"),
        pairing="none",
        simulations=tuple(whole.simulations),
        files=(shown,),
        versions=versions,
        in_force=whole.in_force,
        knowledge=tuple(whole.knowledge),
    )


def _sourced(records: list[dict[str, Any]], at: str) -> tuple[Sourced, ...]:
    return tuple(Sourced(record, f"{at}[{k}]") for k, record in enumerate(records))
