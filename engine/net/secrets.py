"""Secrets by reference: `env:NAME`, `file:PATH`. Their values are read at the last moment and never told."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import re2  # pyright: ignore[reportMissingTypeStubs]

from ..errors import InvalidArgument, MissingKey

ALLOWED: Final = "a reference, env:NAME or file:PATH"
HIDDEN: Final = "[secret]"
SHORTEST: Final = 8
"""Characters below which a value is taken for no secret: hiding it would garble texts."""
_REFERENCE: Final = re.compile(
    r"(?P<before>(?:[A-Za-z]{1,20} )?)(?P<kind>env|file):"
    r"(?P<name>[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?)"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_SECRET_NAME: Final = re.compile(
    r"auth|cookie|secret|token|passw|credential|session|signature|api.?key|(?:^|[-_])key$", re.I
)
_SECRET_VARIABLE: Final = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.I)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OUR_HEADERS: Final = re.compile(
    "host|content-(?:length|type|encoding)|transfer-encoding|connection|accept-encoding|expect|upgrade|te|trailer",
    re.I,
)
_KEY_LIKE: Final[Any] = re2.compile(  # pyright: ignore[reportUnknownMemberType]
    r"\bsk-[A-Za-z0-9_-]{16,}|\bsk_(?:live|test)_[A-Za-z0-9]{10,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bhf_[A-Za-z0-9]{20,}"
    r"|\bgsk_[A-Za-z0-9]{20,}|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"
    r"|(?i:\bbearer )[A-Za-z0-9._~+/-]{16,}=*|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)

ReadFile = Callable[[str, str], str]
"""The text of a file that a reference names, and where it stands; UserError where it may not be read."""


class Secrets:
    """Reads references, and hides what they stand for.

    `read_file`: reads only below allowed folders. Values that were read are hidden from then on, and so are those of
    variables of the environment whose name says that they are secret.
    """

    def __init__(self, read_file: ReadFile, environ: Mapping[str, str] | None = None) -> None:
        self._read_file = read_file
        self._environ = os.environ if environ is None else environ
        self._known: set[str] = set()
        self._pattern = re.compile("(?!)")
        self._learn(v for k, v in self._environ.items() if _SECRET_VARIABLE.search(k))

    def value(self, text: str, where: str) -> str:
        """A header's value with its reference, if it has one, replaced: `Bearer env:NAME`.

        MissingKey where nothing stands behind the reference, InvalidArgument for a value that no header may have.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None:
            return text
        read = self._variable if found["kind"] == "env" else self._file
        value = read(found["name"], where)
        self._learn([value])
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise InvalidArgument(
                f"What {found['kind']}:{found['name']} stands for holds line ends or control characters.",
                where=where,
                allowed="one line of text",
            )
        return f"{found['before']}{value}"

    def hide(self, text: str) -> str:
        """The text without known secrets, and without what looks like a key."""
        if self._known:
            text = self._pattern.sub(HIDDEN, text)
        return _KEY_LIKE.sub(HIDDEN, _whole(text)) if looks_secret(text) else text

    def _variable(self, name: str, where: str) -> str:
        value = self._environ.get(name, "") if _VARIABLE.fullmatch(name) else ""
        if not value.strip():
            raise MissingKey(
                f"{name[:200]} is not set in the server's environment.",
                where=where,
                allowed="set it and restart, or another reference, env:NAME or file:PATH",
            )
        return value.strip()

    def _file(self, name: str, where: str) -> str:
        value = self._read_file(name, where).strip()
        if not value:
            raise MissingKey(f"The file {name[:200]} is empty.", where=where, allowed="a file with the key")
        return value

    def _learn(self, values: Iterable[str]) -> None:
        """Hide these from now on."""
        fresh = {value for value in values if len(value) >= SHORTEST} - self._known
        if fresh:
            self._known |= fresh
            longest_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))


def check_key(value: str, where: str) -> None:
    """Refuse a key that is no reference."""
    if value and _REFERENCE.fullmatch(value) is None:
        raise InvalidArgument(f"{where} holds a literal secret.", where=where, allowed=ALLOWED)


def check_headers(headers: Mapping[str, str], where: str) -> None:
    """Refuse headers that cannot be sent, that we set ourselves, or that hold a secret instead of a reference."""
    for name, value in headers.items():
        at = f"{where}.{name[:100]}" if _HEADER.fullmatch(name) else where
        if not _HEADER.fullmatch(name) or _OUR_HEADERS.fullmatch(name):
            raise InvalidArgument(
                f"{name[:100]!r} is no header that can be set.", where=at, allowed="names such as X-Team"
            )
        if len(value) > 8192 or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) or not value.isascii():
            raise InvalidArgument(
                "A header's value holds line ends, control or other characters that cannot be sent.",
                where=at,
                allowed="one line of ASCII text, at most 8,192 characters",
            )
        if _REFERENCE.fullmatch(value) is None and (_SECRET_NAME.search(name) or looks_secret(value)):
            raise InvalidArgument(f"{at} holds a literal secret.", where=at, allowed=ALLOWED)


def looks_secret(text: str) -> bool:
    """Whether a text holds something that looks like a key."""
    return _KEY_LIKE.search(_whole(text)) is not None


def _whole(text: str) -> str:
    """The text with a question mark for each half of a character, which RE2 cannot read."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
