"""Other people's code: what may run, a process for it without a shell, questions over lines of JSON, and its end."""

from __future__ import annotations

from .code import AllowedCode, Command, Limits
from .errors import Answered, Crashed, NotStarted, ProcessError, TimedOut, TooMuch
from .processes import Processes
from .python import python_worker
from .talk import Talk

__all__ = [
    "AllowedCode",
    "Answered",
    "Command",
    "Crashed",
    "Limits",
    "NotStarted",
    "ProcessError",
    "Processes",
    "Talk",
    "TimedOut",
    "TooMuch",
    "python_worker",
]
