"""The command line called in this process, with words, variables, folder and streams of its own.

What a command prints and how it ends needs no interpreter of its own, which takes a second to start. What only a
process can show (its start, signals, pipes, what it loads) is tested with one.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

import pytest

from caseharden.mcp_server.cli import main

importlib.import_module("mcp.client.stdio")
# Its default for standard error is the stream at the time of its import, which must not be one of a test.

Says = Callable[..., CompletedProcess[str]]

STARTED = str(Path(__file__).resolve().parent.parent / "__main__.py")
"""What `sys.argv` begins with under `python -m caseharden`."""


def commanded(
    *words: str, typed: str = "", cwd: Path | None = None, **variables: str
) -> CompletedProcess[str]:
    """What `caseharden WORDS` prints on a page of 100 columns, and its exit code; `typed` is all of its input."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, {"COLUMNS": "100", **variables}),
        pytest.MonkeyPatch.context() as at,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        at.setattr(sys, "argv", [STARTED, *words])
        at.setattr(sys, "stdin", io.StringIO(typed))
        at.chdir(cwd or Path.cwd())
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return CompletedProcess(list(words), code, out.getvalue(), err.getvalue())


def in_folder_of_cases(folder: Path) -> Says:
    """The command line in a folder, with data of its own, and with `my-agent` as `caseharden init` writes it."""

    def say(*words: str) -> CompletedProcess[str]:
        return commanded(*words, cwd=folder, CASEHARDEN_HOME=str(folder / "home"))

    assert say("init", "my-agent").returncode == 0
    return say
