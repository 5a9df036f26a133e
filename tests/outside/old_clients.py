"""Makes an environment with the SDK's first line and lets its client drive our server over stdio and over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from caseharden.tests.wires import COMMAND, TOKEN, http_server

VERSION = "1.30.0"
"""The newest of the first line."""
CHECKOUT = Path(__file__).resolve().parent.parent.parent
CLIENT = Path(__file__).with_name("old_client.py")


def main() -> int:
    """Exit 0: it went round over both."""
    python = environment()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        codes = [driven(python, "stdio", *COMMAND, "--home", str(home / "stdio"))]
        with http_server(home / "http") as served:
            codes.append(driven(python, "http", served.url))
    return max(codes)


def environment() -> str:
    """The Python of an environment beside ours that has the old SDK; made once."""
    place = CHECKOUT / ".venv" / f"mcp-{VERSION}"
    python = str(place / "bin" / "python")
    if not (place / "done").exists():
        print(f"Installing mcp {VERSION} (once): {place}", file=sys.stderr)
        venv.create(place, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"mcp=={VERSION}"]
        subprocess.run(pip, check=True)
        (place / "done").touch()
    return python


def driven(python: str, *words: str) -> int:
    """Run the client; its exit code."""
    env = {**os.environ, "TOKEN": TOKEN, "PYTHONPATH": ""}
    return subprocess.run([python, str(CLIENT), *words], env=env, check=False, timeout=120).returncode


if __name__ == "__main__":
    sys.exit(main())
