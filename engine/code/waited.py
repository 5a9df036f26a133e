"""Tools that are asked from a worker thread, where trials make their calls, and answered on the event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio.from_thread

from ..world import CodeAnswer


def waited(ask: Callable[..., Coroutine[Any, Any, CodeAnswer]], *args: Any, elsewhere: str) -> CodeAnswer:
    """The answer, or an error with the text `elsewhere` for a thread that no event loop has started."""
    try:
        return anyio.from_thread.run(ask, *args)
    except RuntimeError as error:
        if "worker thread" not in str(error):
            raise
        return CodeAnswer(elsewhere, "runtime")
