"""Our own files: a folder of cases as people write it, and what `export_run` wrote of a run or an environment."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidArgument
from . import environment_file
from .files import Roots
from .folder import CONFIG_NAMES, CaseFolder, is_case_folder, read_folder
from .importer import Imported
from .run_file import FORMAT, read_run_file

HEAD = 200
"""Characters of an exported file within which its format is named."""


class OwnFiles:
    """Imports what this project writes itself."""

    name = "caseharden"
    looks_for = f"{CONFIG_NAMES[0]}, or a .json file that export_run wrote"

    def recognise(self, path: Path, roots: Roots) -> str:
        if path.is_dir():
            return "a folder of cases" if is_case_folder(path) else ""
        if path.name in CONFIG_NAMES:
            return "the file of a folder of cases"
        head = roots.peek(path, HEAD)
        if f'"{environment_file.FORMAT}"' in head:
            return "an exported environment"
        return "an exported run" if f'"{FORMAT}"' in head else ""

    def read(self, path: Path, roots: Roots) -> Imported:
        if path.is_dir():
            return imported_folder(path, roots)
        if path.name in CONFIG_NAMES:
            raise InvalidArgument(
                f"`{roots.show(path)}` belongs to a folder of cases.",
                where="path",
                allowed="the folder that holds it",
            )
        if f'"{environment_file.FORMAT}"' in roots.peek(path, HEAD):
            return _as_imported(environment_file.read_environment_file(path, roots))
        run = read_run_file(str(path), roots)
        return Imported(self.name, run.environment.id, exported=run)


def imported_folder(path: Path | str, roots: Roots) -> Imported:
    """A folder of cases; imported completely or not at all."""
    return _as_imported(read_folder(path, roots))


def _as_imported(cases: CaseFolder) -> Imported:
    row = {
        "personas": len(cases.personas),
        "scenarios": len(cases.scenarios),
        "files": len(cases.files),
    }
    return Imported(OwnFiles.name, cases.id, cases=cases, taken=row, whole=True)
