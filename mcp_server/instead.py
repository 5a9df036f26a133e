"""What to type instead of an unknown id."""

from __future__ import annotations

import re
from typing import Final

from ..engine.errors import CasehardenError

_ID: Final = re.compile(r"[a-z0-9_-]{1,64}(?:[/@][a-z0-9_-]{1,64})*")


def instead(error: Exception, place: str) -> str:
    """The first existing id that an error at this place suggests, or ""."""
    if not isinstance(error, CasehardenError) or error.where != place:
        return ""
    first = error.allowed.partition(",")[0]
    return first if _ID.fullmatch(first) else ""
