"""Turns at outside resources that several trials share: one at a time, across all processes of one data folder."""

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
"""How often to check whether another process has finished its turn, in seconds."""


class Turns:
    """Gives turns, by name of the resource. The locks are on files in `folder`: they disappear with their process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._here: dict[str, anyio.Lock] = {}
        """The locks of the names that somebody here waits for or has."""

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncGenerator[None]:
        """Wait for our turn, in order of arrival; it ends with the block. Not re-entrant.

        Whoever waits holds the place next in line, so that no process has two turns in a row meanwhile.
        """
        mark = hashlib.sha256(name.encode()).hexdigest()[:32]
        here = self._here.setdefault(name, anyio.Lock())
        try:
            async with here:
                with self._opened(f"{mark}.lock") as turn:
                    with self._opened(f"{mark}.next") as place:
                        await _locked(place)
                        await _locked(turn)
                    yield
        finally:
            if not here.locked():
                self._here.pop(name, None)

    @contextmanager
    def _opened(self, name: str) -> Generator[int]:
        """An open file of that name; locks on it are released when the block ends."""
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
