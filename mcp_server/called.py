"""How the caller must spell the command so that a printed line works when typed."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "caseharden"


def called(*words: str) -> str:
    """`caseharden WORDS` if that is on the PATH, else with the path of the script; quoted for a shell.

    The script is the one that was started or, under `python -m`, the one next to that Python.
    """
    return " ".join([_script(), *(shlex.quote(word) for word in words)])


def home_words(args: argparse.Namespace) -> list[str]:
    """The words that name the data folder again, if the caller named one."""
    return ["--home", args.home] if args.home else []


def _script() -> str:
    started = Path(sys.argv[0])
    script = started if started.name == NAME else Path(sys.executable).parent / NAME
    on_path = shutil.which(NAME)
    if not script.is_file() or (on_path and os.path.samefile(on_path, script)):
        return NAME
    whole, here = os.path.abspath(script), os.getcwd()
    if not whole.startswith(here.rstrip(os.sep) + os.sep):
        return shlex.quote(whole)
    text = os.path.relpath(whole, here)
    return shlex.quote(text if os.sep in text else f"./{text}")
