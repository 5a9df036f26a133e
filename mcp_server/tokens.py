"""Who may come in over HTTP: the bearer tokens, given by reference or made here, and never shown."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mcp.server.auth.provider import AccessToken, TokenVerifier

from ..engine.errors import InvalidArgument, MissingKey, NotFound, StorageError, UserError
from ..engine.ids import SLUG, SLUG_RULE
from ..engine.net import read_reference

WHERE = "--token"
FORM = "TOKEN [NAME [UNTIL]], one a line; UNTIL such as 2027-01-31T00:00:00Z"
SHORTEST = 16
"""Minimum length of a given token, in characters."""
OWNER = "owner"
"""The holder of a token that has no name."""
FILE = "http-token"


@dataclass(frozen=True, slots=True)
class Holder:
    """One token: its SHA-256, its holder, and when it expires (seconds since 1970; 0: never)."""

    digest: bytes
    name: str
    until: float = 0


class Tokens(TokenVerifier):
    """Verifies bearer tokens. All are compared, each in constant time."""

    def __init__(self, holders: Sequence[Holder]) -> None:
        self._holders = tuple(holders)

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token it is; None for an unknown or expired one. The result does not contain the token."""
        digest = _digest(token)
        found = [one for one in self._holders if hmac.compare_digest(one.digest, digest)]
        found = [one for one in found if not one.until or one.until > time.time()]
        if not found:
            return None
        return AccessToken(token="", client_id=found[0].name, scopes=[], subject=found[0].name)


def referred(reference: str) -> Tokens:
    """The tokens of `env:NAME` or `file:PATH`: lines of a token, its holder's name and its expiry; # begins a comment.

    Raises MissingKey, NotFound and InvalidArgument, none of which reveals anything about a token.
    """
    found = read_reference(reference)
    if found is None or found.before:
        raise InvalidArgument(
            "A token is given by reference: the command line can be read by others.",
            where=WHERE,
            allowed="env:NAME, file:PATH",
        )
    text = _read(Path(found.name).expanduser()) if found.kind == "file" else os.environ.get(found.name, "")
    if found.kind == "env" and not text.strip():
        raise MissingKey(f"The environment variable {found.name} is not set.", where=WHERE)
    lines = [(number, _words(line)) for number, line in enumerate(text.splitlines(), 1)]
    holders = [_holder(words, number) for number, words in lines if words]
    if not holders:
        raise InvalidArgument("There is no token in it.", where=WHERE, allowed=FORM)
    return Tokens(holders)


def made(home: Path) -> tuple[Tokens, Path]:
    """The token of this data folder, and the file that holds it; made on first use, readable only by its owner.

    Raises StorageError if the file cannot be written or read.
    """
    path = home / FILE
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _put(path, secrets.token_urlsafe(32))
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise StorageError(f"The token cannot be kept in {path}: {error}.", where=WHERE) from None
    if len(token) < SHORTEST:
        raise StorageError(f"{path} holds no token; delete it, and a new one is made.", where=WHERE)
    return Tokens([Holder(_digest(token), OWNER)]), path


def _put(path: Path, token: str) -> None:
    """Write atomically; of two processes the first one's token stays."""
    new = path.with_name(f"{FILE}.{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(token + "\n")
        os.link(new, path)
    except FileExistsError:
        return
    finally:
        new.unlink()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise NotFound(
            f"The token file {path} cannot be read: {reason}.", where=WHERE, allowed=FORM
        ) from None


def _words(line: str) -> list[str]:
    words = line.split()
    comment = next((place for place, word in enumerate(words) if word.startswith("#")), len(words))
    return words[:comment]


def _holder(words: list[str], number: int) -> Holder:
    token, name, until, *more = [*words, "", ""]
    if len(token) < SHORTEST:
        raise _wrong(number, f"the token has under {SHORTEST} characters")
    if any(more):
        raise _wrong(number, "there are more than three words")
    if name and not SLUG.match(name):
        raise _wrong(number, f"the name is not {SLUG_RULE}")
    return Holder(_digest(token), name or OWNER, _seconds(until, number) if until else 0)


def _seconds(until: str, number: int) -> float:
    try:
        told = datetime.fromisoformat(until)
    except ValueError:
        raise _wrong(number, "the end is no time") from None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _wrong(number: int, what: str) -> UserError:
    return InvalidArgument(f"Line {number} of the tokens: {what}.", where=WHERE, allowed=FORM)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
