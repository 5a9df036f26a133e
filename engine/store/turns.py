"""Turns at what several trials share outside of us: one at a time, in all processes of one data folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import anyio

from .folder import make_folder, open_file, telling, try_lock

LOOK_EVERY_S: Final = 0.05
"""How often is looked whether another process has had its turn."""


class Turns:
    """Gives turns, by what they are for. The locks are those of files in `folder`: they go with a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._here: dict[str, anyio.Lock] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None]:
        """Until it is our turn, as it comes; it is over when the block is left. Not re-entrant.

        Who waits for the turn holds the place behind it, so that no process has one turn after the other meanwhile.
        """
        mark = hashlib.sha256(name.encode()).hexdigest()[:32]
        async with self._here.setdefault(name, anyio.Lock()):
            with self._opened(f"{mark}.lock") as turn:
                with self._opened(f"{mark}.next") as place:
                    await _locked(place)
                    await _locked(turn)
                yield

    @contextmanager
    def _opened(self, name: str) -> Generator[int]:
        """An open file of that name; what is locked by it is free when the block is left."""
        make_folder(self._folder)
        path = self._folder / name
        with telling("Cannot take turns", path):
            descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


async def _locked(descriptor: int) -> None:
    while not try_lock(descriptor):
        await anyio.sleep(LOOK_EVERY_S)
