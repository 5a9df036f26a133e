"""Files of NAME=value lines, read only for keys.

Such a file may come with someone else's repository. So only names of keys are taken from it: a proxy, the address of a
model or a path to load code from is ignored. Variables already set in the process stay.
"""

from __future__ import annotations

import io
import os
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dotenv.parser import parse_stream

from ..engine.errors import InvalidArgument
from ..engine.exchange import Roots
from ..engine.net import names_a_key

NAME: Final = ".env"
LIMIT: Final = 1_000_000
"""Maximum size of such a file, in bytes."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The content of a file: `keys` by name, and the names that are `left_out` because they are not keys."""

    path: Path
    keys: dict[str, str]
    left_out: tuple[str, ...]

    def lend(self, environ: MutableMapping[str, str] | None = None) -> None:
        """Add the keys to the process's variables, unless one of that name is set and not empty."""
        environ = os.environ if environ is None else environ
        for name, value in self.keys.items():
            environ[name] = environ.get(name) or value


def read_env_file(path: Path) -> EnvFile:
    """The keys of a file. InvalidArgument names a line that is not NAME=value."""
    real = path.resolve()
    text = Roots([real.parent]).read_text(real, str(path), LIMIT)
    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is None and not binding.error:
            continue
        if binding.key is None or binding.value is None:
            blank = len(binding.original.string) - len(binding.original.string.lstrip("\n"))
            raise InvalidArgument(
                "This line is not NAME=value.",
                where=f"{path}, line {binding.original.line + blank}",
                allowed='NAME=value, NAME="value", comments after #',
            )
        found[binding.key] = binding.value
    keys = {name: value for name, value in found.items() if value and names_a_key(name)}
    return EnvFile(path, keys, tuple(name for name in found if not names_a_key(name)))


def find_env_file(told: str, folders: Sequence[Path] = ()) -> EnvFile | None:
    """The file that is set, else the first `.env` in these folders; None if there is none."""
    if told:
        return read_env_file(Path(told))
    found = next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
    return read_env_file(found) if found else None
