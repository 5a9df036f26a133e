"""Large JSON values stored under the hash of their content: written once, never changed."""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..store import storage_error

HALF_WRITTEN_S = 3600


class Blobs:
    """The values of one kind, one file each. `what` names a value in errors."""

    def __init__(self, folder: Path, what: str) -> None:
        self._folder = folder
        self._what = what

    def keep(self, hash: str, value: Any) -> None:
        """Store a value under its hash; storing it again writes nothing."""
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
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise storage_error(f"Cannot store the {self._what}", file, error) from error

    def has(self, hash: str) -> bool:
        """Whether a value is there."""
        return (self._folder / f"{hash}.json").is_file()

    def read(self, hash: str) -> Any:
        """The value. StorageError if it is damaged or missing."""
        file = self._folder / f"{hash}.json"
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise storage_error(f"Cannot read the {self._what} {hash[:12]}", file, error) from error
        except ValueError as error:
            raise StorageError(
                f"The {self._what} {hash[:12]} is damaged.",
                where=str(file),
                allowed="a data folder that is whole",
            ) from error

    def forget(self, hash: str) -> None:
        """Delete a value, if present, and any half-written copy of it."""
        for file in [self._folder / f"{hash}.json", *self._folder.glob(f"{hash}.*.tmp")]:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise storage_error(f"Cannot delete the {self._what}", file, error) from error

    def tidy(self) -> None:
        """Delete files half written an hour ago or longer: their writer was killed."""
        for draft in self._folder.glob("*.tmp"):
            with suppress(OSError):
                if time.time() - draft.stat().st_mtime > HALF_WRITTEN_S:
                    draft.unlink()
