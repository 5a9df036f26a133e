"""Redaction: no text that is kept, shown or passed on holds known secrets or anything that looks like a key."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

import re2  # pyright: ignore[reportMissingTypeStubs]

HIDDEN: Final = "[secret]"
SHORTEST: Final = 8
"""A value shorter than this is not taken for a secret: hiding it would garble texts."""
_KEY_LIKE: Final[Any] = re2.compile(  # pyright: ignore[reportUnknownMemberType]
    r"\bsk-[A-Za-z0-9_-]{16,}|\bsk_(?:live|test)_[A-Za-z0-9]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bhf_[A-Za-z0-9]{20,}"
    r"|\bgsk_[A-Za-z0-9]{20,}|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"
    r"|(?i:\bbearer )[A-Za-z0-9._~+/-]{16,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]*-----END [A-Z ]*PRIVATE KEY-----)?"
)
_WORD: Final = re.compile(r"[A-Za-z]{1,15}")
_PATH: Final = re.compile(r"/\w{1,15}|(?:~|\.{1,2})?/(?=.*/).*|(?:~|\.{1,2})/.*", re.S)
_RANDOM: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)\S{20,}", re.S)


class Redactor:
    """Hides the values it has learned and anything that looks like a key. May be used from several threads."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._pattern = re.compile("(?!)")

    def learn(self, values: Iterable[str]) -> None:
        """Hide these from now on; those that are too short are skipped."""
        fresh = {value for value in values if len(value) >= SHORTEST} - self._known
        if fresh:
            self._known |= fresh
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def learn_variables(self, values: Iterable[str]) -> None:
        """Hide these values of variables except single words and paths, which occur in many texts.

        A long value that mixes digits with letters of both cases counts as a path only if it exists.
        """
        self.learn(value for value in values if not (_WORD.fullmatch(value) or _is_path(value)))

    def hide(self, text: str) -> str:
        """The text without known secrets and without anything that looks like a key."""
        if any(value in text for value in self._known):
            text = self._pattern.sub(HIDDEN, text)
        return _KEY_LIKE.sub(HIDDEN, _whole(text)) if looks_secret(text) else text

    def hide_all(self, value: Any, places: list[str] | None = None, at: str = "") -> Any:
        """A JSON value with the secrets in all its texts hidden; the same object if nothing had to be.

        `places` collects the path of each text that was changed, prefixed by `at`. If there is nothing to hide it
        takes about 5 us an object.
        """
        whole = "\n".join(_texts(value))
        if not looks_secret(whole) and not any(known in whole for known in self._known):
            return value
        return self._hidden(value, [] if places is None else places, at)

    def _hidden(self, value: Any, places: list[str], at: str) -> Any:
        if isinstance(value, str):
            hidden = self.hide(value)
            if hidden != value:
                places.append(at)
            return hidden
        if isinstance(value, dict):
            fields = cast("dict[Any, Any]", value)
            joint = "." if at else ""
            return {
                self._hidden(key, [], ""): self._hidden(one, places, f"{at}{joint}{key}")
                for key, one in fields.items()
            }
        if isinstance(value, list | tuple):
            items = cast("Sequence[Any]", value)
            return [self._hidden(one, places, f"{at}[{k}]") for k, one in enumerate(items)]
        return value


def _is_path(value: str) -> bool:
    if not _PATH.fullmatch(value):
        return False
    return not _RANDOM.fullmatch(value) or os.path.exists(os.path.expanduser(value))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, including keys."""
    level: list[Any] = [value]
    while level:
        one = level.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            fields = cast("dict[Any, Any]", one)
            level.extend(fields)
            level.extend(fields.values())
        elif isinstance(one, list | tuple):
            level.extend(cast("Sequence[Any]", one))


def looks_secret(text: str) -> bool:
    """Whether a text holds anything that looks like a key."""
    return _KEY_LIKE.search(_whole(text)) is not None


def _whole(text: str) -> str:
    """Replace lone surrogates, which RE2 cannot read, by `?`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
