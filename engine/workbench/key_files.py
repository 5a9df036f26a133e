"""Files named by `file:PATH`: below the allowed roots or in `secrets/` of the data folder, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import NotAllowed
from ..exchange import Roots
from ..net import Lending, read_reference

FOLDER: Final = "secrets"
MOST_BYTES: Final = 20_000


class KeyFiles:
    """Reads them. Nothing else in the data folder is ever read, nor is a file of the server's own tokens."""

    def __init__(self, roots: Sequence[Path], home: Path, lending: Lending) -> None:
        self._roots = tuple(roots)
        self._home = home.resolve()
        self._lending = lending
        parts = [found for text in lending.own if (found := read_reference(text)) and found.kind == "file"]
        self._own = {Path(found.name).expanduser().resolve() for found in parts}

    def read(self, path: str, where: str) -> str:
        """The text of a file that a caller names."""
        return self._read([*self._roots, *([self._keys] if self._lending.keys_folder else [])], path, where)

    def read_for_operator(self, path: str, where: str) -> str:
        """The text of a file that the operator's settings name."""
        return self._read([*self._roots, self._keys], path, where)

    @property
    def _keys(self) -> Path:
        return self._home / FOLDER

    def _read(self, folders: Sequence[Path], path: str, where: str) -> str:
        roots = Roots(folders)
        found = roots.resolve(path, where)
        ours = found.is_relative_to(self._home) and not found.is_relative_to(self._keys)
        if ours or found in self._own:
            raise NotAllowed(
                f"`{path[:200]}` is a file of Caseharden's own and is sent to nobody.",
                where=where,
                allowed="a file that holds a key of the endpoint",
            )
        return roots.read_text(found, where, MOST_BYTES)
