"""Which of the users' code may run here, and under which limits. The operator decides; callers cannot widen it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..errors import InvalidArgument, NotAllowed, NotFound, did_you_mean

FLAG: Final = "--allow-code DIR"
INTERPRETERS: Final = ("bash", "bun", "node", "perl", "php", "python", "python3", "ruby", "sh")
"""Programs that may stand before a file below an allowed folder."""
MOST_ARGUMENTS: Final = 100
_PASSED: Final = ("PATH", "LANG", "LC_ALL", "TZ")
"""Our variables that every process gets. HOME and TMPDIR are a folder of its own."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one process; None means no limit.

    `memory_bytes`: writable memory. `file_bytes`: of one file that it writes. `open_files`: at the same time. `cpu_s`:
    processor seconds in all. `line_bytes`: the longest answer. `stderr_chars`: how much is kept of the end of its
    standard error. `grace_s`: from the request to end until it is killed.
    """

    memory_bytes: int | None = 8 << 30
    file_bytes: int | None = 256 << 20
    open_files: int | None = 1024
    cpu_s: int | None = None
    line_bytes: int = 2_000_000
    stderr_chars: int = 4000
    grace_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start, without a shell. `argv[0]` is a path, `env` all variables except HOME and TMPDIR."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    limits: Limits = field(default_factory=Limits)


class AllowedCode:
    """The folders below which files may be run, and what such a process is given.

    `env`: names of variables passed on besides PATH and the language. `python`: the interpreter for Python files; "":
    ours. `environ`: our variables.
    """

    def __init__(
        self,
        folders: Sequence[Path | str] = (),
        env: Sequence[str] = (),
        python: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folders: tuple[Path, ...] = tuple(Path(f).resolve() for f in folders)
        self.python = python or sys.executable
        self._environ = os.environ if environ is None else environ
        self._names = (*_PASSED, *env)

    def file(self, path: str, where: str) -> Path:
        """A regular file below an allowed folder. A relative path is tried below each in turn; links are followed.

        NotAllowed (which names the flag) for one outside, NotFound for one that does not exist.
        """
        if not self.folders:
            raise NotAllowed(
                "Code is not run here.",
                where=where,
                allowed=f"only files below a folder that the operator names with {FLAG}, or in Python with "
                "Workbench(code=AllowedCode([DIR]))",
            )
        if not path or "\0" in path or len(path) > 4096:
            raise InvalidArgument(f"{path[:80]!r} is not a path.", where=where, allowed="a file")
        found = [real for folder in self.folders if (real := _real(folder / path)) is not None]
        inside = [real for real in found if any(real.is_relative_to(folder) for folder in self.folders)]
        if not inside:
            raise NotAllowed(
                f"`{path[:200]}` is outside the folders of {FLAG}.", where=where, allowed=self._allowed()
            )
        file = next((real for real in inside if real.exists()), inside[0])
        if not file.is_file():
            near = did_you_mean(file.name, _names_in(file.parent))
            raise NotFound(f"There is no file `{path[:200]}`.{near}", where=where, allowed=self._allowed())
        return file

    def folder(self, file: Path) -> Path:
        """The allowed folder that contains a file returned by `file`."""
        return next(folder for folder in self.folders if file.is_relative_to(folder))

    def command(self, argv: Sequence[str], where: str, limits: Limits | None = None) -> Command:
        """The command that runs a file below an allowed folder: `[FILE, ...]` or `[INTERPRETER, FILE, ...]`.

        Anything after the file is passed to it unchanged. It runs in the folder of the file.
        """
        if not argv or len(argv) > MOST_ARGUMENTS or any("\0" in one or len(one) > 10_000 for one in argv):
            raise InvalidArgument(
                "A command is a list of texts.", where=where, allowed=f"1 to {MOST_ARGUMENTS} arguments"
            )
        if argv[0] not in INTERPRETERS:
            file = self.file(argv[0], f"{where}[0]")
            if not os.access(file, os.X_OK):
                raise NotAllowed(
                    f"`{argv[0][:200]}` is not executable.",
                    where=f"{where}[0]",
                    allowed=f"an executable file, or one behind {', '.join(INTERPRETERS)}",
                )
            return self._made((str(file), *argv[1:]), file, limits)
        if len(argv) == 1 or argv[1].startswith("-"):
            raise NotAllowed(
                f"`{argv[0]}` may only run a file below the folders of {FLAG}.",
                where=where,
                allowed=f'["{argv[0]}", "FILE", ...]; {self._allowed()}',
            )
        file = self.file(argv[1], f"{where}[1]")
        return self._made((self._interpreter(argv[0], where), str(file), *argv[2:]), file, limits)

    def python_command(
        self, program: Path, arguments: Sequence[str], beside: Path, limits: Limits | None = None
    ) -> Command:
        """The command to run a Python program of ours for a user's file: no PYTHON variables, no user folder."""
        return self._made((self.python, "-I", str(program), *arguments), beside, limits)

    def _made(self, argv: tuple[str, ...], file: Path, limits: Limits | None) -> Command:
        env = {name: self._environ[name] for name in self._names if name in self._environ}
        env.setdefault("PATH", os.defpath)
        return Command(argv, file.parent, env, limits or Limits())

    def _interpreter(self, name: str, where: str) -> str:
        if name.startswith("python"):
            return self.python
        found = shutil.which(name, path=self._environ.get("PATH", os.defpath))
        if found is None:
            raise NotFound(
                f"There is no `{name}` on this machine.", where=f"{where}[0]", allowed="install it"
            )
        return found

    def _allowed(self) -> str:
        return f"files below {', '.join(map(str, self.folders))}; the operator adds folders with {FLAG}"


def _real(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


def _names_in(folder: Path) -> list[str]:
    try:
        return [file.name for file in folder.iterdir()]
    except OSError:
        return []
