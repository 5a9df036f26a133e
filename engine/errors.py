"""The one error tree. Every message says what, where, what is allowed and the next step.

CasehardenError
|- UserError            the caller can fix it: shown to the caller word for word
|  |- InvalidArgument   `invalid_argument`  a value that is wrong, with its path
|  |- UnknownArgument   `unknown_argument`  a name that is not known, with the nearest one
|  |- UnknownTool       `unknown_tool`      a tool that does not exist
|  |- NotFound          `not_found`         an id that names nothing, with the nearest one
|  |- Conflict          `conflict`          it exists with other content, or is in the wrong state
|  |- NotAllowed        `not_allowed`       outside the allowed roots, or switched off by the operator
|  |- HeldOut           `held_out`          hidden while a proof runs
|  `- NeedsConfirm      `needs_confirm`     large or not undoable: confirm it
|- SetupError           the operator can fix it
|  |- MissingKey        `missing_key`
|  |- Unavailable       `unavailable`       an endpoint or a feature that is not there
|  |- RateLimited       `rate_limited`
|  |- BudgetSpent       `budget`
|  `- StorageError      `storage`           the data folder cannot be read or written
`- InternalError        `internal`          our own fault: shows only an id, the log has the rest

What goes wrong in one trial is not here: it is data in the conversation. `engine` errors become protocol errors in
one place, in `mcp_server`.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

MOST_COMPARED: Final = 300
"""The most names a word is compared with one by one, at 0.1 ms each."""


@dataclass(frozen=True, slots=True)
class NextCall:
    """A call to make next: a tool of the server and its arguments. An argument that only the caller can give is left
    out, and `why` names it: no value stands for another.
    """

    tool: str
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    why: str = ""


class CasehardenError(Exception):
    """Base of all errors that stop a call.

    `what` is one sentence; `where` a path such as `scenarios[2].success[0].stat`; `allowed` what would be accepted;
    `next` the calls that help; `quoted` text of third parties, which never becomes part of the message.
    """

    code: ClassVar[str] = "internal"

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        allowed: str | Iterable[str] = "",
        next: Sequence[NextCall] = (),
        quoted: str = "",
    ) -> None:
        self.what = what
        self.where = where
        self.allowed = allowed if isinstance(allowed, str) else ", ".join(allowed)
        self.next = tuple(next)
        self.quoted = quoted
        super().__init__(str(self))

    def at(self, prefix: str) -> CasehardenError:
        """The same error with its place seen from further out: `prefix` is put before `where`."""
        joint = "" if not self.where or self.where.startswith("[") else "."
        where = f"{prefix}{joint}{self.where}"
        return type(self)(self.what, where=where, allowed=self.allowed, next=self.next, quoted=self.quoted)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"At: {self.where}.")
        if self.allowed:
            parts.append(f"Allowed: {self.allowed}.")
        return " ".join(parts)


class UserError(CasehardenError):
    """The caller can fix it."""

    code = "invalid_argument"


class InvalidArgument(UserError):
    """`parts`: if it reports several mistakes, each one separately."""

    code = "invalid_argument"
    parts: Sequence[InvalidArgument] = ()


class UnknownArgument(UserError):
    code = "unknown_argument"


class UnknownTool(UserError):
    code = "unknown_tool"


class NotFound(UserError):
    code = "not_found"


class Conflict(UserError):
    code = "conflict"


class NotAllowed(UserError):
    code = "not_allowed"


class HeldOut(UserError):
    code = "held_out"


class NeedsConfirm(UserError):
    code = "needs_confirm"


class SetupError(CasehardenError):
    """The operator can fix it."""

    code = "unavailable"


class MissingKey(SetupError):
    code = "missing_key"


class Unavailable(SetupError):
    code = "unavailable"


class RateLimited(SetupError):
    code = "rate_limited"


class BudgetSpent(SetupError):
    code = "budget"


class StorageError(SetupError):
    code = "storage"


class InternalError(CasehardenError):
    """Our own fault; `what` gives only an id to look up in the log."""

    code = "internal"


def error_kinds() -> dict[str, type[CasehardenError]]:
    """The error class for each code; if several share one, the most specific."""

    def below(kind: type[CasehardenError]) -> Iterator[type[CasehardenError]]:
        for child in kind.__subclasses__():
            yield from below(child)
        yield kind

    kinds: dict[str, type[CasehardenError]] = {}
    for kind in below(CasehardenError):
        kinds.setdefault(kind.code, kind)
    return kinds


def error_class(raised: BaseException) -> str:
    """What broke, the same for equal failures: the code of our own errors, the class name of any other.

    An error that stands for something raised elsewhere names that in its `failure`.
    """
    if isinstance(raised, CasehardenError):
        return raised.code
    return str(getattr(raised, "failure", "") or type(raised).__name__)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most similar to `word`, or None if none is near."""
    asked = word.casefold()[:200]
    folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(asked, _comparable(asked, folded), n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def _comparable(word: str, names: Collection[str]) -> Collection[str]:
    """Of very many names, those that share a half with the word, as after a single typo: comparing is slow."""
    if len(names) <= MOST_COMPARED:
        return names
    head, tail = word[: len(word) // 2], word[len(word) // 2 :]
    near = [name for name in names if name.startswith(head) or name.endswith(tail)]
    return heapq.nsmallest(MOST_COMPARED, near, key=lambda name: abs(len(name) - len(word)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean `x`?"`, or "" if nothing is near; meant to be appended to a sentence."""
    hit = nearest(word, known)
    return f" Did you mean `{hit}`?" if hit else ""
