"""Reads lines that a person types."""

from __future__ import annotations

import sys

import anyio.to_thread


async def ask_line(prompt: str) -> str | None:
    """A line of the input, None at its end. Ctrl-C ends the wait."""
    sys.stdout.write(prompt)
    sys.stdout.flush()
    line = await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    if not sys.stdin.isatty():
        sys.stdout.write("\n")
    return line.rstrip("\n") if line else None
