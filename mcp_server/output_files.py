"""Files that a command writes at the path its caller chose."""

from __future__ import annotations

from pathlib import Path

from ..engine.errors import Conflict, InvalidArgument

OPTION = "--output"


def copy_out(made: Path, target: Path, overwrite: bool, option: str = OPTION) -> None:
    """Copy the result to where it is wanted. Conflict if another file is there, InvalidArgument if none can be. Run in
    a worker thread.
    """
    data = made.read_bytes()
    try:
        if target.exists() and not overwrite and (target.is_dir() or target.read_bytes() != data):
            raise Conflict(f"{target} exists.", where=option, allowed="another name, or --overwrite")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        text = error.strerror or str(error)
        raise InvalidArgument(
            f"{target} cannot be written: {text}.", where=option, allowed="a file in a folder of yours"
        ) from None
