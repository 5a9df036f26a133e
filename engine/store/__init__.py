"""Where everything is kept: TinyDB's document API over append-only journals, conversations in segments, jobs.

`Store(home)` is the only entry point. Nothing acknowledged is lost if the process is killed; two processes may share
one data folder. All calls are synchronous and quick (well under a millisecond) unless their docstring says that they
belong in a worker thread.
"""

from __future__ import annotations

from .audit import acting_as
from .clock import Clock
from .collector import own_process
from .documents import Database, Row, Table
from .folder import storage_error
from .index import Page
from .jobs import Jobs, TakenOver
from .segments import Pointer, Segments
from .store import Damage, Store
from .transaction import Transaction
from .turns import Turns
from .units import WorkQueue

__all__ = [
    "Clock",
    "Damage",
    "Database",
    "Jobs",
    "Page",
    "Pointer",
    "Row",
    "Segments",
    "Store",
    "Table",
    "TakenOver",
    "Transaction",
    "Turns",
    "WorkQueue",
    "acting_as",
    "own_process",
    "storage_error",
]
