"""Secrets by reference: their values are read at the last moment and never shown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import InvalidArgument, MissingKey
from .redaction import HIDDEN, Redactor, looks_secret
from .references import ALLOWED, Lending, Reference, holds_a_secret, is_variable, read_reference

_SECRET_NAME: Final = re.compile(
    r"auth|cookie|secret|token|passw|credential|session|signature|api.?key|(?:^|[-_])key$", re.I
)
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OUR_HEADERS: Final = re.compile(
    "host|content-(?:length|type|encoding)|transfer-encoding|connection|accept-encoding|expect|upgrade|te|trailer",
    re.I,
)

ReadFile = Callable[[str, str], str]
"""(name, where) to the text of the file a reference names; UserError if it may not be read."""


class Secrets:
    """Reads references that may be named, and hides the values they stand for.

    `read_file`: reads only below allowed folders. `lending`: which variables may be named. Values are hidden once
    they have been read; so are variables of the environment whose names say that they are secret. `operator`: the
    references come from this process's own settings.
    """

    def __init__(
        self,
        read_file: ReadFile,
        environ: Mapping[str, str] | None = None,
        *,
        lending: Lending | None = None,
        redactor: Redactor | None = None,
        operator: bool = False,
    ) -> None:
        self._read_file = read_file
        self._environ = os.environ if environ is None else environ
        self._lending = lending or Lending()
        self._operator = operator
        self.redactor = redactor or Redactor()
        self.redactor.learn_variables(v for k, v in self._environ.items() if holds_a_secret(k))

    def value(self, text: str, where: str) -> str:
        """A header's value with its reference, if it has one, replaced: `Bearer env:NAME`.

        NotAllowed if it may not be named, MissingKey if there is nothing behind it, InvalidArgument for a value
        that no header may have.
        """
        found = read_reference(text)
        if found is None:
            return text
        self._check(found, where)
        read = self._variable if found.kind == "env" else self._file
        value = read(found.name, where)
        self.redactor.learn([value])
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise InvalidArgument(
                f"What {found.bare} stands for holds line ends or control characters.",
                where=where,
                allowed="one line of text",
            )
        return f"{found.before}{value}"

    def check(self, text: str, where: str) -> None:
        """Raise NotAllowed for a reference to a variable that may not be named; nothing is read."""
        found = read_reference(text)
        if found is not None:
            self._check(found, where)

    def hide(self, text: str) -> str:
        """The text without known secrets and without anything that looks like a key."""
        return self.redactor.hide(text)

    def _check(self, found: Reference, where: str) -> None:
        if found.kind == "env":
            self._lending.check_variable(found.name, where, operator=self._operator)

    def _variable(self, name: str, where: str) -> str:
        value = self._environ.get(name, "") if is_variable(name) else ""
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


def check_key(value: str, where: str, secrets: Secrets | None = None) -> None:
    """Refuse a key that is not a reference or, if `secrets` is given, one that may not be named."""
    if value and read_reference(value) is None:
        raise InvalidArgument(f"{where} holds a literal secret.", where=where, allowed=ALLOWED)
    if secrets is not None:
        secrets.check(value, where)


def check_headers(headers: Mapping[str, str], where: str, secrets: Secrets | None = None) -> None:
    """Refuse headers that cannot be sent, that we set ourselves, or that hold a secret instead of a reference.

    If `secrets` is given, also references that may not be named.
    """
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
        if read_reference(value) is None and (
            _SECRET_NAME.search(name) or looks_secret(value) or HIDDEN in value
        ):
            raise InvalidArgument(f"{at} holds a literal secret.", where=at, allowed=ALLOWED)
        if secrets is not None:
            secrets.check(value, at)
