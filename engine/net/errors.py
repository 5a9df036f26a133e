"""What can go wrong with one request, as far as a decision on trying again needs it.

NetError
|- Refused       the guard does not let us reach the address
|- Unreachable   no connection, or it broke before the answer was whole
|- TimedOut      no whole answer before the deadline
|- TooLarge      the answer is longer than the cap
|- Broken        a success by its status, but not the answer that was asked for
`- BadStatus     an answer that is no success, redirects too

`engine/errors.py` has what callers of tools are told; agents and models turn these into those.
"""

from __future__ import annotations

from typing import Final

OVERLOAD: Final = frozenset({429, 503, 529})
"""Statuses by which an endpoint says that it gets too much."""
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
    """No connection, or a broken one. `refused`: nobody listens there."""

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
    """An answer that is no success. `body`: its first 2,000 characters; `retry_after_s` None: it names no time."""

    def __init__(self, status: int, text: str, *, body: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.body = body
        self.retry_after_s = retry_after_s
        self.again = status in _PASSING

    @property
    def overloaded(self) -> bool:
        return self.status in OVERLOAD
