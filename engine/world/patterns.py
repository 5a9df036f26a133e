"""Patterns: RE2 syntax (no look-around, no back-references), linear time, matching anywhere, at most 500 characters."""

# google-re2 ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

MAX_PATTERN_CHARS: Final = 500
_MAX_MEMORY: Final = 4 << 20


class BadPattern(ValueError):
    """Says what is wrong with a pattern, in one sentence."""


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_compiled", "text")

    def __init__(self, text: str, compiled: Any) -> None:
        self.text = text
        self._compiled = compiled

    def found(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        try:
            return self._compiled.search(text) is not None
        except UnicodeEncodeError:
            return self._compiled.search(text.encode("utf-8", "replace").decode()) is not None


@lru_cache(maxsize=1024)
def compile_pattern(text: str, ignore_case: bool = False) -> Pattern:
    """Compile a pattern; BadPattern if it is too long or not RE2."""
    if len(text) > MAX_PATTERN_CHARS:
        raise BadPattern(f"a pattern has at most {MAX_PATTERN_CHARS} characters, this has {len(text)}")
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return Pattern(text, re2.compile(text, options))
    except UnicodeEncodeError:
        raise BadPattern("a pattern is made of whole characters") from None
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        words = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(f"not a pattern ({words}); RE2 has no look-around and no back-references") from None
