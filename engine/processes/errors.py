"""The ways a process can fail, as far as decisions depend on them.

ProcessError
|- NotStarted   there is no such program, or it cannot be run
|- Crashed      it ended before it answered
|- TimedOut     no answer before the deadline
|- TooMuch      an answer longer than the cap
`- Answered     it answered that it failed
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}")


class ProcessError(Exception):
    """Base. The text follows "the agent": `ended with status 3: ...`. It quotes what the process wrote."""

    @property
    def whole(self) -> str:
        """The text for whoever wrote the code: with the place, and what else the process wrote."""
        return str(self)


class NotStarted(ProcessError):
    """It cannot be run."""


class Crashed(ProcessError):
    """It ended, or closed its output, while an answer was awaited."""


class TimedOut(ProcessError):
    """No answer in time. The work may still be going on in there."""


class TooMuch(ProcessError):
    """It wrote a line longer than the cap, and was ended."""


class Answered(ProcessError):
    """It answered with an error. `kind`: the name of the exception raised there, or ""; `code`: JSON-RPC's, or 0;
    `at`: `FILE:LINE` in the user's code, or ""; `heard`: what it wrote beside answers since it was asked.
    """

    def __init__(self, kind: str, text: str, code: int = 0, at: str = "", heard: str = "") -> None:
        self.failure = f"raised {kind}" if _NAME.fullmatch(kind) else ""
        super().__init__(f"raised {kind}: {text}" if kind else f"failed: {text}")
        self.kind = kind
        self.text = text
        self.code = code
        self.at = at
        self.heard = heard

    @property
    def whole(self) -> str:
        return f"{self}{f', at {self.at}' if self.at else ''}{self.heard}"
