"""What is installed: versions, and library releases known to be malicious."""

from __future__ import annotations

import platform
import site
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from .. import __version__
from .findings import Finding

STOLEN: Final = ("1.82.7", "1.82.8")
"""Releases of litellm with a program that sent keys away at every start of Python."""
CARRIER: Final = "litellm_init.pth"
"""The file that started it; it remains when the release is replaced."""
_MEND: Final = (
    "change every key and password this machine knows, then make the environment anew: scripts/setup"
)


def installed() -> Iterator[Finding]:
    """Imports nothing: an infected library must not run."""
    mcp = _version("mcp")
    yield Finding(
        "ok", "", f"caseharden {__version__}, Python {platform.python_version()}, mcp {mcp or 'missing'}"
    )
    if not mcp or int(mcp.split(".")[0]) < 2:
        yield Finding(
            "fail", "mcp", f"{mcp or 'not installed'}, but 2.3 or newer is needed", fix="scripts/setup"
        )
    litellm = _version("litellm")
    if litellm in STOLEN:
        yield Finding("fail", "litellm", f"{litellm} is a release that steals keys", fix=_MEND)
    for file in strays(
        Path(folder) for folder in [*sys.path, *site.getsitepackages(), site.getusersitepackages()]
    ):
        yield Finding(
            "fail",
            "litellm",
            f"{file} runs at every start of Python; a release of litellm that steals keys put it there",
            fix=f"delete that file, {_MEND}",
        )


def strays(folders: Iterable[Path]) -> list[Path]:
    """The files left by such a release."""
    return sorted({(folder / CARRIER).resolve() for folder in folders if (folder / CARRIER).exists()})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
