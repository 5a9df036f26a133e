"""The reference of the tools is written from the server, the picture of the loop from a run, and neither is stale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_picture_of_the_loop_is_what_a_run_comes_to(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, checkout / "scripts" / "make_loop_picture.py", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr or "stale: scripts/make_loop_picture.py"


def test_the_tool_reference_is_as_the_server_says(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, checkout / "scripts" / "make_tool_docs.py", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
