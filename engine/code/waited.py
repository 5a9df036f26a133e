"""Runs async tool calls on the event loop for trials that wait in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio.from_thread

from ..world import CodeAnswer


def waited(ask: Callable[..., Coroutine[Any, Any, CodeAnswer]], *args: Any, elsewhere: str) -> CodeAnswer:
    """The answer, or an error with the text `elsewhere` in a thread not started by an event loop."""
    try:
        return anyio.from_thread.run(ask, *args)
    except RuntimeError as error:
        if "worker thread" not in str(error):
            raise
        return CodeAnswer(elsewhere, "runtime")
