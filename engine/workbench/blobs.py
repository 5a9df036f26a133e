"""Large JSON values under the hash of their content: written once, never changed."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from ..errors import StorageError


class Blobs:
    """The values of one kind, a file each. `what` is the word for one in errors."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder = folder
        self._what = what

    def keep(self, hash: str, value: Any) -> None:
        """Store a value under its hash; a second time nothing is written."""
        if self.has(hash):
            return
        file = self._folder / f"{hash}.json"
        draft = file.with_suffix(f".{secrets.token_hex(8)}.tmp")
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(handle, "w", encoding="utf-8") as out:
                json.dump(value, out, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            what = f"The {self._what} cannot be stored: {error.strerror}."
            raise StorageError(
                what, where=str(file), allowed="a data folder with room that can be written"
            ) from error

    def has(self, hash: str) -> bool:
        """Whether a value is there."""
        return (self._folder / f"{hash}.json").is_file()

    def read(self, hash: str) -> Any:
        """The value. StorageError when it is damaged or missing."""
        try:
            return json.loads((self._folder / f"{hash}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            what = f"The {self._what} {hash[:12]} is damaged or missing."
            raise StorageError(
                what, where=str(self._folder), allowed="a data folder that is whole"
            ) from error

    def forget(self, hash: str) -> None:
        """Delete a value, if it is there."""
        (self._folder / f"{hash}.json").unlink(missing_ok=True)
