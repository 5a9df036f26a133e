"""One of our Python programs, running a user's file under the operator's interpreter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from .code import AllowedCode, Command, Limits

WORKER: Final = Path(__file__).with_name("worker.py")


def python_worker(
    allowed: AllowedCode, service: Path, settings: Mapping[str, Any], file: Path, limits: Limits | None = None
) -> Command:
    """The command for a worker that answers with one of our service files; `file` is the user's, already allowed.

    `service`: a file that imports only the standard library and has `open_service(settings, load)`; see worker.py.
    """
    return allowed.python_command(
        WORKER, [str(service), json.dumps({**settings, "file": str(file)})], file, limits
    )
