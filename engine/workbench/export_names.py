"""Valid names of exports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from ..errors import InvalidArgument

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)", re.IGNORECASE)


def check_file_name(name: str, suffix: str = "") -> str:
    """A plain file name with its suffix: no folder, no link, nothing that another system treats specially."""
    if not _NAME.match(name) or ".." in name or _RESERVED.match(name):
        raise InvalidArgument(
            f"{name[:80]!r} is not a file name.",
            where="file",
            allowed="1 to 100 of A-Z, a-z, 0-9, _, - and single dots, such as run-7.json; no folders",
        )
    if not suffix or name.lower().endswith(suffix):
        return name
    if Path(name).suffix:
        raise InvalidArgument(
            f"`{name}` does not fit its format.", where="file", allowed=f"a name that ends in {suffix}"
        )
    return check_file_name(name + suffix)
