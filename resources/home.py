"""Where the data folder is: `CASEHARDEN_HOME`, else the platform's folder for a user's data."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_home() -> Path:
    """The data folder used by default."""
    told = os.environ.get("CASEHARDEN_HOME")
    if told:
        return Path(told).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "caseharden"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "caseharden"


def shown_home() -> str:
    """The default data folder, as people write it."""
    return shown(default_home())


def shown(path: Path) -> str:
    """The path as people write it, with the user's own folder as `~`."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
