"""Parsing of server-sent events."""

from __future__ import annotations

import re
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


def event_data(body: bytes) -> list[bytes]:
    """The data of each event that has any, its lines joined by LF."""
    found: list[bytes] = []
    data: list[bytes] = []
    for line in [*_LINE_END.split(body), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line:
            if any(data):
                found.append(b"\n".join(data))
            data = []
    return found
