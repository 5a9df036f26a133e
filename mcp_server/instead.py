"""What may be typed instead of an id that names nothing."""

from __future__ import annotations

import re
from typing import Final

from ..engine.errors import CasehardenError

_ID: Final = re.compile(r"[a-z0-9_-]{1,64}(?:[/@][a-z0-9_-]{1,64})*")


def instead(error: Exception, place: str) -> str:
    """The id that an error at this place names first among what is there, or ""."""
    if not isinstance(error, CasehardenError) or error.where != place:
        return ""
    first = error.allowed.partition(",")[0]
    return first if _ID.fullmatch(first) else ""
