"""The ways one request can fail, as far as the decision to retry depends on them.

NetError
|- Refused       the guard does not allow the address
|- Unreachable   no connection, or it broke before the answer was whole
|- TimedOut      no whole answer before the deadline
|- TooLarge      the answer is longer than the cap
|- Broken        a successful status, but not the answer that was expected
`- BadStatus     a status that is not a success, including redirects

Callers of tools see the errors of `engine/errors.py`; agents and models convert these to those.
"""

from __future__ import annotations

from typing import Final

OVERLOAD: Final = frozenset({429, 503, 529})
"""Statuses by which an endpoint says that it is overloaded."""
_PASSING: Final = OVERLOAD | {408, 409, 425, 500, 502, 504, 520, 522, 524}


class NetError(Exception):
    """Base. `again`: the same request may succeed later."""

    again = False

    @property
    def overloaded(self) -> bool:
        """Whether the endpoint asks for fewer requests."""
        return False


class Refused(NetError):
    """The address may not be reached; the text says why."""


class Unreachable(NetError):
    """No connection, or it broke. `refused`: nothing is listening there."""

    def __init__(self, text: str, *, again: bool = True, refused: bool = False) -> None:
        super().__init__(text)
        self.again = again
        self.refused = refused


class TimedOut(NetError):
    """No whole answer in time."""

    again = True


class TooLarge(NetError):
    """The answer was cut at the cap."""


class Broken(NetError):
    """The answer cannot be read."""

    again = True


class BadStatus(NetError):
    """A status that is not a success. `body`: its first 2,000 characters; `retry_after_s` None: no time was given."""

    def __init__(self, status: int, text: str, *, body: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
        self.again = status in _PASSING

    @property
    def overloaded(self) -> bool:
        return self.status in OVERLOAD
